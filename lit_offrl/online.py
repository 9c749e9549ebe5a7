"""Online fine-tuning as a Lightning callback: steps of the real environment between updates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from lit_offrl.batches import Sampler, TransitionStore
from lit_offrl.batches.growing import GrowingSampler
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.errors import check, check_at_least, check_multiple
from lit_offrl.evaluation import Evaluator, make_evaluator
from lit_offrl.evaluation.callback import say
from lit_offrl.policy import PolicyLearner
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.blocks import mix_seed, seeded
from lit_offrl.training.per_epoch import PerEpoch
from lit_offrl.transitions import Transitions


@dataclass(frozen=True)
class Online:
    """Settings of online fine-tuning in the environment.

    Args:
        environment: Gymnasium id of the environment; by default the one of the evaluations.
        steps: Number of steps in the environment, all of which are kept.
        updates_per_step: Number of updates for each step.
        offline_fraction: Share of the dataset's rows in a batch, rounded down, such as RLPD's 0.5; null draws
            uniformly from all rows of the dataset and of the environment, as AWAC does.
    """

    environment: str | None = None
    steps: int = 100_000
    updates_per_step: int = 1
    offline_fraction: float | None = None

    def __post_init__(self) -> None:
        check_at_least(1, self, "steps", "updates_per_step")
        fraction = self.offline_fraction
        check(
            fraction is None or 0 <= fraction <= 1,
            f"offline_fraction: {fraction} is not within 0 and 1; give a share, or null",
        )

    @property
    def updates(self) -> int:
        """Number of updates of online fine-tuning."""
        return self.steps * self.updates_per_step


@dataclass
class Finished:
    """Statistics of finished episodes.

    Attributes:
        returns: Undiscounted, in environment units.
        lengths: Steps.
    """

    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)


class OnlineCollection(PerEpoch):
    """Callback that steps the environment with the current policy before each epoch, and stores the rows.

    An epoch of ``U`` updates is preceded by ``U / updates_per_step`` steps of one environment, with actions drawn
    from the policy. An episode goes on in the next epoch, but not beyond a saved state, as an environment's own
    state cannot be saved: there it is cut, and bootstrapped from. So a resumed run equals one that was never
    stopped, bit for bit.

    Args:
        settings: Settings of fine-tuning.
        offline_updates: Number of updates on the dataset before the first step.
        restart_every: Number of epochs between saved states.
        environment: Environment to act in; by default made from the settings.

    Source: Nair et al., "AWAC: Accelerating Online Reinforcement Learning with Offline Datasets", arXiv 2006.09359;
    Ball et al., "Efficient Online Reinforcement Learning with Offline Data" (RLPD), arXiv 2302.02948.
    """

    def __init__(
        self,
        settings: Online,
        offline_updates: int = 0,
        restart_every: int = 10,
        environment: Evaluator | None = None,
    ) -> None:
        self.settings, self.offline_updates = settings, offline_updates
        self.restart_every = restart_every
        self.environment = environment
        self.observation: np.ndarray | None = None
        self.earned, self.length = 0.0, 0
        self.is_begun = False

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.store.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.store.load_state_dict(state_dict["rows"])

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        check(
            isinstance(data, OfflineDataModule) and isinstance(pl_module, PolicyLearner),
            "OnlineCollection: needs a policy and an OfflineDataModule; call trainer.fit(policy, data)",
        )
        assert isinstance(pl_module, PolicyLearner)
        check_one_process(trainer)
        check(
            pl_module.make_sampler is None,
            "sampler: a sampler of your own cannot sample online rows; leave it out",
        )
        self.data = data
        self.environment = self.environment or make_online_environment(data, self.settings)
        sizes = self.settings.steps, data.obs_dim, data.act_dim
        self.store = TransitionStore(*sizes, trainer.strategy.root_device)
        self.observation, self.is_begun = None, False
        pl_module.make_sampler = self.make_sampler

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if isinstance(pl_module, PolicyLearner):
            pl_module.make_sampler = None

    def make_sampler(
        self,
        *,
        data: OfflineDataModule,
        batch_size: int,
        updates_per_block: int,
        updates_per_epoch: int,
        seed: int,
    ) -> Sampler:
        """Make a sampler of the dataset's rows and the collected rows."""
        each = self.settings.updates_per_step
        check_multiple("updates_per_epoch", updates_per_epoch, "updates_per_step", each)
        self.steps_per_epoch = updates_per_epoch // each
        rows, share = data.rows_on(data.device), self.settings.offline_fraction
        sizes = batch_size, updates_per_block, updates_per_epoch
        return GrowingSampler(rows, self.store, share, *sizes, seed)

    def before(self, module: BlockModule, epoch: int) -> dict[str, Any]:
        assert isinstance(module, PolicyLearner)
        steps = min(self.steps_per_epoch, self.settings.steps - len(self.store))
        if module.updates < self.offline_updates or steps <= 0:
            return {}
        self._say_that_it_begins(module)
        generator = seeded(module.device, self.seed, "online", epoch)
        is_cut = (epoch + 1) % self.restart_every == 0
        finished, rewards = Finished(), []
        for number in range(1, steps + 1):
            row = self.step(module, generator, finished, is_cut and number == steps)
            self.store.extend(row)
            rewards.append(float(row.rewards))
        found = {"steps": float(len(self.store)), "reward_mean": float(np.mean(rewards))}
        if finished.returns:
            found["return_mean"] = float(np.mean(finished.returns))
            found["length_mean"] = float(np.mean(finished.lengths))
        return {f"online/{key}": value for key, value in found.items()}

    @property
    def seed(self) -> int:
        """Seed of the stage."""
        return self.data.seed_of("policy")

    def step(
        self, module: PolicyLearner, generator: torch.Generator, finished: Finished, is_cut: bool
    ) -> Transitions:
        """Step the environment once, and return the row ``[1, ...]``, truncated if ``is_cut``."""
        assert self.environment is not None
        environment = self.environment.environments[0]
        if self.observation is None:
            seed = mix_seed(self.seed, "online", len(self.store)) % 2**31
            self.observation, self.earned, self.length = environment.reset(seed=seed)[0], 0.0, 0
        seen = self.environment.inputs(self.observation[None], module.device)
        action = module.sample(seen, generator)
        taken = np.asarray(action[0].cpu().numpy(), dtype=np.float32)
        following, reward, terminated, truncated, _ = environment.step(taken)
        self.earned, self.length = self.earned + reward, self.length + 1
        is_over = terminated or truncated or self.length >= self.environment.max_steps
        if is_over:
            finished.returns.append(self.earned)
            finished.lengths.append(self.length)
        self.observation = None if is_over or is_cut else following

        def one(value: float | bool, dtype: torch.dtype) -> Tensor:
            return torch.tensor([value], dtype=dtype, device=module.device)

        return Transitions(
            observations=seen,
            actions=action,
            rewards=one(reward, torch.float32),
            next_observations=self.environment.inputs(following[None], module.device),
            terminations=one(terminated, torch.bool),
            truncations=one((is_over or is_cut) and not terminated, torch.bool),
        )

    def _say_that_it_begins(self, module: BlockModule) -> None:
        if self.is_begun:
            return
        self.is_begun = True
        assert self.environment is not None
        each, total = self.settings.updates_per_step, self.settings.steps
        where = f"{module.log_prefix}: online in {self.environment.name}"
        if self.store:
            say(f"{where}, resumes after {len(self.store)} of {total} steps with a new episode")
        else:
            say(f"{where}, {total} steps, {each} update{'s' * (each > 1)} a step")


def check_one_process(trainer: pl.Trainer) -> None:
    """Check that a single process trains.

    Raises:
        UserError: There are several processes.
    """
    check(
        trainer.world_size == 1,
        f"trainer.devices: {trainer.world_size} processes cannot step one environment; set trainer.devices 1",
    )


def make_online_environment(data: OfflineDataModule, settings: Online) -> Evaluator:
    """Make the environment to act in, with observations and actions as in evaluation.

    Raises:
        UserError: No environment is known, it fails, or it does not match the data.
    """
    check(not data.tasks, "the environment gives the reward of one task; leave tasks out")
    found = make_evaluator(data, 1, settings.environment)
    check(
        found is not None,
        f"environment: dataset '{data.dataset.name}' names none; give one, such as Pendulum-v1",
    )
    assert isinstance(found, Evaluator)
    return found
