"""LightningModule whose checkpoints hold the arguments of its constructor."""

from __future__ import annotations

import inspect
from typing import Any, Self

import lightning.pytorch as pl

from lit_offrl.training.checkpoints import describe_module, load_module


class SavedModule(pl.LightningModule):
    """LightningModule that saves its constructor's arguments in checkpoints, and is rebuilt from them.

    Attributes:
        updates: Updates done so far; one update steps all optimizers once.
        trained_on: Description of its training data in plain values, saved in checkpoints
            (``lit_offrl.datasets.OfflineDataset.description``).
    """

    updates: int = 0
    trained_on: dict[str, Any] | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # The arguments of the call, before base classes add theirs.
        module = super().__new__(cls)
        object.__setattr__(module, "call", (args, kwargs))
        return module

    def init_arguments(self) -> dict[str, Any]:
        """Arguments from which a copy of this module is made, as saved in its checkpoints."""
        args, kwargs = self.__dict__["call"]
        bound = inspect.signature(type(self)).bind(*args, **kwargs)
        bound.apply_defaults()
        found: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = bound.signature.parameters[name].kind
            found |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
        return found

    def set_arguments(self, **values: Any) -> None:
        """Change settings as if they were arguments of the constructor; others are ignored."""
        args, kwargs = self.__dict__["call"]
        taken = inspect.signature(type(self)).parameters
        for name, value in values.items():
            setattr(self, name, value)
            if name in taken or any(p.kind is p.VAR_KEYWORD for p in taken.values()):
                kwargs = {**kwargs, name: value}
        object.__setattr__(self, "call", (args, kwargs))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["updates"] = self.updates
        # Lightning's copy of the arguments may not load with weights_only.
        checkpoint.pop("hyper_parameters", None)
        checkpoint.update(describe_module(self))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.updates = checkpoint["updates"]

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *_: Any, **given: Any) -> Self:
        """Load a trained module from a checkpoint, on the CPU and in eval mode.

        Args:
            checkpoint_path: A file of Lightning's ``ModelCheckpoint`` or of a run folder.
            given: Arguments of the class that its checkpoint does not hold, such as ``prior``.

        Raises:
            UserError: The file is missing, broken, or holds another class.
        """
        return load_module(checkpoint_path, cls, **given)
