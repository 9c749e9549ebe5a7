"""Candidate policies of ``lit-offrl select``, and their known returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.errors import UserError, check
from lit_offrl.evaluation import read_evaluations
from lit_offrl.pipeline.policy import EVALUATIONS
from lit_offrl.policy import PolicyLearner
from lit_offrl.runs.folder import RESULTS, FinishedRun, load_part, open_run, read_results
from lit_offrl.training.block_module import BlockModule


@dataclass(frozen=True)
class Candidate:
    """A policy or prior to rank.

    Attributes:
        name: Path of the run or checkpoint, as given.
        module: The policy or prior.
        run: Its run, if known.
        checkpoint: Its checkpoint file.
    """

    name: str
    module: BlockModule
    run: FinishedRun | None
    checkpoint: Path

    def logged_return(self) -> float | None:
        """Mean return in its run's evaluation after the same number of updates; ``None`` if there is none."""
        if self.run is None:
            return None
        kind = "policy" if isinstance(self.module, PolicyLearner) else "prior"
        path = self.run.folder / RESULTS
        results = read_results(self.run.folder) if path.is_file() else {}
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
    """The candidates at ``paths``.

    Args:
        paths: Run folders and checkpoints.
        part: Part of each run: ``policy``, ``prior`` or ``all``.
        every: Whether to take all checkpoints of a run's policy, or only its result.

    Raises:
        UserError: A path holds no finished policy or prior.
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
    """Stage and checkpoint file of each candidate of a run."""
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
    """Load a candidate from a checkpoint.

    Raises:
        UserError: The checkpoint holds neither a policy nor a prior.
    """
    module = load_part(path) if run is None else run.load_file(path)
    check(
        hasattr(module, "act"),
        f"'{path}': holds a {type(module).__name__}, which takes no actions; give the checkpoint of a policy or prior",
    )
    return Candidate(name, module, run, path)


def shared_data(candidates: Sequence[Candidate]) -> OfflineDataModule:
    """The data module of the dataset that all candidates were trained on.

    Raises:
        UserError: Datasets or sizes differ, or the dataset is unknown.
    """
    first = next((one.run for one in candidates if one.run is not None), None)
    if first is None:
        raise UserError(
            f"'{candidates[0].name}': a checkpoint outside its run folder names no data; give a run folder too"
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
                f"'{one.name}': was trained on other data than '{first.folder}'; select among policies of one dataset",
            )
    return data
