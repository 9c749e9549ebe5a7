"""``python -m lit_offrl``."""

from lit_offrl.cli import main

main()
