"""CPU seconds from a command to its first update: ``python -m benchmarks.startup``.

The wall clock depends on what else the machine does; CPU seconds of a process of its own depend on it little.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from statistics import median

FIRST_UPDATE = """
import os, sys
import lit_offrl.cli as cli
def first_update(args):
    from lit_offrl.training.block_module import BlockModule
    step = BlockModule.training_step
    def stop(self, *given):
        step(self, *given)
        os._exit(0)
    BlockModule.training_step = stop
    run(args)
run, cli.run_verb = cli.run_verb, first_update
cli.main(sys.argv[1:])
"""
FIT = ["fit", "--config", "demo", "--compile", "never", "--run_dir"]


def measure(arguments: list[str], folder: str) -> float:
    """CPU seconds of Python with ``arguments``."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        env=environment,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the median of each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    fit = ["-m", "lit_offrl", *FIT]
    parts = {
        "lit-offrl --help": ["-m", "lit_offrl", "--help"],
        "lit-offrl fit --help": ["-m", "lit_offrl", "fit", "--help"],
        "import torch": ["-c", "import torch"],
        "import lightning.pytorch": ["-c", "import lightning.pytorch"],
        "all imports of fit": ["-c", "import lit_offrl.cli.fit"],
        "fit --print_config": [*fit, "run", "--print_config"],
        "fit, to the first update": ["-c", FIRST_UPDATE, *FIT],
    }
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for name, arguments in parts.items():
                own = [f"run{number}"] if arguments[-1] == "--run_dir" else []
                seconds[name].append(measure([*arguments, *own], folder))
    for name, found in seconds.items():
        print(f"{name:26} {median(found):5.2f} ({min(found):.2f}-{max(found):.2f})")


if __name__ == "__main__":
    main()
