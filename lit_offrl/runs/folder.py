"""Reads a run folder: configuration, data and trained modules."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
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
from lit_offrl.pipeline.run import CONFIG
from lit_offrl.pipeline.stage import Stage
from lit_offrl.policy import PolicyLearner
from lit_offrl.policy.perturbation import PerturbationNet
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.checkpoints import check_run_dir, load_module
from lit_offrl.training.fingerprint import named_modules
from lit_offrl.training.loggers import LoggerFactory, make_loggers
from lit_offrl.training.stage_files import check_unchanged, find_done

RESULTS = "results.json"
# Keys of results.json that every version writes.
NEEDED = {"prior", "policy", "seconds"}
# Levels above a checkpoint at which its run's configuration is searched.
DEEPEST = 6


@dataclass(frozen=True)
class FinishedRun:
    """The folder of a run of ``lit-offrl fit``.

    Args:
        folder: The folder, with ``config.yaml``.

    Raises:
        UserError: The folder holds no run.
    """

    folder: Path

    def __post_init__(self) -> None:
        check(
            (self.folder / CONFIG).is_file(),
            f"'{self.folder}': is no run folder (no {CONFIG} in it); give a run folder or a checkpoint",
        )
        check_run_dir(self.folder)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The whole configuration of the run.

        Raises:
            UserError: It is broken.
        """
        path = self.folder / CONFIG
        try:
            found = yaml.safe_load(path.read_text(errors="replace"))
            reason = "keys are missing"
        except yaml.YAMLError as error:
            found, reason = None, first_line(error)
        if not isinstance(found, dict) or not found.keys() >= {"data", "trainer"}:
            raise UserError(f"'{path}' is broken ({reason}); the same fit again rewrites it")
        return found

    @cached_property
    def data(self) -> OfflineDataModule:
        """The run's data module.

        Raises:
            UserError: The data cannot be opened any more.
        """
        set_parsing_settings(subclasses_disabled=[OfflineDataModule])
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(OfflineDataModule, "data", skip={"seed"}, sub_configs=True)
        try:
            parsed = parser.parse_object({"data": self.config["data"]})
            module: OfflineDataModule = parser.instantiate(parsed).data
            if not module.tasks:
                # Opened here, so that the message names this file.
                _ = module.log
        except Exception as error:
            raise UserError(
                f"'{self.folder / CONFIG}': its data cannot be opened, {first_line(error)}"
            ) from error
        return module

    def loggers(self, stage: str) -> list[Logger]:
        """Loggers that append to the logs of a stage of the run."""
        parser = ArgumentParser(exit_on_error=False)
        parser.add_argument("--logger", type=bool | list[LoggerFactory] | LoggerFactory | None)
        parsed = parser.parse_object({"logger": self.config["trainer"].get("logger")})
        return make_loggers(parser.instantiate(parsed).logger, self.folder, stage, "evaluation")

    @cached_property
    def termination(self) -> Callable[..., Any] | None:
        """The termination function that imagination was configured with, if any."""
        named = ((self.config.get("policy") or {}).get("imagination") or {}).get("termination")
        parser = ArgumentParser(exit_on_error=False)
        parser.add_argument("--termination", type=Callable | None)
        parsed = parser.parse_object({"termination": named})
        found: Callable[..., Any] | None = parser.instantiate(parsed).termination
        return found

    def checkpoint(self, stage: str) -> Path | None:
        """The checkpoint of a finished stage, or the one it was given; ``None`` if there is none."""
        taken = (self.config.get(stage) or {}).get("checkpoint")
        if taken:
            return Path(taken)
        done = find_done(self.folder, stage)
        kind = PolicyStage if stage == PolicyStage.name else Stage
        return None if done is None else done / kind.keeps

    def load(self, stage: str) -> BlockModule | None:
        """Load the trained module of a stage, on the CPU; ``None`` if the run has none.

        Raises:
            UserError: The checkpoint is broken.
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
        """Load a module from a checkpoint, with the run's prior if it is a policy that samples one.

        Raises:
            UserError: The file is broken, or the run has no prior.
        """
        # Classes of the user's own are those of the run's configuration.
        trust = named_modules(self.config)
        check_unchanged(path)
        part = load_part(path, trust)
        if not isinstance(part, PolicyLearner):
            return part
        if not part.acting.needs_prior and not isinstance(part.actor, PerturbationNet):
            return part
        prior = self.load("prior")
        check(
            prior is not None,
            f"'{path}': samples a prior to act, and '{self.folder}' has no trained prior",
        )
        return load_module(path, PolicyLearner, trust, prior=prior)


def read_results(folder: Path) -> dict[str, Any]:
    """The ``results.json`` of a finished run.

    Raises:
        FileNotFoundError: There is none.
        UserError: It is broken.
    """
    path = folder / RESULTS
    try:
        found = json.loads(path.read_bytes())
        reason = "" if isinstance(found, dict) and found.keys() >= NEEDED else "keys are missing"
    except ValueError as error:
        reason = first_line(error)
    if reason:
        raise UserError(f"'{path}' is broken ({reason}); the same fit again rewrites it")
    return dict(found)


def load_part(path: Path, trust: Collection[str] = ()) -> BlockModule:
    """Load a trained module of any kind from a checkpoint.

    Args:
        path: The checkpoint.
        trust: Python modules whose classes it may name, besides those of the package.

    Raises:
        UserError: The file is missing or broken.
    """
    return load_module(path, BlockModule, trust)  # type: ignore[type-abstract]


def seed_folders(path: Path) -> list[Path]:
    """The run folders of the seeds in ``path``, or ``path`` itself if it holds no seeds."""
    if not path.is_dir() or (path / CONFIG).is_file():
        return [path]
    return sorted(config.parent for config in path.glob(f"seed*/{CONFIG}")) or [path]


def run_folders(paths: Sequence[str]) -> list[Path]:
    """The run folders and checkpoints at ``paths``, each once."""
    return list(dict.fromkeys(found for path in paths for found in seed_folders(Path(path))))


def open_run(path: Path) -> FinishedRun | None:
    """The run of a folder or a checkpoint; ``None`` for a checkpoint outside a run folder.

    Raises:
        UserError: The path does not exist, or is no run folder.
    """
    check(path.exists(), f"'{path}': no such file or folder; give a run folder or a checkpoint")
    if path.is_dir():
        return FinishedRun(path)
    # Callbacks keep checkpoints some folders below the stage's.
    above = path.absolute().parents[1:DEEPEST]
    return next((FinishedRun(folder) for folder in above if (folder / CONFIG).is_file()), None)
