"""Disk to rows to blocks."""

from lit_offrl.data.datamodule import OfflineDataModule
from lit_offrl.data.dataset import OfflineDataset
from lit_offrl.data.open_log import open_log
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
    "open_log",
]
