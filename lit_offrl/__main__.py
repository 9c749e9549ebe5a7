"""``python -m lit_offrl``."""

import os
import sys

# Python puts the working folder before its own library; ``main`` puts it last.
if sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

from lit_offrl.cli import main

main()
