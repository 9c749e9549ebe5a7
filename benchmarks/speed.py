"""How fast the three loops are: ours, and a plain eager PyTorch loop of the same work beside it.

    python -m benchmarks.speed [--threads 2] [--rounds 5] [--device cpu] [--json FILE]

Ours and the plain loop alternate within one process, so that a drift of the machine's speed falls on
both; the table gives medians and ranges. Ours runs as a stage of 20 000 updates or more does: compiled,
on a GPU captured. The plain loop has batched critics and members, fused Adam and chunks of 5000, and
PyTorch's default settings.

- Lightning: the share of a policy update that a Trainer adds to the same updates called directly.
- Floor: the share of the time that the loop's matrix products would take at the rate of one large
  product on this machine.
- Seeds: time of N seeds trained as one, in times of one seed.
- Full run: the paper's budget (1e6 updates, 1000 refreshes of 50 000 starts and 5 steps, 20 000 steps
  of the dynamics), extrapolated, without evaluation. Small run: a thousandth of it through the command
  line, measured, start and compilation included.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import lightning.pytorch as pl
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.plain import ACT, MEMBERS, OBS, PlainDynamics, PlainUpdates, plain_actor
from lit_offrl.dynamics import DynamicsEnsemble, MaxStd, Rollouts
from lit_offrl.dynamics.terminations import never
from lit_offrl.policy import PolicyLearner, PriorDivergence
from lit_offrl.priors import TanhGaussianPrior
from lit_offrl.training.acceleration import Compile, onednn_products
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.blocks import UpdateBlock
from lit_offrl.training.seed_stack import SeedStack
from lit_offrl.transitions import Transitions

BATCH = 256
ROOT = Path(__file__).parents[1]
UNITS = {
    "updates": "policy updates/s",
    "dynamics": "dynamics steps/s",
    "rollouts": "imagined transitions/s",
}


def rows(*shape: int, device: str, obs_dim: int = OBS) -> Transitions:
    flags = torch.zeros(shape, dtype=torch.bool, device=device)
    return Transitions(
        observations=torch.randn(*shape, obs_dim, device=device),
        actions=torch.rand(*shape, ACT, device=device) * 2 - 1,
        rewards=torch.randn(shape, device=device),
        next_observations=torch.randn(*shape, obs_dim, device=device),
        terminations=flags,
        truncations=flags,
    )


def seconds(work: Callable[[], object], device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


Work = Callable[[], object]
Rates = dict[str, list[float]]


def alternate(ours: Work, plain: Work, amount: int, rounds: int, device: str) -> Rates:
    """Rates of both, round by round, after one round that is not counted."""
    rates: Rates = {"ours": [], "plain": []}
    for number in range(rounds + 1):
        for name, work in (("ours", ours), ("plain", plain)):
            with onednn_products(device) if name == "ours" else nullcontext():
                rate = amount / seconds(work, device)
            if number:
                rates[name].append(rate)
    rates["ratio"] = [a / b for a, b in zip(rates["ours"], rates["plain"], strict=True)]
    return rates


def share_of_floor(work: Work, amount: int, rate: float, flops_per_second: float) -> float:
    """The arithmetic's time as a share of the time taken at ``rate``."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / amount / flops_per_second * rate


def matrix_rate(device: str) -> float:
    """Floating-point operations per second of one large float32 product, the best of twelve."""
    size = 1024 if device == "cpu" else 8192
    left, right = torch.randn(2, size, size, device=device).unbind()
    with onednn_products(device):
        times = [seconds(lambda: left @ right, device) for _ in range(12)]
    return 2 * size**3 / min(times)


Made = TypeVar("Made", bound=BlockModule)


def ready(made: Made, device: str, compile: Compile = "never") -> Made:
    """``made`` as a stage would run it."""
    made.to(device).compile_updates = compile
    made.prepare_updates()
    return made


def learner(device: str, compile: Compile = "never", obs_dim: int = OBS) -> PolicyLearner:
    prior = TanhGaussianPrior(obs_dim, ACT).to(device).requires_grad_(False)
    return ready(PolicyLearner(obs_dim, ACT, PriorDivergence(), prior), device, compile)


def blocks_of(made: BlockModule, block: Transitions, generator: torch.Generator) -> None:
    made.run(block, made.noise_for(block, generator))


def beside(
    made: BlockModule,
    plain: Callable[[Transitions], object],
    block: Transitions,
    rounds: int,
    device: str,
) -> Rates:
    """Rates of the updates on ``block`` by ``made``, and one by one by ``plain``."""
    generator, count = torch.Generator(device), len(block)
    return alternate(
        lambda: blocks_of(made, block, generator),
        lambda: [plain(block[k]) for k in range(count)],
        count,
        rounds,
        device,
    )


def updates(rounds: int, count: int, device: str, compile: Compile) -> Rates:
    made, plain = learner(device, compile), PlainUpdates(device)
    return beside(made, plain, rows(count, BATCH, device=device), rounds, device)


def seeds(rounds: int, count: int, number: int, device: str) -> list[float]:
    """Time of ``number`` seeds as one, in times of one, both as on a GPU: captured there, not compiled."""
    # Of no updates "auto" compiles none, but a GPU's are captured.
    one, block = learner(device, "auto"), rows(count, BATCH, device=device)
    stack = ready(SeedStack([learner(device) for _ in range(number)]), device, "auto")
    stacked = Transitions.stack([block] * number, dim=1)
    generator = torch.Generator(device)
    noise = torch.stack([one.noise_for(block, generator)] * number, dim=1)
    rates = alternate(
        lambda: stack.run(stacked, noise),
        lambda: one.run(block, noise[:, 0]),
        count,
        rounds,
        device,
    )
    return [1 / ratio for ratio in rates["ratio"]]


def dynamics(rounds: int, count: int, device: str, compile: Compile) -> Rates:
    made, plain = ready(DynamicsEnsemble(OBS, ACT), device, compile), PlainDynamics(device)
    return beside(made, plain.step, rows(count, MEMBERS, BATCH, device=device), rounds, device)


def rollouts(rounds: int, starts: int, device: str) -> Rates:
    made, plain = DynamicsEnsemble(OBS, ACT).to(device), PlainDynamics(device)
    policy, actor = learner(device), plain_actor(device)
    generator = torch.Generator(device=device).manual_seed(0)
    how = Rollouts(horizon=5, penalty=MaxStd(), penalty_coefficient=1.0)
    observations = torch.randn(starts, OBS, device=device)
    return alternate(
        lambda: how.imagine(made, policy.sample, observations, generator, never),
        lambda: plain.rollout(actor, observations, 5),
        starts * 5,
        rounds,
        device,
    )


class Blocks:
    def __init__(self, block: UpdateBlock, count: int) -> None:
        self.block, self.count = block, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self):  # type: ignore[no-untyped-def]
        return (self.block for _ in range(self.count))


def lightning_share(rounds: int, blocks: int, device: str, compile: Compile) -> list[float]:
    """What a Trainer adds to the same updates, as a share of the Trainer's time."""
    block = UpdateBlock(rows(100, BATCH, device=device), seed=0)
    shares = []
    for number in range(rounds + 1):
        inside: list[float] = []
        made = learner(device, compile)
        update_block = made.training_step

        def timed(
            block: UpdateBlock,
            index: int,
            inside: list[float] = inside,
            step: Callable[[UpdateBlock, int], None] = update_block,
            made: PolicyLearner = made,
        ) -> None:
            log, made.log_step = made.log_step, lambda metrics: None  # type: ignore[method-assign]
            inside.append(seconds(lambda: step(block, index), device))
            made.log_step = log  # type: ignore[method-assign]
            made.log_step({"loss/critic": torch.zeros((), device=device)})

        made.training_step = timed  # type: ignore[method-assign]
        trainer = pl.Trainer(
            accelerator="cpu" if device == "cpu" else "gpu",
            devices=1,
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        stamps: list[float] = []

        class Stamp(pl.Callback):
            def on_train_batch_end(self, *_: object, stamps: list[float] = stamps) -> None:
                stamps.append(time.perf_counter())

        trainer.callbacks.append(Stamp())  # type: ignore[attr-defined]
        # Updates are compiled, or captured, in the first block.
        trainer.fit(made, Blocks(block, blocks + 1))
        whole = stamps[-1] - stamps[0]
        if number:
            shares.append(1 - sum(inside[1:]) / whole)
    return shares


def floors(found: dict[str, Rates], device: str) -> dict[str, float]:
    """Each loop's share of the floor."""
    flops = matrix_rate(device)
    made, ensemble = learner(device), ready(DynamicsEnsemble(OBS, ACT), device)
    generator, how = torch.Generator(device), Rollouts(1, 1000, penalty=MaxStd())
    updated, trained = rows(1, BATCH, device=device), rows(1, MEMBERS, BATCH, device=device)
    starts = torch.randn(1000, OBS, device=device)
    works: dict[str, tuple[Work, int]] = {
        "updates": (lambda: made.loop(updated, made.noise_for(updated, generator)), 1),
        "dynamics": (lambda: ensemble.loop(trained, ensemble.noise_for(trained, generator)), 1),
        "rollouts": (lambda: how.imagine(ensemble, made.sample, starts, generator, never), 1000),
    }
    return {
        name: share_of_floor(work, amount, statistics.median(found[name]["ours"]), flops)
        for name, (work, amount) in works.items()
    }


def full_run(found: dict[str, Rates]) -> float:
    """Seconds of the paper's budget."""
    amounts = {"updates": 1e6, "rollouts": 1000 * 50_000 * 5, "dynamics": 20_000}
    return sum(amount / statistics.median(found[n]["ours"]) for n, amount in amounts.items())


def small_run(updates: int, device: str) -> float:
    """Seconds of a run through the command line, from nothing to its report."""
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, object] = {
            "run_dir": folder,
            "trainer.accelerator": "cpu" if device == "cpu" else "gpu",
            "dynamics.max_epochs": 1,
            "value.max_updates": updates,
            "value.window": updates,
            "prior.max_epochs": 1,
            "policy.updates": updates,
            "policy.refresh_every": updates,
            "policy.checkpoint_every": updates,
            "policy.imagination.starts": 50 * updates,
            "policy.evaluate_every": 0,
        }
        command = [sys.executable, "-m", "lit_offrl", "fit", "--config", "configs/quickstart.yaml"]
        command += [text for key, value in options.items() for text in (f"--{key}", str(value))]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scale", type=float, default=1.0, help="amount of work per round")
    parser.add_argument("--compile", choices=["always", "never"], default="always")
    parser.add_argument("--seeds", type=int, default=8, help="seeds trained as one")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")

    def amount(full: int) -> int:
        return max(1, int(full * args.scale))

    found = {
        "updates": updates(args.rounds, amount(200), args.device, args.compile),
        "dynamics": dynamics(args.rounds, amount(100), args.device, args.compile),
        "rollouts": rollouts(args.rounds, amount(50_000), args.device),
    }
    share = lightning_share(args.rounds, amount(4), args.device, args.compile)
    together = seeds(args.rounds, amount(40), args.seeds, args.device)
    floor = floors(found, args.device)
    run = small_run(amount(1000), args.device)
    print(f"{args.device}, {args.threads} threads, torch {torch.__version__}: median [range]")
    for name, rates in found.items():
        cells = [f"{UNITS[name]:<24}"]
        for key, digits in (("ours", 0), ("plain", 0), ("ratio", 2)):
            cells.append(f"{key} {spread(rates[key], f',.{digits}f')}")
        print("  ".join([*cells, f"floor {floor[name]:.0%}"]))
    print(f"Lightning's share of an update: {spread(share, '.1%')}")
    print(
        f"{args.seeds} seeds as one: {spread(together, '.2f')} times the time of one, not compiled"
    )
    print(f"Full run, extrapolated: {full_run(found) / 3600:.2f} h")
    print(f"Small run, measured: {run:.0f} s")
    if args.json:
        result = {
            "ratio_to_plain": {n: statistics.median(r["ratio"]) for n, r in found.items()},
            "lightning_share": statistics.median(share),
            "rates": {n: statistics.median(r["ours"]) for n, r in found.items()},
            "share_of_floor": floor,
            "seeds": {"number": args.seeds, "times": statistics.median(together)},
            "full_run_hours": full_run(found) / 3600,
            "small_run_seconds": run,
        }
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def spread(values: list[float], digits: str) -> str:
    """Median and range."""
    low, middle, high = (format(f(values), digits) for f in (min, statistics.median, max))
    return f"{middle} [{low}-{high}]"


if __name__ == "__main__":
    main()
