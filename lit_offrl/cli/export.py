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
    """Do what ``args``, those after ``export``, say."""
    run_function(export, args, "path", "Run folder or checkpoint.")


def export(
    path: str,
    to: Literal["onnx", "torchscript", "safetensors", "hub-folder"] = "onnx",
    output: str | None = None,
    part: Literal["policy", "prior"] | None = None,
    guard: bool = False,
    push: str | None = None,
) -> None:
    """Write a trained policy or prior as a file that maps observations to actions, in the robot's units.

    Args:
        path: Run folder or checkpoint.
        to: Format: onnx and torchscript run without lit-offrl, safetensors holds weights alone, hub-folder
            is a folder with checkpoints, results and a model card.
        output: File or folder to write; by default policy.onnx or the like, or hub, in the run folder.
        part: Part of a run folder to export; by default the policy, or the prior where there is no policy.
        guard: Whether the file also gives the distance of the observation from the data and the prior's
            log-density of the action.
        push: Repository on the Hugging Face hub to upload a hub-folder to, such as me/my-policy.

    Raises:
        UserError: There is no such part, or it cannot be written so.
    """
    check(push is None or to == "hub-folder", "--push: uploads a folder; give --to hub-folder too")
    if to == "hub-folder":
        check(
            part is None and not guard,
            "--to: hub-folder holds whole parts; leave --part and --guard out",
        )
        export_folder(Path(path), output, push)
        return
    form = FORMATS[to]
    (found,) = acting_parts(Path(path), part)
    target = Path(output) if output else found.folder / f"{found.module.log_prefix}{form.ending}"
    check(
        target.parent.is_dir(), f"--output: no folder '{target.parent}'; make it, or give another"
    )
    module, metadata = prepare_export(found, guard)
    form.write(module, metadata, target)
    report(found, form, module, target)


def export_folder(path: Path, output: str | None, push: str | None) -> None:
    """Write a run as a folder for the hub, and upload it if ``push`` says where to.

    Raises:
        UserError: It is no finished run, or the hub refuses.
    """
    check(path.is_dir(), f"'{path}': no folder of a run, which --to hub-folder takes")
    folder = Path(output) if output else path / "hub"
    write_hub_folder(FinishedRun(path), folder)
    print(folder, flush=True)
    if push is not None:
        print(push_folder(folder, push), flush=True)


def prepare_export(found: ActingPart, guard: bool) -> tuple[RobotPolicy, dict[str, Any]]:
    """The plain module of a part, and its metadata.

    Raises:
        UserError: Nothing is known of its data, or it cannot be exported.
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
    """The prior whose density a guard gives: the part itself, or its run's."""
    prior = found.module if isinstance(found.module, BehaviorPrior) else None
    if prior is None and found.run is not None:
        prior = found.run.load("prior")  # type: ignore[assignment]
    if prior is None or not prior.has_density:
        print("guard: no prior with a density; it gives the distance alone", flush=True)
        return None
    return prior


def report(found: ActingPart, form: Format, module: RobotPolicy, target: Path) -> None:
    """Print what was written, and how its actions differ from those of the part."""
    size = target.stat().st_size / 1024
    print(f"{found.name}: observation [batch, {module.size}] to {', '.join(module.outputs)}")
    if form.run is not None:
        difference = largest_difference(form, module, target)
        print(f"actions at 1000 observations around the data differ by {difference:.1e} at most")
    print(f"{target} ({size:.0f} kB)", flush=True)
