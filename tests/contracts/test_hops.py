"""The way of a row from its sampler to its gradient, as docs/architecture.md names it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer

import lit_offrl
from lit_offrl import OfflineDataModule, PolicyLearner
from lit_offrl.batches import MixedSampler
from lit_offrl.policy import EntropyTemperature, losses

PACKAGE = str(Path(lit_offrl.__file__).parent)
PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


def own_calls() -> list[str]:
    """Functions of the package on the stack, the innermost last, but for the one that asks."""
    frames = [frame for frame in inspect.stack()[2:] if frame.filename.startswith(PACKAGE)]
    return [frame.function for frame in reversed(frames)]


def test_a_row_reaches_its_gradient_in_six_hops(
    pendulum: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[str]] = {}
    critic_losses, blocks = losses.critic_losses, MixedSampler.blocks

    def trace_losses(*arguments: Any) -> Any:
        seen["losses"] = [*own_calls(), "critic_losses"]
        return critic_losses(*arguments)

    def trace_blocks(self: MixedSampler, epoch: int) -> Any:
        seen["sampler"] = ["blocks"]
        return blocks(self, epoch)

    monkeypatch.setattr(losses, "critic_losses", trace_losses)
    monkeypatch.setattr(MixedSampler, "blocks", trace_blocks)
    data = OfflineDataModule(pendulum)
    sizes: dict[str, Any] = {"actor_hidden": [8], "critic_hidden": [8], "batch_size": 8}
    policy = PolicyLearner(data.obs_dim, data.act_dim, EntropyTemperature(), **sizes)
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False}
    Trainer(max_steps=1, default_root_dir=tmp_path, accelerator="cpu", **quiet).fit(policy, data)
    hops = [*seen["sampler"], *seen["losses"]]
    named = re.findall(r"^\d\. `\w+\.(\w+)`", PAGE.read_text(), re.MULTILINE)
    assert hops == named
    assert len(hops) <= 6
