"""Data of one's own: a behaviour policy trained online, and what it did."""

from lit_offrl.collect.make import make_dataset
from lit_offrl.collect.recorder import Recorder

__all__ = ["Recorder", "make_dataset"]
