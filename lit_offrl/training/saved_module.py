"""A LightningModule whose checkpoints hold all that it is made from."""

from __future__ import annotations

import inspect
from typing import Any, Self

import lightning.pytorch as pl

from lit_offrl.training.checkpoints import describe_module, load_module


class SavedModule(pl.LightningModule):
    """Remembers the arguments it was made with, and is made from a checkpoint by them.

    Attributes:
        updates: Updates done so far; one update steps all optimizers once.
        trained_on: Description of the data that it was trained on, in plain values; its checkpoints hold
            it (:attr:`lit_offrl.datasets.OfflineDataset.description`).
    """

    updates: int = 0
    trained_on: dict[str, Any] | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # What a checkpoint holds: the arguments of the call, before bases add theirs.
        module = super().__new__(cls)
        object.__setattr__(module, "call", (args, kwargs))
        return module

    def init_arguments(self) -> dict[str, Any]:
        """The arguments that a copy of this part is made with; those that its checkpoint holds."""
        args, kwargs = self.__dict__["call"]
        bound = inspect.signature(type(self)).bind(*args, **kwargs)
        bound.apply_defaults()
        found: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = bound.signature.parameters[name].kind
            found |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
        return found

    def set_arguments(self, **values: Any) -> None:
        """Change settings as if the constructor had been given them, as far as it takes them."""
        args, kwargs = self.__dict__["call"]
        taken = inspect.signature(type(self)).parameters
        for name, value in values.items():
            setattr(self, name, value)
            if name in taken or any(p.kind is p.VAR_KEYWORD for p in taken.values()):
                kwargs = {**kwargs, name: value}
        object.__setattr__(self, "call", (args, kwargs))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["updates"] = self.updates
        # Lightning's own copy may not load with weights_only.
        checkpoint.pop("hyper_parameters", None)
        checkpoint.update(describe_module(self))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.updates = checkpoint["updates"]

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *_: Any, **given: Any) -> Self:
        """A trained part from any checkpoint of it, on the CPU and in eval mode.

        Args:
            checkpoint_path: A file of Lightning's ``ModelCheckpoint`` or of a run folder.
            given: Arguments of the class that its checkpoint does not hold, such as ``prior``.

        Raises:
            UserError: The file is missing, broken, or holds something else.
        """
        return load_module(checkpoint_path, cls, **given)
