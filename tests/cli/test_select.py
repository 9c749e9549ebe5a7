"""``lit-offrl select`` and the warnings at the end of ``fit``: what they rank, print, write and refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lit_offrl.cli import main
from lit_offrl.dynamics import Dynamics, DynamicsEnsemble
from lit_offrl.estimates import ModelRollouts, Policy, find_termination
from lit_offrl.estimates.deployment import deployment_warnings, quick_estimates
from lit_offrl.estimates.ranking import compare
from lit_offrl.priors import UniformWeighting
from lit_offrl.runs.folder import FinishedRun
from lit_offrl.training.checkpoints import save_module
from tests.arm import UNITS, arm_log
from tests.runs import TINY, fit

QUICK = ("--updates", 20, "--starts", 4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of all stages on the arm's log, which has no environment."""
    folder = tmp_path_factory.mktemp("arm")
    log = arm_log(folder / "arm.npz", steps=2000)
    # Long enough for the dynamics to know the log.
    longer = ["--dynamics.max_epochs", "30", "--dynamics.batch_size", "128"]
    wider = ["--dynamics.module.hidden", "[32]", "--prior.max_epochs", "10"]
    fit(TINY, folder / "run", "--data.dataset", log, *longer, *wider)
    return folder / "run"


def select(*arguments: object) -> None:
    main(["select", *map(str, arguments)])


def test_candidates_are_ranked_without_an_environment(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "selection.json"
    select(run, "--part", "all", *QUICK, "--tail", "true", "--output", output)
    found = json.loads(output.read_text())
    names = [one["name"] for one in found["candidates"]]
    assert names == [f"{run} (policy)", f"{run} (prior)"]
    # The log's episodes are shorter than 95 % of the discounted sum.
    assert found["horizon"] == 50
    assert found["discount"] == 0.99
    policy, prior = (one["estimates"] for one in found["candidates"])
    assert policy.keys() == {"fitted_q", "model", "critics"}
    assert prior.keys() == {"fitted_q", "model"}
    for one in (policy, prior):
        for estimate in one.values():
            assert estimate["low"] <= estimate["value"] <= estimate["high"]
    assert sorted(found["ranking"]["mean_rank"]) == sorted(names)
    assert found["quality"] == {}
    said = capsys.readouterr().out
    assert (
        "doubly robust: this TanhGaussianPrior was fitted to rows weighted by ValueWeighting"
        in said
    )
    assert f"selected: {found['ranking']['mean_rank'][0]}" in said


def test_a_doubly_robust_estimate_of_a_few_rows_is_left_out(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = FinishedRun(run).load("prior")
    assert prior is not None
    prior.set_arguments(weighting=UniformWeighting())
    behavior, output = tmp_path / "behavior.ckpt", tmp_path / "s.json"
    save_module(prior, behavior)
    select(run, "--part", "prior", *QUICK, "--behavior", behavior, "--output", output)
    (one,) = json.loads(output.read_text())["candidates"]
    assert "doubly_robust" not in one["estimates"]
    assert "doubly robust: left out, as only" in capsys.readouterr().out


def test_all_checkpoints_of_a_run_and_what_a_run_knows_of_their_returns(
    run: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (folder,) = copy.glob("policy-*")
    results = json.loads((copy / "results.json").read_text())
    results["policy"] = {"return_mean": 7.0}
    (copy / "results.json").write_text(json.dumps(results))
    select(copy, "--every", "true", *QUICK, "--output", tmp_path / "a.json")
    found = json.loads((tmp_path / "a.json").read_text())
    assert [Path(one["checkpoint"]).name for one in found["candidates"]] == [
        "best.ckpt",
        "last.ckpt",
    ]
    assert [one["return"] for one in found["candidates"]] == [7.0, 7.0]
    assert found["quality"]["fitted_q"]["regret"] == 0
    # Without results it is the evaluation after as many updates.
    (copy / "results.json").unlink()
    (folder / "evaluations.json").write_text(json.dumps([{"updates": 30, "return_mean": 5.0}]))
    select(folder / "last.ckpt", *QUICK, "--output", tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text())["candidates"][0]["return"] == 5.0


def test_the_same_seed_selects_the_same(run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        select(run, *QUICK, "--output", tmp_path / f"{name}.json")
    a, b = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "ab")
    assert a == b


def test_truth_judges_the_ranking(whole: Path, tmp_path: Path) -> None:
    arguments = [*QUICK, "--truth", "true", "--episodes", 2, "--output", tmp_path / "s.json"]
    select(whole, "--part", "all", *arguments)
    found = json.loads((tmp_path / "s.json").read_text())
    assert found["quality_of"] == 2
    assert all(one["return"] >= 1 for one in found["candidates"])
    # A log of other steps, or no model to be alone with, is refused.
    other = tmp_path / "other"
    shutil.copytree(whole, other)
    for change in ("dynamics", "value", "prior"):
        (folder,) = other.glob(f"{change}-*")
        shutil.rmtree(folder)
    with pytest.raises(SystemExit, match="2"):
        select(other, "--updates", 0, "--output", tmp_path / "t.json")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nowhere"], "nowhere"),
        (["."], "config.yaml"),
        (["{run}", "--starts", "0"], "--starts"),
        (["{run}", "--discount", "2"], "--discount"),
        (["{run}", "--updates", "-1"], "--updates"),
        (["{run}", "--part", "critic"], "part: 'critic' is none of policy, prior, all"),
        (["{run}", "--episodes", "0"], "--episodes"),
        (["{run}", "--seed", "-1"], "--seed"),
        (["{run}", "--truth", "true"], "--truth: dataset"),
        (["{run}", "--dynamics", "{robot}"], "is of another robot, obs_dim 3"),
        (["{dynamics}"], "DynamicsEnsemble"),
        (["{run}", "--dynamics", "{prior}"], "--dynamics"),
        (["{run}", "--behavior", "{run}"], "--behavior"),
        (["{alone}"], "run folder"),
        (["{unfinished}"], "no finished policy"),
        (["{run}", "{otherlog}"], "other data"),
        ([], "paths"),
    ],
)
def test_what_cannot_be_selected_gets_one_line(
    run: Path,
    tmp_path: Path,
    arguments: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (policy,) = run.glob("policy-*/last.ckpt")
    (prior,) = run.glob("prior-*/best.ckpt")
    (dynamics,) = run.glob("dynamics-*/best.ckpt")
    alone = tmp_path / "a" / "b" / "alone.ckpt"
    alone.parent.mkdir(parents=True)
    shutil.copy(policy, alone)
    for name in ("unfinished", "otherlog"):
        shutil.copytree(run, tmp_path / name)
    shutil.rmtree(next((tmp_path / "unfinished").glob("policy-*")))
    config = tmp_path / "otherlog" / "config.yaml"
    log = str(run.parent / "arm.npz")
    config.write_text(config.read_text().replace(log, arm_log(tmp_path / "other.npz", steps=300)))
    robot = tmp_path / "robot.ckpt"
    save_module(DynamicsEnsemble(3, 1, members=1, elites=1, hidden=[8], weight_decay=[0, 0]), robot)
    places = {"run": run, "prior": prior, "dynamics": dynamics, "alone": alone, "robot": robot}
    places |= {name: tmp_path / name for name in ("unfinished", "otherlog")}
    with pytest.raises(SystemExit, match="2"):
        select(*[argument.format(**places) for argument in arguments])
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1


def test_a_policy_without_an_estimate_ranks_last() -> None:
    values = {"good": 3.0, "diverged": float("nan"), "bad": 1.0, "lost": float("-inf")}
    found = [
        {"name": name, "estimates": {"fitted_q": {"value": value}}, "return": value}
        for name, value in values.items()
    ]
    result = compare(found)
    assert result["ranking"]["mean_rank"][:2] == ["good", "bad"]
    assert result["quality_of"] == 2
    assert result["quality"]["fitted_q"] == pytest.approx(
        {"spearman": 1, "regret": 0, "regret_share": 0}
    )


class Joints(nn.Module):
    """Moves the arm's four joints: towards 0 as the log's controller does, or ahead at full speed."""

    def __init__(self, home: bool) -> None:
        super().__init__()
        self.home = home

    def act(self, observations: Tensor) -> Tensor:
        angles = observations[..., :4] / torch.tensor(UNITS[:4], dtype=torch.float32)
        return (-0.7 * angles).clamp(-1, 1) if self.home else torch.ones_like(angles)


def test_a_policy_that_drives_out_of_the_log_is_flagged_and_a_good_one_is_not(run: Path) -> None:
    done = FinishedRun(run)
    log, dynamics = done.data.dataset, done.load("dynamics")
    assert isinstance(dynamics, Dynamics)
    rule = find_termination(dynamics, log, None)
    rollouts = ModelRollouts(dynamics, log, rule, 0.99, 50, 20)

    def judge(policy: Policy, at_bound: float) -> tuple[float, set[str]]:
        estimates = quick_estimates(log, {"policy": policy}, rollouts, 0.99, 50)
        actions = {"data": {"at_bound": 0.1}, "policy": {"at_bound": at_bound}}
        found = deployment_warnings(estimates, actions)
        return estimates["policy"]["outside_early"], {warning.name for warning in found}

    outside, flags = judge(Joints(home=False), 1.0)
    assert outside > 0.8
    assert {"commands_at_bound", "states_outside"} <= flags
    assert judge(Joints(home=True), 0.1)[1] == set()


def test_fit_ends_with_estimates_and_warnings(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    estimates = results["estimates"]
    assert estimates["log"]["reward"] < 100
    for part in ("prior", "policy"):
        assert estimates[part]["model_low"] <= estimates[part]["model"]
        assert 0 <= estimates[part]["outside"] <= 1
    for warning in results["warnings"]:
        assert warning["value"] > warning["threshold"]
        assert warning["message"]
