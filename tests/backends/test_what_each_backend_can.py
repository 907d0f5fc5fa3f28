"""A conversion, its project and C simulation under each backend, and what needs JAX says so at once."""

from __future__ import annotations

from pathlib import Path

import hand_built
import keras
import numpy as np
import pytest
from autodiff import BACKEND
from tiny_zoo import tiny_models

import hgqify
from hgqify import float64
from hgqify.errors import CalibrationError, PrecisionError
from hgqify.export import ProjectOptions, compare, compile_project, random_batches, write_project
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


def test_a_budget_needs_gradients_from_jax() -> None:
    model = tiny_models.build("mlp")
    x = tiny_models.inputs(model, 64)
    if BACKEND == "jax":
        assert hgqify.convert(model, x, target_ebops=1500, finetune_steps=0, progress=no_progress).model
        return
    with pytest.raises(CalibrationError, match="KERAS_BACKEND=jax for the conversion"):
        hgqify.convert(model, x, target_ebops=1500, progress=no_progress)


def test_c_simulation_of_a_model_built_by_hand(tmp_path: Path) -> None:
    model = hand_built.model(minifloats=False)
    program = lower(model)
    write_project(program, tmp_path / "hls", ProjectOptions())
    with compile_project(tmp_path / "hls", optimization="-O0") as simulation:
        comparisons = compare(
            program, random_batches(program, 60), name="random", model=model, simulation=simulation
        )
    assert len(comparisons) == 2
    for comparison in comparisons:
        assert comparison.codes > 0
        assert comparison.differing == 0


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
