"""Records a video of one episode of a policy."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from gymnasium.wrappers import RecordVideo
from torch import Tensor

from lit_offrl.errors import UserError, check, first_line
from lit_offrl.evaluation.episodes import Evaluator, make_env


def choose_renderer() -> None:
    """Set ``MUJOCO_GL`` to EGL on a Linux machine without a display, unless it is set.

    MuJoCo reads the variable when it renders for the first time.
    """
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")


def record_episode(
    act: Callable[[Tensor], Tensor],
    evaluator: Evaluator,
    path: Path,
    seed: int,
) -> Path:
    """Run one episode and write it to ``path``, an MP4 file.

    Args:
        act: Function from observations ``[1, obs]`` to actions ``[1, act]``.
        evaluator: Evaluator whose environment is recorded.
        path: Path of the MP4 file.
        seed: Seed of the start state.

    Raises:
        UserError: The environment cannot be rendered here, or moviepy is not installed.
    """
    check(
        find_spec("moviepy") is not None,
        "--video: needs moviepy; install it with pip install 'lit-offrl[video]'",
    )
    choose_renderer()
    try:
        env = make_env(evaluator.environment, evaluator.keys, render_mode="rgb_array")
        filmed = RecordVideo(env, str(path.parent), name_prefix=path.stem, disable_logger=True)
        observation, _ = filmed.reset(seed=seed % 2**31)
    except Exception as error:
        raise UserError(
            f"--video: this environment cannot be rendered here, {type(error).__name__}: {first_line(error)} "
            "Set MUJOCO_GL to egl or osmesa where MuJoCo needs it"
        ) from error
    ended = False
    while not ended:
        action = act(evaluator.inputs(observation[None]))[0]
        observation, _, terminated, truncated, _ = filmed.step(action.cpu().numpy())
        ended = bool(terminated or truncated)
    filmed.close()  # type: ignore[no-untyped-call]
    written = path.parent / f"{path.stem}-episode-0.mp4"
    return written.replace(path)
