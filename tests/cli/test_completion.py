"""Completion by the shell, as bash does it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lit_offrl.cli import main

# What bash does on the tabulator key.
ASK = """
source {script}
COMP_WORDS=({words} '') COMP_CWORD={count}
[ -n '{last}' ] && COMP_WORDS[{count}]='{last}'
compopt() {{ :; }}
_shtab_lit_offrl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "lit-offrl"
    with pytest.MonkeyPatch.context() as patch, path.open("w") as file:
        patch.setattr("sys.stdout", file)
        main(["completion", "bash"])
    return path


@pytest.mark.parametrize(
    ("words", "last", "expected"),
    [
        ("lit-offrl", "ev", {"evaluate"}),
        ("lit-offrl fit", "--policy.up", {"--policy.updates", "--policy.updates_per_block"}),
        ("lit-offrl fit", "--policy.imagination.hor", {"--policy.imagination.horizon"}),
        ("lit-offrl fit --until", "", {"dynamics", "value", "prior", "policy"}),
        ("lit-offrl fit --config", "mabe_h", {"mabe_halfcheetah"}),
        ("lit-offrl export --to", "on", {"onnx"}),
        ("lit-offrl data make --keep", "", {"replay", "rollouts"}),
    ],
)
def test_bash_completes(script: Path, words: str, last: str, expected: set[str]) -> None:
    ask = ASK.format(script=script, words=words, last=last, count=len(words.split()))
    out = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True).stdout
    assert set(out.split()) == expected


def test_other_shells_are_refused() -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["completion", "csh"])
    assert stopped.value.code == 2
