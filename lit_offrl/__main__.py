"""Runs the command line by ``python -m lit_offrl``."""

import os
import sys

# Python puts the working folder first in sys.path; ``main`` puts it last.
if sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

from lit_offrl.cli import main

main()
