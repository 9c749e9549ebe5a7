"""Identity of a run: the hash of its configuration, and the check of a folder that is used again."""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

import yaml

from lit_offrl.errors import UserError
from lit_offrl.training.checkpoints import check_run_dir
from lit_offrl.training.trainers import PLACEMENT

# Settings that results do not depend on: folder, last stage, number of seeds.
NOT_IDENTITY = {"base", "run_dir", "reuse", "until", "seeds", "shared_stages"}


def hash_config(config: dict[str, Any]) -> str:
    """Short hash of a whole configuration without its seed, which the run's name holds already."""
    given = {key: value for key, value in config.items() if key not in NOT_IDENTITY}
    del given["seed_everything"]
    # Seeds on several devices have the same configuration.
    given["trainer"] = {k: v for k, v in config["trainer"].items() if k != "devices"}
    return blake2b(json.dumps(given, sort_keys=True).encode(), digest_size=4).hexdigest()


def check_same_config(run_dir: Path, config: dict[str, Any]) -> None:
    """Refuse a run folder with results of another configuration or of version 0.1.

    Raises:
        UserError: The folder holds such results.
    """
    check_run_dir(run_dir)
    try:
        saved = yaml.safe_load((run_dir / "config.yaml").read_text(errors="replace"))
    except (OSError, yaml.YAMLError):
        return
    if not isinstance(saved, dict) or not any(run_dir.glob("*-*/")):
        return
    now = leaves(config)
    # A key that an older version did not have counts as switched off.
    before = {**{k: v for k, v in now.items() if v == "false"}, **leaves(saved)}
    changed = [
        key for key in sorted({*before, *now}) if before.get(key, "null") != now.get(key, "null")
    ]
    for key in changed[:1]:
        raise UserError(
            f"run_dir: '{run_dir}' holds results of another configuration, with {key} "
            f"{before.get(key)} rather than {now.get(key)}; choose another --run_dir, or add --reuse true to keep "
            "the stages with equal settings"
        )


def leaves(config: dict[str, Any], key: str = "") -> dict[str, str]:
    """Every value that results may depend on, as text, by its dotted key."""
    found: dict[str, str] = {}
    for name, value in config.items():
        if key in ("", "trainer.") and name in NOT_IDENTITY | PLACEMENT:
            continue
        if isinstance(value, dict) and value:
            found |= leaves(value, f"{key}{name}.")
        else:
            found[f"{key}{name}"] = json.dumps(value)
    return found
