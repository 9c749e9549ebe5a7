"""The options of ``lit-offrl fit``."""

from __future__ import annotations

from typing import Any, Literal, NoReturn

from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser

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
    parser.add_argument("-c", "--config", action="config", help="A YAML file; several may stack.")
    parser.add_argument("--seed_everything", type=bool | int, default=0)
    add_run_options(parser)
    add_trainer_options(parser)
    add_stages(parser)
    return parser


def is_class(value: Any) -> bool:
    """Whether a value of a configuration is a class and its arguments."""
    return isinstance(value, (dict, Namespace)) and "class_path" in value


def add_run_options(parser: LightningArgumentParser) -> None:
    """Add what concerns the whole run."""
    parser.usage = "lit-offrl fit --config FILE [--key value ...]"
    parser.add_argument(
        "--base",
        type=str | list[str] | None,
        default=None,
        help="In a YAML file: files below it, relative to its folder.",
    )
    parser.add_argument(
        "--run_dir",
        type=str | None,
        default=None,
        help="The run's folder; by default runs/<names of the configs>-<hash of the configuration>-seed<seed>.",
    )
    parser.add_argument(
        "--reuse",
        type=bool,
        default=False,
        help="Go on in a folder with results of another configuration; stages whose settings are equal "
        "are reused.",
    )
    parser.add_argument(
        "--until",
        type=Literal["dynamics", "value", "prior", "policy"] | None,
        default=None,
        help="Stop after this stage, skipping those it does not need.",
    )
    parser.add_argument(
        "--seeds",
        type=PositiveInt,
        default=1,
        help="Train this many seeds at once, from seed_everything on.",
    )
    parser.add_argument(
        "--shared_stages",
        type=str | None,
        default=None,
        help="Folder where dynamics, values and priors are kept for all runs that name it: what is the same is "
        "trained once.",
    )
    parser.add_argument(
        "--compile",
        type=Literal["auto", "always", "never"],
        default="auto",
        help="Compile whole updates: by default for 20 000 updates or more.",
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
    parser.add_argument(
        "--trainer.logger",
        type=bool | list[LoggerFactory] | LoggerFactory | None,
        default=None,
        help="Loggers by class path; TensorBoard by default, false for none.",
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
