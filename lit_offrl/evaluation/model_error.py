"""Errors of the dynamics over several steps, on withheld segments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from lit_offrl.dynamics import Dynamics
from lit_offrl.transitions import Transitions


@torch.no_grad()
def imagine_segments(dynamics: Dynamics, segments: Transitions) -> Tensor | None:
    """Predict each segment from its first observation and its actions, by the mean of each elite.

    Args:
        dynamics: A fitted model.
        segments: Consecutive real rows, ``[segments, steps, ...]``.

    Returns:
        Imagined observations after each step, ``[elites, segments, steps, obs]``; ``None`` for a model
        without means.
    """
    return dynamics.predict_paths(segments.observations[:, 0], segments.actions)


def step_errors(imagined: Tensor, segments: Transitions, std: Tensor) -> Tensor:
    """Root mean square error after 1, 2, ... steps, in standard deviations of the data.

    Dimensions that are constant in the data up to rounding are left out.

    Args:
        imagined: ``[elites, segments, steps, obs]``.
        segments: The real rows, ``[segments, steps, ...]``.
        std: Standard deviation of each dimension in the data, ``[obs]``.

    Returns:
        ``[steps]``, averaged over elites, segments and dimensions.
    """
    varied = std > 1e-6 * segments.observations.abs().mean(dim=(0, 1))
    error = (imagined - segments.next_observations)[..., varied] / std[varied]
    # If all dimensions are constant there is no error.
    return error.square().mean(dim=(0, 1, 3)).sqrt().nan_to_num()


def draw_segments(
    imagined: Tensor,
    segments: Transitions,
    errors: Tensor,
    observation_names: Sequence[str],
    path: Path,
) -> None:
    """Draw true and imagined observations of a few segments, and save a PNG to ``path``.

    The figure shows four segments of the four dimensions that vary most, with a thin line for each elite.
    """
    truth = torch.cat([segments.observations[:, :1], segments.next_observations], dim=1).cpu()
    start = segments.observations[:, :1].expand(len(imagined), -1, -1, -1)
    paths = torch.cat([start, imagined], dim=2).cpu()
    dims = truth.std(dim=(0, 1)).argsort(descending=True)[:4].tolist()
    shown = min(4, len(truth))
    width, height = 3 * shown, 2 * len(dims)
    figure = Figure(figsize=(width, height))
    # Fixed sizes, as automatic layout of many panels takes seconds.
    figure.subplots_adjust(0.9 / width, 0.5 / height, 1 - 0.1 / width, 1 - 0.5 / height, 0.05, 0.15)
    axes = figure.subplots(len(dims), shown, squeeze=False, sharex=True, sharey="row")
    for row, dim in enumerate(dims):
        for column in range(shown):
            axis = axes[row][column]
            for elite in paths[:, column, :, dim]:
                axis.plot(elite, color="tab:orange", linewidth=0.8, alpha=0.7)
            axis.plot(truth[column, :, dim], color="black", linewidth=1.4)
            if column == 0:
                axis.set_ylabel(observation_names[dim])
            if row == len(dims) - 1:
                axis.set_xlabel("step")
    figure.suptitle(
        f"held-out segments: true (black), imagined by each elite (orange); "
        f"error {errors[0]:.3f} after 1 step, {errors[-1]:.3f} after {len(errors)} (in sd of the data)"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
