"""The dynamics model and the prior that ``lit-offrl select`` uses for all candidates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.dynamics import Dynamics
from lit_offrl.errors import UserError, check, first_line
from lit_offrl.estimates import ModelRollouts, find_termination
from lit_offrl.estimates.doubly_robust import check_density
from lit_offrl.priors import BehaviorPrior
from lit_offrl.runs.folder import FinishedRun, load_part, open_run
from lit_offrl.training.block_module import BlockModule

FoundPart = tuple[BlockModule, FinishedRun | None]


def find_part(runs: list[FinishedRun], stage: str, given: str | None) -> Iterator[FoundPart]:
    """Trained modules of a stage: of the path ``given``, or else of each run."""
    path = None if given is None else Path(given)
    if path is not None and path.is_file():
        yield load_part(path), open_run(path)
        return
    for run in runs if path is None else [open_run(path)]:
        part = None if run is None else run.load(stage)
        if part is not None:
            yield part, run


def find_rollouts(
    runs: list[FinishedRun], given: str | None, data: OfflineDataModule, *settings: Any
) -> ModelRollouts | None:
    """Rollouts in the dynamics model of all candidates; ``None``, and a printed line, if there is none.

    Raises:
        UserError: The path given by the user holds no dynamics.
    """
    part, run = next(find_part(runs, "dynamics", given), (None, None))
    if not isinstance(part, Dynamics):
        check(
            given is None,
            f"--dynamics: '{given}' holds no trained dynamics; give a run or a checkpoint that does",
        )
        print("model: left out, as no run has trained dynamics; give them by --dynamics")
        return None
    check_sizes(part, data, f"--dynamics: '{given}'")
    if data.tasks:
        print(
            "model: left out, as the dynamics predict the reward of one task and the data have several"
        )
        return None
    try:
        rule = None if run is None else run.termination
        rule = find_termination(part, data.dataset, data.environment_name, rule)
    except UserError as error:
        print(f"model: left out, {first_line(error)}")
        return None
    return ModelRollouts(part, data.dataset, rule, *settings)


def check_sizes(part: BlockModule, data: OfflineDataModule, where: str) -> None:
    """Check that a part is of the data's robot.

    Raises:
        UserError: Sizes of observations or actions differ.
    """
    made = part.init_arguments()
    for name in ("obs_dim", "act_dim"):
        needed = getattr(data, name)
        check(
            made.get(name, needed) == needed,
            f"{where} is of another robot, {name} {made.get(name)}, where the data have {needed}; give one of this data",
        )


def find_behavior(
    runs: list[FinishedRun], given: str | None, data: OfflineDataModule
) -> BehaviorPrior | None:
    """A prior with the density of the logged actions; ``None``, and a printed line, if there is none.

    Raises:
        UserError: The path given by the user holds no such prior.
    """
    said = "doubly robust: left out, as no run has a trained prior; give one by --behavior"
    for part, _ in find_part(runs, "prior", given):
        if isinstance(part, BehaviorPrior):
            check_sizes(part, data, f"--behavior: '{given}'")
            try:
                check_density(part)
                return part
            except UserError as error:
                check(given is None, f"--behavior: '{given}', {error}")
                said = f"{error}, by --behavior"
    check(
        given is None,
        f"--behavior: '{given}' holds no trained prior; give a run or a checkpoint that does",
    )
    print(said)
    return None
