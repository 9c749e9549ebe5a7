"""What lies in the working folder hides no library, and parts of one's own are found there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

OWN = "from lit_offrl.priors import TanhGaussianPrior\n\nclass Mine(TanhGaussianPrior):\n    pass\n"


def test_files_named_as_libraries_do_no_harm(tmp_path: Path) -> None:
    for name in ("random", "copy", "json", "logging", "torch", "yaml"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('the user\\'s own')\n")
    (tmp_path / "priors_of_mine.py").write_text(OWN)
    options = ["--data.dataset", "robot/any-v0", "--prior.module", "priors_of_mine.Mine"]
    script = "import sys; sys.path.remove(''); from lit_offrl.cli import main; main(sys.argv[1:])"
    for start in (["-m", "lit_offrl"], ["-c", script]):
        command = [sys.executable, *start, "fit", *options, "--print_config"]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        assert "class_path: priors_of_mine.Mine" in ran.stdout
