"""The help of every verb: whole, in order, and understood alone."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from lit_offrl.cli import VERBS, main
from lit_offrl.cli.data import VERBS as DATA_VERBS
from lit_offrl.cli.fit_parser import FitParser, make_fit_parser
from lit_offrl.cli.messages import Refused


@pytest.fixture(scope="module")
def parser() -> FitParser:
    return make_fit_parser()


def texts(help: str) -> dict[str, str]:
    """The text of each option, without the notes behind it."""
    found = {}
    for option in re.findall(r"^  (-\S.*(?:\n {6,}.*)*)", help, re.MULTILINE):
        name, _, text = option.partition("\n")
        words = " ".join(text.split())
        found[name.split()[0]] = re.sub(r" \((?:classes|settings|default|required).*\)$", "", words)
    return found


def unclear(help: str) -> list[str]:
    """Options whose text is missing, or too short to be understood without its neighbours."""
    return [name for name, text in texts(help).items() if len(text.split()) < 3]


def shown(run: object, args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        run(args)  # type: ignore[operator]
    assert stopped.value.code == 0
    return capsys.readouterr().out


def test_the_help_of_fit_is_that_of_its_options(
    parser: FitParser, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", "--help"])
    out = capsys.readouterr().out
    assert out == parser.format_help(), "give `make help`"
    titles = re.findall(r"^(\w[\w.]*): ", out, re.MULTILINE)
    assert titles == ["usage", "data", "data.layout", "dynamics", "value", "prior", "policy"]
    assert "--trainer.devices" not in out
    assert len(texts(out)) > 60
    assert unclear(out) == []


@pytest.mark.parametrize(
    ("args", "option"),
    [
        (["--trainer.help"], "--trainer.devices"),
        (["--policy.module.help", "PolicyLearner"], "--policy.module.backup"),
        (
            ["--policy.module.backup.help", "ExpectileBackup"],
            "--policy.module.backup.expectile",
        ),
        (["--policy.imagination.help"], "--policy.imagination.horizon"),
        (
            ["--prior.module", "DiffusionPrior", "--prior.module.weighting.help", "ValueWeighting"],
            "--prior.module.weighting.temperature",
        ),
    ],
)
def test_parts_have_help_of_their_own(
    parser: FitParser, args: list[str], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shown(parser.parse_args, args, capsys)
    assert option in texts(out)
    assert unclear(out) == []
    assert not any("obs_dim" in name for name in texts(out))


def test_the_help_of_a_slot_asks_for_a_class(parser: FitParser) -> None:
    with pytest.raises(Refused, match=r"^--prior.module.help: name a class"):
        parser.parse_args(["--prior.module.help"])


@pytest.mark.parametrize(
    "verb",
    [
        *([verb] for verb in VERBS if verb not in ("fit", "data")),
        *(["data", verb] for verb in DATA_VERBS),
    ],
)
def test_every_verb_explains_its_options(
    verb: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = shown(main, [*verb, "--help"], capsys)
    assert out.startswith(f"usage: lit-offrl {' '.join(verb)}")
    assert unclear(out) == []


@pytest.mark.parametrize("args", [["--help"], ["fit", "--help"]])
def test_help_is_shown_without_slow_imports(args: list[str]) -> None:
    code = f"import sys, lit_offrl.cli as c; c.main({args}); print({{'torch', 'jsonargparse'}} & {{*sys.modules}})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.endswith("set()\n")
