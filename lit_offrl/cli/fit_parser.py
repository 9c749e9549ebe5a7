"""The options of ``lit-offrl fit``."""

from __future__ import annotations

from typing import Any, Literal, NoReturn

from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser

from lit_offrl.cli.help import (
    DESCRIPTION,
    EPILOG,
    TITLES,
    USAGE,
    HelpFormatter,
    TrainerHelp,
    group_of,
    name_slots,
    only,
    order_groups,
)
from lit_offrl.cli.messages import Refused, explain, key_above
from lit_offrl.cli.trainer_options import OF_A_STAGE, REFUSED, refused_options
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets import Layout
from lit_offrl.datasets.subset import ExtraDataset, Subset
from lit_offrl.dynamics import Rollouts
from lit_offrl.pipeline.dynamics import DynamicsSettings
from lit_offrl.pipeline.policy_settings import PolicySettings
from lit_offrl.pipeline.prior import PriorSettings
from lit_offrl.pipeline.value import ValueSettings
from lit_offrl.policy import Conservatism
from lit_offrl.training.loggers import LoggerFactory

# Classes of blocks that are given without a class path.
BLOCKS = {
    "data.layout": Layout,
    "data.subset": Subset,
    "data.more": ExtraDataset,
    "data": OfflineDataModule,
    "dynamics": DynamicsSettings,
    "value": ValueSettings,
    "prior": PriorSettings,
    "policy": PolicySettings,
    "policy.imagination": Rollouts,
    "policy.module.conservatism": Conservatism,
}


class FitParser(LightningArgumentParser):
    """Lightning's argument parser with errors of one line and shorter help."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"formatter_class": HelpFormatter, "usage": USAGE, **kwargs})

    def format_help(self, *args: Any) -> str:
        """The help text, without Trainer's options unless ``--trainer.help`` asks for them."""
        if "trainer" not in (self.groups or {}) or len(self._action_groups) == 1:
            return super().format_help(*args)
        with only(self, list(TITLES)):
            return super().format_help(*args)

    def parse_args(self, args: Any = None, *more: Any, **options: Any) -> Namespace:  # type: ignore[override]
        """Parse ``args``; the help of a nested class is found through the class that holds it."""
        given = name_slots(self, args) if isinstance(args, list) else args
        return super().parse_args(given, *more, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise Refused(self.reason(message)) from ex

    def reason(self, message: str) -> str:
        """The parser's error message as one line."""
        parsers = [self, *self._subcommands()]
        options = [a.dest for parser in parsers for a in parser._actions]
        return explain(message, options, refused_options(), key_above())

    def get_defaults(self, *args: Any, **kwargs: Any) -> Namespace:
        """Default values; of a default class only its path, as its arguments are filled in last."""
        found = super().get_defaults(*args, **kwargs)
        for action in self._actions:
            if is_class(action.default) and "init_args" not in action.default:
                found[action.dest] = Namespace({"class_path": action.default["class_path"]})  # type: ignore[no-untyped-call]
        return found

    def parse_object(self, obj: Any, namespace: Any = None, **kwargs: Any) -> Namespace:
        """Parse the arguments of a class; one that replaces a default class inherits none of its arguments."""
        before = {action: action.default for action in self._actions if is_class(action.default)}
        for action, default in before.items():
            given = obj.get(action.dest)
            if is_class(given) and given["class_path"] != default["class_path"]:
                action.default = {"class_path": given["class_path"]}
        try:
            return super().parse_object(obj, namespace, **kwargs)
        finally:
            for action, default in before.items():
                action.default = default

    def validate(self, *args: Any, **kwargs: Any) -> None:
        """Check values against the types of their keys, also those that are null."""
        super().validate(*args, **{**kwargs, "skip_unset": False})

    def _subcommands(self) -> list[Any]:
        action = self._subcommands_action
        return [] if action is None else list(action._name_parser_map.values())


def make_fit_parser() -> FitParser:
    """The parser of the options of ``fit`` alone."""
    parser = FitParser()
    add_config(parser)
    add_options(parser)
    return parser


def add_config(parser: LightningArgumentParser) -> None:
    """Add the option that names configuration files."""
    parser.add_argument(
        "-c",
        "--config",
        action="config",
        metavar="NAME_OR_FILE",
        help="Name of a configuration of the package, such as mabe, or path of a YAML file; may be given "
        "several times: later files override earlier ones.",
    )


def add_options(parser: LightningArgumentParser) -> None:
    """Add all options of ``fit`` but ``--config``."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    add_run_options(parser)
    add_trainer_options(parser)
    add_stages(parser)
    order_groups(parser)


def is_class(value: Any) -> bool:
    """Whether a value of a configuration is a class path with arguments."""
    return isinstance(value, (dict, Namespace)) and "class_path" in value


def add_run_options(parser: LightningArgumentParser) -> None:
    """Add the options of the whole run."""
    parser.add_argument(
        "--seed_everything",
        type=bool | int,
        default=0,
        help="Seed of the run, from which the seeds of all stages are derived; with --seeds, the first seed.",
    )
    parser.add_argument(
        "--base",
        type=str | list[str] | None,
        default=None,
        help="Key of configuration files only: base files, relative to the file's folder, whose values the "
        "file overrides.",
    )
    parser.add_argument(
        "--run_dir",
        type=str | None,
        default=None,
        help="Folder of the run; null for runs/<names of the configurations>-<hash of all settings>-seed<seed>.",
    )
    parser.add_argument(
        "--reuse",
        type=bool,
        default=False,
        help="Whether the run folder may hold results of other settings: stages with equal settings are kept, "
        "the others are trained again.",
    )
    parser.add_argument(
        "--until",
        type=Literal["dynamics", "value", "prior", "policy"] | None,
        default=None,
        help="Last stage to train; earlier stages that it does not need are skipped. Null trains all stages.",
    )
    parser.add_argument(
        "--seeds",
        type=PositiveInt,
        default=1,
        help="Number of runs to train together, with seeds seed_everything, seed_everything + 1 and so on.",
    )
    parser.add_argument(
        "--shared_stages",
        type=str | None,
        default=None,
        help="Folder of trained dynamics, values and priors that several runs share: equal stages are trained "
        "once.",
    )
    parser.add_argument(
        "--compile",
        type=Literal["auto", "always", "never"],
        default="auto",
        help="When updates are compiled by torch.compile; auto compiles stages of at least 20000 updates.",
    )
    parser.add_argument(
        "--trainer.help",
        action=TrainerHelp,
        help="Show the options of lightning.Trainer (devices, precision, loggers, ...) and exit.",
    )


def add_trainer_options(parser: LightningArgumentParser) -> None:
    """Add the options of Trainer that all stages share."""
    parser.add_class_arguments(
        Trainer,
        "trainer",
        skip={*REFUSED, *OF_A_STAGE, "logger"},
        instantiate=False,
        fail_untyped=False,
        sub_configs=True,
    )
    group_of(parser, "trainer").add_argument(
        "--trainer.logger",
        type=bool | list[LoggerFactory] | LoggerFactory | None,
        default=None,
        help="Loggers by class path, such as lightning.pytorch.loggers.CSVLogger; false for none, null for "
        "TensorBoard.",
    )
    parser.set_defaults({"trainer.accelerator": "auto", "trainer.devices": 1})


def add_stages(parser: LightningArgumentParser) -> None:
    """Add the data and the stages' blocks."""
    parser.add_class_arguments(OfflineDataModule, "data", skip={"seed"}, sub_configs=True)
    parser.add_class_arguments(DynamicsSettings, "dynamics", fail_untyped=False)
    parser.add_class_arguments(ValueSettings, "value", fail_untyped=False)
    parser.add_class_arguments(PriorSettings, "prior", fail_untyped=False)
    parser.add_class_arguments(PolicySettings, "policy", fail_untyped=False)
    parser.set_defaults(
        {
            "dynamics.module": {"class_path": "lit_offrl.dynamics.DynamicsEnsemble"},
            "value.module": {"class_path": "lit_offrl.priors.BehaviorValue"},
            "policy.module": {"class_path": "lit_offrl.policy.PolicyLearner"},
        }
    )
