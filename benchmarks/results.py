"""The results table: its systems on its sets, at one budget, from the configurations.

    python -m benchmarks.results --out runs/results --seeds 0 1          # go on where it was stopped
    python -m benchmarks.results --out runs/results --table              # print what is there

Where it departs from the configurations: raw units and no guard of imagination; bfloat16 hidden layers for policies, three hidden
layers in all critics, 10 000 starts a refresh, dynamics of 44 000 updates rather than to patience,
MABE's coefficient starts at 0.1, its delta on halfcheetah mixed is the quickstart's, COMBO draws 2 actions of each
kind instead of 10; ABM's batches are of 128 steps, and its targets copied every 50 updates, as after 150 copies
its values are still rising; AWAC's and MB2PO's batches are of 256 rows, and half of MB2PO's
updates are on the log alone. MOBILE takes the members' means in place of 10 samples, at a quarter of the time. Dynamics
and priors are trained once for each set and seed and taken by all systems; RAMBO trains the dynamics further at 3e-4. Each run is a process of its own with one thread, in its own folder; --processes many run side by side. The last policy is then
played for 50 episodes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from lit_offrl.datasets import OfflineDataset, open_dataset
from lit_offrl.evaluation import Evaluator
from lit_offrl.policy import PolicyLearner
from lit_offrl.priors import BehaviorPrior
from lit_offrl.training.checkpoints import load_module
from lit_offrl.training.files import write_json

EPISODES = 50
PLAYED = "played.json"
CONFIGS = Path(__file__).parent.parent / "configs"


@dataclass(frozen=True)
class Set:
    """A dataset and what the algorithms' tables say of it.

    Attributes:
        dataset: Minari id.
        epochs: Of the dynamics, 44 000 updates. Fewer do not do: at 10 000 MOPO's returns on
            halfcheetah mixed swing by thousands.
        penalty: lambda, as OfflineRL-Kit runs the v2 sets with h = 5 (docs/decisions.md 3.1).
        delta: MABE's target divergence.
        conservatism: COMBO's weight, by our squared error with a half.
        temperature: IQL's, the difference of the best and the worst return over 3000.
        by_return: Whether MABE's prior weighs by returns (docs/decisions.md 5.5).
    """

    dataset: str
    epochs: int
    penalty: float
    delta: float
    conservatism: float
    temperature: float
    by_return: bool = False


SETS = {
    "halfcheetah-mixed": Set("gym/halfcheetah/mixed-v0", 113, 0.5, 5, 0.25, 1.81),
    "hopper-mixed": Set("gym/hopper/mixed-v0", 57, 2.5, 5, 0.25, 0.42),
    "halfcheetah-medium-expert": Set(
        "gym/halfcheetah/medium-expert-v0", 57, 2.5, 0.1, 2.5, 2.42, by_return=True
    ),
    "hopper-medium-expert": Set("gym/hopper/medium-expert-v0", 57, 5.0, 0.1, 2.5, 1.16),
}
MABE_ABLATIONS = ("mabe_no_uncertainty", "mabe_flat_prior")
WITHOUT_MODEL = ("sac", "td3_bc", "iql")
SYSTEMS = ("bc", "mabe_no_rl", "mabe", "mopo", "mbpo", *MABE_ABLATIONS, *WITHOUT_MODEL, "combo")
ABM = ("bm_mpo", "abm_mpo", "abm_svg", "abm_eps0")
DIFFUSION = ("bc_diffusion", "idql_diffusion", "mpo_diffusion")
# Run on the mixed sets alone.
ON_MIXED = (*ABM, "awac", "mb2po", "mobile", "rambo", *DIFFUSION)
MIXED = ("halfcheetah-mixed", "hopper-mixed")
WITH_MODEL = {"mabe", "mopo", "mbpo", "combo", "mb2po", "mobile", "rambo", *MABE_ABLATIONS}
# The prior that a system takes, by how it was trained.
PRIORS = {
    **dict.fromkeys(("mabe_no_rl", "mabe", "mabe_no_uncertainty"), "weighted"),
    **dict.fromkeys(("bc", "mabe_flat_prior", "rambo"), "flat"),
    **dict.fromkeys(DIFFUSION, "diffusion"),
}
WITHOUT_PENALTY = {"mbpo", "combo", "rambo", "mabe_no_uncertainty"}
# As the table's rows were run.
RAW = ["--data.standardize", "none"]
WITHOUT_POLICY = ("bc", "mabe_no_rl", "bc_diffusion")
MPO = (*ABM, "mpo_diffusion")


def fit(run_dir: Path, *arguments: str) -> int:
    """Run ``lit-offrl fit`` in a process of one thread; what it prints goes to ``log``."""
    run_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "lit_offrl", "fit", "--trainer.accelerator", "cpu"]
    # A folder is named after what runs there: go on in it with a newer version, too.
    command += ["--reuse", "true"]
    with (run_dir / "log").open("a") as log:
        return subprocess.run(
            [*command, "--run_dir", str(run_dir), *arguments],
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ).returncode


def stacked(*configs: str) -> list[str]:
    """Files of ``configs``, as arguments."""
    return [word for name in configs for word in ("--config", f"{CONFIGS}/{name}.yaml")]


def weighting(data: Set, kind: str) -> list[str]:
    """The weighting of a prior of Gaussians, as arguments."""
    if kind == "diffusion":
        return []
    weighted = "ReturnWeighting" if data.by_return else "ValueWeighting"
    name = weighted if kind == "weighted" else "UniformWeighting"
    return ["--prior.weighting", f"lit_offrl.priors.{name}"]


def fit_parts(out: Path, name: str, seed: int, systems: Sequence[str]) -> None:
    """Train the dynamics and the priors of a set that ``systems`` take."""
    data, folder = SETS[name], out / f"parts-{name}-{seed}"
    common = ["--data.dataset", data.dataset, "--seed_everything", str(seed), *RAW]
    if WITH_MODEL.intersection(systems) and not list(folder.glob("dynamics-*/best.ckpt")):
        epochs = ["--dynamics.max_epochs", str(data.epochs), "--until", "dynamics"]
        fit(folder, *stacked("mabe", "budgets/two_cores"), *common, *epochs)
    for kind in sorted({PRIORS[system] for system in systems if system in PRIORS}):
        if not list((folder / kind).glob("prior-*/best.ckpt")):
            config = "bc_diffusion" if kind == "diffusion" else "mabe"
            files = stacked(config, "budgets/two_cores")
            fit(folder / kind, *files, *common, *weighting(data, kind), "--until", "prior")


def part(folder: Path, stage: str) -> str:
    """The checkpoint of a part that was trained before."""
    found = sorted(folder.glob(f"{stage}-*/best.ckpt"))
    if not found:
        raise SystemExit(f"{folder}: no {stage} was trained there; see its log")
    return str(found[0])


def arguments_of(out: Path, system: str, name: str, seed: int) -> list[str]:
    """All arguments of one run."""
    data, parts = SETS[name], out / f"parts-{name}-{seed}"
    found = stacked(system, "budgets/two_cores")
    found += ["--data.dataset", data.dataset, "--seed_everything", str(seed), *RAW]
    found += ["--trainer.precision", "bf16-mixed"]
    if system not in (*WITHOUT_POLICY, "awac", "mb2po"):
        found += ["--policy.module.critic_hidden", "[256, 256, 256]"]
    if system in PRIORS:
        found += weighting(data, PRIORS[system])
        found += ["--prior.checkpoint", part(parts / PRIORS[system], "prior")]
    if system in WITH_MODEL:
        found += ["--dynamics.checkpoint", part(parts, "dynamics")]
        found += ["--policy.imagination.starts", "10000", "--policy.imagination.guard", "false"]
    if system == "rambo":
        found += ["--dynamics.jointly.learning_rate", "3.0e-4"]
    if system == "mobile":
        found += ["--policy.imagination.penalty.samples", "0"]
    if system in WITH_MODEL - WITHOUT_PENALTY - {"mobile"}:
        penalty = 1.0 if system == "mb2po" else data.penalty
        found += ["--policy.imagination.penalty_coefficient", str(penalty)]
    if system in ("mabe", *MABE_ABLATIONS):
        constraint = "--policy.module.constraint"
        found += [f"{constraint}.target", str(data.delta), f"{constraint}.coefficient", "0.1"]
    if system == "combo":
        conservatism = "--policy.module.conservatism"
        found += [f"{conservatism}.weight", str(data.conservatism), f"{conservatism}.samples", "2"]
    if system in ("iql", "idql_diffusion"):
        found += ["--policy.module.improvement.weighting.temperature", str(data.temperature)]
    if system in MPO:
        found += ["--policy.batch_size", "128", "--policy.module.target_period", "50"]
    if system in ("awac", "mb2po"):
        found += ["--policy.batch_size", "256"]
    if system == "mb2po":
        horizon = "5" if name.startswith("halfcheetah") else "1"
        found += ["--policy.imagination.horizon", horizon, "--policy.imagination.after", "15000"]
    if system == "td3_bc":
        # An update has two steps of its critics.
        found += ["--policy.updates", "15000", "--policy.checkpoint_every", "15000"]
    return found


def run(out: Path, system: str, name: str, seed: int) -> None:
    """One system on one set from one seed, unless it is there."""
    folder = out / f"{system}-{name}-{seed}"
    if not (folder / "results.json").is_file():
        code = fit(folder, *arguments_of(out, system, name, seed))
        print(f"{folder.name}: exit code {code}", flush=True)


def fits(system: str, name: str) -> bool:
    """Whether the table has a cell for ``system`` on ``name``."""
    return system not in ON_MIXED or name in MIXED


def play(out: Path, system: str, name: str, seed: int) -> None:
    """Play what a run ended with over many episodes, unless that was done.

    The ten of its own report leave several points of doubt where some episodes fail.
    """
    folder = out / f"{system}-{name}-{seed}"
    if (folder / PLAYED).is_file() or not (folder / "results.json").is_file():
        return
    data = dataset_of(name)
    assert data.env_spec is not None
    policy = sorted(folder.glob("policy-*/last.ckpt"))
    prior = "" if policy else part(out / f"parts-{name}-{seed}" / PRIORS[system], "prior")
    module: Any = load_module(policy[0], PolicyLearner) if policy else load_prior(prior)
    evaluator = Evaluator(data.env_spec, EPISODES, data.obs_dim, data.act_dim)
    outcome = evaluator.run(module.act, seed=12345)
    score = data.score(outcome.returns)
    assert score is not None
    write_json({"scores": score.tolist(), "lengths": outcome.lengths.tolist()}, folder / PLAYED)


def load_prior(path: str) -> BehaviorPrior:
    """A prior from its checkpoint."""
    return load_module(path, BehaviorPrior)  # type: ignore[type-abstract]


@cache
def dataset_of(name: str) -> OfflineDataset:
    """The set's rows, of which the environment and the reference scores are wanted."""
    return open_dataset(SETS[name].dataset).read()


def scores(out: Path, system: str, name: str) -> list[float]:
    """Mean score of the last policy, by seed."""
    paths = sorted(out.glob(f"{system}-{name}-[0-9]*/{PLAYED}"))
    return [mean(json.loads(path.read_text())["scores"]) for path in paths]


def table(out: Path, systems: Sequence[str], sets: Sequence[str]) -> Iterator[str]:
    """Rows of Markdown: mean over seeds, their standard deviation, and how many they are."""
    yield "| config | " + " | ".join(sets) + " | mean |"
    yield "|---" * (len(sets) + 2) + "|"
    for system in systems:
        cells, means = [], []
        for name in sets:
            found = scores(out, system, name)
            spread = f" ± {stdev(found):.1f}" if len(found) > 1 else ""
            cells.append(f"{mean(found):.1f}{spread} ({len(found)})" if found else "")
            means += [mean(found)] if found else []
        whole = f"{mean(means):.1f}" if len(means) == len(sets) else ""
        yield f"| `{system}` | " + " | ".join(cells) + f" | {whole} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/results"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument(
        "--systems", nargs="+", default=[*SYSTEMS, *ON_MIXED], choices=(*SYSTEMS, *ON_MIXED)
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="print the table and do nothing else")
    given = parser.parse_args()
    if not given.table:
        for seed in given.seeds:
            parts = partial(fit_parts, given.out, seed=seed, systems=given.systems)
            with ThreadPoolExecutor(given.processes) as pool:
                list(pool.map(parts, given.sets))
                jobs = [(s, n) for s in given.systems for n in given.sets if fits(s, n)]
                list(pool.map(lambda j: run(given.out, *j, seed), jobs))  # noqa: B023
            for job in jobs:
                play(given.out, *job, seed)
    print(
        "\n".join([*table(given.out, SYSTEMS, list(SETS)), "", *table(given.out, ON_MIXED, MIXED)])
    )


if __name__ == "__main__":
    main()
