"""The report: finite JSON, and a summary that hides nothing."""

import dataclasses
import json

import keras
import numpy as np
import pytest

import hgqify
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


def test_labels_that_fit_no_output_are_mentioned(report):
    assert "note: the labels were not used" in report.summary()


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


def test_what_is_not_proved_is_named_with_its_bits(report):
    text = dataclasses.replace(report, float32_proved=False, float32_open={"head": 3}).summary()
    assert "no proof that Keras equals the integers in head (3 bits too many)" in text


def test_quality_as_text():
    quality = Quality(
        samples=10, agreement=0.5, float_accuracy=0.9, accuracy=0.8, output_sqnr_db=20.0, data="hold-out"
    )
    assert str(quality).startswith("accuracy 0.9000 float, 0.8000 quantized, same class as float for 50.00 %")
    assert str(quality).endswith("(10 samples of hold-out)")
