"""``lit-offrl data collect``: makes a dataset of rollouts of a given policy."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from itertools import count, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from minari.data_collector.episode_buffer import EpisodeBuffer

from lit_offrl.collect.environment import make_learnable_env
from lit_offrl.collect.recorder import Recorder
from lit_offrl.collect.stable_baselines import policy_of, sac
from lit_offrl.collect.write import check_free, write
from lit_offrl.errors import UserError, attempt, check, first_line
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.checkpoints import load_module

Policy = Callable[[np.ndarray], np.ndarray]


def collect(
    id: str,
    environment: str,
    steps: int,
    policy: str = "random",
    deterministic: bool = False,
    seed: int = 0,
    trust: bool = False,
) -> None:
    """Run a policy in an environment, and write its episodes as a dataset.

    Args:
        id: Id of the new Minari dataset, such as mine/cheetah-v0; it is written below MINARI_DATASETS_PATH.
        environment: Gymnasium id of the environment, such as HalfCheetah-v5.
        steps: Number of steps in the environment; the last episode is cut there.
        policy: Policy that acts: random; a checkpoint (best.ckpt or last.ckpt) of a policy or a prior; a
            .zip of SAC by stable-baselines3; or module:function, which is called with a numpy Generator at the
            start of each episode and returns the episode's policy, a function from an observation to an action.
        deterministic: Whether the policy takes its deterministic action rather than a sample.
        seed: Seed of start states and samples.
        trust: Whether to import modules of your own that the checkpoint names, which runs their code.

    Raises:
        UserError: The dataset exists, the environment cannot be made, or the policy cannot be loaded.
    """
    check_free(id)
    check(steps > 0, f"steps: {steps} is too small; give at least 1")
    check(0 <= seed < 2**31, f"seed: {seed} is not from 0 to 2^31 - 1; give another")
    made_in, episodes = make_env(environment, steps, policy, seed, deterministic, trust)
    how = "deterministic actions" if deterministic else "sampled actions"
    write(id, made_in, episodes, policy, f"{steps} steps, {how}, seed {seed}.")


def make_env(
    environment: str,
    steps: int,
    policy: str,
    seed: int,
    deterministic: bool = False,
    trust: bool = False,
) -> tuple[str, list[EpisodeBuffer]]:
    """Run ``policy`` for a number of steps.

    Returns:
        The environment's full id, and the episodes.

    Raises:
        UserError: The environment cannot be made, or the policy cannot be loaded.
    """
    playing = Recorder(make_learnable_env(environment), "collect", steps)
    if ":" in policy and not Path(policy).exists():
        policies = own_policies(policy, playing.action_space, seed)
    else:
        policies = repeat(load_policy(policy, playing, deterministic, seed, trust))
    assert playing.spec is not None
    return playing.spec.id, rollout(playing, policies, steps, seed)


def rollout(
    playing: Recorder, policies: Iterator[Policy], steps: int, seed: int
) -> list[EpisodeBuffer]:
    """Run the next of ``policies`` in each episode, and close the environment.

    Returns:
        The episodes of ``steps`` steps in all, the last one truncated.
    """
    observation, _ = playing.reset(seed=seed)
    act = next(policies)
    for _ in range(steps):
        observation, _, terminated, truncated, _ = playing.step(act(observation))
        if terminated or truncated:
            observation, _ = playing.reset()
            act = next(policies)
    playing.close()
    return playing.episodes()


def own_policies(name: str, space: Any, seed: int) -> Iterator[Policy]:
    """The policy of each episode by a function of your own.

    Args:
        name: The function, as ``module:function``.
        space: The environment's space of actions.
        seed: Seed of the generators that the function is called with.

    Raises:
        UserError: The module cannot be imported or has no such function, the function fails, or an action is not in
            the space.
    """
    module, _, function = name.partition(":")
    owner = f"policy '{name}'"
    make = getattr(attempt(owner, importlib.import_module, module), function, None)
    check(callable(make), f"{owner}: '{module}' has no function '{function}'; give module:function")
    for number in count():
        act = attempt(owner, make, np.random.default_rng([seed, number]))  # type: ignore[arg-type]

        def checked(observation: np.ndarray, act: Policy = act) -> np.ndarray:
            action = attempt(owner, lambda: np.asarray(act(observation), space.dtype))
            check(
                space.contains(action), f"{owner}: gave {action}; return an action within {space}"
            )
            return action

        yield checked


def load_policy(
    policy: str, env: Recorder, deterministic: bool, seed: int, trust: bool = False
) -> Policy:
    """Load ``policy`` as a function from an observation to an action of ``env``.

    Raises:
        UserError: The policy cannot be loaded, or has other sizes than the environment.
    """
    space: Any = env.action_space
    if policy == "random":
        space.seed(seed)
        return lambda observation: np.asarray(space.sample())
    if Path(policy).suffix == ".zip":
        return _stable_baselines(policy, deterministic, seed)
    module = load_module(policy, BlockModule, trust)  # type: ignore[type-abstract]
    sizes = {"obs_dim": env.observation_space, "act_dim": space}
    for name, its in sizes.items():
        made, needed = module.init_arguments().get(name), int(np.prod(its.shape or ()))
        check(
            made == needed and hasattr(module, "act"),
            f"policy: '{policy}' is not a policy for {needed} numbers ({name}); give a policy of this robot",
        )
    return _ours(module, space, deterministic, seed)


@torch.no_grad()
def _ours(module: Any, space: Any, deterministic: bool, seed: int) -> Policy:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)

    def act(observation: np.ndarray) -> np.ndarray:
        inputs = torch.as_tensor(observation, dtype=torch.float32).unsqueeze(0)
        with torch.no_grad():
            if deterministic:
                scaled = module.act(inputs)
            elif hasattr(module, "sampling_noise_dim"):
                # A prior samples from given noise.
                size = module.sampling_noise_dim(inputs.shape[-1])
                scaled = module.sample(inputs, torch.randn(1, size, generator=generator))
            else:
                scaled = module.sample(inputs, generator)
        clipped = scaled.clamp(-1, 1).squeeze(0).numpy()
        action = space.low + (clipped + 1) / 2 * (space.high - space.low)
        found: np.ndarray = action.astype(space.dtype)
        return found

    return act


def _stable_baselines(path: str, deterministic: bool, seed: int) -> Policy:
    kind = sac()
    print(f"policy: '{path}' holds pickles; loading them can run any code", flush=True)
    try:
        model = kind.load(path, device="cpu")
    except Exception as error:
        raise UserError(
            f"policy: '{path}' is no SAC of stable-baselines3, {first_line(error)}"
        ) from error
    model.set_random_seed(seed)
    return policy_of(model, deterministic)
