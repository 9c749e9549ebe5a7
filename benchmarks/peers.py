"""Our three loops beside other libraries' at equal sizes, round by round.

    python -m benchmarks.peers --peer-python PATH/TO/python [--threads 2] [--rounds 7] [--updates 100]
                               [--scale 1.0] [--json FILE]

The peers need packages that this project must not: each runs in a worker process of PATH/TO/python,
and works only while the others wait. benchmarks/peers.md says how to make that environment and what
is equal and what is not. A peer that cannot be started is left out with one line.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch

from benchmarks.plain import ACT, MEMBERS, OBS
from benchmarks.speed import BATCH, UNITS, blocks_of, ready, rows, seconds, spread
from lit_offrl.dynamics import DynamicsEnsemble, MaxStd, Rollouts
from lit_offrl.dynamics.terminations import never
from lit_offrl.policy import EntropyTemperature, PolicyLearner
from lit_offrl.training.acceleration import onednn_products
from lit_offrl.training.block_module import BlockModule
from lit_offrl.transitions import Transitions

HERE = Path(__file__).parent
WORKERS = ("peer_d3rlpy.py", "peer_jax.py")
HORIZON = 5

# Seconds that some amount of a loop's work took.
Work = Callable[[int], float]


def timed(work: Callable[[], object]) -> float:
    with onednn_products("cpu"):
        return seconds(work, "cpu")


def ours(made: BlockModule, batch: Transitions) -> Work:
    generator = torch.Generator()

    def work(count: int) -> float:
        block = batch.map(lambda column: column.expand(count, *column.shape))
        return timed(lambda: blocks_of(made, block, generator))

    return work


def ours_updates() -> Work:
    made = ready(PolicyLearner(OBS, ACT, EntropyTemperature()), "cpu", "always")
    return ours(made, rows(BATCH, device="cpu"))


def ours_dynamics() -> Work:
    made = ready(DynamicsEnsemble(OBS, ACT), "cpu", "always")
    return ours(made, rows(MEMBERS, BATCH, device="cpu"))


def ours_rollouts() -> Work:
    made, generator = DynamicsEnsemble(OBS, ACT), torch.Generator()
    policy = PolicyLearner(OBS, ACT, EntropyTemperature())
    how = Rollouts(horizon=HORIZON, penalty=MaxStd(), penalty_coefficient=1.0)

    def work(starts: int) -> float:
        from_where = torch.randn(starts, OBS)
        return timed(lambda: how.imagine(made, policy.sample, from_where, generator, never))

    return work


OURS = {"updates": ours_updates, "dynamics": ours_dynamics, "rollouts": ours_rollouts}


class Missing(Exception):
    """The worker died; says with what last words."""


class Worker:
    """A process that does work when asked and says how long it took."""

    def __init__(self, python: Path, script: str, threads: int, stack: ExitStack) -> None:
        self.complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by the stack
        stack.enter_context(self.complaints)
        many = "true" if threads > 1 else "false"
        env = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={many}",
        }
        try:
            self.process = subprocess.Popen(
                [python, HERE / script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.complaints,
                text=True,
                env=env,
            )
        except OSError as error:
            raise Missing(str(error)) from error
        stack.callback(self.close)
        offer = self.answer()
        self.contenders: dict[str, str] = offer["contenders"]
        self.note: str = offer["note"]

    def answer(self) -> dict:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.complaints.seek(0)
            said = self.complaints.read().strip().splitlines()
            raise Missing(said[-1] if said else f"ended with {self.process.returncode}")
        return json.loads(line)

    def work(self, contender: str) -> Work:
        def ask(amount: int) -> float:
            assert self.process.stdin is not None
            print(
                json.dumps({"contender": contender, "amount": amount}),
                file=self.process.stdin,
                flush=True,
            )
            return self.answer()["seconds"]

        return ask

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def bind(threads: int) -> None:
    """Give this process, and those it will start, as many cores as threads, where it can be said."""
    torch.set_num_threads(threads)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if threads > len(cores):
            raise SystemExit(f"--threads {threads}: only {len(cores)} cores; choose fewer")
        os.sched_setaffinity(0, cores[:threads])


def compare(
    contenders: dict[str, Work], amount: int, per_unit: int, rounds: int
) -> dict[str, list[float]]:
    """Rates of all, round by round, after one round that is not counted."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, work in contenders.items():
            rate = amount * per_unit / work(amount)
            if number:
                rates[name].append(rate)
    return rates


def table(found: dict[str, dict[str, list[float]]]) -> str:
    lines = [("loop", "contender", "median [min-max]", "ours/peer [range]")]
    for loop, rates in found.items():
        for name, values in rates.items():
            ratio = [a / b for a, b in zip(rates["ours"], values, strict=True)]
            lines.append(
                (
                    UNITS[loop],
                    name,
                    spread(values, ",.0f"),
                    "" if name == "ours" else spread(ratio, ".2f"),
                )
            )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    cells = (
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines
    )
    return "\n".join("  ".join(line).rstrip() for line in cells)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python", type=Path, required=True, help="python that has the peers")
    parser.add_argument("--threads", type=int, default=2, help="the same for everyone")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--updates", type=int, default=100, help="policy updates per round")
    parser.add_argument("--scale", type=float, default=1.0, help="the other loops' work per round")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    bind(args.threads)
    amounts = {
        "updates": args.updates,
        "dynamics": max(1, int(100 * args.scale)),
        # Whole chunks of a thousand, so that no peer compiles a second shape.
        "rollouts": 1000 * max(1, int(20 * args.scale)),
    }
    found: dict[str, dict[str, list[float]]] = {}
    notes = []
    with ExitStack() as stack:
        workers = []
        for script in WORKERS:
            try:
                workers.append(Worker(args.peer_python, script, args.threads, stack))
                notes.append(workers[-1].note)
            except Missing as words:
                print(f"left out: {script} ({words})", file=sys.stderr)
        for loop, make in OURS.items():
            contenders = {"ours": make()}
            for worker in workers:
                for name, its_loop in worker.contenders.items():
                    if its_loop == loop:
                        contenders[name] = worker.work(name)
            per_unit = HORIZON if loop == "rollouts" else 1
            found[loop] = compare(contenders, amounts[loop], per_unit, args.rounds)
    print(f"CPU, {args.threads} threads, {args.rounds} rounds; ours: torch {torch.__version__}")
    print("\n".join(notes))
    print(table(found))
    if args.json:
        result = {"threads": args.threads, "notes": notes, "rates": found}
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
