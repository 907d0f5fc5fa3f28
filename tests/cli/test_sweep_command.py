"""`hgqify sweep` as its users run it: interrupted, gone on with, its choice saved."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from tiny_zoo import tiny_models

import hgqify
from hgqify.cli import main
from hgqify.progress import Event, TextProgress


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with a model, its data, and settings."""
    monkeypatch.chdir(tmp_path)
    model = tiny_models.build("mlp", seed=1)
    model.save("model.keras")
    x = tiny_models.inputs(model, 160, seed=1)
    labels = np.asarray(model.predict(x, verbose=0)).argmax(axis=1)
    np.savez("calib.npz", x=x, y=labels)
    Path("s.toml").write_text("[convert]\nbudgets = [900, 500]\nweight_bits = 9\n")
    return tmp_path


def run(*options: str) -> Result:
    return CliRunner().invoke(
        main,
        ["sweep", "model.keras", "--calib", "calib.npz", "--config", "s.toml", "-o", "out", *options],
        catch_exceptions=False,
    )


def test_a_sweep_is_interrupted_gone_on_with_and_saved(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient(TextProgress):
        def __call__(self, event: Event, /) -> None:
            super().__call__(event)
            if event.milestone:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hgqify.cli.sweep.TextProgress", Impatient)
        assert run().exit_code == 130
    assert os.listdir("out") == ["points"]
    assert os.listdir("out/points") == ["900.npz"]

    result = run("--save-chosen", "best", "--max-drop", "30")
    assert result.exit_code == 0, result.output
    shown = [line for line in result.stderr.splitlines() if line.startswith("sweep")]
    assert [line.split("  ")[1] for line in shown] == ["1/2 points", "2/2 points"]
    assert "EBOPs" in shown[1]
    assert "accuracy %" in shown[1]
    lines = result.stdout.splitlines()
    assert lines[1].split() == ["budget", "EBOPs", "accuracy", "%", "points", "lost", "loss", "s"]
    assert lines[3].endswith("<- chosen")
    assert "written to out/: sweep.json, sweep.png, sweep.svg, points/" in lines
    read = json.loads(Path("out/sweep.json").read_text())
    assert [point["chosen"] for point in read["points"]] == [False, True]
    report = json.loads(Path("best/report.json").read_text())
    assert report["ebops"] == read["points"][1]["ebops"] <= 500
    assert report["settings"]["weight_bits"] == 9
    assert hgqify.check("best", data="calib.npz", random=50, csim=False).exact

    # Another setting: refused before any point, in one line.
    result = run("--weight-bits", "7")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("Error: out: the folder holds points of another sweep")
    result = run("--save-chosen", "best")
    assert result.exit_code == 2
    assert "best: the output folder exists already" in result.stderr


def test_no_point_within_the_drop(folder: Path) -> None:
    result = run("--budgets", "300", "--max-drop", "0", "--save-chosen", "best")
    assert result.exit_code == 2
    assert "and there is none" in result.stdout
    assert "every point of the sweep loses more than is allowed" in result.stderr
    assert not Path("best").exists()
