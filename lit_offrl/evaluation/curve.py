"""The picture of a run: the policy's return over its updates, against data and prior."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from lit_offrl.data import OfflineDataset


def draw_curve(
    evaluations: list[dict[str, float]],
    dataset: OfflineDataset,
    prior_return: float | None,
    path: Path,
) -> None:
    """Draw mean return and its spread over episodes, and save to ``path``.

    Args:
        evaluations: Entries with ``updates``, ``return_mean`` and ``return_std``.
        dataset: Its mean and best episode are drawn as lines.
        prior_return: The prior's own return, another line.
        path: Where to save, a PNG.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    updates = [entry["updates"] for entry in evaluations]
    mean = [entry["return_mean"] for entry in evaluations]
    low = [entry["return_mean"] - entry["return_std"] for entry in evaluations]
    high = [entry["return_mean"] + entry["return_std"] for entry in evaluations]
    axis.fill_between(updates, low, high, alpha=0.2, color="tab:blue", linewidth=0)
    axis.plot(
        updates, mean, color="tab:blue", marker=".", label="policy, mean and sd of its episodes"
    )
    axis.axhline(
        float(dataset.returns.max()), color="black", linestyle="--", label="data, best episode"
    )
    axis.axhline(
        float(dataset.returns.mean()), color="black", linestyle=":", label="data, mean episode"
    )
    if prior_return is not None:
        axis.axhline(prior_return, color="tab:orange", label="prior")
    axis.set_xlabel("updates")
    axis.set_ylabel("return")
    axis.set_title(dataset.name)
    axis.legend(loc="lower right", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
