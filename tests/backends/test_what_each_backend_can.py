"""A conversion, its project and C simulation under each backend, and what needs JAX says so at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hand_built
import keras
import numpy as np
import pytest
from autodiff import BACKEND
from program_checks import assert_simulation_equals
from tiny_zoo import tiny_models

import hgqify
from hgqify import float64
from hgqify.errors import CalibrationError, PrecisionError, RuleError
from hgqify.export import ProjectOptions
from hgqify.layers import QDense
from hgqify.precision import lower
from hgqify.progress import no_progress
from hgqify.reference import run


def test_a_conversion_without_a_budget_is_exact(tmp_path: Path) -> None:
    model = tiny_models.build("mlp")
    x = tiny_models.inputs(model, 64)
    result = hgqify.convert(model, x, finetune_steps=0, progress=no_progress)
    result.save(tmp_path / "result")
    assert hgqify.check(tmp_path / "result", csim=False, random=50, progress=no_progress).exact


@pytest.mark.parametrize(
    "settings",
    [
        {"finetune_steps": 4, "min_samples": 32},
        {"correct_bias": True},
        {"ranges": "percentile", "percentile": 99.0},
        {"overflow": "auto"},
        {"activation_granularity": "element", "overflow": "wrap"},
        {"q_type": "float", "bits": 6},
    ],
    ids=str,
)
def test_what_takes_no_gradients_of_the_float_model_runs_everywhere(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    model = tiny_models.build("mlp")
    x = tiny_models.inputs(model, 64)
    result = hgqify.convert(model, x, **{"finetune_steps": 0, **settings}, progress=no_progress)
    steps = result.report.to_dict()["finetune"]["steps"]
    assert steps == settings.get("finetune_steps", 0)
    result.save(tmp_path / "result")
    report = hgqify.check(tmp_path / "result", csim=False, random=50, progress=no_progress)
    assert report.exact, report.summary()


def convert(**settings: Any) -> Callable[[keras.Model, list[np.ndarray]], Any]:
    return lambda model, x: hgqify.convert(model, x, progress=no_progress, **settings)


def sweep(model: keras.Model, x: list[np.ndarray]) -> Any:
    return hgqify.sweep(model, x, [2000], progress=no_progress)


TAKE_GRADIENTS = {
    "target_ebops": convert(target_ebops=1500, finetune_steps=0),
    "equalize": convert(equalize=True, finetune_steps=0),
    "ranges=mse": convert(ranges="mse", finetune_steps=0),
    "sweep": sweep,
}


@pytest.mark.parametrize("name", TAKE_GRADIENTS)
def test_what_takes_gradients_of_the_float_model_needs_jax(name: str) -> None:
    model = tiny_models.build("mlp")
    x = tiny_models.inputs(model, 64)
    if BACKEND == "jax":
        assert TAKE_GRADIENTS[name](model, x)
        return
    with pytest.raises(
        CalibrationError, match=rf"received: backend {BACKEND}.*KERAS_BACKEND=jax for the conv"
    ):
        TAKE_GRADIENTS[name](model, x)


def test_several_devices_need_jax() -> None:
    model = tiny_models.build("mlp")
    x = tiny_models.inputs(model, 64)
    settings = {"finetune_steps": 2, "min_samples": 32, "devices": "all", "progress": no_progress}
    if BACKEND == "jax":
        assert hgqify.convert(model, x, **settings)
        return
    with pytest.raises(RuleError, match=rf"JAX backend.*received: {BACKEND}.*KERAS_BACKEND=jax"):
        hgqify.convert(model, x, **settings)


def test_training_through_what_stays_float_needs_jax() -> None:
    """Without training a layer kept in float is kept on every backend."""
    keep = {"unsupported": "keep", "progress": no_progress}
    inputs = keras.Input((5,))
    kept = keras.layers.Dense(4)(keras.ops.sort(keras.layers.Dense(5)(inputs)))
    model = keras.Model(inputs, kept)
    x = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
    result = hgqify.convert(model, x, finetune_steps=0, **keep)
    assert result.program.kept
    if BACKEND == "jax":
        assert hgqify.convert(model, x, finetune_steps=2, **keep).program.kept
        return
    with pytest.raises(CalibrationError, match=r"kept in float.*KERAS_BACKEND=jax"):
        hgqify.convert(model, x, finetune_steps=2, **keep)


def test_c_simulation_of_a_model_built_by_hand(tmp_path: Path) -> None:
    assert_simulation_equals(hand_built.model(minifloats=False), ProjectOptions(), tmp_path)


def test_float64_where_keras_has_it() -> None:
    wide = {"q_type": "kif", "i0": 2, "f0": 16, "overflow_mode": "SAT"}
    inputs = keras.Input((64,))
    model = keras.Model(inputs, QDense(3, iq_conf=wide, kq_conf={"q_type": "kif", "f0": 16})(inputs))
    x = np.random.default_rng(0).normal(size=(20, 64)).astype(np.float32)
    if BACKEND == "torch":
        with pytest.raises(PrecisionError, match="KERAS_BACKEND=jax or tensorflow"):
            float64.predict(model, x)
        return
    (found,) = float64.predict(model, x)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, run(lower(model), x).values[0])
