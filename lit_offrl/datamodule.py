"""LightningDataModule of all stages of a run."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch import Tensor

from lit_offrl.batches.loader import BlockLoader, ValidationLoader
from lit_offrl.batches.sampling import Sampler
from lit_offrl.batches.store import TransitionStore
from lit_offrl.datasets.columns import Layout
from lit_offrl.datasets.d4rl import d4rl_environment
from lit_offrl.datasets.dataset import OfflineDataset
from lit_offrl.datasets.holdout import split_holdout
from lit_offrl.datasets.mapped import free_memory, read_mapped
from lit_offrl.datasets.open_dataset import Source
from lit_offrl.datasets.reader import DatasetReader
from lit_offrl.datasets.references import References
from lit_offrl.datasets.rewards import Reward
from lit_offrl.datasets.robot import check_robot
from lit_offrl.datasets.subset import ExtraDataset, Subset, concat, select_episodes
from lit_offrl.datasets.tasks import add_task_column, name_tasks
from lit_offrl.errors import UserError, check, check_at_least, check_numbers
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.blocks import mix_seed
from lit_offrl.transitions import Transitions


class OfflineDataModule(pl.LightningDataModule):
    """Data module: reads a dataset once, and serves each module the blocks of its sampler.

    Args:
        dataset: The dataset: a bundled one such as ``bundled/halfcheetah-mixed``; a D4RL id such as
            ``d4rl:hopper-medium-v2``; the id of a local Minari dataset, or ``minari:ID`` of a public one; the
            path of a Minari folder, or of a file, folder or pattern of files in a format of docs/data.md; or
            a DatasetReader of your own, such as an ArrayReader.
        layout: Names of the columns of a file.
        observation_keys: Keys to concatenate where observations are dictionaries, in the data and in the
            environment; all by default.
        subset: Selection of the dataset's episodes, by place, share, number or return; all by default. It does
            not select from the datasets in data.more. With several tasks, selection is by logged returns.
        more: Further datasets of the same robot, whose episodes are added.
        reward: Reward function that replaces the logged rewards, such as
            lit_offrl.datasets.rewards.HalfCheetahBackward or a Reward of your own.
        tasks: Reward functions of several tasks that share the networks; in the list, null stands for the
            logged rewards. Each row is used once for each task, and the task is appended to observations as
            a one-hot vector.
        environment: Gymnasium id of the environment for evaluations; by default the reward's or the dataset's.
        trust_environment: Whether to run the code that the dataset names for its environment, if the
            environment's id is not registered. The code is that of the dataset's author.
        references: Returns of scores 0 and 100, such as [-280, 12135]; by default the dataset's or D4RL's.
        robot: Robot that the configuration is for, such as Hopper (the start of its environments' names);
            data of another known robot are refused. Null accepts any data.
        standardize: Values that are standardised by the data's statistics: ``all`` is observations, the
            dynamics' targets, and rewards (for the critics, by their root mean square); ``observations`` is
            all but rewards; ``none`` is the setting of most papers.
        holdout_rows: Rows withheld from the training of the dynamics to measure their error, at most a
            fifth of all.
        holdout_segment: Length of the segments of consecutive rows in which the holdout is withheld, so
            that errors over several steps can be measured; 1 withholds single rows, as in the papers.
        storage: Storage of rows: ``memory`` of the training device, or ``mapped`` from a copy on disk in the
            folder ``LIT_OFFRL_CACHE``; ``auto`` maps data larger than half of the free memory.
        seed: Seed of the run, from which the seeds of all modules are derived; by default that of
            Lightning's ``seed_everything``, or 0.

    Attributes:
        imagined: The store of imagined rows, if an ``lit_offrl.dynamics.Imagination`` fills one.
    """

    def __init__(
        self,
        dataset: Source,
        layout: Layout = Layout(),
        observation_keys: list[str] | None = None,
        subset: Subset | None = None,
        more: list[ExtraDataset] | None = None,
        reward: Reward | None = None,
        tasks: list[Reward | None] | None = None,
        environment: str | None = None,
        trust_environment: bool = False,
        references: References | None = None,
        robot: str | None = None,
        standardize: Literal["all", "observations", "none"] = "all",
        holdout_rows: int = 1000,
        holdout_segment: int = 10,
        storage: Literal["auto", "memory", "mapped"] = "auto",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.first = ExtraDataset(dataset, layout, observation_keys)
        self.subset, self.more = subset, more or []
        self.observation_keys = observation_keys
        check_numbers({"references": references})
        check(
            not tasks or (reward is None and environment is None and references is None),
            "data.tasks: each task has its own reward, environment and reference returns; leave data.reward, "
            "data.environment and data.references out",
        )
        self.reward, self.tasks, self.trust_environment = reward, tasks or [], trust_environment
        # These copy rows into memory.
        self.made = bool(tasks or subset or more)
        check(
            not self.made or storage != "mapped",
            "data.storage: data.subset, more and tasks copy rows into memory, so they cannot be mapped; set "
            "it to memory, or leave these out",
        )
        self.environment = environment or (None if reward is None else reward.environment)
        check(
            references is None or references[0] < references[1],
            f"data.references: {references} are not in order; give the random policy's return first",
        )
        self.references, self.robot = references, robot
        self.holdout_rows, self.holdout_segment = holdout_rows, holdout_segment
        check_at_least(1, self, "holdout_rows", "holdout_segment")
        self.storage, self.seed, self.standardize = storage, seed, standardize
        # Shared by this module's copies, one for each seed.
        self.on_device: dict[torch.device, Transitions] = {}
        self.imagined: TransitionStore | None = None
        self._sampler: Sampler | None = None
        self._device = torch.device("cpu")

    @cached_property
    def dataset(self) -> OfflineDataset:
        """The dataset in main memory or mapped from disk, read on first access.

        Raises:
            UserError: The dataset is missing or invalid.
        """
        if self.tasks:
            # The same episodes for all tasks.
            chosen = None if self.subset is None else self.subset.numbers(self._open(None).read())
            parts = [self._read(self._open(reward), chosen) for reward in self.tasks]
            return add_task_column(parts, self.task_names)
        data = read_mapped(self.log) if self.mapped else self._read(self.log)
        # Frees the columns of the file, which the reader may hold.
        del self.log
        low, high = self.references or (data.score_min, data.score_max)
        return replace(data, score_min=low, score_max=high)

    def _read(self, log: DatasetReader, chosen: Tensor | None = None) -> OfflineDataset:
        data = log.read()
        if self.subset is not None:
            data = self.subset(data) if chosen is None else select_episodes(data, chosen)
        others = [part(part.open(log.reward).read()) for part in self.more]
        return concat([data, *others]) if others else data

    @cached_property
    def log(self) -> DatasetReader:
        """The opened reader of the dataset.

        Raises:
            UserError: The dataset is missing or invalid.
        """
        return self._open(self.reward)

    def _open(self, reward: Reward | None) -> DatasetReader:
        """Open the reader with ``reward``, and check that it is of the configuration's robot."""
        name = self.first.dataset
        # Checked before a download.
        check_robot(self.robot, name, d4rl_environment(str(name)))
        log = self.first.open(reward)
        check_robot(self.robot, log.name, None if log.env_spec is None else log.env_spec.id)
        return log

    @cached_property
    def mapped(self) -> bool:
        """Whether the rows stay on disk."""
        if self.made:
            return False
        if self.storage == "auto":
            return bool(self.log.files) and self.log.nbytes > free_memory() / 2
        return self.storage == "mapped"

    @property
    def environment_name(self) -> str | None:
        """Gymnasium id of the evaluation environment or, without one, of the data's, if known."""
        spec = self.dataset.env_spec
        return self.environment or (spec.id if spec is not None else None)

    @property
    def task_names(self) -> list[str]:
        """Names of the tasks: the reward's class, or ``logged``; duplicates are numbered."""
        return name_tasks(self.tasks)

    def summary(self) -> str:
        """One line: name, size and returns of the dataset."""
        data = self.dataset
        by = "" if self.reward is None else f", rewards by {type(self.reward).__name__}"
        if self.tasks:
            by = f", of {len(self.tasks)} tasks: {', '.join(self.task_names)}"
        size = f"{data.name}, {len(data)} transitions in {len(data.episode_starts)} episodes{by}"
        earned = f"return {data.returns.mean():.0f} on average, {data.returns.max():.0f} at best"
        return f"{size}, {earned if data.has_rewards else 'no rewards'}"

    def rows_on(self, device: torch.device) -> Transitions:
        """All rows, on ``device`` unless they are mapped."""
        if self.mapped:
            return self.dataset.transitions
        if device not in self.on_device:
            self.on_device[device] = self.dataset.transitions.to(device)
        return self.on_device[device]

    def holdout(self, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Split rows for the training of the dynamics.

        Returns:
            Indices of the training rows ``[n]``, of the withheld rows ``[h]``, and of the withheld rows by
            segment ``[segments, holdout_segment]``.
        """
        return split_holdout(self.dataset, self.holdout_rows, self.holdout_segment, seed)

    @property
    def obs_dim(self) -> int:
        """Size of an observation."""
        return self.dataset.obs_dim

    @property
    def act_dim(self) -> int:
        """Size of an action."""
        return self.dataset.act_dim

    @property
    def device(self) -> torch.device:
        """Device of the Trainer."""
        return self._device if self.trainer is None else self.trainer.strategy.root_device

    def seed_of(self, part: str) -> int:
        """The seed of a module, such as ``prior``, which does not depend on whether other stages were trained."""
        seed = self.seed
        if seed is None:
            seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        return mix_seed(seed, part)

    def setup(self, stage: str) -> None:
        """Reset the samplers of an earlier module."""
        self._sampler = self.imagined = None

    @property
    def sampler(self) -> Sampler:
        """The sampler of the module that is trained."""
        if self._sampler is None:
            assert self.trainer is not None
            module = self.trainer.lightning_module
            if not isinstance(module, BlockModule):
                raise UserError(
                    f"{type(module).__name__}: is no BlockModule, so it has no sampler; pass your own dataloaders to "
                    "trainer.fit"
                )
            self.serve(module, self._device)
            assert self._sampler is not None
        return self._sampler

    def serve(self, module: BlockModule, device: torch.device) -> None:
        """Serve ``module`` on ``device``, rather than the module of a Trainer."""
        self.dataset.check_rewards(module)
        self._device = device
        self._sampler = module.sampler(self, self.seed_of(module.log_prefix))

    def train_dataloader(self) -> BlockLoader:
        """Blocks of the module's sampler."""
        assert self.trainer is not None
        return BlockLoader(self.sampler, self.trainer, prefetch=self.mapped)

    def val_dataloader(self) -> ValidationLoader | list[Any]:
        """The sampler's validation rows as one batch, if it has any."""
        rows = self.sampler.validation
        return [] if rows is None else ValidationLoader(rows)

    def teardown(self, stage: str) -> None:
        """Release the sampler; the rows are kept for the next module."""
        self._sampler = None

    def state_dict(self) -> dict[str, Any]:
        return {} if self.imagined is None else {"imagined": self.imagined.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.imagined is not None:
            self.imagined.load_state_dict(state_dict["imagined"])
