"""A run's folder, read back: its configuration, its data and its trained parts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings
from lightning.pytorch.loggers import Logger

from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.errors import UserError, check, first_line
from lit_offrl.pipeline.policy import PolicyStage
from lit_offrl.pipeline.stage import Stage
from lit_offrl.policy import PolicyLearner
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.checkpoints import check_run_dir, load_module
from lit_offrl.training.fingerprint import named_modules
from lit_offrl.training.loggers import LoggerFactory, make_loggers

CONFIG = "config.yaml"
# Folders above a checkpoint in which its run's configuration is looked for.
DEEPEST = 6


@dataclass(frozen=True)
class FinishedRun:
    """The folder of a run of ``lit-offrl fit``.

    Args:
        folder: The folder, with ``config.yaml``.

    Raises:
        UserError: It is no run's folder.
    """

    folder: Path

    def __post_init__(self) -> None:
        check(
            (self.folder / CONFIG).is_file(),
            f"'{self.folder}': no run of lit-offrl fit (it holds no {CONFIG}); give a run's folder or a checkpoint",
        )
        check_run_dir(self.folder)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Every value of the run."""
        found: dict[str, Any] = yaml.safe_load((self.folder / CONFIG).read_text())
        return found

    @cached_property
    def data(self) -> OfflineDataModule:
        """The run's data module.

        Raises:
            UserError: The data are not there any more.
        """
        set_parsing_settings(subclasses_disabled=[OfflineDataModule])
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(OfflineDataModule, "data", skip={"seed"}, sub_configs=True)
        try:
            parsed = parser.parse_object({"data": self.config["data"]})
            module: OfflineDataModule = parser.instantiate(parsed).data
        except Exception as error:
            raise UserError(
                f"'{self.folder / CONFIG}': its data cannot be opened, {first_line(error)}"
            ) from error
        return module

    def loggers(self, stage: str) -> list[Logger]:
        """Loggers that add to what a stage of the run has logged."""
        parser = ArgumentParser(exit_on_error=False)
        parser.add_argument("--logger", type=bool | list[LoggerFactory] | LoggerFactory | None)
        parsed = parser.parse_object({"logger": self.config["trainer"].get("logger")})
        return make_loggers(parser.instantiate(parsed).logger, self.folder, stage, "evaluation")

    @cached_property
    def termination(self) -> Callable[..., Any] | None:
        """The rule of terminations that imagination was configured with, if any."""
        named = ((self.config.get("policy") or {}).get("imagination") or {}).get("termination")
        parser = ArgumentParser(exit_on_error=False)
        parser.add_argument("--termination", type=Callable | None)
        parsed = parser.parse_object({"termination": named})
        found: Callable[..., Any] | None = parser.instantiate(parsed).termination
        return found

    def checkpoint(self, stage: str) -> Path | None:
        """The newest checkpoint that the stage ended with, or was given; ``None`` without any."""
        taken = (self.config.get(stage) or {}).get("checkpoint")
        if taken:
            return Path(taken)
        done = sorted(self.folder.glob(f"{stage}-*/done.json"), key=lambda p: p.stat().st_mtime)
        kind = PolicyStage if stage == PolicyStage.name else Stage
        return done[-1].parent / kind.keeps if done else None

    def load(self, stage: str) -> BlockModule | None:
        """The trained part of a stage, on the CPU; ``None`` if the run has none.

        Raises:
            UserError: Its checkpoint is broken.
        """
        path = self.checkpoint(stage)
        if path is not None:
            return self.load_file(path)
        policy = self.load("policy") if stage == "prior" else None
        if isinstance(policy, PolicyLearner) and "prior" in policy.along:
            prior: BlockModule = policy.trained_parts["prior"]  # type: ignore[assignment]
            prior.trained_on = policy.trained_on
            return prior
        return None

    def load_file(self, path: Path) -> BlockModule:
        """The part that a checkpoint holds; a policy that samples a prior with the run's.

        Raises:
            UserError: The file is broken, or the run has no such prior.
        """
        # Its own classes are those that the run was configured with.
        trust = named_modules(self.config)
        part = load_part(path, trust)
        if not isinstance(part, PolicyLearner) or not part.acting.needs_prior:
            return part
        prior = self.load("prior")
        check(
            prior is not None, f"'{path}': acts by samples of a prior, and '{self.folder}' has none"
        )
        return load_module(path, PolicyLearner, trust, prior=prior)


def load_part(path: Path, trust: Collection[str] = ()) -> BlockModule:
    """The part that a checkpoint holds, whichever it is.

    Args:
        path: The checkpoint.
        trust: Modules whose classes it may name, beside those of the package.

    Raises:
        UserError: The file is missing or broken.
    """
    return load_module(path, BlockModule, trust)  # type: ignore[type-abstract]


def seed_folders(path: Path) -> list[Path]:
    """The folders of a run's seeds, or ``path`` itself where it is not a folder of several."""
    if not path.is_dir() or (path / CONFIG).is_file():
        return [path]
    return sorted(config.parent for config in path.glob(f"seed*/{CONFIG}")) or [path]


def open_run(path: Path) -> FinishedRun | None:
    """The run that a folder or a checkpoint belongs to; ``None`` for a checkpoint alone.

    Raises:
        UserError: There is no such file or folder, or it is no run's.
    """
    check(path.exists(), f"'{path}': no such file or folder; give a run's folder or a checkpoint")
    if path.is_dir():
        return FinishedRun(path)
    # Callbacks keep checkpoints some folders below the stage's.
    above = path.absolute().parents[1:DEEPEST]
    return next((FinishedRun(folder) for folder in above if (folder / CONFIG).is_file()), None)
