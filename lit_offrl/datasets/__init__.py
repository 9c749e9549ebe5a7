"""Datasets of logged transitions: readers for every file format, validation, subsets, rewards."""

# Its rewards are among those that the help of data.reward lists.
import lit_offrl.datasets.gripper  # noqa: F401
from lit_offrl.datasets.arrays import ArrayReader
from lit_offrl.datasets.columns import Layout
from lit_offrl.datasets.dataset import OfflineDataset
from lit_offrl.datasets.nearness import Nearness
from lit_offrl.datasets.open_dataset import open_dataset
from lit_offrl.datasets.reader import DatasetReader

__all__ = ["ArrayReader", "DatasetReader", "Layout", "Nearness", "OfflineDataset", "open_dataset"]
