"""Calibrated models: close to float, within float32, with formats that follow the data."""

import keras
import numpy as np
import pytest
from tiny_zoo import tiny_models

from hgqify.calibrate import calibrate, excess_bits, layer_sqnr, sqnr
from hgqify.convert import ConvertSettings, convert
from hgqify.data import open_source
from hgqify.errors import CalibrationError
from hgqify.fixed import Overflow
from hgqify.graph import read
from hgqify.layers import QBatchNormalization, QDense, QLinear, quantized_layers

layers = keras.layers


def _calibrated(model, x, **settings):
    conversion = convert(read(model), ConvertSettings(**settings))
    source = open_source(x, names=[t.name for t in model.inputs])
    return conversion, calibrate(conversion.model, conversion.probe, conversion.sites, source)


def _assert_exact_in_float32(model):
    for layer in quantized_layers(model):
        if layer.iqs and (isinstance(layer, QLinear | QBatchNormalization) or len(layer.iqs) > 1):
            assert (excess_bits(layer) <= 0).all(), layer.name


@pytest.mark.parametrize("name", ["depthwise", "dictionaries", "merges", "mlp_batchnorm", "branches"])
def test_zoo_models_stay_close_to_float(name):
    model = tiny_models.build(name, seed=1)
    x = tiny_models.inputs(model, 64, seed=2)
    conversion, report = _calibrated(model, x)
    assert report.samples == 64
    assert {(site.layer, site.slot) for site in report.sites} == {
        (site.layer, site.slot) for site in conversion.sites
    }
    floats = keras.tree.flatten(conversion.clone.predict_on_batch(x))
    fixed = keras.tree.flatten(conversion.model.predict_on_batch(x))
    for y, q in zip(floats, fixed, strict=True):
        assert sqnr(y, q) > 28  # dB; ten bits would allow about 60 for one layer
    for layer in quantized_layers(conversion.model):
        if isinstance(layer, QLinear):
            kernel = layer.quantized_weights()["kernel"]
            live = np.asarray(layer.kernel).any(axis=tuple(range(kernel.ndim - 1)))
            assert kernel.any(axis=tuple(range(kernel.ndim - 1)))[live].all()
    _assert_exact_in_float32(conversion.model)


def test_per_layer_quality_names_layers_and_falls_with_depth():
    model = tiny_models.build("mlp", seed=1)
    x = tiny_models.inputs(model, 64, seed=2)
    conversion, _ = _calibrated(model, x, activation_bits=6, weight_bits=6)
    quality = layer_sqnr(conversion.clone, conversion.model, [x])
    assert list(quality) == [layer.name for layer in quantized_layers(conversion.model)]
    first, *_, last = quality.values()
    assert first > last > 5
    assert sqnr(x, x) == np.inf


@pytest.mark.parametrize("granularity", ["tensor", "channel", "element"])
def test_granularity_sets_the_number_of_formats(granularity):
    given = keras.Input((4, 3), name="x")
    model = keras.Model(given, layers.Conv1D(2, 2, name="c")(layers.Conv1D(5, 1, name="b")(given)))
    x = np.random.default_rng(0).normal(size=(50, 4, 3)).astype(np.float32)
    conversion, _ = _calibrated(model, x, activation_granularity=granularity, weight_granularity=granularity)
    layer = conversion.model.get_layer("c")
    shapes = {"tensor": (1, 1), "channel": (1, 5), "element": (4, 5)}
    assert layer.iq.state().f.shape == shapes[granularity]
    kernels = {"tensor": (1, 1, 1), "channel": (1, 1, 2), "element": (2, 5, 2)}
    assert layer.kq.state().f.shape == kernels[granularity]
    y = conversion.clone.predict_on_batch(x)
    assert sqnr(y, conversion.model.predict_on_batch(x)) > 35
    _assert_exact_in_float32(conversion.model)


def test_integer_data_takes_the_bits_it_has():
    given = keras.Input((6,), name="x")
    model = keras.Model(given, layers.Dense(3, name="d")(given))
    x = np.random.default_rng(0).integers(0, 256, (40, 6)).astype(np.float32)
    x[0, 0] = 255
    conversion, _ = _calibrated(model, x)
    for quantizer in (conversion.model.get_layer("x_quantize").iq, conversion.model.get_layer("d").iq):
        state = quantizer.state()
        assert (int(state.k.max()), int(state.i.max()), int(state.f.max())) == (0, 8, 0)


def test_wrapping_activations_get_a_margin():
    given = keras.Input((6,), name="x")
    model = keras.Model(given, layers.Dense(3, name="b")(layers.Dense(4, name="a")(given)))
    x = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    wrap, _ = _calibrated(model, x, overflow="WRAP")
    sat, _ = _calibrated(model, x)
    a, b = (c.model.get_layer("b").iq.state() for c in (wrap, sat))
    assert a.overflow is Overflow.WRAP
    assert int(a.i.max()) == int(b.i.max()) + 1
    assert int(a.f.max()) == int(b.f.max()) - 1


def test_saturating_functions_spend_no_bits_on_flat_ends():
    given = keras.Input((5,), name="x")
    model = keras.Model(given, layers.Activation("tanh", name="t")(given))
    x = (50 * np.random.default_rng(0).normal(size=(200, 5))).astype(np.float32)
    conversion, _ = _calibrated(model, x)
    layer = conversion.model.get_layer("t")
    assert int(layer.iqs[0].state().i.max()) <= 4
    error = np.abs(conversion.model.predict_on_batch(x) - np.tanh(x))
    assert error.max() < 0.1
    layer.table_codes()  # fresh, or this raises


def test_wide_sums_are_narrowed_until_float32_is_exact():
    given = keras.Input((4096,), name="x")
    model = keras.Model(given, layers.Dense(3, name="d")(given))
    model.get_layer("d").kernel.assign(np.full((4096, 3), 0.9, np.float32) * [1, 0.01, 1])
    x = np.random.default_rng(0).uniform(-1, 1, (30, 4096)).astype(np.float32)
    conversion, report = _calibrated(model, x, input_bits=10)
    assert {a.layer for a in report.adjustments} == {"d"}
    assert all(a.excess == 0 and a.bits > 0 and "narrowed" in str(a) for a in report.adjustments)
    _assert_exact_in_float32(conversion.model)
    layer = conversion.model.get_layer("d")
    codes = np.abs(layer.quantized_weights()["kernel"].astype(np.float64)) * np.ldexp(1.0, layer.kq.state().f)
    lanes = np.ldexp(1.0, int(layer.iq.state().i.max() + layer.iq.state().f.max()))
    bias = np.abs(layer.quantized_weights()["bias"])
    assert (codes.sum(axis=0) * lanes <= 2**24).all()
    assert not bias.any()


def test_a_dead_channel_and_a_dead_bias_take_no_bits():
    layer = layers.Dense(3, name="d")
    given = keras.Input((4,), name="x")
    model = keras.Model(given, layer(given))
    layer.kernel.assign(np.array([[0.5, 0, 1]] * 4, np.float32))
    layer.bias.assign([0, 0.25, 0])
    x = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    conversion, _ = _calibrated(model, x)
    quantized = conversion.model.get_layer("d")
    assert isinstance(quantized, QDense)
    state = quantized.kq.state()
    assert ((state.k + state.i + state.f) > 0).ravel().tolist() == [True, False, True]
    np.testing.assert_array_equal(quantized.quantized_weights()["bias"], np.float32([0, 0.25, 0]))


def test_sites_of_another_model_are_refused():
    one = convert(read(tiny_models.build("mlp", seed=1)))
    x = tiny_models.inputs(tiny_models.build("mlp", seed=1), 8, seed=2)
    with pytest.raises(CalibrationError, match="no range"):
        calibrate(one.model, one.probe, one.sites[:1], open_source(x))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_weights_no_format_can_hold_are_refused(value):
    given = keras.Input((3,), name="x")
    model = keras.Model(given, layers.Dense(2, name="d")(given))
    x = np.ones((4, 3), np.float32)
    conversion = convert(read(model))
    conversion.model.get_layer("d").kernel.assign(np.full((3, 2), value, np.float32))
    with pytest.raises(CalibrationError, match="d: a weight is not finite or larger"):
        calibrate(conversion.model, conversion.probe, conversion.sites, open_source(x))


def test_tiny_weights_and_data_count_as_zero():
    given = keras.Input((3,), name="x")
    layer = layers.Dense(2, name="d")
    model = keras.Model(given, layer(given))
    layer.kernel.assign(np.full((3, 2), 1e-40, np.float32))
    conversion, _ = _calibrated(model, np.full((4, 3), 1e-39, np.float32))
    np.testing.assert_array_equal(conversion.model.predict_on_batch(np.ones((1, 3), np.float32)), [[0, 0]])


def test_single_weights_are_no_finer_than_their_channel():
    """A weight of 1e-4 beside one of 1 gets no LSB of its own: sums would outgrow float32 for nothing."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((32,)), layers.Dense(4)])
    kernel = np.random.default_rng(0).normal(size=(32, 4)) * np.logspace(-4, 0, 32)[:, None]
    model.layers[0].set_weights([kernel.astype(np.float32), np.zeros(4, np.float32)])
    x = np.random.default_rng(1).normal(size=(256, 32)).astype(np.float32)
    quality, states = {}, {}
    for granularity in ("channel", "element"):
        conversion, report = _calibrated(model, x, weight_bits=8, weight_granularity=granularity)
        (dense,) = [layer for layer in quantized_layers(conversion.model) if isinstance(layer, QDense)]
        states[granularity] = state = dense.kq.state(dense.kernel)
        quality[granularity] = sqnr(
            conversion.clone.predict_on_batch(x), conversion.model.predict_on_batch(x)
        )
        assert not report.adjustments
    live = state.k + state.i + state.f > 0
    assert (state.f <= states["channel"].f)[live].all()
    assert (state.k + state.i + state.f).sum() < 0.8 * 8 * live.size  # small weights take fewer bits
    assert quality["element"] > quality["channel"] - 1


def test_rows_of_an_embedding_that_data_does_not_show_do_not_saturate():
    given = keras.Input((3,), dtype="int32")
    embedding = layers.Embedding(10, 4, name="rows")
    model = keras.Model(given, layers.Dense(2, name="head")(layers.Flatten()(embedding(given))))
    rows = np.full((10, 4), 0.25, np.float32)
    rows[9] = 7.5
    embedding.set_weights([rows])
    conversion = convert(read(model), ConvertSettings())
    seen = np.random.default_rng(0).integers(0, 5, (200, 3))
    calibrate(conversion.model, conversion.probe, conversion.sites, open_source(seen))
    quantized = conversion.model.get_layer("rows")
    np.testing.assert_array_equal(np.asarray(quantized(np.array([[0, 9]])))[0, :, 0], [0.25, 7.5])
