"""Keras in float64: the reference's numbers where float32 rounds."""

import keras
import numpy as np
import pytest
from tiny_zoo import tiny_models

import hgqify
from hgqify import float64
from hgqify.calling import predict
from hgqify.errors import RuleError
from hgqify.layers import (
    QActivation,
    QAdd,
    QAveragePooling2D,
    QBatchNormalization,
    QConv2D,
    QDense,
    QMultiply,
    Quantize,
    refresh,
)
from hgqify.layers.float64 import float64_is_on
from hgqify.precision import lower
from hgqify.progress import no_progress
from hgqify.quantizers import QuantizerConfig
from hgqify.reference import run


def data(bits, i, **options):
    return QuantizerConfig(
        "kif", "datalane", **{"k0": 1, "i0": i, "f0": bits - i - 1, "overflow_mode": "SAT", **options}
    )


def weights(bits, place="weight"):
    return QuantizerConfig("kbi", place, k0=1, i0=0, b0=bits - 1, overflow_mode="SAT_SYM")


def network(x_bits, w_bits):
    """Convolution, scale and shift, average, dense, table, product, sum, dense."""
    constants = {"kq_conf": weights(w_bits), "bq_conf": weights(w_bits, "bias")}
    x = keras.Input((8, 8, 3))
    h = Quantize(iq_conf=data(x_bits, 2))(x)
    h = QConv2D(4, 3, activation="relu", iq_conf=data(x_bits, 2, round_mode="TRN"), **constants)(h)
    h = QBatchNormalization(iq_conf=data(x_bits, 3, overflow_mode="WRAP"), **constants)(h)
    h = QAveragePooling2D(3, iq_conf=data(x_bits, 3, round_mode="RND_ZERO"))(h)
    h = keras.layers.Flatten()(h)
    a = QDense(
        6,
        iq_conf=data(x_bits, 3, round_mode="RND_CONV", overflow_mode="WRAP_SM"),
        activation="leaky_relu",
        activation_params={"negative_slope": 0.25},
        **constants,
    )(h)
    table = QuantizerConfig("kbi", "table", k0=1, i0=2, b0=15, overflow_mode="SAT")
    b = QActivation("softplus", iq_conf=data(10, 3), oq_conf=table)(a)
    c = QMultiply(iq_conf=data(x_bits, 3, overflow_mode="SAT_SYM"))([a, b])
    d = QAdd(iq_conf=data(x_bits, 3, homogeneous_axis=(0,)))([a, b, c])
    model = keras.Model(x, [QDense(5, iq_conf=data(x_bits, 3), **constants)(d), c])
    rng = np.random.default_rng(0)
    for layer in model.layers:
        for name in ("kernel", "bias", "gamma", "beta", "moving_mean"):
            variable = getattr(layer, name, None)
            if variable is not None:
                variable.assign(rng.normal(size=variable.shape) / 2)
    refresh(model)
    return model


@pytest.mark.parametrize(("x_bits", "w_bits"), [(8, 8), (14, 14), (20, 18), (24, 22)])
def test_float64_is_exact_from_25_to_50_bits(x_bits, w_bits):
    model = network(x_bits, w_bits)
    x = np.random.default_rng(0).normal(size=(64, 8, 8, 3)).astype(np.float32) * 2
    certificate = hgqify.certify(model, significand=53)
    assert certificate.proved
    widest = max(entry.bits for entry in certificate.entries)
    assert hgqify.certify(model).proved == (widest <= 24)
    expected = run(lower(model), x).values
    found = float64.predict(model, x, batch_size=40)
    assert [y.dtype for y in found] == [np.float64] * 2
    for y, z in zip(found, expected, strict=True):
        np.testing.assert_array_equal(y, z)
    if widest > 32:
        assert any((y != z).any() for y, z in zip(predict(model, [x]), expected, strict=True))


def test_the_model_itself_stays_in_float32():
    model = network(14, 14)
    x = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype(np.float32)
    before = predict(model, [x])
    weights_before = model.get_weights()
    float64.predict(model, x)
    after = predict(model, [x])
    assert {str(v.dtype) for v in model.variables} == {"float32"}
    assert after[0].dtype == np.float32
    for a, b in zip([*before, *weights_before], [*after, *model.get_weights()], strict=True):
        np.testing.assert_array_equal(a, b)
    with float64.evaluating(model) as double:
        assert double is not model
        assert {str(t.dtype) for t in double.outputs} == {"float64"}
    assert not float64_is_on()


def test_float64_layers_are_for_evaluation_only():
    with pytest.raises(RuleError, match=r"hgqify\.float64"):
        QDense(3, dtype="float64")


@pytest.mark.parametrize("name", ["residual", "branches", "dictionaries", "shared", "nested"])
def test_converted_models(name):
    model = tiny_models.build(name)
    x = tiny_models.inputs(model, 32)
    result = hgqify.convert(model, x, finetune_steps=0, progress=no_progress)
    arrays = [np.asarray(a) for a in keras.tree.flatten(x)]
    found = float64.predict(result.model, arrays)
    for y, z in zip(found, run(result.program, arrays).values, strict=True):
        np.testing.assert_array_equal(y, z)
