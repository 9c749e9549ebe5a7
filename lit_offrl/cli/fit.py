"""``lit-offrl fit``: LightningCLI whose ``fit`` runs every stage."""

from __future__ import annotations

import io
import sys
import warnings
from copy import copy
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace, set_parsing_settings
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from lit_offrl.cli.configs import expand_configs
from lit_offrl.cli.fit_parser import (
    BLOCKS,
    FitParser,
    add_config,
    add_options,
)
from lit_offrl.cli.lightning_setup import chosen_devices, quiet_lightning
from lit_offrl.cli.many_devices import spread
from lit_offrl.cli.messages import reason_of
from lit_offrl.cli.trainer_options import check_options
from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.errors import UserError, check, check_numbers
from lit_offrl.many_seeds import fit_together
from lit_offrl.pipeline.run import STAGES, Run
from lit_offrl.pipeline.settings import RunSettings
from lit_offrl.runs.identity import check_same_config, hash_config
from lit_offrl.runs.summary import SUMMARY, RunOfMany, summary_table, write_summary
from lit_offrl.training.distributed import is_first
from lit_offrl.training.peers import PEERS
from lit_offrl.training.processes import FAMILY


def run_fit(args: list[str]) -> None:
    """Parse ``fit`` and run the pipeline."""
    expanded, name = expand_configs(args)
    quiet_lightning()
    # So that prior.data takes the same keys as data, without a class path.
    set_parsing_settings(subclasses_disabled=[OfflineDataModule])
    PEERS.meet()
    if not is_first():
        sys.stdout = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
        OfflineRLCLI(args, expanded, name)


class OfflineRLCLI(LightningCLI):
    """LightningCLI whose ``fit`` trains all stages: one block of settings per stage, shared devices.

    Args:
        args: The arguments as the user gave them.
        expanded: The same with the base files of each configuration.
        name: Name of the run, used for its folder without ``--run_dir``.
    """

    def __init__(self, args: list[str], expanded: list[str], name: str) -> None:
        self.given, self.name = args, name
        super().__init__(
            LightningModule,
            LightningDataModule,
            save_config_callback=None,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            seed_everything_default=0,
            args=expanded,
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
        parser = FitParser(**kwargs)
        add_config(parser)
        return parser

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add nothing: Lightning's seed option is described for programs of one Trainer."""

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        add_options(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        super().parse_arguments(parser, args)
        fit = self.config.fit
        seed = fit.seed_everything
        check(
            isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**32,
            f"seed_everything: {seed} is not an integer from 0 to 2^32 - 1; give one",
        )
        for name in ("data", "trainer", *STAGES):
            check(
                isinstance(fit[name], Namespace),
                f"{name}: {fit[name]!r} is no block of settings; give keys below it",
            )
        check_numbers({f"trainer.{name}": value for name, value in fit.trainer.items()})
        for name in STAGES:
            check_options(name, fit[name].trainer)
        check(
            fit.seeds == 1 or (fit.trainer.num_nodes == 1 and PEERS.count == 1),
            f"seeds: {fit.seeds} seeds cannot be trained by several nodes, torchrun or several tasks of SLURM; "
            "start a command with its own --seed_everything on each node",
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
        """The run of seed number ``number``."""
        fit, init = self.config.fit.clone(), self.init
        if fit.seeds > 1:
            fit.seed_everything += number
            fit.seeds = 1
            if fit.run_dir is not None:
                fit.run_dir = f"{fit.run_dir}/seed{fit.seed_everything}"
        reuse, fit.reuse = fit.reuse, False
        plain = without_enums(fit)
        text = self._subcommand_parsers["fit"].dump(plain, skip_none=False, skip_check=True)
        config = yaml.safe_load(text)
        name = f"{self.name}-{hash_config(config)}-seed{fit.seed_everything}"
        settings = RunSettings(
            Path(fit.run_dir or f"runs/{name}"),
            int(fit.seed_everything),
            vars(init.trainer),
            config,
            fit.compile,
            link=None if fit.run_dir or number else Path("runs/latest"),
            shared_stages=None if fit.shared_stages is None else Path(fit.shared_stages),
        )
        if not reuse:
            check_same_config(settings.run_dir, config)
        # Each run has its own samplers; the rows are shared.
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
            spread(self.given, fit.run_dir, fit.seed_everything, fit.seeds, devices)
            self._summarise()
            return
        # Read before the data module is copied, so that all copies share it.
        _ = self.init.data.dataset
        others = [self._run(number) for number in range(1, fit.seeds)]
        fit_together([first, *others], fit.until)
        self._summarise()

    def _summarise(self) -> None:
        """Write and print the results of all seeds, once every seed is finished."""
        fit, folder = self.config.fit, self.runs[0].settings.run_dir
        if fit.until not in (None, "policy") or not is_first() or FAMILY.parent:
            return
        path = folder.parent / SUMMARY
        if fit.run_dir is None:
            name = folder.name.removesuffix(f"-seed{fit.seed_everything}")
            path = folder.with_name(f"{name}-{SUMMARY}")
        runs = []
        for seed in range(fit.seed_everything, fit.seed_everything + fit.seeds):
            own = folder.with_name(f"{folder.name.removesuffix(str(fit.seed_everything))}{seed}")
            runs.append(RunOfMany(str(fit.data.dataset), self.name, seed, own))
        print("\n".join(["", *summary_table(write_summary(runs, path)), str(path)]), flush=True)


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
