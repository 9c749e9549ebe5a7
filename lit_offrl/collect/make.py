"""A dataset from nothing but an environment, by soft actor-critic."""

from __future__ import annotations

import shutil
import warnings
from typing import TYPE_CHECKING, Literal

import gymnasium as gym
import minari
import numpy as np
from gymnasium.spaces import Box
from minari.data_collector.episode_buffer import EpisodeBuffer
from minari.dataset.minari_dataset import parse_dataset_id
from minari.storage import get_dataset_path

from lit_offrl.acceleration import onednn_products
from lit_offrl.collect.recorder import Recorder
from lit_offrl.environments import quiet_mujoco
from lit_offrl.errors import UserError, check, first_line

if TYPE_CHECKING:
    from stable_baselines3 import SAC


def make_dataset(
    id: str,
    environment: str,
    steps: int,
    keep: Literal["replay", "rollouts"],
    rollout_steps: int | None = None,
    seed: int = 0,
) -> None:
    """Train a behaviour policy online, by stable-baselines3's SAC, and write what it did.

    The first tenth of the steps, and 10 000 at most, are uniformly random; then there is one update
    a step. All else is stable-baselines3's default.

    Args:
        id: The new Minari dataset's, such as mine/cheetah-v0; written below MINARI_DATASETS_PATH.
        environment: Gymnasium id, such as HalfCheetah-v5 or lit_offrl/HalfCheetahBackward-v0.
        steps: Steps in the environment to train for.
        keep: replay keeps every step of the training, in order; rollouts keeps sampled actions of the
            final policy instead.
        rollout_steps: How many of those.
        seed: Seeds training and rollouts.

    Raises:
        UserError: The dataset exists, the environment cannot be made or learned in, the numbers do
            not fit together, or stable-baselines3 is not installed.
    """
    _check_free(id)
    check(steps > 0, f"steps: {steps} is too small; give at least 1")
    check(0 <= seed < 2**32, f"seed: {seed} is not within 0 and 2^32; give one that is")
    if keep == "rollouts":
        check(
            rollout_steps is not None and rollout_steps > 0,
            "rollout_steps: say how many steps of the final policy to keep, or --keep replay",
        )
    else:
        check(
            rollout_steps is None,
            "rollout_steps: the replay has as many as --steps; leave it out, or --keep rollouts",
        )
    try:
        from stable_baselines3 import SAC
        from stable_baselines3 import __version__ as version
    except ImportError as error:
        raise UserError(
            "data make needs stable-baselines3; install it with pip install 'lit-offrl[collect]'"
        ) from error
    training = Recorder(_environment(environment), "training", steps)
    learner = SAC(
        "MlpPolicy",
        training,
        learning_starts=min(10_000, steps // 10),
        buffer_size=steps,
        seed=seed,
    )
    with onednn_products(learner.device):
        learner.learn(steps)
    how = f"{steps} steps of training, seed {seed}"
    episodes = training.episodes()
    if rollout_steps is not None:
        episodes = _roll_out(learner, environment, rollout_steps, seed + 1)
        how = f"{rollout_steps} steps of sampled actions of the policy after {how}"
    training.close()
    assert training.spec is not None
    # By its full id: the user may have left out the version.
    _write(id, training.spec.id, episodes, f"SAC (stable-baselines3 {version})", f"{how}.")


def _roll_out(learner: SAC, environment: str, steps: int, seed: int) -> list[EpisodeBuffer]:
    playing = Recorder(_environment(environment), "rollouts", steps)
    observation, _ = playing.reset(seed=seed)
    for _ in range(steps):
        action, _ = learner.predict(observation, deterministic=False)
        observation, _, terminated, truncated, _ = playing.step(action)
        if terminated or truncated:
            observation, _ = playing.reset()
    playing.close()
    return playing.episodes()


def _environment(name: str) -> gym.Env[np.ndarray, np.ndarray]:
    quiet_mujoco()
    try:
        env = gym.make(name, disable_env_checker=True)
    except Exception as error:
        raise UserError(f"environment '{name}' cannot be made: {first_line(error)}") from error
    for what, space in (("observations", env.observation_space), ("actions", env.action_space)):
        bounded = isinstance(space, Box) and (what == "observations" or space.is_bounded())
        check(
            bounded and len(space.shape or ()) == 1,
            f"environment '{name}' has {what} {space}; only vectors can be learned from, "
            "with bounds for actions",
        )
    return env


def _check_free(id: str) -> None:
    try:
        parse_dataset_id(id)
        path = get_dataset_path(id)
    # Minari fails with a TypeError where the version is missing.
    except (ValueError, TypeError) as error:
        raise UserError(f"id: '{id}' is no dataset's id; give one like mine/cheetah-v0") from error
    except OSError as error:
        raise UserError(f"MINARI_DATASETS_PATH: {error}; give a folder that can be made") from error
    check(not path.exists(), f"dataset '{id}' exists, in {path}; give another id, or delete it")


def _write(
    id: str, environment: str, episodes: list[EpisodeBuffer], algorithm: str, description: str
) -> None:
    with warnings.catch_warnings():
        # Of an author, his address and his code, which a dataset of one's own can do without.
        warnings.filterwarnings("ignore", message="`(author|author_email|code_permalink|eval_env)`")
        try:
            dataset = minari.create_dataset_from_buffers(
                id, episodes, env=environment, algorithm_name=algorithm, description=description
            )
        except OSError as error:
            shutil.rmtree(get_dataset_path(id), ignore_errors=True)
            raise UserError(f"dataset '{id}': cannot be written, {error}") from error
    returns = [float(np.sum(episode.rewards)) for episode in episodes]
    print(
        f"{id}: {sum(map(len, episodes))} steps in {len(episodes)} episodes, mean return "
        f"{np.mean(returns):.1f}, best {max(returns):.1f}; in {dataset.storage.data_path}"
    )
