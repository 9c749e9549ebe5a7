"""Seeds trained together are the seeds trained alone."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim.lr_scheduler import ExponentialLR

from lit_offrl.cli.many_devices import spread
from lit_offrl.errors import Stopped
from lit_offrl.many_seeds import EachSeed
from lit_offrl.policy import PolicyLearner
from lit_offrl.training.acceleration import Replay
from lit_offrl.training.block_module import BlockModule
from lit_offrl.training.blocks import UpdateBlock
from lit_offrl.training.seed_stack import SeedStack
from tests.factories import MODULES, random_rows
from tests.runs import curves, fit, learned

SEEDS, BLOCKS, UPDATES = 8, 5, 20


def build(name: str, seed: int) -> BlockModule:
    torch.manual_seed(seed)
    module, _ = MODULES[name]
    return module()


def block(name: str, seed: int, number: int) -> UpdateBlock:
    torch.manual_seed(1000 * seed + number)
    shape = (UPDATES, *MODULES[name][1][1:])
    return UpdateBlock(random_rows(*shape), seed=100 * seed + number)


def silent(module: BlockModule) -> list[dict[str, Tensor]]:
    """Let ``module`` train without a Trainer, and collect what it logs."""
    trainer: Any = SimpleNamespace()
    hooks: Any = SimpleNamespace(
        count=lambda trainer, updates: None, allowed=lambda trainer, updates: updates
    )
    object.__setattr__(module, "_trainer", trainer)
    module.hooks = hooks
    logged: list[dict[str, Tensor]] = []
    module.log_step = logged.append  # type: ignore[method-assign,assignment]
    module.log = lambda *_, **__: None  # type: ignore[method-assign,assignment]
    return logged


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("way", ["loop", "replay"])
def test_a_seed_among_others_is_that_seed_alone(name: str, way: str) -> None:
    together = [build(name, seed) for seed in range(SEEDS)]
    stack = SeedStack(together)
    stack.prepare_updates()
    if way == "replay":
        stack.run = Replay(stack.update)
    silent(stack)
    for number in range(BLOCKS):
        stack.training_step([block(name, seed, number) for seed in range(SEEDS)], number)
    for seed in (0, SEEDS - 1):
        among = together[seed]
        alone = build(name, seed)
        alone.prepare_updates()
        expected = silent(alone)
        for number in range(BLOCKS):
            alone.training_step(block(name, seed, number), number)
        assert among.updates == alone.updates == BLOCKS * UPDATES
        for key, value in alone.state_dict().items():
            torch.testing.assert_close(among.state_dict()[key], value, rtol=1e-3, atol=1e-4)
        for key, value in expected[-1].items():
            torch.testing.assert_close(stack.latest[key][seed], value, rtol=1e-2, atol=1e-3)


def test_seeds_together_give_what_each_gives_alone(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tiny, tmp_path / "many", "--seeds", "2", "--seed_everything", "3")
    said = capsys.readouterr().out
    assert "policy: seeds 3, 4 together" in said
    summary = json.loads((tmp_path / "many" / "summary.json").read_text())
    (group,) = summary["groups"]
    assert (group["seeds"], group["n"]) == ([3, 4], 2)
    assert [row["folder"] for row in summary["runs"]] == ["seed3", "seed4"]
    assert f"{group['return']['iqm']:.1f}" in said
    for seed in (3, 4):
        many, alone = tmp_path / "many" / f"seed{seed}", tmp_path / f"alone{seed}"
        fit(tiny, alone, "--seed_everything", str(seed))
        for key, value in learned(alone).items():
            torch.testing.assert_close(learned(many)[key], value, rtol=1e-3, atol=1e-4)
        results = [json.loads((run / "results.json").read_text()) for run in (many, alone)]
        assert results[0]["seed"] == results[1]["seed"] == seed
        assert results[0]["updates"] == results[1]["updates"]
        assert results[0]["prior"] == results[1]["prior"]
        names = [sorted(p.name for p in run.glob("policy-*/*")) for run in (many, alone)]
        assert names[0] == names[1]
        assert list((many / "tensorboard").glob("events*"))
    # Two copies of one seed's weights would be a stack saved whole.
    sizes = [next(r.glob("policy-*/last.ckpt")).stat().st_size for r in (many, alone)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)
    capsys.readouterr()
    fit(tiny, tmp_path / "many", "--seeds", "2", "--seed_everything", "3")
    assert "policy: seeds" not in capsys.readouterr().out


def test_seeds_together_end_where_each_would_alone(tiny: Path, tmp_path: Path) -> None:
    limit = ["--policy.trainer", "{max_steps: 17}"]
    fit(tiny, tmp_path / "many", "--seeds", "2", *limit)
    fit(tiny, tmp_path / "alone", "--seed_everything", "1", *limit)
    results = [tmp_path / run / "results.json" for run in ("many/seed1", "alone")]
    assert [json.loads(path.read_text())["updates"] for path in results] == [17, 17]
    many = learned(tmp_path / "many" / "seed1")
    for key, value in learned(tmp_path / "alone").items():
        torch.testing.assert_close(many[key], value, rtol=1e-3, atol=1e-4)


class Scheduled(PolicyLearner):
    """A learner whose critics' learning rate falls."""

    def configure_optimizers(self) -> Any:
        optimizers = super().configure_optimizers()
        return optimizers, [ExponentialLR(optimizers[0], 0.9)]


class Counting(Callback):
    """Counts the epochs that it sees."""

    seen: ClassVar[list[int]] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.seen.append(trainer.current_epoch)


def test_seeds_with_callbacks_or_schedules_are_trained_one_after_another(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = "tests.contracts.test_seeds"
    parts = ["--policy.callbacks", f"[{here}.Counting]"]
    fit(tiny, tmp_path / "counted", "--seeds", "2", "--policy.updates", "20", *parts)
    counting = importlib.import_module(here).Counting
    assert counting.seen == [0, 1, 0, 1]
    parts = ["--policy.module", f"{here}.Scheduled", "--policy.module.actor_hidden", "[8]"]
    fit(tiny, tmp_path / "scheduled", "--seeds", "2", "--policy.updates", "10", *parts)
    assert "together" not in capsys.readouterr().out


def test_seeds_together_go_on_where_they_were_stopped(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tiny, tmp_path / "whole", "--seeds", "2")
    after = EachSeed.on_train_epoch_end

    def stop(self: EachSeed, trainer: Any, module: Any) -> None:
        after(self, trainer, module)
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(EachSeed, "on_train_epoch_end", stop)
        with pytest.raises(SystemExit, match="130"):
            fit(tiny, tmp_path / "stopped", "--seeds", "2")
    capsys.readouterr()
    fit(tiny, tmp_path / "stopped", "--seeds", "2")
    assert "policy: continues from" in capsys.readouterr().out
    for seed in (0, 1):
        whole = learned(tmp_path / "whole" / f"seed{seed}")
        stopped = learned(tmp_path / "stopped" / f"seed{seed}")
        assert all(torch.equal(stopped[key], value) for key, value in whole.items())
        evaluations = [
            json.loads(
                next((tmp_path / run / f"seed{seed}").glob("policy-*/evaluations.json")).read_text()
            )
            for run in ("whole", "stopped")
        ]
        assert evaluations[0] == evaluations[1]
        folders = (tmp_path / run / f"seed{seed}" for run in ("whole", "stopped"))
        assert curves(next(folders)) == curves(next(folders))


@pytest.mark.parametrize(("code", "raised"), [("exit 2", "2"), ("kill -9 $$", "137")])
def test_a_failed_process_is_not_passed_over(
    code: str, raised: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\ncase "$*" in *"--seed_everything 1"*) {code};; esac\n')
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    with pytest.raises((SystemExit, Stopped)) as ended:
        spread(["fit"], None, 0, 2, [torch.device("cpu")] * 2)
    assert str(getattr(ended.value, "code", ended.value)) == raised


def test_seeds_spread_over_processes(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    placement = ["--trainer.accelerator", "cpu", "--trainer.devices", "2"]
    fit(tiny, tmp_path / "many", "--seeds", "3", *placement)
    found = sorted(p.parent.name for p in (tmp_path / "many").glob("seed*/results.json"))
    assert found == ["seed0", "seed1", "seed2"]
    assert "LOCAL_RANK" not in os.environ
