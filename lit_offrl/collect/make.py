"""``lit-offrl data make``: makes a dataset by training SAC in an environment."""

from __future__ import annotations

from itertools import repeat
from typing import Literal

from lit_offrl.collect.environment import make_learnable_env
from lit_offrl.collect.recipe import RECIPES, make_recipe_data
from lit_offrl.collect.recorder import Recorder
from lit_offrl.collect.rollouts import rollout
from lit_offrl.collect.stable_baselines import new_sac, policy_of, train
from lit_offrl.collect.write import check_free, write
from lit_offrl.datasets.references import references_of
from lit_offrl.errors import UserError, check

SAC_NAME = "stable-baselines3's SAC"


def make_dataset(
    id: str,
    environment: str | None = None,
    steps: int = 1_000_000,
    keep: Literal["replay", "rollouts"] | None = None,
    rollout_steps: int | None = None,
    seed: int = 0,
) -> None:
    """Train a behaviour policy online by stable-baselines3's SAC, and write a dataset of it.

    D4RL's names (halfcheetah, hopper or walker2d with random, medium, medium-replay, medium-expert or expert,
    such as halfcheetah-medium-replay) need no further options: the dataset is made by D4RL's recipe and written
    as made/halfcheetah-medium-replay-v0. One training, which is kept, serves all five datasets of a robot.

    The first tenth of the steps, but at most 10 000, are uniformly random; then there is one update per
    step. All other settings are stable-baselines3's defaults.

    Args:
        id: Id of the new Minari dataset, such as mine/cheetah-v0, written below MINARI_DATASETS_PATH; or
            one of D4RL's names, such as halfcheetah-medium-replay.
        environment: Gymnasium id of the environment, such as HalfCheetah-v5; not used with D4RL's names.
        steps: Number of steps in the environment for which SAC is trained.
        keep: Steps that become the dataset: replay keeps every step of the training, in order; rollouts
            keeps new steps of the final policy with sampled actions.
        rollout_steps: Number of steps of the rollouts; for D4RL's names by default 1000000 of each policy.
        seed: Seed of training and rollouts.

    Raises:
        UserError: The dataset exists, the environment cannot be used, arguments contradict each other, or
            stable-baselines3 is not installed.
    """
    check(steps > 0, f"steps: {steps} is too small; give at least 1")
    check(0 <= seed < 2**32, f"seed: {seed} is not from 0 to 2^32 - 1; give another")
    if id in RECIPES:
        _make_recipe(id, steps, rollout_steps or 1_000_000, seed)
        return
    check_free(id)
    if environment is None or keep is None:
        raise UserError(
            f"id: '{id}' is none of D4RL's names, such as {RECIPES[2]}; give --environment and "
            "--keep"
        )
    if keep == "rollouts":
        check(
            rollout_steps is not None and rollout_steps > 0,
            "rollout_steps: give the number of steps of the final policy to keep, or --keep replay",
        )
    else:
        check(
            rollout_steps is None,
            "rollout_steps: is not used with --keep replay, which keeps --steps steps; leave it out, or --keep rollouts",
        )
    training = Recorder(make_learnable_env(environment), "training", steps)
    learner = new_sac(training, steps, seed=seed)
    train(learner, steps)
    how = f"{steps} steps of training, seed {seed}"
    episodes = training.episodes()
    if rollout_steps is not None:
        playing = Recorder(make_learnable_env(environment), "rollouts", rollout_steps)
        act = repeat(policy_of(learner, deterministic=False))
        episodes = rollout(playing, act, rollout_steps, seed + 1)
        how = f"{rollout_steps} steps of sampled actions of the policy after {how}"
    training.close()
    assert training.spec is not None
    # The full id: the user may have left out the version.
    write(id, training.spec.id, episodes, SAC_NAME, f"{how}.")


def _make_recipe(name: str, steps: int, rows: int, seed: int) -> None:
    id = f"made/{name}-v0"
    check_free(id)
    episodes, environment, how = make_recipe_data(name, steps, rows, seed)
    write(id, environment, episodes, SAC_NAME, how, references_of(environment))
