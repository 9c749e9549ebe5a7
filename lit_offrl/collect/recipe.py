"""D4RL's recipe without D4RL's files: random, medium, medium-replay, medium-expert and expert sets.

One online training serves all five. Its parts are kept below ``LIT_OFFRL_CACHE``, so a second dataset
of the same robot needs no training, and a killed training resumes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from minari.data_collector.episode_buffer import EpisodeBuffer

from lit_offrl.collect.environment import make_learnable_env
from lit_offrl.collect.recorder import Recorder
from lit_offrl.collect.rollouts import make_env
from lit_offrl.collect.stable_baselines import new_sac, policy_of, sac, train
from lit_offrl.datasets.download import cache_folder
from lit_offrl.errors import check
from lit_offrl.training.blocks import mix_seed
from lit_offrl.training.files import write_json

if TYPE_CHECKING:
    from stable_baselines3 import SAC

ENVIRONMENTS = {"halfcheetah": "HalfCheetah-v5", "hopper": "Hopper-v5", "walker2d": "Walker2d-v5"}
QUALITIES = ("random", "medium", "medium-replay", "medium-expert", "expert")
RECIPES = tuple(f"{robot}-{quality}" for robot in ENVIRONMENTS for quality in QUALITIES)
# D4RL's medium policy has a third of the expert's return.
MEDIUM = 1 / 3
PARTS = 20
EPISODES = 5


class Training:
    """Online SAC training of one robot, saved part by part.

    Args:
        robot: Key of ``ENVIRONMENTS``.
        steps: Number of environment steps in all.
        seed: Seed of the environment and of SAC.
    """

    def __init__(self, robot: str, steps: int, seed: int) -> None:
        check(steps >= PARTS, f"steps: {steps} is too small; give at least {PARTS}")
        self.environment, self.steps, self.seed = ENVIRONMENTS[robot], steps, seed
        self.folder = cache_folder() / "recipes" / f"{robot}-{steps}-{seed}"

    def bounds(self) -> list[int]:
        """Number of steps at the end of each part."""
        return [self.steps * number // PARTS for number in range(1, PARTS + 1)]

    def run(self) -> None:
        """Train the missing parts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        done = 0
        for number, end in enumerate(self.bounds()):
            if not self.about(number).is_file():
                self._train(number, done, end)
            done = end

    def _train(self, number: int, done: int, end: int) -> None:
        recorder = Recorder(make_learnable_env(self.environment), "training", self.steps)
        seed = mix_seed(self.seed, "part", number) % 2**31
        if number:
            learner = sac().load(self.policy(number - 1), env=recorder, device="cpu")
            learner.load_replay_buffer(self.folder / "buffer.pkl")
        else:
            learner = new_sac(recorder, self.steps, device="cpu")
        # A part does not depend on whether earlier parts were trained in this process.
        learner.set_random_seed(seed)
        train(learner, end - done, reset_num_timesteps=number == 0)
        episodes = recorder.episodes()
        recorder.close()
        with atomic_path(self.policy(number)) as path:
            learner.save(path)
        with atomic_path(self.folder / "buffer.pkl") as path:
            learner.save_replay_buffer(path)
        with atomic_path(self.folder / f"replay-{number}.npz") as path:
            np.savez(path, **packed(episodes))
        value = self._value(learner)
        print(f"training: {end} of {self.steps} steps, return {value:.0f}", flush=True)
        write_json({"return": value, "steps": end}, self.about(number))

    def _value(self, learner: SAC) -> float:
        env, total, act = (
            make_learnable_env(self.environment),
            0.0,
            policy_of(learner, deterministic=True),
        )
        for episode in range(EPISODES):
            observation, _ = env.reset(seed=episode)
            ended = False
            while not ended:
                observation, reward, terminated, truncated, _ = env.step(act(observation))
                total, ended = total + float(reward), terminated or truncated
        env.close()
        return total / EPISODES

    def policy(self, number: int) -> Path:
        """Path of the policy at the end of a part."""
        return self.folder / f"policy-{number}.zip"

    def about(self, number: int) -> Path:
        """Path of the file that marks a part as done."""
        return self.folder / f"part-{number}.json"

    def medium(self) -> int:
        """The first part whose policy has a third of the last one's return."""
        returns = [json.loads(self.about(n).read_text())["return"] for n in range(PARTS)]
        goal = MEDIUM * returns[-1]
        return next(n for n, value in enumerate(returns) if value >= goal or n == PARTS - 1)

    def replay(self, last: int) -> list[EpisodeBuffer]:
        """All episodes up to the end of part ``last``."""
        found: list[EpisodeBuffer] = []
        for number in range(last + 1):
            with np.load(self.folder / f"replay-{number}.npz") as file:
                found += unpacked(file, len(found))
        return found


def make_recipe_data(
    name: str, steps: int, rows: int, seed: int
) -> tuple[list[EpisodeBuffer], str, str]:
    """Episodes of the dataset ``name``, their environment, and a description.

    Args:
        name: One of ``RECIPES``.
        steps: Steps of the training.
        rows: Steps of rollouts, for each policy.
        seed: Seed of training and rollouts.
    """
    robot, quality = name.split("-", 1)
    training = Training(robot, steps, seed)
    if quality == "random":
        _, episodes = make_env(training.environment, rows, "random", seed)
        return episodes, training.environment, f"{rows} uniformly random steps, seed {seed}."
    training.run()
    middle, last = training.medium(), PARTS - 1
    how = f"{steps} steps of SAC, seed {seed}"
    if quality == "medium-replay":
        return training.replay(middle), training.environment, f"Replay up to medium; {how}."
    parts = {"medium": [middle], "expert": [last], "medium-expert": [middle, last]}
    episodes = []
    for part in parts[quality]:
        start = mix_seed(seed, name, part) % 2**31
        _, found = make_env(training.environment, rows, str(training.policy(part)), start)
        episodes += [replace(one, id=len(episodes) + one.id) for one in found]
    return episodes, training.environment, f"{rows} steps of sampled actions of each policy; {how}."


def packed(episodes: list[EpisodeBuffer]) -> dict[str, Any]:
    """Episodes concatenated to arrays, to be saved."""
    columns = ("observations", "actions", "rewards", "terminations", "truncations")
    found = {name: np.concatenate([getattr(e, name) for e in episodes]) for name in columns}
    return {**found, "lengths": np.array([len(e.rewards) for e in episodes])}


def unpacked(file: Any, first: int) -> list[EpisodeBuffer]:
    """Episodes of the arrays of ``packed()``, numbered from ``first``."""
    columns = {name: file[name] for name in file.files}
    found, row, seen = [], 0, 0
    for number, length in enumerate(columns["lengths"].tolist()):
        steps = {
            name: columns[name][row : row + length]
            for name in ("actions", "rewards", "terminations", "truncations")
        }
        observations = columns["observations"][seen : seen + length + 1]
        found.append(EpisodeBuffer(id=first + number, observations=observations, infos={}, **steps))
        row, seen = row + length, seen + length + 1
    return found


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which is renamed to ``path`` at the end."""
    part = path.with_name(f"part-{path.name}")
    yield part
    os.replace(part, path)
