"""Disk to rows to blocks."""

from lit_offrl.data.datamodule import OfflineDataModule
from lit_offrl.data.dataset import OfflineDataset
from lit_offrl.data.minari_reader import read_minari
from lit_offrl.data.plans import BootstrapPlan, MixedPlan, RowsPlan, SnippetPlan
from lit_offrl.data.store import TransitionStore

__all__ = [
    "BootstrapPlan",
    "MixedPlan",
    "OfflineDataModule",
    "OfflineDataset",
    "RowsPlan",
    "SnippetPlan",
    "TransitionStore",
    "read_minari",
]
