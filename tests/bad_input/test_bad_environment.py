"""What the machine may lack or do meanwhile: memory, space, the end of a run, another run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from refusals import content
from test_bad_model_files import BAD as FILES
from test_bad_models import BAD as MODELS

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
MEMORY = 400 << 20
"""Bytes that the hostile models may take besides what a good one takes."""
HOSTILE = (
    "config bomb",
    "weights bomb",
    "declared weights",
    "config nested in lists",
    "2^40 units",
    "2^33 units",
    "2^33 columns",
)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a process, with a folder for temporary files that is looked at afterwards."""
    (tmp_path / "temporary").mkdir()
    return os.environ | {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(HERE))),
        "KERAS_BACKEND": "jax",
        "TMPDIR": str(tmp_path / "temporary"),
    }


def limited(name: str, size: int, lines: Sequence[str], environment: dict[str, str]) -> list[dict[str, str]]:
    """What lines do under a limit."""
    done = subprocess.run(
        [sys.executable, HERE / "limited.py", name, str(size), *lines],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_hostile_models_take_no_memory(folder: Path, environment: dict[str, str]) -> None:
    """Each is refused for what it is, not for the memory that it could not get."""
    found = [bad for bad in (*FILES, *MODELS) if bad.what in HOSTILE]
    assert len(found) == len(HOSTILE)
    names = [bad.write(folder) for bad in found]
    for bad, told in zip(
        found, limited("RLIMIT_DATA", MEMORY, [f"inspect {n}" for n in names], environment), strict=True
    ):
        assert (told["status"], told["raised"], told["stdout"]) == (2, None, ""), (bad.what, told)
        assert told["stderr"].startswith("Error: ")
        assert not any(word in told["stderr"] for word in ("MemoryError", "RESOURCE_EXHAUSTED", "Traceback"))


def test_no_space(folder: Path, environment: dict[str, str]) -> None:
    """The disk is full in the middle of a result: nothing of it stays, and an older one is as it was."""
    (folder / "old").mkdir()
    (folder / "old" / "report.json").write_text("{}")
    before = content(folder)
    line = "good.keras --calib x.npy --finetune-steps 0 --no-check -q"
    lines = [f"{line} -o new", f"{line} -o old --force"]
    for told in limited("RLIMIT_FSIZE", 12_000, lines, environment):
        assert (told["status"], told["raised"], told["stdout"]) == (2, None, ""), told
        assert told["stderr"].startswith("Error: File too large: "), told
        assert len(told["stderr"].splitlines()) == 1
    assert content(folder) == before
    assert os.listdir(environment["TMPDIR"]) == []


def started(environment: dict[str, str], *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "hgqify", *args],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_interrupted_run_leaves_the_old_result(folder: Path, environment: dict[str, str]) -> None:
    (folder / "old").mkdir()
    (folder / "old" / "report.json").write_text("{}")
    before = content(folder)
    run = started(environment, "good.keras", "--calib", "x.npy", "-o", "old", "--force")
    assert run.stderr is not None
    for line in run.stderr:
        if line.startswith("calibrate"):
            run.send_signal(signal.SIGINT)
            break
    stdout, stderr = run.communicate(timeout=120)
    assert (run.returncode, stdout) == (130, "")
    assert stderr.splitlines()[-1] == "Interrupted: no unfinished result was left behind."
    assert content(folder) == before
    assert os.listdir(environment["TMPDIR"]) == []


def test_two_runs_on_one_output(folder: Path, environment: dict[str, str]) -> None:
    """One result, whole; the other run says that it came too late."""
    np.save("many.npy", np.random.default_rng(1).normal(size=(400, 4)).astype(np.float32))
    before = set(os.listdir())
    args = ("good.keras", "--calib", "many.npy", "--finetune-steps", "4", "--no-check", "-q", "-o", "result")
    runs = [started(environment, *args) for _ in range(2)]
    told = [run.communicate(timeout=240) for run in runs]
    statuses = [run.returncode for run in runs]
    assert sorted(statuses) == [0, 2], told
    late = told[statuses.index(2)][1]
    assert late.startswith("Error: ")
    assert any(
        word in late for word in ("made by somebody else meanwhile", "exists already", "another run")
    ), late
    assert set(os.listdir()) - before == {"result"}
    assert os.listdir(environment["TMPDIR"]) == []


def test_the_same_in_a_process_of_its_own(folder: Path, environment: dict[str, str]) -> None:
    """The message alone: no warnings of libraries, no traceback."""
    (folder / "text.keras").write_text("hello")
    before = content(folder)
    run = started(environment, "text.keras", "--calib", "x.npy")
    stdout, stderr = run.communicate(timeout=120)
    assert (run.returncode, stdout) == (2, "")
    assert stderr.startswith("Error: text.keras: not a Keras model")
    assert len(stderr.splitlines()) == 1
    assert content(folder) == before
