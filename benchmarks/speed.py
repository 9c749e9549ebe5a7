"""How fast the three loops are: ours, and a plain eager PyTorch loop of the same work beside it.

    python -m benchmarks.speed [--threads 2] [--rounds 5] [--device cpu] [--json FILE]

Ours and the plain loop alternate within one process, so that a drift of the machine's speed falls on
both; the table gives medians and ranges. "Lightning" is the share of a policy update that a Trainer
adds to the same updates called directly.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import lightning.pytorch as pl
import torch

from benchmarks.plain import ACT, MEMBERS, OBS, PlainDynamics, PlainUpdates, plain_actor
from lit_offrl.acceleration import Compile, accelerate
from lit_offrl.blocks import Block, BlockModule
from lit_offrl.dynamics import DynamicsEnsemble, Imagination, MaxStd
from lit_offrl.dynamics.terminations import never
from lit_offrl.policy import PolicyLearner, PriorDivergence
from lit_offrl.priors import GaussianPrior
from lit_offrl.transitions import Transitions

BATCH = 256


def rows(*shape: int, device: str) -> Transitions:
    flags = torch.zeros(shape, dtype=torch.bool, device=device)
    return Transitions(
        observations=torch.randn(*shape, OBS, device=device),
        actions=torch.rand(*shape, ACT, device=device) * 2 - 1,
        rewards=torch.randn(shape, device=device),
        next_observations=torch.randn(*shape, OBS, device=device),
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


def alternate(
    ours: Callable[[], object], plain: Callable[[], object], amount: int, rounds: int, device: str
) -> dict[str, list[float]]:
    """Rates of both, round by round, after one round that is not counted."""
    rates: dict[str, list[float]] = {"ours": [], "plain": []}
    for number in range(rounds + 1):
        for name, work in (("ours", ours), ("plain", plain)):
            rate = amount / seconds(work, device)
            if number:
                rates[name].append(rate)
    rates["ratio"] = [a / b for a, b in zip(rates["ours"], rates["plain"], strict=True)]
    return rates


Made = TypeVar("Made", bound=BlockModule)


def ready(made: Made, device: str, compile: Compile = "never") -> Made:
    """``made`` as a stage would run it."""
    made.to(device).configure_optimizers()
    accelerate(made, compile, 0)
    return made


def learner(device: str, compile: Compile = "never") -> PolicyLearner:
    prior = GaussianPrior(OBS, ACT).to(device).requires_grad_(False)
    return ready(PolicyLearner(OBS, ACT, PriorDivergence(), prior), device, compile)


def blocks(made: BlockModule, block: Transitions, generator: torch.Generator) -> None:
    made.run(block, made.noise_for(block, generator))


def updates(rounds: int, count: int, device: str, compile: Compile) -> dict[str, list[float]]:
    made, plain = learner(device, compile), PlainUpdates(device)
    block = rows(count, BATCH, device=device)
    generator = torch.Generator(device)
    return alternate(
        lambda: blocks(made, block, generator),
        lambda: [plain(block[k]) for k in range(count)],
        count,
        rounds,
        device,
    )


def dynamics(rounds: int, count: int, device: str, compile: Compile) -> dict[str, list[float]]:
    made, plain = ready(DynamicsEnsemble(OBS, ACT), device, compile), PlainDynamics(device)
    block = rows(count, MEMBERS, BATCH, device=device)
    generator = torch.Generator(device)
    return alternate(
        lambda: blocks(made, block, generator),
        lambda: [plain.step(block[k]) for k in range(count)],
        count,
        rounds,
        device,
    )


def rollouts(rounds: int, starts: int, device: str) -> dict[str, list[float]]:
    made, plain = DynamicsEnsemble(OBS, ACT).to(device), PlainDynamics(device)
    policy, actor = learner(device), plain_actor(device)
    generator = torch.Generator(device=device).manual_seed(0)
    how = Imagination(horizon=5, penalty=MaxStd(), penalty_coefficient=1.0)
    observations = torch.randn(starts, OBS, device=device)
    return alternate(
        lambda: how.imagine(made, policy.sample, observations, generator, never),
        lambda: plain.rollout(actor, observations, 5),
        starts * 5,
        rounds,
        device,
    )


class Blocks:
    def __init__(self, block: Block, count: int) -> None:
        self.block, self.count = block, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self):  # type: ignore[no-untyped-def]
        return (self.block for _ in range(self.count))


def lightning_share(rounds: int, blocks: int, device: str) -> list[float]:
    """What a Trainer adds to the same updates, as a share of the Trainer's time."""
    block = Block(rows(100, BATCH, device=device), seed=0)
    shares = []
    for number in range(rounds + 1):
        inside: list[float] = []
        made = learner(device)
        update_block = made.training_step

        def timed(
            block: Block,
            index: int,
            inside: list[float] = inside,
            step: Callable[[Block, int], None] = update_block,
            made: PolicyLearner = made,
        ) -> None:
            log, made.log_step = made.log_step, lambda metrics: None  # type: ignore[method-assign]
            inside.append(seconds(lambda: step(block, index), device))
            made.log_step = log  # type: ignore[method-assign]
            made.log_step({"critic_loss": torch.zeros((), device=device)})

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
            def on_train_start(self, *_: object, stamps: list[float] = stamps) -> None:
                stamps.append(time.perf_counter())

            def on_train_end(self, *_: object, stamps: list[float] = stamps) -> None:
                stamps.append(time.perf_counter())

        trainer.callbacks.append(Stamp())  # type: ignore[attr-defined]
        trainer.fit(made, Blocks(block, blocks))
        whole = stamps[1] - stamps[0]
        if number:
            shares.append(1 - sum(inside) / whole)
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scale", type=float, default=1.0, help="amount of work per round")
    parser.add_argument("--compile", choices=["always", "never"], default="always")
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
    share = lightning_share(args.rounds, amount(4), args.device)
    print(f"{args.device}, {args.threads} threads, torch {torch.__version__}: median [range]")
    units = {
        "updates": "policy updates/s",
        "dynamics": "dynamics steps/s",
        "rollouts": "imagined transitions/s",
    }
    for name, rates in found.items():
        cells = [f"{units[name]:<24}"]
        for key, digits in (("ours", 0), ("plain", 0), ("ratio", 2)):
            values = rates[key]
            middle = statistics.median(values)
            cells.append(
                f"{key} {middle:,.{digits}f} [{min(values):,.{digits}f}-{max(values):,.{digits}f}]"
            )
        print("  ".join(cells))
    print(
        f"Lightning's share of a step: {statistics.median(share):.1%} [{min(share):.1%}-{max(share):.1%}]"
    )
    if args.json:
        ratios = {name: statistics.median(rates["ratio"]) for name, rates in found.items()}
        result = {
            "ratio_to_plain": ratios,
            "lightning_share": statistics.median(share),
            "rates": {name: statistics.median(rates["ours"]) for name, rates in found.items()},
        }
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
