"""A sweep: an Optuna study in a folder, with its trials' runs."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from lit_offrl.errors import UserError, check, first_line
from lit_offrl.experiments.engines import Engine
from lit_offrl.sweeps.objective import Objective
from lit_offrl.sweeps.space import Setting
from lit_offrl.sweeps.trial import FailedRun, Trials
from lit_offrl.training.files import write_whole

STORAGE = "study.log"
TABLE = "trials.csv"
FOLDER = "folder"


@dataclass
class Sweep:
    """Search for the settings with the best objective.

    Attributes:
        folder: Folder of the study and its runs.
        space: Settings to vary.
        objective: Number to optimise.
        maximize: Whether larger is better.
        arguments: Arguments of ``fit``, the same for all trials.
        prune: Whether to stop trials whose evaluations are below the median of the other trials (Optuna's
            MedianPruner).
        seed: Seed of the search.
        storage: URL of the study's database, in place of a file in ``folder``.
    """

    folder: Path
    space: Sequence[Setting]
    objective: Objective
    maximize: bool
    arguments: Sequence[str]
    prune: bool
    seed: int
    storage: str | None = None

    def run(self, trials: int, engine: Engine) -> optuna.Study:
        """Run trials by ``engine`` until ``trials`` are done; interrupted trials are resumed first.

        Raises:
            UserError: A setting is invalid, or no trial finished.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        study = self.open_study()
        self.restore(study)
        counted = (TrialState.COMPLETE, TrialState.PRUNED)
        missing = trials - len(study.get_trials(deepcopy=False, states=counted))
        self.runs, self.drawing = Trials(engine, self.objective, self.arguments), threading.Lock()
        with ThreadPoolExecutor(engine.jobs) as pool:
            futures = [pool.submit(self._try_one, study) for _ in range(missing)]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                self.runs.stop()
                pool.shutdown(cancel_futures=True)
                raise
            finally:
                self.write_table(study)
        check(
            bool(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])),
            f"'{self.folder}': no trial finished; see its .log files",
        )
        return study

    def open_study(self) -> optuna.Study:
        """Create or open the study.

        Raises:
            UserError: The storage cannot be used, or holds a study of another objective or direction.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        direction: Literal["maximize", "minimize"] = "maximize" if self.maximize else "minimize"
        try:
            storage = self.storage or JournalStorage(JournalFileBackend(str(self.folder / STORAGE)))
            study = optuna.create_study(
                storage=storage,
                study_name=self.folder.name,
                direction=direction,
                pruner=optuna.pruners.MedianPruner() if self.prune else optuna.pruners.NopPruner(),
                load_if_exists=True,
            )
        except Exception as error:
            raise UserError(f"--storage: cannot be opened, {first_line(error)}") from error
        # Another seed after each start, so that a resumed study does not repeat its draws.
        study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(study.trials))
        wanted = {"objective": self.objective.name, "direction": direction}
        known = {name: study.user_attrs.get(name, value) for name, value in wanted.items()}
        check(
            known == wanted and study.direction.name.lower() == direction,
            f"--run_dir: '{self.folder}' holds a sweep of {known['objective']} ({study.direction.name.lower()}); "
            "choose another folder",
        )
        study.set_user_attr("objective", self.objective.name)
        # Trials of other spaces or budgets cannot be compared.
        space = [str(one) for one in self.space]
        for name, now in {"space": space, "arguments": list(self.arguments)}.items():
            before = study.user_attrs.get(name, now)
            check(
                before == now,
                f"--run_dir: '{self.folder}' holds a sweep with another {name.removesuffix('s')}, {before} rather than "
                f"{now}; choose another folder",
            )
            study.set_user_attr(name, now)
        return study

    def restore(self, study: optuna.Study) -> None:
        """Enqueue the unfinished trials of a killed sweep, which resume in their folders."""
        for trial in study.get_trials(states=[TrialState.RUNNING]):
            name = trial.user_attrs.get(FOLDER, name_folder(trial.number))
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params, user_attrs={FOLDER: name})

    def _try_one(self, study: optuna.Study) -> None:
        """Run one trial, and report its result to the study."""
        with self.drawing:
            trial = study.ask()
            settings = [w for s in self.space for w in (f"--{s.key}", s.draw(trial))]
            name = trial.user_attrs.get(FOLDER, name_folder(trial.number))
            trial.set_user_attr(FOLDER, name)
        run_dir = self.folder / name
        values = " ".join(f"{key}={value}" for key, value in trial.params.items())

        reported: set[int] = set()

        def report() -> None:
            for updates, value in self.objective.progress(run_dir):
                if updates not in reported:
                    trial.report(value, updates)
                    reported.add(updates)

        def goes_on() -> bool:
            if not self.prune:
                return True
            report()
            return not trial.should_prune()

        try:
            whole = self.runs.fit(run_dir, settings, goes_on)
        except FailedRun as error:
            study.tell(trial, state=TrialState.FAIL)
            print(f"{name}: {values}: failed, {error}", flush=True)
            return
        if self.runs.stopped.is_set():
            # The trial resumes with the sweep.
            return
        if not whole:
            study.tell(trial, state=TrialState.PRUNED)
            print(f"{name}: {values}: pruned", flush=True)
            return
        if self.prune:
            # Report the remaining evaluations, with which other trials are compared.
            report()
        value = self.objective.read(run_dir)
        study.tell(trial, value)
        print(f"{name}: {values}: {self.objective.name} {value:.5g}", flush=True)

    def write_table(self, study: optuna.Study) -> None:
        """Write all trials as ``trials.csv``."""
        text, keys = io.StringIO(), [setting.key for setting in self.space]
        rows = csv.writer(text)
        rows.writerow([FOLDER, "state", self.objective.name, *keys])
        for trial in study.get_trials(deepcopy=False):
            value = "" if trial.value is None else repr(trial.value)
            params = [trial.params.get(key, "") for key in keys]
            name = trial.user_attrs.get(FOLDER, "")
            rows.writerow([name, trial.state.name.lower(), value, *params])
        write_whole(text.getvalue().encode(), self.folder / TABLE)


def name_folder(number: int) -> str:
    """The folder of a trial."""
    return f"trial{number:04d}"
