"""``lit-offrl select``: rank policies by estimates, without their environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from lit_offrl.cli.data import run_function
from lit_offrl.cli.evaluate import ActingPart
from lit_offrl.cli.lightning_setup import quiet_lightning
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.errors import check
from lit_offrl.estimates import Estimators
from lit_offrl.estimates.horizon import horizon_for
from lit_offrl.estimates.ranking import DECIDING, RANKED, compare
from lit_offrl.evaluation.diagnostics import draw_estimates
from lit_offrl.runs.candidates import Candidate, find_candidates, shared_data
from lit_offrl.runs.folder import run_folders
from lit_offrl.runs.shared_parts import find_behavior, find_rollouts
from lit_offrl.training.files import write_json


def run_select(args: list[str]) -> None:
    """Run ``lit-offrl select`` with ``args``, the arguments after the verb."""
    run_function(select, args, "paths", "Run folders and checkpoints.", nargs="+")


def select(
    paths: list[str],
    part: Literal["policy", "prior", "all"] = "policy",
    every: bool = False,
    discount: float | None = None,
    updates: int = 5_000,
    horizon: int | None = None,
    starts: int = 100,
    tail: bool = False,
    dynamics: str | None = None,
    behavior: str | None = None,
    truth: bool = False,
    episodes: int = 20,
    seed: int = 0,
    output: str = "selection.json",
) -> dict[str, Any]:
    """Rank policies by off-policy estimates of their return, without an environment.

    Args:
        paths: Run folders (of one or of several seeds) and checkpoints, all of one dataset.
        part: Part of each run to rank: policy, prior or all.
        every: Whether to rank all checkpoints of a run's policy, or only the last.
        discount: Discount factor of all estimates; by default that of the first policy.
        updates: Number of updates of fitted Q evaluation for each candidate; 0 leaves it out.
        horizon: Number of steps of the rollouts in the dynamics model; by default the steps that hold 95 %
            of an endless discounted sum, at most the longest episode of the data.
        starts: Number of rollouts in each ensemble member, from first observations of the data's episodes.
        tail: Whether to add fitted Q values at the last observation of the rollouts.
        dynamics: Checkpoint or run of the dynamics model for all candidates; by default that of the first
            run that has one.
        behavior: Checkpoint or run of a prior that gives the density of the data's actions; by default
            that of the first run that has one.
        truth: Whether to run episodes in the environment to measure how good the ranking is.
        episodes: Number of episodes of each candidate with --truth.
        seed: Seed of the networks, the noise and the start states of episodes.
        output: JSON file of all results.

    Returns:
        The content of the file.

    Raises:
        UserError: A path is no run or checkpoint, datasets differ, or nothing can be estimated.
    """
    check_given(discount, updates, starts, horizon, episodes, seed)
    quiet_lightning()
    candidates = list(find_candidates(run_folders(paths), part, every))
    data = shared_data(candidates)
    check_truth(data, truth)
    data.seed = seed
    given = discount, horizon, starts, updates, tail, seed
    estimators = make_estimators(candidates, data, dynamics, behavior, *given)
    found = [
        estimate_candidate(one, estimators, true_return(one, data, truth, episodes, seed))
        for one in candidates
    ]
    result = {**estimators.settings(), "candidates": found, **compare(found)}
    write_json(result, Path(output))
    show(result, output)
    draw_known(found, Path(output).with_suffix(".png"))
    return result


def estimate_candidate(
    one: Candidate, estimators: Estimators, real: float | None
) -> dict[str, Any]:
    """All estimates of a candidate, with its true return ``real`` if known."""
    estimates = estimators(one.module)  # type: ignore[arg-type]
    print(f"estimated {one.name}", flush=True)
    entry = {"name": one.name, "checkpoint": str(one.checkpoint), "updates": one.module.updates}
    return {**entry, "estimates": estimates, "return": real}


def check_given(
    discount: float | None,
    updates: int,
    starts: int,
    horizon: int | None,
    episodes: int,
    seed: int,
) -> None:
    """Check the numbers of the command line.

    Raises:
        UserError: A number is out of bounds.
    """
    for name, value, low in (
        ("updates", updates, 0),
        ("starts", starts, 1),
        ("horizon", horizon, 1),
        ("episodes", episodes, 1),
        ("seed", seed, 0),
    ):
        check(value is None or value >= low, f"--{name}: {value} is too small; give at least {low}")
    check(
        discount is None or 0 < discount <= 1,
        f"--discount: {discount} is not above 0 and at most 1; give another",
    )


def check_truth(data: OfflineDataModule, truth: bool) -> None:
    """Check that there is an environment for true returns, if they are asked for.

    Raises:
        UserError: The data name none.
    """
    check(
        not truth or data.environment_name is not None,
        f"--truth: dataset '{data.dataset.name}' names no environment to run episodes in; leave it out",
    )


def make_estimators(
    candidates: list[Candidate],
    data: OfflineDataModule,
    dynamics: str | None,
    behavior: str | None,
    discount: float | None,
    horizon: int | None,
    starts: int,
    updates: int,
    tail: bool,
    seed: int,
) -> Estimators:
    """The estimators of all candidates; arguments as in ``select()``.

    Raises:
        UserError: There is neither a model nor fitted Q evaluation.
    """
    weights = [getattr(one.module, "discount", None) for one in candidates]
    discount = discount or next((one for one in weights if one is not None), 0.99)
    horizon = horizon or horizon_for(data.dataset, discount)
    runs = [one.run for one in candidates if one.run is not None]
    rollouts = find_rollouts(runs, dynamics, data, discount, horizon, starts, seed)
    check(
        bool(updates) or rollouts is not None,
        "--updates: 0 leaves out fitted Q evaluation, and no run has a dynamics model; raise it, or give --dynamics",
    )
    prior = find_behavior(runs, behavior, data) if updates else None
    return Estimators(data, discount, updates, rollouts, prior, tail, seed)


def true_return(
    one: Candidate, data: OfflineDataModule, truth: bool, episodes: int, seed: int
) -> float | None:
    """Mean return of a candidate: of its run's evaluations, or with ``truth`` of new episodes."""
    if not truth:
        return one.logged_return()
    part = ActingPart(one.name, one.module, one.run, one.checkpoint.parent)
    environment = data.environment_name if one.run is None else None
    stats = part.evaluator(episodes, environment).run(one.module.act, seed)  # type: ignore[arg-type]
    return float(stats.returns.mean())


def draw_known(found: list[dict[str, Any]], path: Path) -> None:
    """Draw estimates against true returns, if at least two are known."""
    known = [one for one in found if one["return"] is not None]
    if len(known) < 2:
        return
    shared = {n: r for n, r in RANKED.items() if all(r[0] in one["estimates"] for one in known)}
    values = {n: [one["estimates"][e][key] for one in known] for n, (e, key) in shared.items()}
    draw_estimates(values, [one["return"] for one in known], path)
    print(path)


def show(result: dict[str, Any], output: str) -> None:
    """Print the candidates by mean rank, the agreement of the estimators and their quality."""
    by_name = {one["name"]: one for one in result["candidates"]}
    columns = [name for name in RANKED if name in result["ranking"]]
    width = max(map(len, by_name))
    print(f"\n{'':<{width}}" + "".join(f"{n:>15}" for n in [*columns, "outside data", "return"]))
    for name in result["ranking"]["mean_rank"]:
        estimates = by_name[name]["estimates"]
        cells = [f"{estimates[RANKED[n][0]][RANKED[n][1]]:.5g}" for n in columns]
        cells.append(f"{estimates['model']['outside']:.0%}" if "model" in estimates else "")
        real = by_name[name]["return"]
        cells.append("" if real is None else f"{real:.5g}")
        print(f"{name:<{width}}" + "".join(f"{cell:>15}" for cell in cells))
    print(f"\nestimates: discounted by {result['discount']:g} from the data's episode starts")
    if result["horizon"] is not None:
        after = "then fitted values" if result["tail"] else "nothing after"
        print(
            f"model: rollouts of {result['horizon']} steps from {result['starts']} starts, {after}"
        )
    print("order: mean rank by " + ", ".join(name for name in DECIDING if name in columns))
    for pair, value in result["agreement"].items():
        print(
            f"agreement of {pair}: rank correlation {'none' if value is None else f'{value:.2f}'}"
        )
    if result["quality"]:
        print(
            f"\nagainst {result['quality_of']} true returns{'rank correlation':>20}{'regret@1':>12}"
        )
        for name, one in result["quality"].items():
            shown = "none" if one["spearman"] is None else f"{one['spearman']:.2f}"
            print(f"{name:<28}{shown:>18}{one['regret']:>12.5g}")
    print(f"\nselected: {result['ranking']['mean_rank'][0]}\n{output}")
