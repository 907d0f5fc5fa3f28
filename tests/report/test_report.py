"""The report: finite JSON, and a summary that hides nothing."""

import dataclasses
import json

import keras
import numpy as np
import pytest

import hgqify
from hgqify.errors import DataError
from hgqify.progress import no_progress
from hgqify.report import SCHEMA, Quality, Report


@pytest.fixture(scope="module")
def report() -> Report:
    """Of a regression model whose labels are numbers, not classes."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(4, activation="relu"), keras.layers.Dense(2)]
    )
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 6)).astype(np.float32), rng.normal(size=(64, 2)).astype(np.float32)
    return hgqify.convert(model, x, labels=y, finetune_steps=0, progress=no_progress).report


def test_labels_that_are_numbers_give_the_error(report):
    assert report.quality.accuracy is None
    assert report.outcomes["against"] == "labels"
    # The model is untrained, and rounding changes next to nothing.
    assert report.quality.rms_error == pytest.approx(report.quality.float_rms_error, rel=0.05)
    assert f"rms error {report.quality.float_rms_error:.4g} float" in report.summary()
    assert "not used" not in report.summary()


def test_labels_that_fit_no_output_are_refused():
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)])
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 6)).astype(np.float32), rng.normal(size=(32, 3)).astype(np.float32)
    with pytest.raises(DataError, match="the labels fit no output of the model"):
        hgqify.convert(model, x, labels=y, finetune_steps=0, progress=no_progress)


def test_json_holds_every_figure_and_no_infinity(report):
    data = json.loads(report.to_json())
    assert data["schema"] == SCHEMA
    assert set(data) == {"schema"} | {field.name for field in dataclasses.fields(Report)}
    assert [layer["layer"] for layer in data["layers"]] == [layer.layer for layer in report.layers]
    assert data["ebops"] == sum(layer["ebops"] for layer in data["layers"]) > 0
    endless = dataclasses.replace(
        report, quality=dataclasses.replace(report.quality, output_sqnr_db=float("inf"))
    )
    assert json.loads(endless.to_json())["quality"]["output_sqnr_db"] is None


def test_the_certificate_lists_every_operation(report):
    kinds = [entry["operation"] for entry in report.certificate]
    assert kinds.count("Dense") == 2
    assert kinds.count("Quantize") == 4  # the input, of each layer, the output
    assert all(
        entry["proved"] and entry["bits"] <= 24 and not entry["remedy"] for entry in report.certificate
    )
    assert report.float64_proved


def test_what_is_not_proved_is_named_with_its_bits_and_a_remedy(report):
    names = ["a", "b", "c", "d"]
    entry = dict(report.certificate[0]) | {"proved": False}
    bits = dict(zip(names, (3, 1, 2, 4), strict=True))
    entries = tuple(entry | {"layer": n, "missing_bits": bits[n], "remedy": f"narrow {n}"} for n in names)
    opened = dataclasses.replace(report, float32_proved=False, float32_open=bits, certificate=entries)
    lines = opened.summary().splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("float32: no proof"))
    assert lines[first : first + 5] == [
        "float32: no proof that Keras equals the integers in d (4 bits too many), a (3 bits too many), "
        "c (2 bits too many) and 1 more; the integers are exact",
        "  d: narrow d",
        "  a: narrow a",
        "  c: narrow c",
        "  in float64 all of it is proved: hgqify.float64.predict(model, inputs)",
    ]
    assert "float64" not in dataclasses.replace(opened, float64_proved=False).summary()


def test_saturating_models_say_nothing_about_overflow(report):
    assert "overflow" not in report.summary()
    assert {q["status"] for q in report.overflow["quantizers"]} <= {"saturates", "proved"}


def test_a_model_that_wraps_on_its_own_data_says_so():
    """Layers narrower than the data: the note names one, counts all, and tells what to do."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    x = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
    x[-1] *= 30
    wraps = hgqify.convert(model, x, overflow="wrap", margin=0, finetune_steps=0, progress=no_progress)
    assert wraps.report.overflow["samples"] == 64
    assert "overflow: 2 wrapping quantizers, 1 proved, 1 observed" in wraps.summary()
    statement = hgqify.overflow_statement(wraps.model, 4 * x)
    assert len(statement.overflowing) == 1
    report = dataclasses.replace(wraps.report, overflow=statement.to_dict(), notes=statement.notes())
    assert "1 overflowing" in report.summary()
    assert "note: values wrap in 1 quantizer(s)" in report.summary()
    assert "'proved'" in report.summary()


def test_quality_as_text():
    quality = Quality(
        samples=10, agreement=0.5, float_accuracy=0.9, accuracy=0.8, output_sqnr_db=20.0, data="hold-out"
    )
    assert str(quality).startswith("accuracy 0.9000 float, 0.8000 quantized, same class as float for 50.00 %")
    assert str(quality).endswith("(10 samples of hold-out)")
