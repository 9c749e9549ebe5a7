"""``lit-offrl sweep``: a search over settings, each trial a run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lit_offrl.cli.configs import find_config
from lit_offrl.cli.data import VerbParser
from lit_offrl.errors import UserError, check, check_numbers
from lit_offrl.sweeps.objective import Objective
from lit_offrl.sweeps.space import read_space
from lit_offrl.training.lock import lock_folder


def run_sweep(args: list[str]) -> None:
    """Run ``lit-offrl sweep`` with ``args``; arguments after ``--`` are those of ``fit``.

    Raises:
        UserError: An argument is invalid, or the sweep failed.
        SystemExit: With code 0 after ``--help``.
    """
    at = args.index("--") if "--" in args else len(args)
    parser = VerbParser(prog="lit-offrl sweep", usage="%(prog)s [options] [-- options of fit]")
    parser.add_function_arguments(sweep, skip={"fit"}, as_positional=False)
    sweep(**vars(parser.parse_args(args[:at])), fit=args[at + 1 :])


def sweep(
    config: str,
    space: str,
    fit: list[str],
    run_dir: str | None = None,
    objective: str = "policy.return_mean",
    direction: Literal["maximize", "minimize"] = "maximize",
    trials: int = 20,
    jobs: int = 1,
    prune: bool = False,
    seed: int = 0,
    storage: str | None = None,
) -> None:
    """Search for the settings whose runs have the best objective.

    Args:
        config: Configuration of all runs: a name or a YAML file, as for fit.
        space: YAML file of the settings to search: each key with a list of values or a range.
        fit: Further arguments of fit for all runs, after --.
        run_dir: Folder of the sweep, which a later call resumes; by default sweeps/CONFIG-SPACE.
        objective: Number to optimise: keys of a run's results.json or selection.json joined by dots, such
            as policy.return_mean; or evaluation/NAME for the last evaluation in training.
        direction: Whether to maximize or minimize the objective.
        trials: Number of trials in all, including those of earlier calls and excluding failed ones.
        jobs: Number of trials at the same time, each in a process.
        prune: Whether to stop trials whose evaluations in training are below the median of the other trials.
        seed: Seed of the search; the seed of the runs is that of the configuration.
        storage: URL of the study's database, such as sqlite:///sweep.db; by default a file in the folder.

    Raises:
        UserError: A value is invalid, or optuna is not installed.
    """
    check_numbers({"--trials": trials, "--jobs": jobs})
    check(trials >= 1, f"--trials: {trials} is too small; give at least 1")
    check(jobs >= 1, f"--jobs: {jobs} is too small; give at least 1")
    check(0 <= seed < 2**31, f"--seed: {seed} is not within 0 and 2^31; give another")
    compared = Objective(objective)
    check(
        not prune or compared.is_evaluated,
        f"--prune: evaluations in training do not hold {objective}; leave it out, or take policy.return_mean",
    )
    settings = read_space(Path(space))
    find_config(config)
    try:
        from lit_offrl.sweeps.study import FOLDER, TABLE, Sweep
    except ModuleNotFoundError as error:
        raise UserError(
            "sweep: needs optuna, which is not installed; pip install 'lit-offrl[sweep]'"
        ) from error
    folder = Path(run_dir or f"sweeps/{Path(config).stem}-{Path(space).stem}")
    arguments = ["--config", config, *fit]
    study = Sweep(
        folder, settings, compared, direction == "maximize", arguments, prune, seed, storage
    )
    with lock_folder(folder):
        best = study.run(trials, jobs).best_trial
    print(f"\nbest of {trials}: {objective} {best.value:.5g}, {folder / best.user_attrs[FOLDER]}")
    for key, value in best.params.items():
        print(f"  --{key} {value}")
    print(folder / TABLE, flush=True)
