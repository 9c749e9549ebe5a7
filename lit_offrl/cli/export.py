"""``lit-offrl export``: trained policies and priors as files that run without this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from lit_offrl.cli.data import run_function
from lit_offrl.cli.evaluate import ActingPart, acting_parts
from lit_offrl.errors import attempt, check
from lit_offrl.export.formats import FORMATS, Format, largest_difference
from lit_offrl.export.hub import push_folder, write_hub_folder
from lit_offrl.export.metadata import describe_data, describe_export, rare_density
from lit_offrl.export.module import Part, RobotPolicy
from lit_offrl.priors import BehaviorPrior
from lit_offrl.runs.folder import FinishedRun


def run_export(args: list[str]) -> None:
    """Run ``lit-offrl export`` with ``args``, the arguments after the verb."""
    run_function(export, args, "path", "Run folder or checkpoint.")


def export(
    path: str,
    to: Literal["onnx", "torchscript", "safetensors", "hub-folder"] = "onnx",
    output: str | None = None,
    part: Literal["policy", "prior"] | None = None,
    guard: bool = False,
    push: str | None = None,
) -> None:
    """Write a trained policy or prior as a file that maps observations to actions, in the data's units.

    Args:
        path: Run folder or checkpoint.
        to: Format: onnx and torchscript files run without lit-offrl, a safetensors file holds the weights
            only, hub-folder is a folder with checkpoints, results and a model card.
        output: File or folder to write; by default PART.onnx, .pt or .safetensors, or hub, in the run folder.
        part: Part of a run to export: policy or prior; by default the policy, or the prior if the run has
            no policy.
        guard: Whether the file also outputs the distance of the observation from the data and the prior's
            log-density of the action.
        push: Repository on the Hugging Face hub to upload the hub-folder to, such as me/my-policy.

    Raises:
        UserError: The run has no such part, or the format cannot hold it.
    """
    check(push is None or to == "hub-folder", "--push: uploads a folder; give --to hub-folder too")
    if to == "hub-folder":
        check(
            part is None and not guard,
            "--to: hub-folder holds the checkpoints of all parts; leave --part and --guard out",
        )
        export_folder(Path(path), output, push)
        return
    form = FORMATS[to]
    (found,) = acting_parts(Path(path), part)
    target = Path(output) if output else found.folder / f"{found.module.log_prefix}{form.ending}"
    check(
        target.parent.is_dir(), f"--output: no folder '{target.parent}'; make it, or give another"
    )
    others = {one.ending for one in FORMATS.values()} - {form.ending}
    check(
        target.suffix not in others,
        f"--output: '{target}' ends with {target.suffix}, which is not --to {to}; give {form.ending}",
    )
    module, metadata = prepare_export(found, guard)
    form.write(module, metadata, target)
    report(found, form, module, target)


def export_folder(path: Path, output: str | None, push: str | None) -> None:
    """Write a run as a folder for the hub, and upload it to the repository ``push``, if given.

    Raises:
        UserError: The run is not finished, or the upload failed.
    """
    check(path.is_dir(), f"'{path}': is no folder; --to hub-folder needs a run folder")
    folder = Path(output) if output else path / "hub"
    write_hub_folder(FinishedRun(path), folder)
    print(folder, flush=True)
    if push is not None:
        print(push_folder(folder, push), flush=True)


def prepare_export(found: ActingPart, guard: bool) -> tuple[RobotPolicy, dict[str, Any]]:
    """The module to export and its metadata.

    Raises:
        UserError: The data of the part are unknown, or it cannot be exported.
    """
    part: Part = found.module  # type: ignore[assignment]
    data = attempt(found.name, describe_data, part, found.run)
    density = threshold = None
    if guard:
        density = prior_with_density(found)
        if density is not None and found.run is not None:
            threshold = rare_density(density, found.run.data.dataset)
    module = attempt(found.name, RobotPolicy, part, data, guard, density)
    return module, describe_export(module, found.module, data, threshold)


def prior_with_density(found: ActingPart) -> BehaviorPrior | None:
    """The prior whose density the guard outputs: the part itself, or the prior of its run."""
    prior = found.module if isinstance(found.module, BehaviorPrior) else None
    if prior is None and found.run is not None:
        prior = found.run.load("prior")  # type: ignore[assignment]
    if prior is None or not prior.has_density:
        print(
            "guard: the run has no prior with a density; the file outputs the distance only",
            flush=True,
        )
        return None
    return prior


def report(found: ActingPart, form: Format, module: RobotPolicy, target: Path) -> None:
    """Print what was written, and the largest difference of its actions from those of the part."""
    size = target.stat().st_size / 1024
    print(f"{found.name}: observation [batch, {module.size}] to {', '.join(module.outputs)}")
    if form.run is not None:
        difference = largest_difference(form, module, target)
        print(f"largest difference of actions at 1000 random observations: {difference:.1e}")
    print(f"{target} ({size:.0f} kB)", flush=True)
