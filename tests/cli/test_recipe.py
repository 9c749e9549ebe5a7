"""D4RL's recipe: one training, five sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import minari
import numpy as np
import pytest

from lit_offrl.cli import main
from lit_offrl.collect import recipe
from lit_offrl.collect.recipe import PARTS, RECIPES, Training, packed, unpacked
from lit_offrl.datasets import open_dataset
from tests.factories import episode


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("LIT_OFFRL_CACHE", str(tmp_path / "cache"))


def test_packing_is_undone() -> None:
    episodes = [episode(i, steps) for i, steps in enumerate((4, 1, 6))]

    class File(dict[str, Any]):
        files = property(lambda self: list(self))

    for one, again in zip(episodes, unpacked(File(packed(episodes)), 5), strict=True):
        assert again.id == one.id + 5
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            np.testing.assert_array_equal(getattr(again, name), getattr(one, name))


@pytest.mark.parametrize(
    ("returns", "medium"),
    [
        ([0.0] * 5 + [30.0] * 5 + [90.0] * 10, 5),
        ([100.0] * 20, 0),
        ([-50.0] * 20, 19),
    ],
)
def test_medium_is_the_first_policy_with_a_third_of_the_experts_return(
    returns: list[float], medium: int
) -> None:
    training = Training("hopper", 100, 0)
    training.folder.mkdir(parents=True)
    for number, value in enumerate(returns):
        training.about(number).write_text(json.dumps({"return": value}))
    assert training.medium() == medium


def test_random_sets_need_no_training(capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "make", "hopper-random", "--rollout_steps", "200"])
    assert "made/hopper-random-v0: 200 steps" in capsys.readouterr().out
    data = open_dataset("made/hopper-random-v0").read()
    assert data.env_spec is not None
    assert data.env_spec.id == "Hopper-v5"
    assert data.score_max == 3234.3
    assert len(RECIPES) == 15


def test_what_is_no_recipe_needs_to_be_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["data", "make", "mine/a-v0", "--steps", "10"])
    assert "give --environment and --keep" in capsys.readouterr().err


@pytest.mark.slow
def test_five_sets_of_one_training_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("stable_baselines3")
    size = ["--steps", "1000", "--rollout_steps", "300"]
    main(["data", "make", "hopper-medium-replay", *size])
    whole = minari.load_dataset("made/hopper-medium-replay-v0")
    # Again, killed in the middle.
    monkeypatch.setenv("LIT_OFFRL_CACHE", str(tmp_path / "other"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari2"))
    write_json = recipe.write_json

    def die(content: Any, path: Path) -> None:
        if path.name == "part-7.json":
            raise KeyboardInterrupt
        write_json(content, path)

    with monkeypatch.context() as patched:
        patched.setattr(recipe, "write_json", die)
        with pytest.raises(SystemExit):
            main(["data", "make", "hopper-medium-replay", *size])
    main(["data", "make", "hopper-medium-replay", *size])
    again = minari.load_dataset("made/hopper-medium-replay-v0")
    assert whole.total_steps == again.total_steps > 0
    for one, other in zip(whole, again, strict=True):
        np.testing.assert_array_equal(one.observations, other.observations)
        np.testing.assert_array_equal(one.actions, other.actions)
    for quality, steps in (("medium", 300), ("expert", 300), ("medium-expert", 600)):
        main(["data", "make", f"hopper-{quality}", *size])
        name = f"made/hopper-{quality}-v0"
        assert minari.load_dataset(name).total_steps == steps
        main(["data", "check", name])
    assert len(list((tmp_path / "other" / "recipes").glob("*/part-*.json"))) == PARTS
