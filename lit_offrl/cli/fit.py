"""``lit-offrl fit``: LightningCLI whose ``fit`` runs every stage."""

from __future__ import annotations

import io
import sys
import warnings
from copy import copy
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml

from lit_offrl.cli.configs import expand_configs
from lit_offrl.cli.messages import explain, fail, reason_of
from lit_offrl.errors import UserError, check


def run_fit(args: list[str]) -> None:
    """Parse ``fit`` and run the pipeline."""
    args, name = expand_configs(args)
    from jsonargparse import Namespace, set_parsing_settings
    from jsonargparse.typing import PositiveInt
    from lightning.pytorch import LightningDataModule, LightningModule, Trainer
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

    from lit_offrl.datamodule import OfflineDataModule
    from lit_offrl.datasets import Layout
    from lit_offrl.datasets.subset import ExtraDataset, Subset
    from lit_offrl.dynamics import Rollouts
    from lit_offrl.pipeline.dynamics import DynamicsSettings
    from lit_offrl.pipeline.many_devices import spread
    from lit_offrl.pipeline.many_seeds import fit_together
    from lit_offrl.pipeline.policy import PolicySettings
    from lit_offrl.pipeline.prior import PriorSettings
    from lit_offrl.pipeline.run import STAGES, Run
    from lit_offrl.pipeline.stage import RunSettings
    from lit_offrl.pipeline.trainers import (
        OF_A_STAGE,
        REFUSED,
        LoggerFactory,
        chosen_devices,
        quiet_lightning,
        refused_options,
    )
    from lit_offrl.pipeline.value import ValueSettings
    from lit_offrl.training.distributed import is_first

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
    }
    quiet_lightning()
    # So that prior.data takes the keys of data as they are, without naming the class.
    set_parsing_settings(subclasses_disabled=[OfflineDataModule])
    if not is_first():
        sys.stdout = io.StringIO()

    class Parser(LightningArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            parsers = [self, *self._subcommands()]
            options = [a.dest for parser in parsers for a in parser._actions]
            fail(explain(message, options, refused_options()))

        def _subcommands(self) -> list[Any]:
            action = self._subcommands_action
            return [] if action is None else list(action._name_parser_map.values())

    class OfflineRLCLI(LightningCLI):
        """LightningCLI whose ``fit`` is the pipeline: one Trainer placement, one block per stage."""

        def __init__(self) -> None:
            super().__init__(
                LightningModule,
                LightningDataModule,
                save_config_callback=None,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                seed_everything_default=0,
                args=args,
                parser_kwargs={"fit": {"description": "Train every stage, in order."}},
            )

        @staticmethod
        def subcommands() -> dict[str, set[str]]:
            skip = {
                "model",
                "datamodule",
                "train_dataloaders",
                "val_dataloaders",
                "ckpt_path",
                "weights_only",
            }
            return {"fit": skip}

        def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
            parser = Parser(**kwargs)
            parser.add_argument(
                "-c", "--config", action="config", help="A YAML file; several may stack."
            )
            return parser

        def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
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
                help="The run's folder; by default runs/<names of the configs>-seed<seed>.",
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
                "--compile",
                type=Literal["auto", "always", "never"],
                default="auto",
                help="Compile whole updates: by default for 20 000 updates or more.",
            )
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

        def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
            super().parse_arguments(parser, args)
            fit = self.config.fit
            # The files it names are read already.
            fit.base = None
            seed = fit.seed_everything
            check(
                isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**32,
                f"seed_everything: {seed} is no integer within 0 and 2^32; give one",
            )
            for name in ("data", *STAGES):
                check(
                    isinstance(fit[name], Namespace),
                    f"{name}: {fit[name]!r} is no block of settings; give keys below it",
                )

        def before_instantiate_classes(self) -> None:
            return

        def instantiate_classes(self) -> None:
            try:
                self.init = self.parser.instantiate(self.config).fit
            except Exception as error:
                raise UserError(reason_of(error, self.config.fit, BLOCKS)) from error
            self.model, self.datamodule = None, self.init.data
            self.trainer = self.runs = [self._run(0)]  # type: ignore[assignment]

        def _run(self, number: int) -> Run:
            """The run of one of the seeds."""
            fit, init = self.config.fit.clone(), self.init
            if fit.seeds > 1:
                fit.seed_everything += number
                fit.seeds = 1
                if fit.run_dir is not None:
                    fit.run_dir = f"{fit.run_dir}/seed{fit.seed_everything}"
            plain = without_enums(fit)
            text = self._subcommand_parsers["fit"].dump(plain, skip_none=False, skip_check=True)
            settings = RunSettings(
                Path(fit.run_dir or f"runs/{name}-seed{fit.seed_everything}"),
                int(fit.seed_everything),
                vars(init.trainer),
                yaml.safe_load(text),
                fit.compile,
            )
            # Each has samplers of its own; the rows are there once.
            data = copy(init.data) if number else init.data
            prior = init.prior
            if number and prior.data is not None:
                prior = replace(prior, data=copy(prior.data))
            return Run(settings, data, init.dynamics, init.value, prior, init.policy, text)

        def _run_subcommand(self, subcommand: str) -> None:
            fit, (first,) = self.config.fit, self.runs
            if fit.seeds == 1:
                first.fit(fit.until)
                return
            devices = chosen_devices(vars(self.init.trainer), first.settings.run_dir)
            if len(devices) > 1:
                spread(args, fit.run_dir, fit.seed_everything, fit.seeds, devices)
                return
            # Read before the data module is copied, so that all copies share it.
            _ = self.init.data.dataset
            others = [self._run(number) for number in range(1, fit.seeds)]
            fit_together([first, *others], fit.until)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
        OfflineRLCLI()


def without_enums(value: Any) -> Any:
    """``value`` with members of enumerations, such as Timer's interval, as their plain values."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list):
        return [without_enums(item) for item in value]
    if isinstance(value, dict):
        return {key: without_enums(item) for key, item in value.items()}
    if hasattr(value, "items") and hasattr(value, "clone"):
        found = value.clone()
        for key in list(vars(found)):
            setattr(found, key, without_enums(vars(found)[key]))
        return found
    return value
