"""The recipes for continuous integration do what they promise, as they stand."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from junit_schema import problems

from hgqify.precision import from_npz, ops, to_npz

RECIPES = Path(__file__).parents[2] / "fixtures" / "ci"
ROOT = Path(__file__).parents[2]


def github_line() -> str:
    """The command of the step that checks."""
    workflow = yaml.safe_load((RECIPES / "github-actions.yml").read_text())
    assert set(workflow) == {"name", True, "jobs"}  # YAML reads the key `on` as true, GitHub as on
    (job,) = workflow["jobs"].values()
    assert job["runs-on"]
    assert all(("uses" in step) != ("run" in step) for step in job["steps"])
    (line,) = [step["run"] for step in job["steps"] if step.get("run", "").startswith("hgqify")]
    return line


@pytest.fixture
def workplace(results: Path, tmp_path: Path) -> Path:
    """A checkout with model_hgq and holdout.npz, and the command hgqify in bin."""
    shutil.copytree(results / "a", tmp_path / "model_hgq")
    shutil.copy(results / "holdout.npz", tmp_path)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "hgqify"
    # C simulation has tests of its own, and takes long.
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hgqify "$@" --no-csim --quiet\n')
    program.chmod(0o755)
    return tmp_path


def shell(workplace: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = f"{workplace / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=workplace, env=env, capture_output=True, text=True, check=False)


def test_both_recipes_say_the_same() -> None:
    assert github_line() in (RECIPES / "check.sh").read_text()


def test_it_passes_then_fails_when_an_integer_changes(workplace: Path) -> None:
    done = shell(workplace, "sh", "-c", github_line())
    assert done.returncode == 0, done.stdout + done.stderr
    assert problems(ElementTree.parse(workplace / "check.xml").getroot()) == []
    program = from_npz(workplace / "model_hgq" / "program.npz")
    next(node.op.kernel for node in program.nodes if isinstance(node.op, ops.Dense)).codes[0, 0] += 1
    to_npz(program, workplace / "model_hgq" / "program.npz")
    done = shell(workplace, str(RECIPES / "check.sh"))
    assert done.returncode == 1
    assert "first difference in dense" in done.stdout
    root = ElementTree.parse(workplace / "check.xml").getroot()
    assert problems(root) == []
    assert int(root.get("failures", "0")) >= 1
