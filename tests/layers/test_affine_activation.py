"""A scale and shift inside of a table: trained, rounded nowhere, and exact down to C simulation."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from autodiff import numpy, value_and_gradients, variable_gradients
from program_checks import assert_simulation_equals

from hgqify import float64
from hgqify.calibrate import Range, apply_ranges
from hgqify.errors import PrecisionError, RuleError
from hgqify.export import ProjectOptions
from hgqify.layers import QActivation, QAffineActivation, QAffinedUnaryFunctionLUT, QDense, refresh
from hgqify.precision import lower
from hgqify.reference import run

SAT = {"overflow_mode": "SAT", "q_type": "kif", "i0": 3, "f0": 4}
FINE = {"overflow_mode": "SAT", "q_type": "kif", "i0": 3, "f0": 12}


def built(function: str | None, scale: float, shift: float, **options: object) -> QAffineActivation:
    layer = QAffineActivation(function, **{"iq_conf": SAT, "oq_conf": FINE, **options})
    layer.build((None, 5))
    layer.scale.assign([scale])
    layer.shift.assign([shift])
    return layer


def values() -> np.ndarray:
    return np.linspace(-9, 9, 40, dtype=np.float32).reshape(8, 5)


def network() -> keras.Model:
    """Both kinds of functions, and one layer called twice."""
    inputs = keras.Input((5,))
    x = QDense(5, iq_conf=SAT, kq_conf=FINE, bq_conf=FINE)(inputs)
    twice = QAffineActivation("sigmoid", iq_conf=SAT, oq_conf=SAT)
    outputs = [twice(x), twice(QAffineActivation("relu", iq_conf=SAT, oq_conf=SAT)(x))]
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(0)
    for layer in model.layers[1:]:
        for weight in (getattr(layer, name, None) for name in ("kernel", "scale", "shift")):
            if weight is not None:
                weight.assign(rng.uniform(-1.5, 1.5, weight.shape))
    refresh(model)
    return model


def test_it_is_the_function_of_the_scaled_and_shifted_input() -> None:
    layer = built("tanh", -0.7, 0.3)
    layer.refresh()
    x = numpy(layer.iq(values())).astype(np.float64)
    np.testing.assert_allclose(numpy(layer(values())), np.tanh(-0.7 * x + 0.3), atol=2.0**-13 + 1e-6)


def test_without_scale_and_shift_it_is_the_plain_layer() -> None:
    plain = QActivation("gelu", iq_conf=SAT, oq_conf=FINE)
    plain.build((None, 5))
    plain.refresh()
    layer = built("gelu", 1.0, 0.0)
    layer.refresh()
    np.testing.assert_array_equal(numpy(layer(values())), numpy(plain(values())))


def test_a_piecewise_linear_function_is_a_table_too() -> None:
    layer = built(None, 0.375, -0.25)
    assert layer.is_tabulated
    layer.refresh()
    _, codes, frac = layer.table_codes()
    assert codes.size == 2**8
    x = np.arange(-128, 128) / 16
    np.testing.assert_array_equal(codes * 2.0**-frac, 0.375 * x - 0.25)
    with pytest.raises(RuleError, match="input quantizer"):
        QAffineActivation("relu", iq_conf=False)


def test_a_moved_weight_makes_the_table_stale_but_not_wrong() -> None:
    for weight in ("scale", "shift"):
        layer = built("sigmoid", 0.5, 0.25)
        layer.refresh()
        before = numpy(layer(values()))
        getattr(layer, weight).assign([0.75])
        with pytest.raises(PrecisionError, match="refresh"):
            layer.table_codes()
        on_the_fly = numpy(layer(values()))
        assert np.any(on_the_fly != before)
        layer.refresh()
        np.testing.assert_array_equal(numpy(layer(values())), on_the_fly)


def test_gradients_are_those_of_the_function() -> None:
    layer = built("tanh", 0.8, -0.2, iq_conf=FINE, oq_conf={**FINE, "f0": 14})
    x = np.linspace(-2, 2, 20, dtype=np.float32).reshape(4, 5)
    layer(x)
    q = numpy(layer.iq(x)).astype(np.float64)
    slope = 1 - np.tanh(0.8 * q - 0.2) ** 2

    _, (by_x,) = value_and_gradients(lambda x: layer(x, training=True), x)
    np.testing.assert_allclose(by_x, 0.8 * slope, rtol=1e-4, atol=1e-6)
    by_scale, by_shift = variable_gradients(
        lambda: layer(keras.ops.convert_to_tensor(x), training=True), [layer.scale, layer.shift]
    )
    np.testing.assert_allclose(by_scale, [np.sum(q * slope)], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(by_shift, [np.sum(slope)], rtol=1e-4)


def test_dummy_quantizers_evaluate_the_function() -> None:
    off = {"q_type": "dummy"}
    layer = built("tanh", 2.0, -0.5, iq_conf=off, oq_conf=off)
    np.testing.assert_allclose(numpy(layer(values())), np.tanh(2 * values() - 0.5), rtol=1e-5, atol=1e-6)


def test_a_function_that_is_not_finite_is_refused() -> None:
    with pytest.raises(PrecisionError, match="not finite"):
        built("log", 1.0, 1.0).refresh()
    unsigned = {**SAT, "k0": 0}
    built("log", 1.0, 0.5, iq_conf=unsigned).refresh()


def test_calibration_sees_the_range_behind_scale_and_shift() -> None:
    layer = built(None, 6.0, 0.0)
    apply_ranges(layer, {0: Range(low=np.asarray(-1.0), high=np.asarray(0.9))}, margin=None)
    layer.refresh()
    _, codes, frac = layer.table_codes()
    assert int(np.ravel(layer.iq.state().i)[0]) == 0
    assert codes.min() == -6 << frac


def test_a_trained_model_is_exact_when_it_is_loaded(tmp_path: Path) -> None:
    model = network()
    x = np.random.default_rng(1).normal(0, 2, (64, 5)).astype(np.float32)
    layer = next(one for one in model.layers if isinstance(one, QAffineActivation))
    before = [float(numpy(w)[0]) for w in (layer.scale, layer.shift)]
    model.compile(keras.optimizers.SGD(0.05), ["mse", "mse"])
    model.fit(x, [np.ones((64, 5))] * 2, epochs=1, batch_size=16, verbose=0)
    assert [float(numpy(w)[0]) for w in (layer.scale, layer.shift)] != before
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    expected = run(lower(model), x).values
    for found in (model.predict(x, verbose=0), loaded.predict(x, verbose=0)):
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_float64_reads_the_same_table() -> None:
    if keras.backend.backend() == "torch":
        with pytest.raises(PrecisionError, match="KERAS_BACKEND"):
            float64.predict(network(), values())
        return
    model = network()
    expected = run(lower(model), values()).values
    for found, theirs in zip(float64.predict(model, values()), expected, strict=True):
        np.testing.assert_array_equal(found, theirs)


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_c_simulation(io_type: str, tmp_path: Path) -> None:
    assert_simulation_equals(network(), ProjectOptions(io_type=io_type), tmp_path)


def test_it_has_the_name_that_hgq2_gives_it() -> None:
    assert QAffinedUnaryFunctionLUT is QAffineActivation
