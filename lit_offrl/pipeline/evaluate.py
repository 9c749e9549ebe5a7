"""Episodes during policy training."""

from __future__ import annotations

import json
from pathlib import Path

import lightning.pytorch as pl

from lit_offrl.blocks import mix_seed
from lit_offrl.checkpoints import write_json
from lit_offrl.data import OfflineDataset
from lit_offrl.evaluation import Evaluator
from lit_offrl.policy import PolicyLearner


class EvaluatePolicy(pl.Callback):
    """Plays the deterministic policy every few epochs and logs return, length and score.

    Args:
        evaluator: Where to play.
        dataset: Holds the reference returns of the score.
        every_n_epochs: How often.
        seed: Seeds the starts, together with the number of updates done.
        path: JSON file that collects every evaluation of the stage, ascending in updates.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        dataset: OfflineDataset,
        every_n_epochs: int,
        seed: int,
        path: Path,
    ) -> None:
        self.evaluator, self.dataset, self.path = evaluator, dataset, path
        self.every_n_epochs, self.seed = every_n_epochs, seed

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, PolicyLearner)
        epoch = trainer.current_epoch + 1
        if epoch % self.every_n_epochs and epoch != trainer.max_epochs:
            return
        seed = mix_seed(self.seed, "evaluation", pl_module.updates)
        outcome = self.evaluator.run(pl_module.act, seed, pl_module.device)
        values = outcome.summary()
        score = self.dataset.score(outcome.returns)
        if score is not None:
            values["score"] = float(score.mean())
        self._append({"updates": pl_module.updates, **values})
        pl_module.log_dict({f"evaluation/{k}": v for k, v in values.items()}, batch_size=1)
        pl_module.log("step", float(pl_module.updates), batch_size=1)
        line = f"policy: {pl_module.updates} updates, return {values['return_mean']:.0f}"
        line += f" (sd {values['return_std']:.0f}), length {values['length_mean']:.0f}"
        if score is not None:
            line += f", score {values['score']:.1f}"
        trainer.print(line)

    def _append(self, entry: dict[str, float]) -> None:
        # A resumed run repeats what it had done since its last state was saved.
        earlier = [e for e in read_evaluations(self.path) if e["updates"] < entry["updates"]]
        write_json([*earlier, entry], self.path)


def read_evaluations(path: Path) -> list[dict[str, float]]:
    """What :class:`EvaluatePolicy` collected in ``path``; nothing if there was no evaluation."""
    return json.loads(path.read_text()) if path.is_file() else []
