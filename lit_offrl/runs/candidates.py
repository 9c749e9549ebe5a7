"""Policies to choose from, and what is known of their returns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.errors import UserError, check
from lit_offrl.evaluation import read_evaluations
from lit_offrl.pipeline.policy import EVALUATIONS
from lit_offrl.policy import PolicyLearner
from lit_offrl.runs.folder import FinishedRun, load_part, open_run
from lit_offrl.training.block_module import BlockModule

RESULTS = "results.json"


@dataclass(frozen=True)
class Candidate:
    """A policy or prior to choose from.

    Attributes:
        name: Run or checkpoint, as it was given.
        module: The part.
        run: The run that it is of, if that is known.
        checkpoint: Its file.
    """

    name: str
    module: BlockModule
    run: FinishedRun | None
    checkpoint: Path

    def logged_return(self) -> float | None:
        """The mean return of the episodes that its run has evaluated it in, after as many updates."""
        if self.run is None:
            return None
        kind = "policy" if isinstance(self.module, PolicyLearner) else "prior"
        path = self.run.folder / RESULTS
        results: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        if (
            kind == "prior" or results.get("updates") == self.module.updates
        ) and self._is_result_of(kind):
            found: dict[str, float] = results.get(kind) or {}
            if "return_mean" in found:
                return found["return_mean"]
        for folder in self.checkpoint.absolute().parents:
            for entry in read_evaluations(folder / EVALUATIONS):
                if entry["updates"] == self.module.updates:
                    return entry["return_mean"]
            if folder == self.run.folder.absolute():
                break
        return None

    def _is_result_of(self, stage: str) -> bool:
        assert self.run is not None
        result = self.run.checkpoint(stage)
        return result is not None and result.absolute().parent in self.checkpoint.absolute().parents


def find_candidates(paths: Sequence[Path], part: str, every: bool) -> Iterator[Candidate]:
    """The policies at ``paths``.

    Args:
        paths: Run folders and checkpoints.
        part: Of run folders ``policy``, ``prior`` or ``all``.
        every: Take all checkpoints of a run's policy rather than its result alone.

    Raises:
        UserError: There is none at a path, or it holds what takes no actions.
    """
    for path in paths:
        run = open_run(path)
        if path.is_file():
            yield load_candidate(path, str(path), run)
            continue
        assert run is not None
        found = list(checkpoints_of(run, part, every))
        check(
            bool(found),
            f"'{path}': no finished {'policy or prior' if part == 'all' else part} in it; give the same fit "
            "command again to finish the run, or name a checkpoint",
        )
        for stage, file in found:
            name = f"{path} ({stage})" if not every else str(file)
            yield load_candidate(file, name, run)


def checkpoints_of(run: FinishedRun, part: str, every: bool) -> Iterator[tuple[str, Path]]:
    """Stages and files of a run's candidates."""
    for stage in ("policy", "prior") if part == "all" else (part,):
        result = run.checkpoint(stage)
        if result is None:
            continue
        if every and stage == "policy":
            files = sorted(result.parent.rglob("*.ckpt"))
            yield from ((stage, file) for file in files if not file.name.startswith("resume"))
        else:
            yield stage, result


def load_candidate(path: Path, name: str, run: FinishedRun | None) -> Candidate:
    """The candidate that a checkpoint holds.

    Raises:
        UserError: It takes no actions.
    """
    module = load_part(path) if run is None else run.load_file(path)
    check(
        hasattr(module, "act"),
        f"'{path}': holds a {type(module).__name__}, which takes no actions; give a policy's or a prior's",
    )
    return Candidate(name, module, run, path)


def shared_data(candidates: Sequence[Candidate]) -> OfflineDataModule:
    """The log that all candidates are of.

    Raises:
        UserError: They are of several, of other sizes, or no run is known.
    """
    first = next((one.run for one in candidates if one.run is not None), None)
    if first is None:
        raise UserError(
            f"'{candidates[0].name}': a checkpoint outside of its run's folder names no data; give a run's "
            "folder, too"
        )
    data = first.data
    check(
        data.dataset.has_rewards,
        f"'{first.folder}': its dataset '{data.dataset.name}' has no rewards, so there is nothing to estimate",
    )
    for one in candidates:
        made = one.module.init_arguments()
        for what in ("obs_dim", "act_dim"):
            here = getattr(data, what)
            check(
                made.get(what, here) == here,
                f"'{one.name}': is of another robot, {what} {made.get(what)}, where '{first.folder}' has {here}; "
                "select among policies of one robot",
            )
        if one.run is not None and one.run.config["data"] != first.config["data"]:
            check(
                one.run.data.dataset.fingerprint == data.dataset.fingerprint,
                f"'{one.name}': learned from other data than '{first.folder}'; select among policies of one log",
            )
    return data
