"""Metadata of exported files."""

from __future__ import annotations

from typing import Any

import torch

from lit_offrl import __version__
from lit_offrl.datasets import OfflineDataset
from lit_offrl.errors import check
from lit_offrl.export.module import RobotPolicy
from lit_offrl.priors import BehaviorPrior
from lit_offrl.runs.folder import FinishedRun
from lit_offrl.training.block_module import BlockModule

# Distance from the data's range, in standard deviations, above which an observation counts as far.
FAR = 1.0
# Share of logged actions below the threshold of the density, and number of rows to compute it.
RARE, MOST_ROWS = 0.01, 10_000

UNITS = "as in the dataset"
STACKING = (
    "in the order of names; dictionaries of observations by key in alphabetical order, arrays flattened "
    "with the last dimension fastest, several tasks' one-hot vector last"
)


def describe_data(part: BlockModule, run: FinishedRun | None) -> dict[str, Any]:
    """Description of the data that ``part`` was trained on, from its checkpoint or its run.

    The environment is that of the run if the data name none.

    Raises:
        UserError: The data are unknown.
    """
    known = part.trained_on
    if run is None:
        check(
            known is not None,
            "the checkpoint, of an older version, does not describe its training data; give its run "
            "folder",
        )
        return known or {}
    known = known or run.data.dataset.description
    return {**known, "environment": known["environment"] or run.config["data"]["environment"]}


def describe_export(
    module: RobotPolicy,
    part: BlockModule,
    data: dict[str, Any],
    density_threshold: float | None = None,
) -> dict[str, Any]:
    """Metadata of an exported file, in plain values.

    Args:
        module: The exported module.
        part: The policy or prior that it was made from.
        data: Description of the training data.
        density_threshold: Threshold of the guard's log-density.
    """
    actions = {
        "names": data["action_names"],
        "low": data["action_low"],
        "high": data["action_high"],
    }
    size: list[int | str] = ["batch", len(data["action_names"])]
    outputs: dict[str, Any] = {"action": {"shape": size, **actions, "units": UNITS}}
    if "distance" in module.outputs:
        unit = "standard deviations beyond the range of the data, largest of all dimensions"
        outputs["distance"] = {"shape": ["batch"], "units": unit, "threshold": FAR, "far": "above"}
    if "log_density" in module.outputs:
        unit = "log-density of the prior at the action scaled to [-1, 1]"
        outputs["log_density"] = {"shape": ["batch"], "units": unit, "far": "below"}
        outputs["log_density"]["threshold"] = density_threshold
    observation = {
        "shape": ["batch", module.size],
        "names": data["observation_names"],
        "units": UNITS,
        "stacking": STACKING,
        **{end: data[f"observation_{end}"] for end in ("low", "high", "mean", "std")},
    }
    return {
        "lit_offrl": __version__,
        "torch": torch.__version__,
        "part": part.log_prefix,
        "class": type(part).__name__,
        "networks": {name: type(net).__name__ for name, net in module.networks.items()},
        "updates": part.updates,
        "dtype": "float32",
        "inputs": {"observation": observation},
        "outputs": outputs,
        "data": {name: data[name] for name in ("name", "fingerprint", "rows", "environment")},
    }


@torch.no_grad()
def rare_density(prior: BehaviorPrior, data: OfflineDataset) -> float:
    """The 1 % quantile of the log-density of logged actions."""
    index = torch.linspace(0, len(data) - 1, min(len(data), MOST_ROWS)).long()
    rows = data.transitions[index]
    return float(prior.log_prob(rows.observations, rows.actions).double().quantile(RARE))
