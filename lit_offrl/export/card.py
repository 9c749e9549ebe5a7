"""Model card of a run: README.md with the front matter of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from lit_offrl import __version__

TAGS = ["reinforcement-learning", "offline-rl", "model-based-rl", "continuous-control"]


def write_card(
    title: str, data: dict[str, Any], results: dict[str, Any], config: dict[str, Any]
) -> str:
    """The text of a model card.

    Args:
        title: Heading, such as the run's name.
        data: Description of the data (``lit_offrl.datasets.OfflineDataset.description``).
        results: Content of the run's ``results.json``.
        config: The run's configuration.
    """
    header = yaml.safe_dump(front_matter(title, data, results), sort_keys=False)
    parts = [f"---\n{header}---\n", f"# {title}\n", *_body(data, results, config)]
    return "\n".join(parts)


def front_matter(title: str, data: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    """Metadata for the hub: library, tags, and the policy's return if it was evaluated."""
    matter: dict[str, Any] = {
        "library_name": "lit-offrl",
        "pipeline_tag": "reinforcement-learning",
        "tags": TAGS,
    }
    if results["policy"] is not None:
        name = data["environment"] or data["name"]
        value = f"{results['policy']['return_mean']:.2f} +/- {results['policy']['return_std']:.2f}"
        metrics = [{"type": "mean_reward", "value": value, "name": "mean return"}]
        result = {
            "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
            "dataset": {"name": name, "type": name},
            "metrics": metrics,
        }
        matter["model-index"] = [{"name": title, "results": [result]}]
    return matter


def _body(data: dict[str, Any], results: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    where = data["environment"] or "no environment"
    yield (
        f"Trained offline by lit-offrl {__version__} on `{data['name']}` ({data['rows']} transitions, fingerprint "
        f"`{data['fingerprint']}`, {where}): {results['updates']} updates of the policy, seed {results['seed']}. "
        "`config.yaml` has every setting.\n"
    )
    yield "## Results\n"
    yield "| | mean return | sd over episodes | score |\n|---|---|---|---|"
    if "return_mean" in results["dataset"]:
        yield f"| data, mean episode | {results['dataset']['return_mean']:.1f} | | |"
        yield f"| data, best episode | {results['dataset']['return_max']:.1f} | | |"
    for name in ("prior", "policy"):
        found = results[name]
        if found is not None:
            score = "" if found["score"] is None else f"{found['score']:.1f}"
            yield f"| {name} | {found['return_mean']:.1f} | {found['return_std']:.1f} | {score} |"
    if results["policy"] is None:
        yield "\nNothing was evaluated in an environment.\n"
    else:
        episodes = config["policy"]["episodes"]
        yield f"\nThe last policy of one seed in {episodes} episodes; no evaluation chose it.\n"
    yield "## Use\n"
    yield "```\nlit-offrl evaluate FOLDER --episodes 50\nlit-offrl export FOLDER --to onnx\n```\n"
    yield (
        "`FOLDER` is this repository on disk. Observations and actions are in the units of the data:\n\n"
        "| number | observation | smallest in the data | largest |\n|---|---|---|---|"
    )
    yield from _table(data, "observation")
    yield "\n| number | action | smallest | largest |\n|---|---|---|---|"
    yield from _table(data, "action")
    yield (
        "\n## Limits\n\nTrained on a fixed log: outside of the ranges above the policy is untested, and its returns are of "
        "the environment named above alone. Export with `--guard true` to see at run time how far an observation is from the data.\n"
    )


def _table(data: dict[str, Any], kind: str) -> Iterator[str]:
    columns = (data[f"{kind}_{what}"] for what in ("names", "low", "high"))
    for number, (name, low, high) in enumerate(zip(*columns, strict=True)):
        # A name with a bar would be two cells.
        shown = name.replace("|", r"\|")
        yield f"| {number} | {shown} | {low:.4g} | {high:.4g} |"
