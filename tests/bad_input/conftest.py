"""A small good model and good data, and a folder for each case."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from good_input import samples, small_model
from refusals import refused as run_refused


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good.keras, good.h5 and x.npy."""
    folder = tmp_path_factory.mktemp("good")
    model = small_model()
    for suffix in (".keras", ".h5"):
        model.save(folder / f"good{suffix}")
    np.save(folder / "x.npy", samples())
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of one case: with links to the good files."""
    work = tmp_path / "work"
    work.mkdir()
    for path in good.iterdir():
        (work / path.name).symlink_to(path)
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Run a line that must be refused; gives back its message."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    def run(line: str) -> str:
        message = run_refused(line, folder, temporary)
        print(f"\n$ hgqify {line}\n{message}")  # `pytest -s` gives all messages to read
        return message

    return run
