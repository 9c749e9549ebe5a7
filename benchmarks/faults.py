"""Kills, write faults and fits side by side: does every run end as an undisturbed one?

    python -m benchmarks.faults [--kills 40] [--faults 60] [--pairs 20] [--out FOLDER]

Prints a table: how often a run was disturbed, in how many weights or curves differed afterwards, and how many of the
disturbed processes said more than one line.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

CONFIG = Path(__file__).parents[1] / "tests" / "tiny.yaml"
# Fails, or ends, in the n-th call that makes a file whole.
PROGRAM = """
import errno, os, sys
kind, at = sys.argv[1], int(sys.argv[2])
calls = 0
def faulty(real):
    def call(*given):
        global calls
        calls += 1
        if calls == at and kind == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if calls == at and kind == "kill":
            os._exit(137)
        done = real(*given)
        if calls >= at and kind == "torn" and str(given[-1]).endswith("resume.ckpt"):
            os.truncate(given[-1], os.path.getsize(given[-1]) // 2)
            os._exit(137)
        return done
    return call
os.replace, os.fsync = faulty(os.replace), faulty(os.fsync)
from lit_offrl.cli import main
main(sys.argv[3:])
"""


def command(run: Path, *program: str) -> list[str]:
    placed = ["--run_dir", str(run), "--trainer.accelerator", "cpu"]
    # A hundred updates an epoch of the dynamics and the prior.
    sizes = ["--dynamics.batch_size", "256", "--prior.batch_size", "256"]
    fit = ["fit", "-c", str(CONFIG), "--data.dataset", "bundled/halfcheetah-mixed", *placed, *sizes]
    return [sys.executable, *(program or ("-m", "lit_offrl")), *fit]


def begin(run: Path, *program: str) -> subprocess.Popen[str]:
    streams: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command(run, *program), text=True, **streams)


def content(run: Path) -> dict[str, Any]:
    """Weights, returns and curves of a finished run, by name."""
    found: dict[str, Any] = {}
    for path in sorted(run.glob("*-*/*.ckpt")):
        for key, value in torch.load(path, weights_only=True)["state_dict"].items():
            found[f"{path.parent.name} {path.name} {key}"] = value.tolist()
    for path in run.glob("policy-*/evaluations.json"):
        found["evaluations"] = json.loads(path.read_text())
    events = EventAccumulator(str(run / "tensorboard"), {"scalars": 0}).Reload()
    for tag in events.Tags()["scalars"]:
        if "second" not in tag:
            found |= {f"{tag} {e.step}": e.value for e in events.Scalars(tag)}
    return found


def differences(run: Path, whole: dict[str, Any]) -> int:
    found = content(run)
    return sum(found.get(key) != whole.get(key) for key in found.keys() | whole.keys())


class Tally:
    """What became of the disturbed runs of one kind."""

    def __init__(self) -> None:
        self.disturbed = self.differing = self.talkative = 0

    def heard(self, said: str) -> None:
        self.talkative += len(said.strip().splitlines()) > 1

    def ended(self, run: Path, whole: dict[str, Any]) -> None:
        last = begin(run)
        self.heard(last.communicate()[1])
        self.differing += last.returncode != 0 or differences(run, whole) > 0


def kills(count: int, out: Path, whole: dict[str, Any], seconds: float) -> Tally:
    tally, chance = Tally(), random.Random(0)
    while tally.disturbed < count:
        run = out / f"kill-{tally.disturbed}"
        for _ in range(min(4, count - tally.disturbed)):
            process = begin(run)
            time.sleep(chance.uniform(0, seconds))
            process.kill()
            tally.heard(process.communicate()[1])
            tally.disturbed += 1
        tally.ended(run, whole)
    return tally


def faults(count: int, out: Path, whole: dict[str, Any]) -> Tally:
    tally, chance = Tally(), random.Random(1)
    for number in range(count):
        run = out / f"fault-{number}"
        kind = ("full", "kill", "torn")[number % 3]
        process = begin(run, "-c", PROGRAM, kind, str(chance.randint(1, 60)))
        tally.heard(process.communicate()[1])
        tally.disturbed += process.returncode != 0
        tally.ended(run, whole)
    return tally


def pairs(count: int, out: Path, whole: dict[str, Any], seconds: float) -> Tally:
    tally, chance = Tally(), random.Random(2)
    for number in range(count):
        run = out / f"pair-{number}"
        first = begin(run)
        time.sleep(chance.uniform(0, seconds / 2))
        second = begin(run)
        for process in (first, second):
            tally.heard(process.communicate()[1])
            tally.disturbed += process.returncode == 2
        tally.ended(run, whole)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, count in (("kills", 40), ("faults", 60), ("pairs", 20)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--out", type=Path, default=Path("runs/faults"))
    given = parser.parse_args()
    begun = time.perf_counter()
    subprocess.run(command(given.out / "whole"), check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    whole = content(given.out / "whole")
    kinds: dict[str, Callable[[], Tally]] = {
        "random kills": lambda: kills(given.kills, given.out, whole, seconds),
        "write faults": lambda: faults(given.faults, given.out, whole),
        "fits side by side": lambda: pairs(given.pairs, given.out, whole, seconds),
    }
    print("| kind | disturbed | ended differently | said more than a line |\n|---|---|---|---|")
    for name, play in kinds.items():
        tally = play()
        row = f"| {name} | {tally.disturbed} | {tally.differing} | {tally.talkative} |"
        print(row, flush=True)


if __name__ == "__main__":
    main()
