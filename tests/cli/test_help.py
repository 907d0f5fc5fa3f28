"""Every command and option says what it does, with examples that run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from stand_in import COMMANDS, Api, run


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.output


def examples(name: str) -> list[str]:
    """The command lines in a help text, without their continuation."""
    text = run(*([name] if name != "main" else []), "--help").output
    block = text.split("Examples:\n")[1].split("\n\n")[0]
    return [line.strip() for line in re.sub(r"\\\n\s*", "", block).splitlines()]


@pytest.mark.parametrize("name", [*COMMANDS, "main"])
def test_examples_in_help_run(api: Api, name: str) -> None:
    """Each parses, and names files that are in the repository."""
    lines = examples(name)
    assert len(lines) >= 2
    root = Path(__file__).parents[2]
    for line in lines:
        program, *args = shlex.split(line)
        assert program == "hgqify"
        result = run(*args)
        assert result.exit_code == 0, f"{line}\n{result.output}"
        for word in args:
            if word.startswith("fixtures/"):
                assert (root / word).exists(), word


def test_python_m() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "hgqify", "--help"], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("Usage: hgqify ")
