"""Files and values are read without losses, or refused in one line that names the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_offrl.cli import main
from lit_offrl.cli.strict_yaml import load_yaml

BOMB = "".join(
    f"{name}: &{name} [{', '.join(['*' + below] * 10) if below else '1'}]\n"
    for below, name in zip(["", *"abcdef"], "abcdefg", strict=True)
)
REFUSED = {
    "policy: {updates: 1}\npolicy: {updates: 2}\n": "line 2: key 'policy' is given twice, first in line 1",
    "policy:\n  updates: 1\n  updates: 2\n": "line 3: key 'updates' is given twice",
    "data:\n  more:\n  - dataset: a\n    dataset: b\n": "line 4: key 'dataset' is given twice",
    "policy:\n  trainer: {max_time: a, max_time: b}\n": "line 2: key 'max_time' is given twice",
    "policy: {updates: 1}\npolicy.updates: 2\n": "line 2: key 'policy.updates' stands beside 'policy'",
    "policy: &a {module: *a}\n": "line 1: a value contains itself",
    "data:\n  more: &a\n  - *a\n": "line 2: a value contains itself",
    BOMB: "anchors expand to more than",
    f"policy: {'[' * 2000}\n": "nested too deeply",
    "policy:\n\tupdates: 1\n": "line 2: found character '\\t'",
    "policy: !!python/object:os.system {}\n": "line 1: could not determine a constructor for the tag",
    "policy: {updates: 1}\n---\npolicy: {updates: 2}\n": "line 2: but found another document",
    "policy: \x07\n": "special characters are not allowed",
    "policy: {<<: [{updates: 1}, {updates: 2}]}\n": "line 1: key 'updates' is given twice",
    f"policy: {{updates: {'9' * 5000}}}\n": "line 1: a number has 5000 digits",
}


@pytest.mark.parametrize("text", REFUSED)
@pytest.mark.parametrize("below", [True, False])
def test_a_file_with_losses_gets_one_line(
    text: str, below: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    (tmp_path / "above.yaml").write_text("base: broken.yaml\n")
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", str(tmp_path / "above.yaml" if below else file)])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lit-offrl: error: {file}: cannot be read as YAML: ")
    assert REFUSED[text] in line


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--data.more", "[{dataset: a, dataset: b}]", "key 'dataset' is given twice"),
        ("--data.more", '[{"dataset": "a", "dataset": "b"}]', "key 'dataset' is given twice"),
        ("--data.layout", "&a [*a]", "a value contains itself"),
        ("--policy.updates", "1.5", "policy.updates"),
        ("--policy.updates", "1e-3", "policy.updates"),
        ("--policy.updates", "1e400", "policy.updates"),
        # Base 60, base 16 and half of a name.
        ("--policy.updates", "1:30", "policy.updates: '1:30' is not an integer"),
        ("--policy.updates", "0x10", "policy.updates: '0x10' is not an integer"),
        ("--policy.updates", "null", "policy.updates: 'None' is not an integer"),
        (
            "--policy.module.actor_hidden",
            "wide",
            "policy.module.actor_hidden: 'wide' is not a list",
        ),
        ("--data.more", "[{dataset: 3}]", "data.more.dataset: '3' is not text"),
        (
            "--prior.module",
            "lit_offrl.policy.Step",
            "prior.module: 'lit_offrl.policy.Step' is no B",
        ),
        ("--policy", "lit_offrl.Mine", "policy: 'lit_offrl.Mine' is no file"),
        ("--policy.imagination", "3", "policy.imagination: '3' is no class"),
    ],
)
def test_an_option_with_losses_gets_one_line(
    option: str, value: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--data.dataset", "robot/any-v0", option, value])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("policy: {updates: ~}", "policy.updates: 'None' is not an integer"),
        ("prior: {module: {init_args: {hidden: ~}}}", "prior.module.hidden: 'None' is not a list"),
        ("trainer: ~", "trainer: None is no block of settings"),
        ("trainer: []", "trainer: [] is no block of settings"),
        ("seeds: ~", "seeds: the value is not a positive integer"),
        ("run_dir: 010", "run_dir: '10' is not text"),
        ("policy: {1: 2}", "key [1] is no name of a setting"),
        ("policy: {batch-size: 9}", "did you mean 'policy.batch_size'?"),
        ("fit: {policy: {updates: 9}}", "did you mean 'policy.updates'?"),
        (
            "policy: {module: {init_args: {heads: 1}, discount: 0.6}}",
            "policy.module: has keys beside class_path and init_args",
        ),
    ],
)
def test_a_key_of_another_type_gets_one_line(
    text: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text(text)
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", "mabe", "--config", str(file), "--data.dataset", "robot/any-v0"])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


# What is written, and what it is.
NUMBERS = {
    "policy.updates": ("1e6", "1000000"),
    "policy.refresh_every": ("2.5E+3", "2500"),
    "policy.evaluate_every": ("10_000", "10000"),
    "policy.real_fraction": ("1e-3", "0.001"),
    "prior.validation_fraction": ("1e0", "1.0"),
    "seed_everything": ("1e2", "100"),
    "data.dataset": ("1e6", "1e6"),
}


@pytest.mark.parametrize("way", ["option", "joined option", "file"])
def test_numbers_are_what_they_are_written_as(
    way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[str] = []
    for key, (value, _) in NUMBERS.items():
        block, _, name = key.rpartition(".")
        if way != "file":
            given += [f"--{key}", value] if way == "option" else [f"--{key}={value}"]
        elif name != "dataset":
            file = tmp_path / f"{name}.yaml"
            file.write_text(f"{block}: {{{name}: {value}}}" if block else f"{name}: {value}")
            given += ["--config", str(file)]
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--data.dataset", "1e6", *given, "--print_config"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out.splitlines()
    for key, (_, expected) in NUMBERS.items():
        block, _, name = key.rpartition(".")
        assert f"{'  ' if block else ''}{name}: {expected}" in printed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e6", 1_000_000),
        ("-1e2", -100),
        ("1000.0", 1000.0),
        ("1e-3", 0.001),
        (".inf", float("inf")),
        # No octal number, no base 60, no date.
        ("010", 10),
        ("12:00:00:00", "12:00:00:00"),
        ("2020-01-01", "2020-01-01"),
        ("{<<: {a: 1}, a: 2}", {"a": 2}),
        ("[&a {b: 1}, *a]", [{"b": 1}, {"b": 1}]),
    ],
)
def test_values(text: str, expected: object) -> None:
    found = load_yaml(text)
    assert found == expected
    assert type(found) is type(expected)
