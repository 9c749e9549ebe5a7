"""Names for stages' results: the same key, the same result."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.errors import UserError

# Part of every key: raise it when a stage's result changes for the same configuration.
FORMAT = 3


class StageKeys:
    """Hashes of all that each stage's result depends on, the stages before it included.

    Args:
        config: The configuration as plain values by stage.
        data: What dynamics and policy are trained on.
        prior_data: What value and prior are trained on.
        seed: Seed of the whole run.
        needs_values: Whether the prior depends on the value.
    """

    def __init__(
        self,
        config: dict[str, Any],
        data: OfflineDataModule,
        prior_data: OfflineDataModule,
        seed: int,
        needs_values: bool,
    ) -> None:
        self.config, self.data, self.prior_data = config, data, prior_data
        self.seed, self.needs_values = seed, needs_values

    def dynamics(self) -> str:
        return self._key("dynamics", self.data.holdout_rows, self.data.holdout_segment)

    def value(self) -> str:
        return self._key("value")

    def prior(self) -> str:
        return self._key("prior", *([self._taken("value")] if self.needs_values else []))

    def policy(self) -> str:
        block = self.config["policy"]
        upstream: list[object] = [self.data.environment_name]
        if block["imagination"] is not None:
            upstream.append(self._taken("dynamics"))
        prior = self.config["prior"]
        if prior["jointly"]:
            upstream += [prior["module"], prior["jointly"], list(sources(prior))]
        elif prior["module"] or prior["checkpoint"]:
            upstream.append(self._taken("prior"))
        return self._key("policy", *upstream)

    def _key(self, stage: str, *upstream: object) -> str:
        block = {k: v for k, v in self.config[stage].items() if k not in ("checkpoint", "data")}
        own = list(sources(block))
        data = self.prior_data if stage in ("value", "prior") else self.data
        parts = [FORMAT, stage, block, own, data.dataset.fingerprint, self.seed, *upstream]
        if self.config["trainer"]["precision"] == "bf16-mixed":
            parts.append("bf16-mixed")
        return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=5).hexdigest()

    def _taken(self, stage: str) -> str:
        """What a later stage's key holds of this one: its key, or the content of the file given."""
        checkpoint = self.config[stage]["checkpoint"]
        if checkpoint is None:
            own: str = getattr(self, stage)()
            return own
        try:
            return blake2b(Path(checkpoint).read_bytes(), digest_size=8).hexdigest()
        except OSError:
            raise UserError(
                f"{stage}.checkpoint: no file '{checkpoint}'; give a stage's best.ckpt"
            ) from None


def sources(block: Any) -> Iterator[str]:
    """The source of every class and function of the user's own that a configuration names."""
    if isinstance(block, dict):
        for key, value in block.items():
            if key in ("class_path", "termination") and isinstance(value, str):
                if not value.startswith("lit_offrl."):
                    module, _, name = value.rpartition(".")
                    yield inspect.getsource(getattr(importlib.import_module(module), name))
            else:
                yield from sources(value)
    elif isinstance(block, list):
        for value in block:
            yield from sources(value)
