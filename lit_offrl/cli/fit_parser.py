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
from lit_offrl.cli.messages import explain, fail
from lit_offrl.cli.trainer_options import OF_A_STAGE, REFUSED, refused_options
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets import Layout
from lit_offrl.datasets.subset import ExtraDataset, Subset
from lit_offrl.dynamics import Rollouts
from lit_offrl.errors import UserError
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
    """Lightning's parser, whose errors are one line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"formatter_class": HelpFormatter, "usage": USAGE, **kwargs})

    def format_help(self, *args: Any) -> str:
        """The help without Trainer's options, unless they alone are asked for."""
        if "trainer" not in (self.groups or {}) or len(self._action_groups) == 1:
            return super().format_help(*args)
        with only(self, list(TITLES)):
            return super().format_help(*args)

    def parse_args(self, args: Any = None, *more: Any, **options: Any) -> Namespace:  # type: ignore[override]
        """Parse; the help of parts of parts is reached through the part's own."""
        given = name_slots(self, args) if isinstance(args, list) else args
        return super().parse_args(given, *more, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        fail(self.reason(message))

    def reason(self, message: str) -> str:
        """The parser's complaint as one line."""
        parsers = [self, *self._subcommands()]
        options = [a.dest for parser in parsers for a in parser._actions]
        return explain(message, options, refused_options())

    def get_defaults(self, *args: Any, **kwargs: Any) -> Namespace:
        """Default values; of default classes the names alone, as their arguments are filled in last of all."""
        found = super().get_defaults(*args, **kwargs)
        for action in self._actions:
            if is_class(action.default) and "init_args" not in action.default:
                found[action.dest] = Namespace({"class_path": action.default["class_path"]})  # type: ignore[no-untyped-call]
        return found

    def parse_object(self, obj: Any, namespace: Any = None, **kwargs: Any) -> Namespace:
        """Parse a part's arguments; a class in the place of a default one has none of its arguments."""
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

    def _subcommands(self) -> list[Any]:
        action = self._subcommands_action
        return [] if action is None else list(action._name_parser_map.values())


class CellParser(FitParser):
    """A parser of what another file says about a run."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UserError(self.reason(message)) from ex


def make_fit_parser() -> FitParser:
    """The parser of the options of ``fit`` alone, which raises :class:`UserError`."""
    parser = CellParser()
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
    """Add all other options of ``fit``."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    add_run_options(parser)
    add_trainer_options(parser)
    add_stages(parser)
    order_groups(parser)


def is_class(value: Any) -> bool:
    """Whether a value of a configuration is a class and its arguments."""
    return isinstance(value, (dict, Namespace)) and "class_path" in value


def add_run_options(parser: LightningArgumentParser) -> None:
    """Add what concerns the whole run."""
    parser.add_argument(
        "--seed_everything",
        type=bool | int,
        default=0,
        help="Seed of the run, from which every part's seed is derived; the first one with --seeds.",
    )
    parser.add_argument(
        "--base",
        type=str | list[str] | None,
        default=None,
        help="In a YAML file: the files it builds on and overrides, relative to its folder.",
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
        help="Allow a folder that holds results of other settings: stages with equal settings are kept, the "
        "others trained again.",
    )
    parser.add_argument(
        "--until",
        type=Literal["dynamics", "value", "prior", "policy"] | None,
        default=None,
        help="Last stage to train; earlier stages that it does not need are skipped. Null trains all.",
    )
    parser.add_argument(
        "--seeds",
        type=PositiveInt,
        default=1,
        help="Number of seeds to train at once: seed_everything, seed_everything + 1 and so on, each a run.",
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
        help="When updates run through torch.compile; auto is from 20 000 updates of a stage on.",
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
