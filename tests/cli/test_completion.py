"""Completion: the script for each shell, and what it asks the program for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from stand_in import run

from hgqify.cli import main

BASH = shutil.which("bash")


def completed(words: str) -> list[str]:
    """What fish is offered at the end of a line; files are 'file'."""
    *before, last = words.split(" ")
    env = {
        "_HGQIFY_COMPLETE": "fish_complete",
        "COMP_WORDS": " ".join(["hgqify", *before]),
        "COMP_CWORD": last,
    }
    result = CliRunner().invoke(main, env=env, prog_name="hgqify")
    return [line.split(",")[1].split("\t")[0] for line in result.output.splitlines() if "," in line]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_names_program_and_variable(shell: str) -> None:
    done = run("completion", shell)
    assert done.exit_code == 0
    assert "_HGQIFY_COMPLETE" in done.stdout
    assert f"{shell}_complete" in done.stdout


def test_an_unknown_shell() -> None:
    done = run("completion", "tcsh")
    assert done.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr


def test_commands_options_and_values() -> None:
    assert completed("comp") == ["compare", "completion"]
    assert completed("check --max") == ["--max-ebops"]
    assert completed("convert m.keras --tar") == ["--target-ebops"]
    assert completed("m.keras --tar") == ["--target-ebops"]  # convert is the default
    assert completed("m.keras --io-type io_") == ["io_parallel", "io_stream"]
    assert completed("completion ") == ["bash", "zsh", "fish"]


@pytest.mark.skipif(BASH is None, reason="there is no bash")
def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    """The shell itself sources the script, and asks the program."""
    program = tmp_path / "hgqify"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hgqify "$@"\n')
    program.chmod(0o755)
    script = run("completion", "bash").stdout
    (tmp_path / "script").write_text(script)
    function = next(line.split("(")[0] for line in script.splitlines() if "()" in line)
    line = "COMP_WORDS=(hgqify sw); COMP_CWORD=1"
    ask = f'. "{tmp_path}/script"; {line}; {function} hgqify; echo "${{COMPREPLY[@]}}"'
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run([BASH, "-c", ask], env=os.environ | {"PATH": path}, capture_output=True, text=True)
    assert done.stdout.split() == ["sweep"], done.stderr
