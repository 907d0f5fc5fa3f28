"""`hgqify compare`: two results side by side."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from stand_in import run

import hgqify
from hgqify.exporting import saved_report
from hgqify.precision import lower, to_npz


def test_two_results(results: Path) -> None:
    found = hgqify.compare(results / "a", results / "b", data=results / "holdout.npz")
    first, second = (saved_report(results / name) for name in "ab")
    assert found.ebops == (first["ebops"], second["ebops"])
    assert found.settings["weight_bits"] == (10, 6)
    assert set(found.settings) == {"weight_bits", "activation_bits", "input_bits", "table_out_bits"}
    dense = next(layer for layer in found.layers if layer.layer == "dense")
    assert dense.differs
    assert dense.weight_bits == (first["layers"][1]["weight_bits"], second["layers"][1]["weight_bits"])
    assert found.differs
    assert found.integers.place is not None
    with np.load(results / "holdout.npz") as data:
        x, y = data["x"], data["y"]
    a, b = (keras.saving.load_model(results / n / "model.keras").predict(x, verbose=0) for n in "ab")
    on_data = found.on_data
    assert on_data is not None
    assert (on_data.samples, on_data.values) == (120, 360)
    assert on_data.differing == np.count_nonzero(a != b) > 0
    assert on_data.largest == pytest.approx(np.abs(a.astype(float) - b).max())
    assert on_data.same_class == np.mean(a.argmax(1) == b.argmax(1))
    assert on_data.metrics is not None
    assert [m.value for m in on_data.metrics] == [np.mean(a.argmax(1) == y), np.mean(b.argmax(1) == y)]


def test_a_result_equals_itself(results: Path) -> None:
    done = run("compare", str(results / "a"), str(results / "a"), "--exit-code")
    assert done.exit_code == 0, done.output
    assert "0 with other widths or EBOPs, 6 alike" in done.stdout
    assert ": 0 of 356 codes differ" in done.stdout


def test_what_is_printed(results: Path) -> None:
    args = ("compare", str(results / "a"), str(results / "b"), "--data", str(results / "holdout.npz"))
    done = run(*args)
    assert done.exit_code == 0
    for text in (
        "setting     weight_bits: 10 -> 6",
        "%)\n",
        "output values differ on holdout.npz",
        "accuracy",
    ):
        assert text in done.stdout
    assert run(*args, "--exit-code").exit_code == 1


def test_as_json(results: Path, tmp_path: Path) -> None:
    args = ("compare", str(results / "a"), str(results / "b"), "--data", str(results / "holdout.npz"))
    told = json.loads(run(*args, "--json").stdout)
    assert told["schema"] == 1
    assert told["differs"] is True
    assert told["on_data"]["samples"] == 120
    assert told["integers"]["place"]["layer"]
    assert told["layers"][1]["layer"] == "dense"
    done = run(*args, "--json", str(tmp_path / "c.json"))
    assert "EBOPs" in done.stdout
    assert json.loads((tmp_path / "c.json").read_text()) == told


def test_other_shapes_cannot_run_on_the_same_data(results: Path, tmp_path: Path) -> None:
    x = keras.Input((4,))
    model = keras.Model(x, hgqify.layers.QDense(2)(hgqify.layers.Quantize()(x)))
    model.save(tmp_path / "model.keras")
    to_npz(lower(model), tmp_path / "program.npz")
    (tmp_path / "report.json").write_text((results / "a" / "report.json").read_text())
    done = run("compare", str(results / "a"), str(tmp_path), "--data", str(results / "holdout.npz"))
    assert done.exit_code == 2
    assert "different shapes" in done.stderr
    assert run("compare", str(results / "a"), str(tmp_path)).exit_code == 0


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "[" * 100_000, '{"settings": {}, "conversion": []}', None]
)
def test_a_result_without_a_report(content: str | None, results: Path, tmp_path: Path) -> None:
    for name in ("model.keras", "program.npz"):
        (tmp_path / name).write_bytes((results / "a" / name).read_bytes())
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    for args in (["compare", str(results / "a"), str(tmp_path)], ["export", str(tmp_path), "-o", "out"]):
        done = run(*args)
        assert done.exit_code == 2
        assert "report.json: the report of the result cannot be used" in done.stderr
    done = run("compare", str(results / "a"), str(results / "none"))
    assert done.exit_code == 2
    assert "no such folder" in done.stderr


def test_what_is_infinite_is_nothing_in_json(results: Path) -> None:
    """R2 of numbers that are all the same, where the model gives others."""
    labels = np.full(120 * 3, 0.5).reshape(120, 3)
    found = hgqify.compare(results / "a", results / "b", data=results / "holdout.npz", labels=labels)
    assert found.on_data is not None
    assert found.on_data.metrics is not None
    assert [m.value for m in found.on_data.metrics] == [-np.inf, -np.inf]
    assert [m["value"] for m in json.loads(found.to_json())["on_data"]["metrics"]] == [None, None]
