"""A worker of :mod:`benchmarks.peers`: d3rlpy's updates. It runs in the peers' own environment.

It needs d3rlpy and nothing of this project. Started without a parent it waits for lines on stdin such
as ``{"contender": "d3rlpy SAC", "amount": 100}`` and answers each with the seconds that took.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings

BATCH, OBS, ACT = 256, 17, 6
ACTOR, CRITIC = [256, 256], [256, 256, 256]


def main() -> None:
    # Whatever libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.filterwarnings("ignore")
    import d3rlpy
    import torch
    from d3rlpy.models.encoders import VectorEncoderFactory
    from d3rlpy.torch_utility import TorchMiniBatch

    threads = int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads()))
    torch.set_num_threads(threads)
    d3rlpy.seed(0)
    batch = TorchMiniBatch(
        observations=torch.randn(BATCH, OBS),
        actions=torch.rand(BATCH, ACT) * 2 - 1,
        rewards=torch.randn(BATCH, 1),
        next_observations=torch.randn(BATCH, OBS),
        next_actions=torch.rand(BATCH, ACT) * 2 - 1,
        returns_to_go=torch.zeros(BATCH, 1),
        terminals=torch.zeros(BATCH, 1),
        intervals=torch.ones(BATCH, 1),
        device="cpu:0",
    )
    settings = {
        "actor_encoder_factory": VectorEncoderFactory(ACTOR, activation="relu"),
        "critic_encoder_factory": VectorEncoderFactory(CRITIC, activation="relu"),
        "actor_learning_rate": 3e-4,
        "critic_learning_rate": 3e-4,
        "batch_size": BATCH,
        "tau": 0.005,
        "n_critics": 2,
        "compile_graph": True,
    }
    algorithms = {
        "d3rlpy SAC": d3rlpy.algos.SACConfig(temp_learning_rate=3e-4, **settings).create("cpu"),
        "d3rlpy TD3+BC": d3rlpy.algos.TD3PlusBCConfig(**settings).create("cpu"),
    }
    for algorithm in algorithms.values():
        algorithm.create_impl((OBS,), ACT)
    done = dict.fromkeys(algorithms, 0)

    def seconds(name: str, amount: int) -> float:
        impl, first = algorithms[name].impl, done[name]
        start = time.perf_counter()
        for step in range(first, first + amount):
            impl.update(batch, step)
        done[name] += amount
        return time.perf_counter() - start

    compiled = any(algorithm.compiled for algorithm in algorithms.values())
    note = f"d3rlpy {d3rlpy.__version__}, torch {torch.__version__}, {threads} threads; " + (
        "compile_graph in effect"
        if compiled
        else "compile_graph=True given, ignored: this version compiles on CUDA alone"
    )
    offer = {"contenders": dict.fromkeys(algorithms, "updates"), "note": note}
    print(json.dumps(offer), file=answers)
    for line in sys.stdin:
        asked = json.loads(line)
        took = seconds(asked["contender"], asked["amount"])
        print(json.dumps({"seconds": took}), file=answers)


if __name__ == "__main__":
    main()
