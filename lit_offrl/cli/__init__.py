"""The command line ``lit-offrl``: ``fit`` and the other verbs."""

from __future__ import annotations

import errno
import gc
import os
import sys
from importlib import import_module
from pathlib import Path

from lit_offrl import __version__
from lit_offrl.cli.messages import Refused, fail
from lit_offrl.errors import Stopped, UserError, first_line
from lit_offrl.training.peers import PEERS
from lit_offrl.training.processes import FAMILY, stopping_once

# Module of each verb, imported when it is called; its function run_<verb> takes the arguments after the verb.
VERBS = (
    "fit",
    "evaluate",
    "select",
    "report",
    "export",
    "experiment",
    "sweep",
    "data",
    "completion",
)

HELP = f"""\
lit-offrl {__version__}: model-based offline reinforcement learning with behaviour priors

  fit         train dynamics, prior and policy on a dataset, and evaluate them
              lit-offrl fit --config demo
  evaluate    returns, confidence intervals and videos of trained policies and priors
              lit-offrl evaluate runs/latest --episodes 100 --part all
  select      rank policies by estimates from the data alone, without an environment
              lit-offrl select runs/mabe-* runs/mopo-*
  report      a page, tables and figures of finished runs, with published results
              lit-offrl report runs/* --against published
  export      a policy as a file that runs without lit-offrl, or as a folder for the hub
              lit-offrl export runs/latest --to onnx --guard true
  experiment  a grid of configurations, datasets and seeds
              lit-offrl experiment experiments/mabe_table1.yaml --scale small --dry_run true
  sweep       a search over settings
              lit-offrl sweep --config quickstart --space space.yaml --trials 20
  data        list, info, check, import, fetch, collect, make
              lit-offrl data info bundled/halfcheetah-mixed
  completion  a script that completes options in bash or zsh
              lit-offrl completion bash > ~/.local/share/bash-completion/completions/lit-offrl

lit-offrl VERB --help lists the options of a verb; fit --config FILE --print_config shows what a run would use.
"""

# Kept as a file because the parser that formats it takes seconds to build; ``make help`` writes it.
FIT_HELP = Path(__file__).with_name("fit_help.txt")

# Errors of a disk or of permissions, reported in one line; any other OSError is a bug and keeps its traceback.
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
    if args in (["fit", "-h"], ["fit", "--help"]):
        print(FIT_HELP.read_text("utf-8"), end="")
        return
    from lit_offrl.cli.strict_yaml import use_strict_yaml

    # Classes of the user may lie in the working folder; at the end of the path it hides no library.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    # Before torch is imported: a lost connection is reported in one line, not by its stack of C++ functions.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    use_strict_yaml()
    FAMILY.join()
    again = "starts over" if args[0] == "data" else "continues"
    with stopping_once():
        try:
            run_verb(args)
            PEERS.leave()
        except (UserError, Refused) as error:
            if FAMILY.is_rank:
                # The first process prints the same error and ends both.
                FAMILY.wait_for_verdict()
            fail(f"{error}{PEERS.fail(2)}")
        except OSError as error:
            process = PEERS.fail(2)
            if error.errno not in REFUSED:
                raise
            where = error.filename or "a file"
            reason = error.strerror or first_line(error)
            fail(f"{where}: {reason}; fix this, and the same command {again}{process}")
        except Exception:
            PEERS.fail(1)
            raise
        except (KeyboardInterrupt, Stopped) as error:
            FAMILY.wait_for_verdict()
            PEERS.wait_for_verdict()
            if not FAMILY.parent:
                print(f"\nlit-offrl: stopped; the same command {again}", file=sys.stderr)
            raise SystemExit(error.code if isinstance(error, Stopped) else 130) from None


def run_verb(args: list[str]) -> None:
    """Run the verb that is the first of ``args``.

    Raises:
        UserError: There is no such verb.
    """
    verb = args[0]
    if verb not in VERBS:
        raise UserError(f"'{verb}' is no verb; give one of {', '.join(VERBS)}")
    collects = gc.isenabled()
    # Collections while modules are imported free next to nothing, and take a tenth of the time to the first update.
    gc.disable()
    try:
        module = import_module(f"lit_offrl.cli.{verb}")
    finally:
        if collects:
            gc.enable()
    getattr(module, f"run_{verb}")(args if verb == "fit" else args[1:])
