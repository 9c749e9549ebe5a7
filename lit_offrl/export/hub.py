"""Writes a finished run as a repository of the Hugging Face hub, which can be used as a run folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from lit_offrl.errors import UserError, check, first_line
from lit_offrl.export.card import write_card
from lit_offrl.export.metadata import describe_data
from lit_offrl.pipeline.run import CONFIG
from lit_offrl.runs.folder import RESULTS, FinishedRun, read_results
from lit_offrl.training.files import write_whole

# Files of a run that are copied with the checkpoints, if they exist.
COPIED = (CONFIG, RESULTS, "stages.json", "evaluation.json", "figures/return.png")
# Stages whose checkpoints are copied: not dynamics and value.
STAGES = ("policy", "prior")


def write_hub_folder(run: FinishedRun, folder: Path) -> None:
    """Write card, configuration, results and checkpoints of ``run`` to ``folder``.

    Checkpoints have the same relative paths as in the run folder, so that ``lit-offrl evaluate`` and
    ``export`` accept the repository as a run.

    Raises:
        UserError: The run is not finished, or ``folder`` holds something else.
    """
    check(
        (run.folder / RESULTS).is_file(),
        f"'{run.folder}': is not finished (it holds no {RESULTS}); give the same fit command again",
    )
    check(
        not folder.exists() or not any(folder.iterdir()),
        f"--output: '{folder}' is not empty; delete it, or give another",
    )
    policy = run.load("policy")
    check(
        policy is not None,
        f"'{run.folder}': has no finished policy; train one, or export the prior",
    )
    assert policy is not None
    data = describe_data(policy, run)
    results = read_results(run.folder)
    title = run.folder.resolve().name
    write_whole(write_card(title, data, results, run.config).encode(), folder / "README.md")
    for path in (run.folder / name for name in COPIED):
        if path.is_file():
            copy(path, folder / path.relative_to(run.folder))
    for stage in STAGES:
        checkpoint = run.checkpoint(stage)
        if checkpoint is None:
            continue
        if run.config[stage]["checkpoint"]:
            print(f"{stage}: left out, as it was loaded from '{checkpoint}'", flush=True)
            continue
        for path in (checkpoint, checkpoint.with_name("done.json")):
            copy(path, folder / path.relative_to(run.folder))


def copy(path: Path, target: Path) -> None:
    """Copy a file, and create its folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


def push_folder(folder: Path, repository: str) -> str:
    """Upload ``folder`` to a repository of the hub, which is created as private if it does not exist.

    Address and token are those of huggingface_hub (``HF_ENDPOINT``, ``HF_TOKEN``, ``hf auth login``).

    Returns:
        The address of the commit.

    Raises:
        UserError: The upload was refused, or the hub cannot be reached.
    """
    try:
        from huggingface_hub import HfApi
    except ModuleNotFoundError as error:
        raise UserError(
            "--push: needs huggingface_hub, which is not installed; pip install 'lit-offrl[hub]'"
        ) from error
    try:
        api = HfApi()
        api.create_repo(repository, exist_ok=True, private=True)
        message = "Upload a run of lit-offrl"
        commit = api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    except Exception as error:
        raise UserError(
            f"--push: '{repository}' was not uploaded, {first_line(error)}; the folder is '{folder}'"
        ) from error
    return str(commit.commit_url)
