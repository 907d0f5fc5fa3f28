"""Every command and option says what it does, with examples that run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import keras
import numpy as np
import pytest
from stand_in import COMMANDS, run
from tiny_zoo import tiny_models

# Examples may use what these made, in this order; `init` and `completion` need nothing.
ORDER = ("main", "convert", "init", "inspect", "completion", "check", "compare", "export", "report", "sweep")
# Those that need more than hgqify have theirs run where that is asked for.
ELSEWHERE = ("import-hgq2",)


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


def test_every_command_has_its_examples_run() -> None:
    assert {*COMMANDS, "main"} == {*ORDER, *ELSEWHERE}


def test_examples_in_help_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand, in one folder that holds model.keras, calib.npz and holdout.npz."""
    monkeypatch.chdir(tmp_path)
    model = tiny_models.build("mlp", seed=1)
    model.save("model.keras")
    for name, seed in (("calib.npz", 1), ("holdout.npz", 2)):
        x = tiny_models.inputs(model, 120, seed=seed)  # too few to train on: faster
        np.savez(name, x=x, y=np.asarray(model.predict(x, verbose=0)).argmax(axis=1))
    # C simulation has tests of its own; here a compiler would run for every example.
    monkeypatch.setattr("hgqify.checking.compiler", lambda: None)
    lines = list(dict.fromkeys(line for name in ORDER for line in examples(name)))
    assert len(lines) >= 20
    for line in lines:
        program, *args = shlex.split(line)
        assert program == "hgqify"
        keras.backend.clear_session()
        result = run(*args)
        assert result.exit_code == 0, f"{line}\n{result.output}"


def test_python_m() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "hgqify", "--help"], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("Usage: hgqify ")
