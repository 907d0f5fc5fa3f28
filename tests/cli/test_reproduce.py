"""The settings saved with a result make it again, bit for bit."""

import tomllib
from pathlib import Path

import keras
import numpy as np
import pytest
from stand_in import run
from tiny_zoo import tiny_models

import hgqify
from hgqify.errors import DataError
from hgqify.progress import no_progress

CASES = {
    "plain": "--finetune-steps 20 --seed 3 --ranges percentile --percentile 99.5 --margin 2",
    "budget": "--target-ebops 5000 --finetune-steps 30 --learning-rate 0.003",
    "drop": "--max-drop 3 --finetune-steps 0 --no-compensate --part xcku115 --strategy resource",
    "budgets": "--budgets 6000,4000",
    "rules": "--config rules.toml --finetune-steps 0 --bits 7 --io-type io_stream",
}
RULES = """
[data]
calib = "calib.npz"
labels = "labels.npy"
[[rule]]
path = "dense_1"
activation_bits = 9
reuse_factor = 3
strategy = "resource"
[[rule]]
layer_type = "Dense"
weight_granularity = "tensor"
overflow = "sat_sym"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a model, labelled data and a settings file."""
    path = tmp_path_factory.mktemp("reproduce")
    keras.utils.clear_session()  # the rules know the layers by the names that Keras gives first
    model = tiny_models.build("mlp", seed=1)
    model.save(path / "model.keras")
    x = tiny_models.inputs(model, 160, seed=1)
    y = np.asarray(model.predict(x, verbose=0)).argmax(axis=1)
    np.savez(path / "calib.npz", x=x, y=y)
    np.save(path / "labels.npy", y)
    (path / "rules.toml").write_text(RULES)
    return path


def arrays(result: Path) -> list[np.ndarray]:
    """All that a result computes with: the integers, and every variable of the Keras model."""
    with np.load(result / "program.npz") as program:
        integers = [program[name] for name in program.files]
    return [*integers, *keras.saving.load_model(result / "model.keras").get_weights()]


@pytest.mark.parametrize("case", CASES)
def test_a_result_is_made_again_from_its_settings(
    case: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    options = CASES[case].split()
    data = [] if "--config" in options else ["--calib", "calib.npz", "--labels", "y"]
    done = run("model.keras", *data, *options, "--no-check", "-q", "-o", case)
    assert done.exit_code == 0, done.output
    (folder / "elsewhere").mkdir(exist_ok=True)
    monkeypatch.chdir(folder / "elsewhere")  # paths in the settings do not depend on the working folder
    again = folder / f"{case}_again"
    settings = str(folder / case / "config.toml")
    done = run("../model.keras", "--config", settings, "--no-check", "-q", "-o", str(again))
    assert done.exit_code == 0, done.output
    first, second = arrays(folder / case), arrays(again)
    assert len(first) == len(second) > 10
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert Path(settings).read_text() == (again / "config.toml").read_text()
    reports = [hgqify.exporting.saved_report(path)["settings"] for path in (folder / case, again)]
    assert reports[0] == reports[1]


def test_what_was_asked_for_is_in_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    done = run("model.keras", *CASES["rules"].split(), "--no-check", "-q", "-o", "told")
    assert done.exit_code == 0, done.output
    told = tomllib.loads((folder / "told" / "config.toml").read_text())
    assert told["data"]["calib"] == str(folder / "calib.npz")
    assert told["data"]["labels"] == str(folder / "labels.npy")
    assert told["convert"]["weight_bits"] == 7
    assert told["project"]["io_type"] == "io_stream"
    assert "layers" not in told["project"]
    assert told["rule"] == [
        {"path": "dense_1", "activation_bits": 9, "strategy": "resource", "reuse_factor": 3},
        {"layer_type": "Dense", "weight_granularity": "tensor", "overflow": "SAT_SYM"},
    ]
    layers = hgqify.exporting.saved_report(folder / "told")["settings"]["project"]["layers"]
    assert layers == {"dense_1": {"strategy": "Resource", "reuse_factor": 3}}


def test_other_data_is_refused_where_a_checksum_is_given(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((5, 10), "f4"))
    settings = tmp_path / "s.toml"
    settings.write_text('[data]\ncalib = "x.npy"\ncalib_sha256 = "0"\n')
    with pytest.raises(DataError, match=r"x\.npy: the file has changed .*--calib, or"):
        hgqify.load_settings(settings)
    assert hgqify.load_settings(settings, data=False) == {}
    settings.write_text('[data]\ncalib = "x.npy"\nlabels = "y"\nkey = ["a", "b"]\n')
    assert hgqify.load_settings(settings) == {
        "calib": str(tmp_path / "x.npy"),
        "labels": "y",
        "key": ["a", "b"],
    }


def test_what_no_file_can_hold_is_said_in_it(tmp_path: Path) -> None:
    model = tiny_models.build("mlp", seed=1)
    x = tiny_models.inputs(model, 40, seed=1)
    rule = hgqify.Rule(predicate=lambda node: node.kind == "Dense", weight_bits=6)
    result = hgqify.convert(model, x, rules=[rule], finetune_steps=0, progress=no_progress)
    result.save(tmp_path / "out")
    text = (tmp_path / "out" / "config.toml").read_text()
    assert "# Not in this file: the calibration data, which was no file: give it with --calib" in text
    assert "# Not in this file: rules with a predicate" in text
    assert "# MODEL: a model in memory\n" in text
    assert "[data]" not in text
    assert "rules" not in hgqify.load_settings(tmp_path / "out" / "config.toml")
