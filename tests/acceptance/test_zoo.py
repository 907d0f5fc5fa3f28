"""Every architecture of the zoo through the whole line: nothing may differ, nothing may be forgotten."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import acceptance_models as models
import keras
import numpy as np
import pytest
from tiny_zoo import tiny_models

import hgqify
from hgqify.calling import predict
from hgqify.export import compare, compiler, random_inputs
from hgqify.progress import no_progress

SAMPLES = 64  # one number everywhere: Keras compiles a program for every batch size

# C simulation takes its time: these between them have most operations, in both interfaces.
SIMULATED = {
    "cnn2d": "io_stream",
    "residual": "io_stream",
    "shared": "io_parallel",
}


def converted(model: keras.Model, **options: Any) -> hgqify.Result:
    data = tiny_models.inputs(model, SAMPLES, seed=3)
    return hgqify.convert(model, data, **{"finetune_steps": 0, "progress": no_progress, **options})


def assert_reference_is_keras(result: hgqify.Result) -> None:
    """Code for code in the calibrated range, and 4 and 100 times beyond it."""
    for reach in (1.0, 4.0, 100.0):
        inputs = random_inputs(result.program, SAMPLES, seed=4, reach=reach)
        (comparison,) = compare(result.program, [inputs], name=f"{reach} times the range", model=result.model)
        assert comparison.codes == SAMPLES * sum(int(np.prod(y.shape[1:])) for y in result.model.outputs)
        assert comparison.differing == 0, str(comparison)


def assert_exact_in_c(result: hgqify.Result, folder: Path) -> None:
    if compiler() is None:
        pytest.skip("C simulation needs g++")
    report = hgqify.check(result.save(folder), random=SAMPLES, csim=True, progress=no_progress)
    compared = {comparison.what for comparison in report.comparisons}
    assert compared == {"integers of model.keras", "Keras", "C simulation"}
    assert report.exact, report.summary()


@pytest.mark.parametrize("name", tiny_models.ZOO)
def test_the_whole_line_is_exact(name: str, tmp_path: Path) -> None:
    model = tiny_models.build(name, seed=1)
    result = converted(model, io_type=SIMULATED.get(name, "auto"))
    told = result.report.conversion
    inputs = [entry["layer"] for entry in told if entry["kind"] == "InputLayer"]
    assert len(set(inputs)) == len(inputs) == len(model.inputs)
    layers = Counter(entry["layer"] for entry in told if entry["kind"] != "InputLayer")
    assert layers == Counter(models.layer_paths(model))
    assert result.report.float32_proved
    assert_reference_is_keras(result)
    result.model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    inputs = random_inputs(result.program, SAMPLES, seed=5)
    for before, after in zip(predict(result.model, inputs), predict(loaded, inputs), strict=True):
        np.testing.assert_array_equal(before, after)
    if name in SIMULATED:
        assert_exact_in_c(result, tmp_path / "out")


VARIATIONS: dict[str, tuple[str | Callable[[], keras.Model], dict[str, Any]]] = {
    "every activation": (models.all_activations, {}),
    "activations per element": ("cnn2d", {"activation_granularity": "element"}),
    "weights per element": ("residual", {"weight_granularity": "element"}),
    "wrapping": ("depthwise", {"overflow": "WRAP", "margin": 0}),
    "four bits": ("nested", {"weight_bits": 4, "activation_bits": 5, "finetune_steps": 3}),
    "recurrent, trained": (models.recurrent, {"finetune_steps": 3}),
    "everything at once": (
        "multi_output",
        {
            "activation_granularity": "element",
            "weight_granularity": "element",
            "overflow": "WRAP",
            "weight_bits": 4,
        },
    ),
}


@pytest.mark.parametrize("name", VARIATIONS)
def test_settings_keep_it_exact(name: str) -> None:
    origin, options = VARIATIONS[name]
    result = converted(origin() if callable(origin) else tiny_models.build(origin, seed=2), **options)
    for setting in options.keys() & result.report.settings.keys():
        assert result.report.settings[setting] == options[setting]
    assert_reference_is_keras(result)


@pytest.mark.parametrize("name", ["everything at once", "recurrent, trained"])
def test_c_simulation_is_exact_with_other_settings(name: str, tmp_path: Path) -> None:
    origin, options = VARIATIONS[name]
    model = origin() if callable(origin) else tiny_models.build(origin, seed=2)
    assert_exact_in_c(converted(model, **options), tmp_path / "out")
