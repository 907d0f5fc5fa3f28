"""Two saved results that the tests of the report share."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import hgqify
from hgqify.progress import no_progress

HOSTILE = "<script>alert(1)"
HOSTILE_TOO = "\"'><img src=x onerror=alert(2)>"


def hostile_classifier() -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """A classifier with a residual whose names are markup, and data that it has learnt."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,), name="x")
    y = keras.layers.Dense(8, activation="relu", name=HOSTILE)(inputs)
    y = keras.layers.Add(name=HOSTILE_TOO)([inputs, y])
    y = keras.layers.Dropout(0.1)(y)
    outputs = keras.layers.Dense(3, activation="softmax", name="classes")(y)
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 8)).astype(np.float32)
    labels = np.argmax(x[:, :3] + 0.3 * rng.normal(size=(256, 3)), axis=1)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, labels, epochs=10, batch_size=32, verbose=0)
    return model, x, labels


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hostile classifier under a budget, fine-tuned with widths, and checked."""
    model, x, labels = hostile_classifier()
    result = hgqify.convert(
        model,
        x,
        labels=labels,
        target_ebops=2500,
        finetune_steps=12,
        evaluations=4,
        progress=no_progress,
    )
    folder = tmp_path_factory.mktemp("results") / "classifier"
    # Names of models are made harmless on the way here; a report must not rely on that.
    result = dataclasses.replace(result, report=dataclasses.replace(result.report, model="<b>net</b>"))
    result.save(folder, command="hgqify 'a <b>.keras' --calib x.npy")
    check = hgqify.check(folder, data=x, random=20, csim=False, progress=no_progress)
    hgqify.record_check(folder, check.to_dict())
    return folder


@pytest.fixture(scope="session")
def classifier(classifier_folder: Path) -> dict[str, Any]:
    """Its report."""
    return json.loads((classifier_folder / "report.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def regression(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Report of a regression that wraps, with labels; not checked."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(1, name="energy")]
    )
    x = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    result = hgqify.convert(
        model, x, labels=x[:, :1] * 0.3, overflow="wrap", finetune_steps=0, progress=no_progress
    )
    return json.loads(result.report.to_json())
