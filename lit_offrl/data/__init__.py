"""Disk to rows to blocks."""

from lit_offrl.data.arrays import ArraysLog
from lit_offrl.data.datamodule import OfflineDataModule
from lit_offrl.data.dataset import OfflineDataset
from lit_offrl.data.layout import Layout
from lit_offrl.data.log import Log
from lit_offrl.data.open_log import open_log
from lit_offrl.data.plans import BootstrapPlan, MixedPlan, RowsPlan, SnippetPlan
from lit_offrl.data.store import TransitionStore

__all__ = [
    "ArraysLog",
    "BootstrapPlan",
    "Layout",
    "Log",
    "MixedPlan",
    "OfflineDataModule",
    "OfflineDataset",
    "RowsPlan",
    "SnippetPlan",
    "TransitionStore",
    "open_log",
]
