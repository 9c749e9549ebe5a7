"""How time and memory grow with the sizes of a problem, one process per size, one thread.

    python -m benchmarks.scaling [--axes observations members ...] [--rows 100000 1000000] [--folder FOLDER]

Each axis varies one size and keeps the others at HalfCheetah's. The table has the time of one update, of one imagined
row, or of one batch that is read; its growth against that of the size; and the largest memory of the process. A
growth above 1 means that time grows faster than the size.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.loading import FILE, make
from benchmarks.plain import ACT, MEMBERS, OBS
from benchmarks.speed import BATCH, Work, learner, ready, rows
from lit_offrl import DynamicsEnsemble, OfflineDataModule
from lit_offrl.dynamics import MaxStd, Rollouts
from lit_offrl.dynamics.terminations import never
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.seed_stack import SeedStack
from lit_offrl.transitions import Transitions

BLOCK, ROUNDS = 20, 5


def updates_of(part: BlockModule, block: Transitions) -> tuple[Work, int]:
    generator = torch.Generator()
    return lambda: part.run(block, part.noise_for(block, generator)), len(block)


def policy_observations(size: int) -> tuple[Work, int]:
    return updates_of(learner("cpu", obs_dim=size), rows(BLOCK, BATCH, obs_dim=size, device="cpu"))


def policy_batch(size: int) -> tuple[Work, int]:
    return updates_of(learner("cpu"), rows(BLOCK, size, device="cpu"))


def policy_seeds(number: int) -> tuple[Work, int]:
    one = learner("cpu")
    stack = ready(SeedStack([learner("cpu") for _ in range(number)]), "cpu")
    block, generator = rows(BLOCK, BATCH, device="cpu"), torch.Generator()
    noise = torch.stack([one.noise_for(block, generator)] * number, dim=1)
    stacked = Transitions.stack([block] * number, dim=1)
    return lambda: stack.run(stacked, noise), BLOCK


def dynamics_observations(size: int) -> tuple[Work, int]:
    block = rows(BLOCK, MEMBERS, BATCH, obs_dim=size, device="cpu")
    return updates_of(ready(DynamicsEnsemble(size, ACT), "cpu"), block)


def dynamics_members(number: int) -> tuple[Work, int]:
    part = DynamicsEnsemble(OBS, ACT, members=number, elites=min(number, 5))
    return updates_of(ready(part, "cpu"), rows(BLOCK, number, BATCH, device="cpu"))


def rollouts_horizon(horizon: int) -> tuple[Work, int]:
    dynamics, policy = DynamicsEnsemble(OBS, ACT), learner("cpu")
    how, starts = Rollouts(horizon, 1000, penalty=MaxStd()), torch.randn(1000, OBS)
    generator = torch.Generator()
    return lambda: how.imagine(dynamics, policy.sample, starts, generator, never), 1000 * horizon


def data_rows(number: int) -> tuple[Work, int]:
    file = Path(os.environ["MINARI_DATASETS_PATH"]) / str(number) / FILE
    data = OfflineDataModule(str(file), storage="mapped")
    blocks = iter(learner("cpu").sampler(data, 0).blocks(0))
    return lambda: next(blocks), 1


AXES: dict[str, tuple[Callable[[int], tuple[Work, int]], str, tuple[int, ...]]] = {
    "observations": (policy_observations, "policy update, observations", (10, 100, 1000)),
    "batch": (policy_batch, "policy update, batch", (64, 256, 1024, 4096)),
    "seeds": (policy_seeds, "policy update, seeds", (1, 2, 4, 8)),
    "dynamics": (dynamics_observations, "dynamics update, observations", (10, 100, 1000)),
    "members": (dynamics_members, "dynamics update, members", (1, 3, 7, 15)),
    "horizon": (rollouts_horizon, "imagined row, horizon", (1, 5, 20, 100)),
    "rows": (data_rows, "block of batches from mapped data, rows", (100_000, 1_000_000)),
}


def measure(axis: str, size: int) -> None:
    """Print the seconds of one unit, and the process's largest memory in MB."""
    torch.set_num_threads(1)
    work, amount = AXES[axis][0](size)
    work()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) / amount)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(statistics.median(times), memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--rows", nargs="+", type=int, default=AXES["rows"][2])
    parser.add_argument("--folder", type=Path, help="of data that the axis rows makes and keeps")
    parser.add_argument("--measure", nargs=2, help="what one process measures: AXIS SIZE")
    given = parser.parse_args()
    if given.measure:
        measure(given.measure[0], int(given.measure[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = given.folder or Path(folder)
        os.environ["MINARI_DATASETS_PATH"] = str(data)
        os.environ["LIT_OFFRL_CACHE"] = str(Path(folder) / "cache")
        os.environ["OMP_NUM_THREADS"] = "1"
        print("| what grows | size | ms | growth of time / of size | MB |\n|---|---|---|---|---|")
        for axis in given.axes:
            _, name, sizes = AXES[axis]
            before: tuple[float, int] | None = None
            for size in given.rows if axis == "rows" else sizes:
                if axis == "rows":
                    os.environ["MINARI_DATASETS_PATH"] = str(data / str(size) / "minari")
                    make(data / str(size), size)
                    os.environ["MINARI_DATASETS_PATH"] = str(data)
                command = [sys.executable, "-m", "benchmarks.scaling"]
                command += ["--measure", axis, str(size)]
                printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                spent, memory = map(float, printed.stdout.split()[-2:])
                growth = "" if before is None else f"{spent / before[0] / (size / before[1]):.2f}"
                row = f"| {name} | {size} | {1000 * spent:.4g} | {growth} | {memory:.0f} |"
                print(row, flush=True)
                before = spent, size


if __name__ == "__main__":
    main()
