"""How well estimates rank real checkpoints: `lit-offrl select` on run folders, log by log, against true returns.

    python -m benchmarks.ranking runs/hopper-* runs/halfcheetah-* --output ranking --episodes 20

Checkpoints between the first and the last come from the run's own callback, such as

    --policy.callbacks '[{class_path: lightning.pytorch.callbacks.ModelCheckpoint, init_args: {every_n_train_steps: 5000, save_top_k: -1}}]'
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from lit_offrl.cli.select import select
from lit_offrl.runs.folder import FinishedRun, seed_folders


def group_by_log(paths: list[str]) -> dict[str, list[str]]:
    """Run folders by the rows that they learned from."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        for folder in seed_folders(Path(path)):
            data = FinishedRun(folder).data.dataset
            groups.setdefault(f"{data.name} {data.fingerprint[:6]}", []).append(str(folder))
    return groups


def table(results: dict[str, dict[str, Any]]) -> str:
    """One row for each log and estimator."""
    lines = [
        "| log | checkpoints | estimator | rank correlation | regret@1 | of the range |",
        "|---|---|---|---|---|---|",
    ]
    for log, found in results.items():
        for name, one in found["quality"].items():
            rank = "none" if one["spearman"] is None else f"{one['spearman']:.2f}"
            numbers = f"{rank} | {one['regret']:.4g} | {one['regret_share']:.0%}"
            lines.append(f"| {log} | {found['quality_of']} | {name} | {numbers} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("runs", nargs="+", help="run folders, also of several seeds")
    parser.add_argument(
        "--output", type=Path, default=Path("ranking"), help="folder of the results"
    )
    parser.add_argument("--episodes", type=int, default=20, help="of each checkpoint")
    parser.add_argument("--updates", type=int, default=5_000, help="of fitted Q evaluation")
    parser.add_argument("--behavior", help="prior with the density of the log's actions")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, Any]] = {}
    for number, (log, folders) in enumerate(group_by_log(given.runs).items()):
        print(f"\n{log}: {len(folders)} runs", flush=True)
        settings = {"truth": True, "episodes": given.episodes, "updates": given.updates}
        output = given.output / f"selection{number}.json"
        results[log] = select(
            folders, every=True, behavior=given.behavior, output=str(output), **settings
        )
        (given.output / "ranking.json").write_text(json.dumps(results, indent=2))
    print("\n" + table(results))
    (given.output / "ranking.md").write_text(table(results) + "\n")


if __name__ == "__main__":
    main()
