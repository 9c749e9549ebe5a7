"""``lit-offrl evaluate``: what it plays, prints, writes and refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lit_offrl.cli import main
from lit_offrl.cli.evaluate import format_row
from lit_offrl.evaluation.statistics import interval_of_mean
from tests.runs import fit


def evaluate(*arguments: object) -> None:
    main(["evaluate", *map(str, arguments)])


def test_every_part_that_acts_is_evaluated(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(whole, "--part", "all", "--episodes", 5, "--seed", 3)
    found = json.loads((whole / "evaluation.json").read_text())
    assert [name.split("(")[-1] for name in found] == ["policy)", "prior)"]
    for result in found.values():
        assert len(result["returns"]) == len(result["lengths"]) == 5
        assert result["return_mean"] == pytest.approx(sum(result["returns"]) / 5)
        low, high = result["return_interval"]
        assert min(result["returns"]) <= low <= result["return_mean"] <= high
    assert "95 % interval" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_episodes(whole: Path, tmp_path: Path) -> None:
    (policy,) = whole.glob("policy-*/last.ckpt")
    evaluate(whole, "--episodes", 2, "--output", tmp_path / "a.json")
    evaluate(policy, "--episodes", 2, "--output", tmp_path / "b.json")
    evaluate(whole, "--episodes", 2, "--seed", 1, "--output", tmp_path / "c.json")
    a, b, c = (next(iter(json.loads((tmp_path / f"{n}.json").read_text()).values())) for n in "abc")
    assert a["returns"] == b["returns"] != c["returns"]


def test_a_checkpoint_outside_of_its_run_needs_an_environment(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (prior,) = whole.glob("prior-*/best.ckpt")
    alone = tmp_path / "elsewhere" / "prior.ckpt"
    alone.parent.mkdir()
    shutil.copy(prior, alone)
    with pytest.raises(SystemExit, match="2"):
        evaluate(alone)
    assert "--environment" in capsys.readouterr().err
    evaluate(alone, "--environment", "InvertedPendulum-v5", "--episodes", 2)
    assert (alone.parent / "evaluation.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nowhere"], "nowhere"),
        (["."], "config.yaml"),
        (["{run}", "--episodes", "0"], "--episodes"),
        (["{run}", "--seed", "-1"], "--seed"),
        (["{run}", "--part", "critic"], "part"),
        (["{run}", "--environment", "HalfCheetah-v5"], "HalfCheetah-v5"),
        (["{run}", "--environment", "Nowhere-v0"], "Nowhere-v0"),
        (["{dynamics}"], "DynamicsEnsemble"),
        (["{broken}"], "broken.ckpt"),
        ([], "paths"),
    ],
)
def test_what_cannot_be_evaluated_gets_one_line(
    whole: Path,
    tmp_path: Path,
    arguments: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "broken.ckpt").write_bytes(b"no checkpoint")
    (dynamics,) = whole.glob("dynamics-*/best.ckpt")
    places = {"run": whole, "dynamics": dynamics, "broken": tmp_path / "broken.ckpt"}
    with pytest.raises(SystemExit, match="2"):
        evaluate(*[argument.format(**places) for argument in arguments])
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    ["", "- 1", "data: {a: 1}\n  b", "data: !!python/object/apply:os.system [true]", "data: {}"],
)
@pytest.mark.parametrize("verb", ["evaluate", "export", "select", "report"])
def test_a_broken_configuration_of_a_run_is_named(
    verb: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(f"# lit-offrl 0.2.0\n{text}\n")
    with pytest.raises(SystemExit, match="2"):
        main([verb, str(tmp_path)])
    (line,) = capsys.readouterr().err.splitlines()
    assert f"'{tmp_path / 'config.yaml'}' is broken" in line


def test_data_that_were_moved_are_named_with_the_runs_file(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = whole / "config.yaml"
    config.write_text(config.read_text().replace("pendulum/random-v0", "/other/log.npz"))
    with pytest.raises(SystemExit, match="2"):
        evaluate(whole, "--episodes", 1)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"'{config}': its data cannot be opened, data.dataset: no file '/other/log.npz'" in line


def test_long_numbers_of_the_table_are_apart() -> None:
    long = {"return_mean": -1142.82, "return_interval": (-1181.55, -1104.24), "length_mean": 1000}
    row = format_row(1000, {**long, "score": -10.0})
    assert row.split() == ["1000", "-1142.8", "-1181.5", "to", "-1104.2", "1000", "-10.0"]


def test_seeds_of_a_run_are_all_evaluated(tiny: Path, tmp_path: Path) -> None:
    fit(tiny, tmp_path / "run", "--seeds", "2")
    evaluate(tmp_path / "run", "--episodes", 2)
    for seed in (0, 1):
        found = json.loads((tmp_path / "run" / f"seed{seed}" / "evaluation.json").read_text())
        assert len(found) == 1


def test_parts_of_the_users_own_are_those_of_the_run(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from lit_offrl.priors import TanhGaussianPrior\nclass Mine(TanhGaussianPrior): pass\n"
    (tmp_path / "my_prior.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    fit(tiny, tmp_path / "run", "--prior.module", "my_prior.Mine", "--until", "prior")
    evaluate(tmp_path / "run", "--episodes", 1)


def test_a_run_that_is_not_finished_is_named(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tiny, tmp_path / "run", "--until", "dynamics")
    with pytest.raises(SystemExit, match="2"):
        evaluate(tmp_path / "run")
    assert "no finished policy or prior" in capsys.readouterr().err


def test_an_episode_is_filmed_or_one_line_says_why_not(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        evaluate(whole, "--episodes", 1, "--video", "true")
    except SystemExit:
        error = capsys.readouterr().err
        assert "--video" in error
        assert error.count("\n") == 1
        return
    assert (whole / "policy.mp4").stat().st_size > 1000


def test_intervals_of_means() -> None:
    assert interval_of_mean([3.0]) == (3.0, 3.0)
    assert interval_of_mean([2.0, 2.0, 2.0]) == (2.0, 2.0)
    low, high = interval_of_mean([float(n % 10) for n in range(100)])
    # The normal approximation: 4.5 +- 1.96 * 2.872 / 10.
    assert low == pytest.approx(4.5 - 0.563, abs=0.05)
    assert high == pytest.approx(4.5 + 0.563, abs=0.05)
