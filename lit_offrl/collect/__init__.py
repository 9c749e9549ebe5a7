"""Makes datasets: by a policy trained online, by a given policy, or from a file."""

from lit_offrl.collect.imports import import_dataset
from lit_offrl.collect.make import make_dataset
from lit_offrl.collect.recorder import Recorder
from lit_offrl.collect.rollouts import collect

__all__ = ["Recorder", "collect", "import_dataset", "make_dataset"]
