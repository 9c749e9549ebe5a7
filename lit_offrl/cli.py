"""The command line: ``lit-offrl fit --config FILE``, and the verbs beside it."""

from __future__ import annotations

import io
import os
import sys
import warnings
from copy import copy
from pathlib import Path
from typing import Any, Literal, NoReturn

from lit_offrl import __version__
from lit_offrl.errors import Stopped, UserError, check
from lit_offrl.explain import explain, reason_of

HELP = f"""\
lit-offrl {__version__}: model-based offline reinforcement learning with behaviour priors

  lit-offrl fit --config FILE [--key value ...]   train dynamics, prior and policy, and evaluate them
  lit-offrl fit --help                            every option
  lit-offrl fit --config FILE --print_config      what a run would use, all defaults filled in
  lit-offrl data make ID --environment ENV --steps N --keep replay|rollouts
                                                  a dataset of your own, by a policy trained online
  lit-offrl data list | info ID | check ID | import FILE --to ID | fetch ID | collect ID ...
  lit-offrl data make --help                      options of make; so for the others
  lit-offrl --version
"""


def main(args: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        args: Arguments after the program's name; by default those of the process.

    Raises:
        SystemExit: With code 2 and one line on standard error if the user has something to mend.
    """
    args = sys.argv[1:] if args is None else args
    if not args or args[0] in ("-h", "--help"):
        print(HELP)
        return
    if args[0] == "--version":
        print(__version__)
        return
    # A console script does not see the working folder, where users keep their own priors.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        if args[0] == "data":
            from lit_offrl.data_verbs import run_data_verb

            run_data_verb(args[1:])
        else:
            _run(args)
    except UserError as error:
        fail(str(error))
    except (KeyboardInterrupt, Stopped) as error:
        again = "starts anew" if args[0] == "data" else "continues"
        print(f"\nlit-offrl: stopped; the same command {again}", file=sys.stderr)
        raise SystemExit(error.code if isinstance(error, Stopped) else 130) from None


def fail(message: str) -> NoReturn:
    """Print one line and leave with code 2."""
    print(f"lit-offrl: error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)


def _run(args: list[str]) -> None:
    from jsonargparse import Namespace, set_parsing_settings
    from jsonargparse.typing import PositiveInt
    from lightning.pytorch import LightningDataModule, LightningModule, Trainer
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

    from lit_offrl.data import OfflineDataModule
    from lit_offrl.pipeline import CriticStage, DynamicsStage, Pipeline, PolicyStage, PriorStage
    from lit_offrl.pipeline.runner import quiet_lightning
    from lit_offrl.pipeline.spread import spread
    from lit_offrl.pipeline.together import fit_together
    from lit_offrl.processes import is_first

    quiet_lightning()
    # So that prior.data takes the keys of data as they are, without naming the class.
    set_parsing_settings(subclasses_disabled=[OfflineDataModule])
    if not is_first():
        sys.stdout = io.StringIO()

    class Parser(LightningArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            parsers = [self, *self._subcommands()]
            fail(explain(message, [a.dest for parser in parsers for a in parser._actions]))

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
                "--run_dir",
                type=str | None,
                default=None,
                help="The run's folder; by default runs/<names of the configs>-seed<seed>.",
            )
            parser.add_argument(
                "--until",
                type=Literal["dynamics", "critic", "prior", "policy"] | None,
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
                skip=set(OWNED_BY_STAGES),
                instantiate=False,
                fail_untyped=False,
                sub_configs=True,
            )
            parser.set_defaults({"trainer.accelerator": "auto", "trainer.devices": 1})
            parser.add_class_arguments(OfflineDataModule, "data", sub_configs=True)
            parser.set_defaults({"data.dataset": "bundled/halfcheetah-mixed"})
            parser.add_class_arguments(DynamicsStage, "dynamics", fail_untyped=False)
            parser.add_class_arguments(CriticStage, "critic", fail_untyped=False)
            parser.add_class_arguments(PriorStage, "prior", fail_untyped=False)
            parser.add_class_arguments(PolicyStage, "policy", fail_untyped=False)
            parser.set_defaults(
                {
                    "dynamics.module": {"class_path": "lit_offrl.dynamics.DynamicsEnsemble"},
                    "critic.module": {"class_path": "lit_offrl.priors.BehaviorCritic"},
                    "prior.module": {"class_path": "lit_offrl.priors.GaussianPrior"},
                    "prior.weighting": {"class_path": "lit_offrl.priors.ValueWeighting"},
                    "policy.module": {
                        "class_path": "lit_offrl.policy.PolicyLearner",
                        "init_args": {
                            "constraint": {"class_path": "lit_offrl.policy.PriorDivergence"}
                        },
                    },
                    "policy.imagination": {"penalty": {"class_path": "lit_offrl.dynamics.MaxStd"}},
                }
            )

        def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
            super().parse_arguments(parser, args)
            fit = self.config.fit
            seed = fit.seed_everything
            check(
                isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**32,
                f"seed_everything: {seed} is no integer within 0 and 2^32; give one",
            )
            for name in ("data", "dynamics", "critic", "prior", "policy"):
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
                raise UserError(reason_of(error)) from error
            self.model, self.datamodule = None, self.init.data
            # LightningCLI looks up the subcommand's method on what it calls the trainer.
            self.trainer = self.pipeline = self._pipeline(0)  # type: ignore[assignment]

        def _pipeline(self, number: int) -> Pipeline:
            """The pipeline of one of the seeds."""
            fit, init = self.config.fit.clone(), self.init
            if fit.seeds > 1:
                fit.seed_everything += number
                fit.seeds = 1
                if fit.run_dir is not None:
                    fit.run_dir = f"{fit.run_dir}/seed{fit.seed_everything}"
            return Pipeline(
                Path(fit.run_dir or default_run_dir(fit)),
                int(fit.seed_everything),
                vars(init.trainer),
                # Each has plans of its own; the rows are there once.
                copy(init.data) if number else init.data,
                init.dynamics,
                init.critic,
                init.prior,
                init.policy,
                self._subcommand_parsers["fit"].dump(fit, skip_none=False, skip_check=True),
                fit.compile,
            )

        def _run_subcommand(self, subcommand: str) -> None:
            fit = self.config.fit
            if fit.seeds == 1:
                self.pipeline.fit(fit.until)
                return
            devices = self.pipeline.runner.devices()
            if len(devices) > 1:
                spread(args, fit.run_dir, fit.seed_everything, fit.seeds, devices)
                return
            # Read before the data module is copied, so that all copies share it.
            _ = self.init.data.dataset
            others = [self._pipeline(number) for number in range(1, fit.seeds)]
            fit_together([self.pipeline, *others], fit.until)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
        OfflineRLCLI()


# What the stages' own settings decide, so that no option can contradict them.
OWNED_BY_STAGES = (
    "logger",
    "max_epochs",
    "min_epochs",
    "max_steps",
    "min_steps",
    "limit_train_batches",
    "limit_val_batches",
    "limit_test_batches",
    "limit_predict_batches",
    "overfit_batches",
    "fast_dev_run",
    "val_check_interval",
    "check_val_every_n_epoch",
    "num_sanity_val_steps",
    "log_every_n_steps",
    "enable_checkpointing",
    "enable_model_summary",
    "enable_progress_bar",
    "max_time",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "use_distributed_sampler",
    "reload_dataloaders_every_n_epochs",
    "default_root_dir",
    "barebones",
    "model_registry",
    "inference_mode",
    "enable_autolog_hparams",
    "sync_batchnorm",
)


def default_run_dir(config: Any) -> str:
    """``runs/<names of the config files>-seed<seed>``: files stacked otherwise are another run."""
    files = config.get("config") or []
    name = "-".join(Path(str(file)).stem for file in files) or "fit"
    return f"runs/{name}-seed{config.seed_everything}"
