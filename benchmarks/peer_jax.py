"""A worker of :mod:`benchmarks.peers`: the three loops in JAX, each compiled as a whole by XLA.

It needs jax and optax and nothing of this project, so it runs in the peers' own environment. It speaks
as :mod:`benchmarks.peer_d3rlpy` does; an amount of rollouts is a number of starts.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import optax

BATCH, OBS, ACT, MEMBERS, ELITES = 256, 17, 6, 7, 5
HORIZON = 5
# Starts rolled out at once: somewhat faster on a CPU than five thousand.
CHUNK = 1000
DISCOUNT, POLYAK = 0.99, 0.005
DECAYS = (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4)

Tree = Any
Array = jax.Array


def mlp_init(key: Array, sizes: list[int]) -> Tree:
    layers = []
    for key_of, (i, o) in zip(jax.random.split(key, len(sizes)), pairwise(sizes), strict=False):
        bound = i**-0.5
        w = jax.random.uniform(key_of, (i, o), minval=-bound, maxval=bound)
        layers.append({"w": w, "b": jnp.zeros(o)})
    return layers


def mlp(layers: Tree, x: Array, activation: Callable[[Array], Array] = jax.nn.relu) -> Array:
    for layer in layers[:-1]:
        x = activation(x @ layer["w"] + layer["b"])
    return x @ layers[-1]["w"] + layers[-1]["b"]


def heads(actor: Tree, s: Array) -> tuple[Array, Array]:
    mean, log_std = jnp.split(mlp(actor, s), 2, axis=-1)
    return mean, jnp.clip(log_std, -5.0, 2.0)


def sample(actor: Tree, s: Array, noise: Array) -> tuple[Array, Array]:
    """Tanh-Gaussian actions and their log-densities."""
    mean, log_std = heads(actor, s)
    raw = mean + jnp.exp(log_std) * noise
    normal = -0.5 * noise**2 - log_std - 0.5 * jnp.log(2 * jnp.pi)
    squashing = 2 * (jnp.log(2.0) - raw - jax.nn.softplus(-2 * raw))
    return jnp.tanh(raw), (normal - squashing).sum(-1)


def values(critics: Tree, s: Array, a: Array) -> Array:
    """``[critics, batch]``."""
    x = jnp.concatenate([s, a], -1)
    return jax.vmap(mlp, in_axes=(0, None))(critics, x)[..., 0]


ADAM = optax.adam(3e-4)


def sac_init(key: Array) -> Tree:
    keys = jax.random.split(key, 4)
    critics = jax.vmap(partial(mlp_init, sizes=[OBS + ACT, 256, 256, 256, 1]))(keys[:2])
    actor = mlp_init(keys[2], [OBS, 256, 256, 2 * ACT])
    log_alpha = jnp.zeros(())
    return {
        "actor": actor,
        "critics": critics,
        "target": jax.tree.map(jnp.copy, critics),
        "log_alpha": log_alpha,
        "opt": (ADAM.init(critics), ADAM.init(actor), ADAM.init(log_alpha)),
        "key": keys[3],
    }


@partial(jax.jit, donate_argnums=0)
def sac_update(state: Tree, batch: Tree) -> tuple[Tree, Tree]:
    s, a, r, following, ended = batch
    key, noise_key = jax.random.split(state["key"])
    noise = jax.random.normal(noise_key, (2, *a.shape))
    actor, critics, log_alpha = state["actor"], state["critics"], state["log_alpha"]
    q_opt, actor_opt, alpha_opt = state["opt"]
    alpha = jnp.exp(log_alpha)

    next_a, next_log_prob = sample(actor, following, noise[0])
    v = values(state["target"], following, next_a).min(0) - alpha * next_log_prob
    y = jax.lax.stop_gradient(r + DISCOUNT * jnp.where(ended, 0.0, v))

    def q_loss(critics: Tree) -> tuple[Array, Array]:
        q = values(critics, s, a)
        return 0.5 * ((q - y) ** 2).mean(-1).sum(), q

    (critic_loss, q), grads = jax.value_and_grad(q_loss, has_aux=True)(critics)
    steps, q_opt = ADAM.update(grads, q_opt)
    critics = optax.apply_updates(critics, steps)

    def pi_loss(actor: Tree) -> tuple[Array, Array]:
        action, log_prob = sample(actor, s, noise[1])
        return (alpha * log_prob - values(critics, s, action).min(0)).mean(), log_prob.mean()

    (actor_loss, log_prob), grads = jax.value_and_grad(pi_loss, has_aux=True)(actor)
    steps, actor_opt = ADAM.update(grads, actor_opt)
    actor = optax.apply_updates(actor, steps)

    # d/d(log alpha) of -log_alpha * (E log pi - ACT), ACT being minus the target entropy.
    steps, alpha_opt = ADAM.update(-(log_prob - ACT), alpha_opt)
    state = {
        "actor": actor,
        "critics": critics,
        "target": optax.incremental_update(critics, state["target"], POLYAK),
        "log_alpha": optax.apply_updates(log_alpha, steps),
        "opt": (q_opt, actor_opt, alpha_opt),
        "key": key,
    }
    metrics = {
        "critic_loss": critic_loss,
        "actor_loss": actor_loss,
        "divergence": log_prob,
        "coefficient": alpha,
        "q_mean": q.mean(),
        "q_max": q.max(),
    }
    return state, metrics


DYNAMICS_ADAM = optax.adam(1e-3)


def dynamics_init(key: Array) -> Tree:
    keys = jax.random.split(key, MEMBERS)
    sizes = [OBS + ACT, 200, 200, 200, 200, 2 * (OBS + 1)]
    params = {
        "net": jax.vmap(partial(mlp_init, sizes=sizes))(keys),
        "high": jnp.full(OBS + 1, 0.5),
        "low": jnp.full(OBS + 1, -10.0),
    }
    scale = (jnp.zeros(OBS + ACT), jnp.ones(OBS + ACT))
    return {"params": params, "opt": DYNAMICS_ADAM.init(params), "scale": scale}


def predict(params: Tree, scale: Tree, x: Array) -> tuple[Array, Array]:
    """Means and log-variances of every member on ``[members, batch, obs + act]``."""
    net = jax.vmap(partial(mlp, activation=jax.nn.silu))
    mean, logvar = jnp.split(net(params["net"], (x - scale[0]) / scale[1]), 2, axis=-1)
    logvar = params["high"] - jax.nn.softplus(params["high"] - logvar)
    return mean, params["low"] + jax.nn.softplus(logvar - params["low"])


@partial(jax.jit, donate_argnums=0)
def dynamics_update(state: Tree, batch: Tree) -> tuple[Tree, Array]:
    s, a, r, following, _ = batch
    y = jnp.concatenate([r[..., None], following - s], -1)

    def loss(params: Tree) -> tuple[Array, Array]:
        mean, logvar = predict(params, state["scale"], jnp.concatenate([s, a], -1))
        nll = ((mean - y) ** 2 * jnp.exp(-logvar) + logvar).mean((1, 2)).sum()
        return nll + 0.01 * (params["high"].sum() - params["low"].sum()), nll

    params = state["params"]
    (_, nll), grads = jax.value_and_grad(loss, has_aux=True)(params)
    for gradient, layer, decay in zip(grads["net"], params["net"], DECAYS, strict=True):
        gradient["w"] = gradient["w"] + decay * layer["w"]
    steps, opt = DYNAMICS_ADAM.update(grads, state["opt"])
    state = {"params": optax.apply_updates(params, steps), "opt": opt, "scale": state["scale"]}
    return state, nll


@jax.jit
def rollout(state: Tree, actor: Tree, starts: Array, key: Array) -> Tree:
    """Rows ``[horizon, batch, ...]`` with rewards less the largest norm of a member's std."""
    params, scale = state["params"], state["scale"]
    elites = jnp.arange(ELITES)

    def step(s: Array, key: Array) -> tuple[Array, Tree]:
        act_key, draw_key, noise_key = jax.random.split(key, 3)
        mean, log_std = heads(actor, s)
        a = jnp.tanh(mean + jnp.exp(log_std) * jax.random.normal(act_key, mean.shape))
        x = jnp.concatenate([s, a], -1)
        means, logvars = predict(params, scale, jnp.broadcast_to(x, (MEMBERS, *x.shape)))
        stds = jnp.exp(0.5 * logvars)
        member = elites[jax.random.randint(draw_key, (len(s),), 0, ELITES)]
        row = jnp.arange(len(s))
        noise = jax.random.normal(noise_key, (len(s), OBS + 1))
        y = means[member, row] + stds[member, row] * noise
        r = y[:, 0] - jnp.sqrt((stds**2).sum(-1).max(0))
        following = s + y[:, 1:]
        return following, (s, a, r, following, jnp.zeros(len(s), bool))

    return jax.lax.scan(step, starts, jax.random.split(key, HORIZON))[1]


def rows(key: Array, *shape: int) -> Tree:
    keys = jax.random.split(key, 4)
    return (
        jax.random.normal(keys[0], (*shape, OBS)),
        jax.random.uniform(keys[1], (*shape, ACT), minval=-1.0, maxval=1.0),
        jax.random.normal(keys[2], shape),
        jax.random.normal(keys[3], (*shape, OBS)),
        jnp.zeros(shape, bool),
    )


class Contenders:
    """The three loops, each keeping its state from one round to the next."""

    def __init__(self) -> None:
        keys = jax.random.split(jax.random.key(0), 6)
        self.sac, self.dynamics = sac_init(keys[0]), dynamics_init(keys[1])
        self.batch, self.bags = rows(keys[2], BATCH), rows(keys[3], MEMBERS, BATCH)
        # Of their own: the updates donate theirs.
        self.model, self.actor = dynamics_init(keys[1]), sac_init(keys[0])["actor"]
        self.key, self.starts = keys[4], jnp.zeros((0, OBS))
        self.offered = {
            "JAX SAC": ("updates", self.updates),
            "JAX dynamics": ("dynamics", self.dynamics_steps),
            "JAX rollouts": ("rollouts", self.rollouts),
        }

    def updates(self, count: int) -> Tree:
        for _ in range(count):
            self.sac, metrics = sac_update(self.sac, self.batch)
        return self.sac, metrics

    def dynamics_steps(self, count: int) -> Tree:
        for _ in range(count):
            self.dynamics, nll = dynamics_update(self.dynamics, self.bags)
        return self.dynamics, nll

    def rollouts(self, starts: int) -> Tree:
        if len(self.starts) != starts:
            self.starts = jax.random.normal(self.key, (starts, OBS))
        chunks = [self.starts[k : k + CHUNK] for k in range(0, starts, CHUNK)]
        self.key, *keys = jax.random.split(self.key, len(chunks) + 1)
        parts = [
            rollout(self.model, self.actor, chunk, key)
            for chunk, key in zip(chunks, keys, strict=True)
        ]
        return jax.tree.map(lambda *x: jnp.concatenate(x, 1), *parts)

    def seconds(self, name: str, amount: int) -> float:
        start = time.perf_counter()
        jax.block_until_ready(self.offered[name][1](amount))
        return time.perf_counter() - start


def main() -> None:
    # Whatever libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    contenders = Contenders()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    offer = {
        "contenders": {name: loop for name, (loop, _) in contenders.offered.items()},
        "note": f"jax {jax.__version__}, optax {optax.__version__}, {cores} cores; one jit a loop",
    }
    print(json.dumps(offer), file=answers)
    for line in sys.stdin:
        asked = json.loads(line)
        took = contenders.seconds(asked["contender"], asked["amount"])
        print(json.dumps({"seconds": took}), file=answers)


if __name__ == "__main__":
    main()
