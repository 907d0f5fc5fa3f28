"""Keras models with minifloats against their integers: proved, compared, refused where hls4ml has no type."""

import keras
import numpy as np
import pytest
from autodiff import BACKEND
from hypothesis import event, given, settings
from hypothesis import strategies as st

from hgqify import float64, layers
from hgqify.calling import predict
from hgqify.errors import ExportError, PrecisionError
from hgqify.export import ProjectOptions, refuse_unprintable
from hgqify.precision import FLOAT64_BITS, certify, lower
from hgqify.quantizers import QuantizerConfig, QuantizerConfigScope
from hgqify.reference import run

OUT = QuantizerConfig("kif", overflow_mode="SAT", i0=6, f0=12)


def scoped(**options):
    return QuantizerConfigScope(default_q_type="float", place=["weight", "datalane"], **options)


@pytest.fixture(scope="module")
def network():
    """A small network of e4m3 numbers, their formats scattered."""
    keras.utils.set_random_seed(0)
    with scoped(m0=3, e0=4):
        x = inputs = keras.Input((6, 6, 2))
        x = layers.QConv2D(3, 3, activation="relu", kernel_initializer="he_normal", name="conv")(x)
        x = keras.layers.MaxPooling2D()(x)
        x = layers.QAdd(name="sum")([x, x])
        x = keras.layers.Flatten()(x)
        model = keras.Model(inputs, layers.QDense(4, oq_conf=OUT, name="head")(x))
    rng = np.random.default_rng(0)
    for layer in layers.quantized_layers(model):
        for quantizer in (*layer.iqs, layer.kq):
            if quantizer is not None and quantizer.is_minifloat:
                shape = quantizer.width_shape
                quantizer.set_minifloat(m=rng.integers(1, 4, shape), e0=rng.integers(-3, 3, shape))
    return model


def in_float64(model, x):
    """Outputs in float64, which Keras has not on PyTorch: there the codes are those of the other backends."""
    if BACKEND != "torch":
        return float64.predict(model, x)[0]
    with pytest.raises(PrecisionError, match="KERAS_BACKEND=jax"):
        float64.predict(model, x)
    return run(lower(model), x).values[0]


def inputs_of(samples=100):
    rng = np.random.default_rng(1)
    shape = (samples, 6, 6, 2)
    return (rng.normal(size=shape) * 2.0 ** rng.integers(-9, 4, shape)).astype(np.float32)


def test_float64_is_proved_and_equal_where_float32_is_not(network):
    program = lower(network)
    assert program.minifloats == ("conv", "sum", "head")
    assert not certify(program).proved
    assert certify(program, FLOAT64_BITS).proved
    x = inputs_of()
    np.testing.assert_array_equal(in_float64(network, x), run(program, x).values[0])


@pytest.fixture(scope="module")
def small():
    """A network whose compiled function serves all formats."""
    with scoped(heterogeneous_axis=()):
        x = inputs = keras.Input((4, 4, 2))
        x = layers.QConv2D(2, 2, activation="relu")(x)
        x = layers.QEinsum("bijc,bijc->bic")([x, x])
        return keras.Model(inputs, layers.QDense(2, oq_conf=OUT)(x))


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_proved_networks_of_any_minifloats_are_equal_in_float32(small, seed):
    rng = np.random.default_rng(seed)
    quantizers = [q for layer in layers.quantized_layers(small) for q in (*layer.iqs, layer.kq)]
    for quantizer in quantizers:
        if quantizer is not None:
            quantizer.set_minifloat(rng.integers(-1, 4), rng.integers(1, 5), rng.integers(-3, 4))
    for layer in layers.quantized_layers(small):
        if layer.kq is not None:
            layer.kernel.assign(rng.normal(size=layer.kernel.shape))
    program = lower(small)
    shape = (20, 4, 4, 2)
    x = (rng.normal(size=shape) * 2.0 ** rng.integers(-5, 5, shape)).astype(np.float32)
    assert certify(program, FLOAT64_BITS).proved
    if certify(program).proved:
        np.testing.assert_array_equal(predict(small, [x])[0], run(program, x).values[0])
    event(f"proved in float32: {certify(program).proved}")


def dense(m, e, inputs=4):
    with scoped(m0=m, e0=e, heterogeneous_axis=()):
        layer = layers.QDense(1, use_bias=False, kernel_initializer="ones")
    return keras.Sequential([keras.Input((inputs,)), layer])


def test_narrow_exponents_are_proved_in_float32():
    model = dense(3, 3, 8)
    program = lower(model)
    assert certify(program).proved
    x = np.concatenate([inputs_of()[:, 0, :4].reshape(100, 8), np.full((1, 8), 15.0, np.float32)])
    np.testing.assert_array_equal(predict(model, [x])[0], run(program, x).values[0])


def test_wide_exponents_round_in_float32_and_the_certificate_says_so():
    model = dense(3, 5)
    program = lower(model)
    (entry,) = certify(program).open
    assert "fewer exponent bits" in entry.remedy
    x = np.asarray([[2.0**15, 2.0**-15, 2.0**-15, -(2.0**15)]], np.float32)
    assert run(program, x).values[0] == 2.0**-14
    assert predict(model, [x])[0] != 2.0**-14
    np.testing.assert_array_equal(in_float64(model, x), 2.0**-14)


def test_minifloat_data_is_refused_by_export_and_minifloat_weights_are_not(network):
    with pytest.raises(ExportError, match=r"no type for minifloats.*conv, sum, head.*q_type='kif'"):
        refuse_unprintable(lower(network), ProjectOptions())
    with QuantizerConfigScope(default_q_type="float", place="weight"):
        layer = layers.QDense(3, iq_conf=QuantizerConfig("kif", overflow_mode="SAT"), oq_conf=OUT)
    model = keras.Sequential([keras.Input((4,)), layer])
    assert layer.kq.is_minifloat
    program = lower(model)
    assert not program.minifloats
    refuse_unprintable(program, ProjectOptions())
    x = inputs_of()[:, 0, :2].reshape(100, 4)
    np.testing.assert_array_equal(predict(model, [x])[0], run(program, x).values[0])
