"""``lit-offrl sweep``: a search over settings, each trial a run."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Literal

from lit_offrl.cli.configs import find_config, read_yaml
from lit_offrl.cli.data import VerbParser
from lit_offrl.errors import UserError, check
from lit_offrl.experiments.engines import EngineName, check_engine, make_engine
from lit_offrl.sweeps.objective import Objective
from lit_offrl.sweeps.space import Setting, read_space
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
    jobs: int | None = None,
    threads: int = 1,
    engine: EngineName = "local",
    gpus: float = 0,
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
        objective: Number to optimise: keys of a run's results.json joined by dots, such as policy.return_mean;
            or evaluation/NAME for the last evaluation in training; or selection/NAME for an estimate of
            lit-offrl select without an environment, such as selection/fitted_q.low.
        direction: Whether to maximize or minimize the objective.
        trials: Number of trials in all, including those of earlier calls and excluding failed ones.
        jobs: Number of trials at the same time; by default one, or with Ray as many as its resources allow.
        threads: Number of CPU threads of each trial.
        engine: Where trials are started: local is processes on this machine, ray is a Ray cluster.
        gpus: Number of GPUs of each trial with Ray, such as 0.5.
        prune: Whether to stop trials whose evaluations in training are below the median of the other trials.
        seed: Seed of the search; the seed of the runs is that of the configuration.
        storage: URL of the study's database, such as sqlite:///sweep.db; by default a file in the folder.

    Raises:
        UserError: A value is invalid, or optuna is not installed.
    """
    check_engine(engine, jobs, threads, gpus)
    check(trials >= 1, f"--trials: {trials} is too small; give at least 1")
    check(0 <= seed < 2**31, f"--seed: {seed} is not within 0 and 2^31; give another")
    compared = Objective(objective)
    check_objective(compared, prune)
    settings = read_settings(Path(space))
    find_config(config)
    folder = Path(run_dir or f"sweeps/{Path(config).stem}-{Path(space).stem}")
    arguments = ["--config", config, *fit]
    given = settings, compared, direction == "maximize", arguments, prune, seed, storage
    study_module = import_study()
    study = study_module.Sweep(folder, *given)
    with lock_folder(folder):
        best = study.run(trials, make_engine(engine, jobs, threads, gpus)).best_trial
    run = folder / best.user_attrs[study_module.FOLDER]
    print(f"\nbest of {trials}: {objective} {best.value:.5g}, {run}")
    for key, value in best.params.items():
        print(f"  --{key} {value}")
    print(folder / study_module.TABLE, flush=True)


def read_settings(path: Path) -> list[Setting]:
    """The settings of the file ``--space``.

    Raises:
        UserError: The file is missing or invalid.
    """
    try:
        return read_space(read_yaml(path))
    except UserError as error:
        text = str(error).removeprefix("--space: ")
        raise UserError(f"--space: {text}") from error


def check_objective(objective: Objective, prune: bool) -> None:
    """Check that trials can be pruned by ``objective``, if they are to be.

    Raises:
        UserError: Evaluations in training do not have it.
    """
    check(
        not prune or objective.is_evaluated,
        f"--prune: evaluations in training do not hold {objective.name}; leave it out, or take policy.return_mean",
    )


def import_study() -> ModuleType:
    """The module ``lit_offrl.sweeps.study``, which needs optuna.

    Raises:
        UserError: optuna is not installed.
    """
    try:
        from lit_offrl.sweeps import study
    except ModuleNotFoundError as error:
        raise UserError(
            "sweep: needs optuna, which is not installed; pip install 'lit-offrl[sweep]'"
        ) from error
    return study
