"""HIV treatment: MOPO's third out-of-distribution task (docs/decisions.md 3.3)."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from lit_offrl.errors import UserError

Array = NDArray[np.float64]

# Healthy and infected cells of type 1, of type 2, free virus, immune effectors; all per ml.
START = np.array([1e6, 1e-4, 3198.0, 1e-4, 1.0, 10.0])
STRONGEST = np.array([0.7, 0.3])
REWARD_SCALE = 1e-6


def derivatives(state: Array, doses: Array) -> Array:
    """Change per day of the patient's state under constant doses.

    Args:
        state: ``T1, T1*, T2, T2*, V, E``, per ml, ``[6]``.
        doses: Efficacies of the reverse transcriptase and the protease inhibitor, ``[2]``.

    Returns:
        Change per day, ``[6]``.

    Source:
        Adams, Banks, Kwon, Tran, *Dynamic multidrug therapies for HIV: optimal and STI control
        approaches*, 2004.
    """
    healthy1, infected1, healthy2, infected2, virus, effectors = state
    against_entry, against_release = doses
    infection1 = (1 - against_entry) * 8e-7 * virus * healthy1
    infection2 = (1 - 0.34 * against_entry) * 1e-4 * virus * healthy2
    infected = infected1 + infected2
    released = (1 - against_release) * 100 * 0.7 * infected
    return np.array(
        [
            1e4 - 0.01 * healthy1 - infection1,
            infection1 - 0.7 * infected1 - 1e-5 * effectors * infected1,
            31.98 - 0.01 * healthy2 - infection2,
            infection2 - 0.7 * infected2 - 1e-5 * effectors * infected2,
            released - 13 * virus - infection1 - infection2,
            1
            + effectors
            * (0.3 * infected / (infected + 100) - 0.25 * infected / (infected + 500) - 0.1),
        ]
    )


class HIVTreatment(gym.Env[Array, NDArray[np.float32]]):
    """Environment of one patient, with one pair of doses per day.

    Observations are the logarithms of the six states, actions the doses mapped from ``[-1, 1]`` to
    ``[0, 0.7]`` and ``[0, 0.3]``, and the reward is ``1e-6 (1000 E - 0.1 V - 20000 |doses|^2)`` after
    the step. Every episode starts from the same state.

    Raises:
        UserError: SciPy is not installed.
    """

    def __init__(self) -> None:
        try:
            from scipy.integrate import solve_ivp
        except ImportError as error:
            raise UserError(
                "lit_offrl/HIV-v0 needs SciPy; install it with pip install 'lit-offrl[collect]'"
            ) from error
        self._solve = solve_ivp
        self.observation_space = Box(-np.inf, np.inf, (6,), np.float64)
        self.action_space = Box(-1, 1, (2,), np.float32)
        self._logs = np.log(START)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self._logs = np.log(START)
        return self._logs.copy(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        doses = STRONGEST * (np.asarray(action, np.float64) + 1) / 2

        # In logarithms no state can become negative.
        def change(_: float, logs: Array) -> Array:
            state = np.exp(logs)
            return derivatives(state, doses) / state

        day = self._solve(change, (0, 1), self._logs, method="LSODA", rtol=1e-8, atol=1e-8)
        self._logs = day.y[:, -1]
        *_, virus, effectors = np.exp(self._logs)
        reward = 1000 * effectors - 0.1 * virus - 20000 * float(doses @ doses)
        return self._logs.copy(), REWARD_SCALE * reward, False, False, {}
