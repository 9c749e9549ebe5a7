"""Compiled and replayed updates are the plain ones, and what cannot be compiled trains all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_offrl.cli import main
from lit_offrl.nets import Critics
from lit_offrl.policy import EntropyTemperature, PolicyLearner
from lit_offrl.priors import TanhGaussianPrior
from lit_offrl.training.acceleration import (
    Compiled,
    Replay,
    choose_run,
    has_compiler,
    onednn_products,
)
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.state import ResumeState
from lit_offrl.training.trainers import make_trainer, warn_of_slow_bfloat16
from lit_offrl.transitions import Transitions
from tests.factories import MODULES, random_rows

needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")


def trained(name: str, run: Callable[[BlockModule], None]) -> tuple[BlockModule, list[Tensor]]:
    """The module after three blocks, the last of them shorter, and the means of its metrics."""
    torch.manual_seed(0)
    build, shape = MODULES[name]
    module = build()
    module.prepare_updates()
    run(module)
    means = []
    for count in (6, 6, 4):
        block = random_rows(*shape)[:count]
        metrics = module.run(block, module.noise_for(block, torch.Generator().manual_seed(count)))
        means += list(metrics.values())
    return module, means


def compiled(name: str) -> Any:
    """The case of a compiled module; half a minute each, so those with most to compile stand for the others."""
    marks = [needs_compiler] if name in ("mabe", "abm_mpo") else [needs_compiler, pytest.mark.slow]
    return pytest.param(name, "compile", marks=marks)


@pytest.mark.parametrize(
    ("name", "way"), [*[(name, "replay") for name in MODULES], *map(compiled, MODULES)]
)
def test_every_way_does_the_same_updates(
    name: str, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(module: BlockModule) -> None:
        if way == "replay":
            module.run = Replay(module.update)
        else:
            module.compile_updates = "always"
            module.prepare_updates()

    plain, plain_means = trained(name, lambda module: None)
    fast, fast_means = trained(name, run)
    assert "not compiled" not in capsys.readouterr().out
    for ours, theirs in zip(fast.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(fast_means, plain_means, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_compiled_trains_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    calls = []

    def update(batch: Transitions, noise: Tensor) -> dict[str, Tensor]:
        calls.append(float(batch.rewards.sum()))
        torch._dynamo.graph_break()
        return {"loss": batch.rewards.mean()}

    compiled, batch = Compiled(update), random_rows(4)
    for _ in range(2):
        torch.testing.assert_close(compiled(batch, torch.empty(0))["loss"], batch.rewards.mean())
    assert len(calls) == 2
    assert capsys.readouterr().out.count("updates are not compiled") == 1


@pytest.mark.parametrize(
    ("compile", "updates", "compiled"),
    [("auto", 19_999, False), ("auto", 20_000, True), ("never", 10**6, False), ("always", 1, True)],
)
def test_compiles_where_it_is_worth_it(
    compile: str, updates: int, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(
        "lit_offrl.training.acceleration.Compiled", lambda update: made.append(1) or update
    )
    monkeypatch.setattr("lit_offrl.training.acceleration.has_compiler", lambda: True)
    module = TanhGaussianPrior(3, 2, (8,))
    choose_run(module.loop, module.update, torch.device("cpu"), compile, updates)
    assert bool(made) is compiled


def test_what_cannot_be_traced_again_trains_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    class Counts:
        calls = 0

        def update(self, batch: Transitions, noise: Tensor) -> dict[str, Tensor]:
            self.calls += 1
            return {"loss": batch.rewards.mean() * self.calls}

    counts, batch = Counts(), random_rows(4)
    compiled = Compiled(counts.update)
    for call in range(1, 13):
        found = compiled(batch, torch.empty(0))["loss"]
        torch.testing.assert_close(found, batch.rewards.mean() * call)
    assert counts.calls == 12
    assert capsys.readouterr().out.count("updates are not compiled") == 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_bfloat16_learns_the_same(precision: str) -> None:
    torch.manual_seed(0)
    made = PolicyLearner(
        *(3, 1, EntropyTemperature(coefficient=5.0, fixed=True)),
        actor_hidden=(64,),
        critic_hidden=(64, 64),
        actor_learning_rate=1e-4,
        critic_learning_rate=5e-3,
    )
    made.prepare_updates()
    mixed = torch.autocast(
        "cpu", torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False
    )
    for _ in range(1500):
        actions = torch.rand(128, 1) * 2 - 1
        # Hundreds, of which bfloat16 could tell apart one in two.
        rewards = 300 - 100 * (actions[:, 0] - 0.3).square()
        observations, flags = torch.randn(128, 3), torch.ones(128, dtype=torch.bool)
        batch = Transitions(observations, actions, rewards, observations, flags, ~flags)
        with mixed:
            made.update(batch, torch.randn(128, 2))
    best = torch.full((50, 1), 0.3)
    observations = torch.randn(50, 3)
    values = made.critics(observations, best).detach()
    assert values.mean().item() == pytest.approx(300, abs=1)
    assert made.act(observations).mean().item() == pytest.approx(0.29, abs=0.02)


def test_heads_stay_exact_in_mixed_precision() -> None:
    torch.manual_seed(0)
    critics, inputs = Critics(3, 2, (64,)), (torch.randn(8, 3), torch.randn(8, 2))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = critics(*inputs)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, critics(*inputs), rtol=0.02, atol=0.02)
    rounded = mixed.bfloat16().float()
    assert not torch.equal(mixed, rounded)


@needs_compiler
def test_a_compiled_run_goes_on_where_it_was_stopped(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def fit(folder: str) -> dict[str, Tensor]:
        run_dir = tmp_path / folder
        main(["fit", "--config", str(tiny), "--compile", "always", "--run_dir", str(run_dir)])
        (checkpoint,) = run_dir.glob("policy-*/last.ckpt")
        return torch.load(checkpoint, weights_only=True)["state_dict"]

    whole, after = fit("whole"), ResumeState.on_train_epoch_end

    def stop(self: ResumeState, trainer: Any, module: Any) -> None:
        after(self, trainer, module)
        if isinstance(module, PolicyLearner) and trainer.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ResumeState, "on_train_epoch_end", stop)
        with pytest.raises(SystemExit, match="130"):
            fit("stopped")
    stopped = fit("stopped")
    for key, value in whole.items():
        assert torch.equal(value, stopped[key])


def test_products_stay_float32_and_the_setting_returns() -> None:
    assert torch.get_float32_matmul_precision() == "highest"
    left, right = torch.randn(2, 3, 200, 200).unbind()
    with onednn_products("cpu"):
        found = left @ right
    exact = left.double() @ right.double()
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-4)
    assert torch.get_float32_matmul_precision() == "highest"
    with pytest.raises(RuntimeError, match="seen"), onednn_products("cpu"):
        raise RuntimeError("seen")
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_run_in_mixed_precision(tiny: Path, tmp_path: Path) -> None:
    for precision in ("32-true", "bf16-mixed"):
        options = [
            "--trainer.precision",
            precision,
            "--trainer.accelerator",
            "cpu",
            "--reuse",
            "true",
        ]
        main(["fit", "--config", str(tiny), "--run_dir", str(tmp_path / "run"), *options])
    # Their results differ, so they are no results of one another.
    assert len(list((tmp_path / "run").glob("policy-*"))) == 2


@pytest.mark.parametrize(
    ("capabilities", "precision", "warned"),
    [
        ({"avx512_bf16": False, "amx_bf16": False}, "bf16-mixed", True),
        ({"avx512_bf16": False, "amx_bf16": False}, "32-true", False),
        ({"avx512_bf16": True, "amx_bf16": False}, "bf16-mixed", False),
        ({"bf16": False}, "bf16-mixed", True),
        ({"bf16": True}, "bf16-mixed", False),
        ({}, "bf16-mixed", False),
    ],
)
def test_a_cpu_without_bfloat16_arithmetic_is_warned_of_once(
    capabilities: dict[str, bool],
    precision: str,
    warned: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    warn_of_slow_bfloat16.cache_clear()
    for _ in range(2):
        given = {"accelerator": "cpu", "precision": precision}
        make_trainer(given, tmp_path, [], max_epochs=1, logger=False)
    assert capsys.readouterr().out.count("warning: trainer.precision: ") == warned
