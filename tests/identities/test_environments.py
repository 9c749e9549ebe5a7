"""The papers' own tasks: rewards by hand, ground, and Gymnasium's contract."""

from __future__ import annotations

import math
import pickle
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from lit_offrl.dynamics.terminations import ant, hopper, never, termination_for, walker2d
from lit_offrl.environments import NAMES
from lit_offrl.environments.hiv import derivatives
from lit_offrl.errors import UserError
from lit_offrl.evaluation import Evaluator


def make(name: str, **kwargs: object) -> gym.Env:
    if name == "HIV":
        pytest.importorskip("scipy")
    return gym.make(f"lit_offrl/{name}-v0", **kwargs)


def steps(name: str, count: int = 30, **kwargs: object):
    """Random steps: the environment itself, action, next observation, reward, terminated, info."""
    env = make(name, **kwargs)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(count):
        action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        observation, reward, terminated, _, info = env.step(action)
        yield env.unwrapped, action.astype(float), observation, reward, terminated, info
        if terminated:
            env.reset()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:.*")
def test_each_is_a_proper_environment_with_a_rule(name: str) -> None:
    env = make(name)
    check_env(env.unwrapped, skip_render_check=True)
    rules = {"HalfCheetah": never, "Hopper": hopper, "Walker2d": walker2d, "Ant": ant, "HIV": never}
    rules["Gripper"] = never
    ((robot, rule),) = (item for item in rules.items() if name.startswith(item[0]))
    assert env.spec.max_episode_steps == {"HIV": 400, "Gripper": 100}.get(robot, 1000)
    assert termination_for(env.spec.id) is rule
    copied = pickle.loads(pickle.dumps(env.unwrapped))
    first, second = (e.reset(seed=3)[0] for e in (env.unwrapped, copied))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("ground", ["", "Slippery"])
@pytest.mark.parametrize("robot", ["HalfCheetah", "Hopper", "Walker2d"])
def test_backward_pays_for_the_other_direction(robot: str, ground: str) -> None:
    cost, bonus = (0.1, 0.0) if robot == "HalfCheetah" else (0.001, 1.0)
    for _, action, _, reward, terminated, info in steps(f"{robot}Backward{ground}"):
        expected = -info["x_velocity"] - cost * action @ action + bonus * (not terminated)
        assert reward == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("robot", ["HalfCheetah", "Hopper", "Walker2d"])
def test_slippery_ground_quarters_the_sliding_friction_of_every_surface(robot: str) -> None:
    normal, slippery = (
        make(f"{robot}Backward{ground}").unwrapped.model.geom_friction
        for ground in ("", "Slippery")
    )
    np.testing.assert_allclose(slippery[:, 0], 0.25 * normal[:, 0])
    np.testing.assert_array_equal(slippery[:, 1:], normal[:, 1:])


@pytest.mark.parametrize(("surfaces", "matters"), [(slice(0, 1), False), (slice(None), True)])
def test_a_slippery_floor_alone_changes_nothing(surfaces: slice, matters: bool) -> None:
    reached = []
    for friction in (1.0, 0.25):
        env = gym.make("HalfCheetah-v5").unwrapped
        assert env.model.geom(0).name == "floor"
        env.model.geom_friction[surfaces, 0] *= friction
        env.reset(seed=0)
        rng = np.random.default_rng(0)
        for _ in range(50):
            observation, *_ = env.step(rng.uniform(-1, 1, 6))
        reached.append(observation)
    assert np.array_equal(*reached) != matters


def test_capped_and_jumping_cheetahs_are_paid_as_the_paper_says() -> None:
    fast = gym.make("lit_offrl/HalfCheetahCapped-v0").unwrapped
    fast.reset(seed=0)
    for speed, paid in ((10.0, 3.0), (-10.0, None)):
        fast.data.qvel[0] = speed
        _, reward, _, _, info = fast.step(np.full(6, 0.5))
        assert abs(info["x_velocity"]) > 3
        expected = (info["x_velocity"] if paid is None else paid) - 0.1 * 6 * 0.25
        assert reward == pytest.approx(expected)
    for _, action, observation, reward, _, info in steps("HalfCheetahJump"):
        assert observation.shape == (17,)
        expected = min(info["x_velocity"], 3) - 0.1 * action @ action + 15 * observation[0]
        assert reward == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "degrees"), [("AntForward", 0), *((f"AntAngle{d}", d) for d in (30, 45, 60, 90))]
)
@pytest.mark.parametrize("bonus", [0.0, 1.0])
def test_ants_are_paid_along_their_direction(name: str, degrees: int, bonus: float) -> None:
    kwargs = {"healthy_reward": bonus} if bonus else {}
    angle = math.radians(degrees)
    for _, action, observation, reward, terminated, info in steps(name, **kwargs):
        assert observation.shape == (27,)
        along = info["x_velocity"] * math.cos(angle) + info["y_velocity"] * math.sin(angle)
        expected = along - 0.5 * action @ action + bonus * (not terminated)
        assert reward == pytest.approx(expected, abs=1e-6)


def test_the_infection_changes_as_the_equations_say() -> None:
    state = np.array([1000.0, 10.0, 100.0, 20.0, 50.0, 4.0])
    # Infections at half of full entry: 0.5 * 8e-7 * 50 * 1000 = 0.02, 0.83 * 1e-4 * 50 * 100 = 0.415.
    expected = [
        1e4 - 10 - 0.02,
        0.02 - 7 - 1e-5 * 4 * 10,
        31.98 - 1 - 0.415,
        0.415 - 14 - 1e-5 * 4 * 20,
        0.8 * 100 * 0.7 * 30 - 13 * 50 - 0.02 - 0.415,
        1 + 0.3 * 30 / 130 * 4 - 0.25 * 30 / 530 * 4 - 0.1 * 4,
    ]
    np.testing.assert_allclose(derivatives(state, np.array([0.5, 0.2])), expected)


@pytest.mark.parametrize(("dose", "expected"), [(-1.0, 7.0), (1.0, 18.8)])
def test_a_treatment_returns_what_the_equations_say(dose: float, expected: float) -> None:
    env = make("HIV")
    observation, _ = env.reset(seed=0)
    np.testing.assert_allclose(np.exp(observation), [1e6, 1e-4, 3198, 1e-4, 1, 10])
    total, days, truncated = 0.0, 0, False
    while not truncated:
        observation, reward, terminated, truncated, _ = env.step(np.full(2, dose, np.float32))
        assert not terminated
        states = np.exp(observation)
        assert (states >= 0).all()
        doses = (dose + 1) / 2 * np.array([0.7, 0.3])
        by_hand = 1e-6 * (1000 * states[5] - 0.1 * states[4] - 20000 * doses @ doses)
        assert reward == pytest.approx(by_hand)
        total, days = total + reward, days + 1
    assert days == 400
    assert total == pytest.approx(expected, abs=0.1)


def test_without_scipy_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.integrate", None)
    with pytest.raises(UserError, match=r"needs SciPy; install it with pip install 'lit-offrl"):
        Evaluator("lit_offrl/HIV-v0", 1, 6, 2)


def test_an_evaluator_knows_them_by_id() -> None:
    outcome = Evaluator("lit_offrl/HalfCheetahJump-v0", 1, 17, 6)
    assert outcome.environments[0].spec.id == "lit_offrl/HalfCheetahJump-v0"
