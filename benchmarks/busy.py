"""Each stage's updates beside busy processes: with one thread, with all, and with those that a stage chooses.

    python -m benchmarks.busy [--busy 0 1 2] [--rounds 7] [--blocks 10] [--seconds 3]

The three take turns within one process. What a stage chooses is measured over blocks of 100 updates, of which the
first compares the threads; the last column is its rate over that of the better of one and all.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.plain import ACT, MEMBERS, OBS
from benchmarks.speed import BATCH, learner, ready, rows, spread
from lit_offrl.dynamics import DynamicsEnsemble
from lit_offrl.priors import BehaviorValue, TanhGaussianPrior
from lit_offrl.training.acceleration import onednn_products
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.threads import ThreadTrials
from lit_offrl.transitions import Transitions

PARTS: dict[str, Callable[[], BlockModule]] = {
    "dynamics": lambda: ready(DynamicsEnsemble(OBS, ACT), "cpu"),
    "value": lambda: ready(BehaviorValue(OBS, ACT), "cpu"),
    "prior": lambda: ready(TanhGaussianPrior(OBS, ACT), "cpu"),
    "policy": lambda: learner("cpu"),
}


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many processes that compute without end."""
    spin = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(spin) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def fixed_rate(part: BlockModule, block: Transitions, threads: int, seconds: float) -> float:
    """Updates per second with so many threads."""
    torch.set_num_threads(threads)
    generator, tenth = torch.Generator(), block[: len(block) // 10]
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        part.loop(tenth, part.noise_for(tenth, generator))
        done += len(tenth)
    return done / (time.perf_counter() - start)


def chosen_rate(part: BlockModule, block: Transitions, threads: int, blocks: int) -> float:
    """Updates per second with the threads that a stage chooses, its comparison of them included."""
    torch.set_num_threads(threads)
    trials, generator = ThreadTrials(), torch.Generator()
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu")))
    trials.on_train_start(trainer, part)
    start = time.perf_counter()
    for number in range(blocks):
        trials.on_train_batch_start(trainer, part, None, number)
        part.run(block, part.noise_for(block, generator))
        part.updates += len(block)
        trials.on_train_batch_end(trainer, part, None, None, number)
    trials.restore()
    return blocks * len(block) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--blocks", type=int, default=10)
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="of each fixed number of threads"
    )
    args = parser.parse_args()
    # A number that the user gave would be taken.
    os.environ.pop("OMP_NUM_THREADS", None)
    threads = torch.get_num_threads()
    print(f"{threads} threads, torch {torch.__version__}: updates/s, median [range]")
    for name, make in PARTS.items():
        part = make()
        batch = (MEMBERS, BATCH) if name == "dynamics" else (BATCH,)
        block = rows(100, *batch, device="cpu")
        for busy in args.busy:
            rates: dict[str, list[float]] = {"one": [], "all": [], "chosen": []}
            with busy_processes(busy), onednn_products("cpu"):
                for _ in range(args.rounds):
                    rates["one"].append(fixed_rate(part, block, 1, args.seconds))
                    rates["all"].append(fixed_rate(part, block, threads, args.seconds))
                    rates["chosen"].append(chosen_rate(part, block, threads, args.blocks))
            better = max(("one", "all"), key=lambda which: statistics.median(rates[which]))
            ratio = [c / b for c, b in zip(rates["chosen"], rates[better], strict=True)]
            cells = [f"{which} {spread(found, '.0f')}" for which, found in rates.items()]
            shown = f"{name}, {busy} busy: {'  '.join(cells)}  ratio {spread(ratio, '.2f')}"
            print(shown, flush=True)


if __name__ == "__main__":
    main()
