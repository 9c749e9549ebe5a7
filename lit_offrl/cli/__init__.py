"""The command line: ``lit-offrl fit --config FILE``, and the verbs beside it."""

from __future__ import annotations

import errno
import os
import sys

from lit_offrl import __version__
from lit_offrl.cli.messages import fail
from lit_offrl.cli.strict_yaml import use_strict_yaml
from lit_offrl.errors import Stopped, UserError, first_line
from lit_offrl.training.processes import FAMILY, stopping_once

HELP = f"""\
lit-offrl {__version__}: model-based offline reinforcement learning with behaviour priors

  lit-offrl fit --config FILE [--key value ...]   train dynamics, prior and policy, and evaluate them
  lit-offrl fit --help                            every option
  lit-offrl fit --config FILE --print_config      what a run would use, all defaults filled in
  lit-offrl evaluate RUN|CHECKPOINT ... [--video true]
                                                  episodes of trained policies and priors
  lit-offrl select RUN|CHECKPOINT ... [--truth true]
                                                  rank policies by estimates, without an environment
  lit-offrl experiment FILE [--scale NAME] [--jobs N] [--dry_run true]
                                                  a grid of configurations, datasets and seeds
  lit-offrl data make ID --environment ENV --steps N --keep replay|rollouts
                                                  a dataset of your own, by a policy trained online
  lit-offrl data list | info ID | check ID | import FILE --to ID | fetch ID | collect ID ...
  lit-offrl data make --help                      options of make; so for the others
  lit-offrl --version
"""

# What a disk or its owner refuses; other errors of the system are somebody's fault.
REFUSED = {
    getattr(errno, name)
    for name in [
        "EACCES",
        "EDQUOT",
        "EEXIST",
        "EFBIG",
        "EIO",
        "EISDIR",
        "ENAMETOOLONG",
        "ENOSPC",
        "ENOTDIR",
        "EPERM",
        "EROFS",
    ]
}


def main(args: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        args: Arguments after the program's name; by default those of the process.

    Raises:
        SystemExit: With code 2 and one line on standard error if the arguments or the data cannot be used.
    """
    args = sys.argv[1:] if args is None else args
    if not args or args[0] in ("-h", "--help"):
        print(HELP)
        return
    if args[0] == "--version":
        print(__version__)
        return
    # Users keep their own priors in the working folder; what else lies there must not hide a library.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    use_strict_yaml()
    FAMILY.join()
    again = "starts over" if args[0] == "data" else "continues"
    with stopping_once():
        try:
            run_verb(args)
        except UserError as error:
            if FAMILY.is_rank:
                # The first process says the same, and then both end.
                FAMILY.wait_for_verdict()
            fail(str(error))
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            where = error.filename or "a file"
            said = error.strerror or first_line(error)
            fail(f"{where}: {said}; once that is put right, the same command {again}")
        except (KeyboardInterrupt, Stopped) as error:
            FAMILY.wait_for_verdict()
            if not FAMILY.parent:
                print(f"\nlit-offrl: stopped; the same command {again}", file=sys.stderr)
            raise SystemExit(error.code if isinstance(error, Stopped) else 130) from None


def run_verb(args: list[str]) -> None:
    """Run what the first of ``args`` names; imports are slow, and each verb has its own."""
    if args[0] == "data":
        from lit_offrl.cli.data import run_data_verb

        run_data_verb(args[1:])
    elif args[0] == "evaluate":
        from lit_offrl.cli.evaluate import run_evaluate

        run_evaluate(args[1:])
    elif args[0] == "select":
        from lit_offrl.cli.select import run_select

        run_select(args[1:])
    elif args[0] == "experiment":
        from lit_offrl.cli.experiment import run_experiment

        run_experiment(args[1:])
    else:
        from lit_offrl.cli.fit import run_fit

        run_fit(args)
