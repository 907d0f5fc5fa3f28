"""The certificate against Keras itself: equal where proved, and beyond 24 bits float32 really differs."""

import re

import keras
import numpy as np
import pytest
from autodiff import BACKEND
from float_edges import KINDS, data, extremes, weights

from hgqify.calling import predict
from hgqify.layers import QActivation, QDense, QMultiplyPow2, Quantize, power_scale, refresh
from hgqify.precision import FLOAT64_BITS, certify, lower
from hgqify.quantizers import QuantizerConfig
from hgqify.reference import run


def needed(program):
    return max(entry.bits for entry in certify(program).entries)


def widest(kind, limit):
    """The model of the widest inputs whose exact results need at most ``limit`` bits, and its program."""
    found = None
    for bits in range(6, 25):
        model = KINDS[kind](bits)
        program = lower(model)
        if needed(program) > limit:
            break
        found = model, program
    assert found is not None
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_at_24_bits_keras_is_exact(kind):
    model, program = widest(kind, 24)
    assert needed(program) == 24
    assert certify(program).proved
    x = extremes(model, 400)
    np.testing.assert_array_equal(predict(model, x)[0], run(program, x).values[0])


# A clip at 6 hides sums near 2**24; a slope takes bits of negative results only.
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"clipped", "leaky", "image", "product_of_three"}))
def test_at_25_bits_float32_rounds(kind):
    model, program = widest(kind, 25)
    assert needed(program) == 25
    (*_, worst) = certify(program).open
    assert worst.missing_bits == 1
    x = extremes(model, 400)
    assert (predict(model, x)[0] != run(program, x).values[0]).any()


@pytest.mark.parametrize("kind", ["leaky", "image", "product_of_three"])
def test_a_few_bits_further_float32_rounds_everywhere(kind):
    model, program = widest(kind, 27)
    assert not certify(program).proved
    x = extremes(model, 400)
    assert (predict(model, x)[0] != run(program, x).values[0]).any()


@pytest.mark.parametrize(("fx", "fw", "proved"), [(60, 60, True), (70, 60, False), (-60, -50, True)])
def test_exponents(fx, fw, proved):
    """Products below 2**-126 may be flushed to zero: no proof. PyTorch alone does not flush them."""
    layer = QDense(2, iq_conf=data(8, fx), kq_conf=weights(8, 7 - fw), use_bias=False)
    model = keras.Sequential([keras.Input((3,)), layer])
    layer.kernel.assign(np.ldexp(np.asarray([[1, 1], [127, -3], [50, 1]], np.float32), -fw))
    program = lower(model)
    assert certify(program).proved == proved
    assert certify(program, FLOAT64_BITS).proved
    x = np.ldexp(np.asarray([[1, 0, 0], [127, -128, 127], [0, 1, 1]], np.float32), -fx)
    equal = np.array_equal(predict(model, [x])[0], run(program, x).values[0])
    assert equal or not proved
    if not proved:
        assert equal == (BACKEND == "torch")
        assert "closer to 1" in certify(program).open[0].remedy


def test_huge_values_are_not_proved():
    layer = QDense(1, iq_conf=data(8, -70), kq_conf=weights(8, 70), use_bias=False)
    model = keras.Sequential([keras.Input((3,)), layer])
    layer.kernel.assign(np.full((3, 1), 2.0**69, np.float32))
    assert not certify(lower(model)).proved


def test_a_table_is_proved_by_its_entries():
    table = QuantizerConfig("kbi", "table", k0=1, i0=4, b0=20, overflow_mode="SAT")
    layer = QActivation("softplus", iq_conf=data(10, 6), oq_conf=table)
    model = keras.Sequential([keras.Input((4,)), layer])
    refresh(model)
    program = lower(model)
    assert certify(program).proved
    x = np.arange(-512, 512, dtype=np.float32).reshape(-1, 4) / 64
    np.testing.assert_array_equal(predict(model, [x])[0], run(program, x).values[0])


def dense_model(weight_bits, input_bits, seed=0):
    layer = QDense(
        5, iq_conf=data(input_bits), kq_conf=weights(weight_bits), bq_conf=weights(8, place="bias")
    )
    model = keras.Sequential([keras.Input((30,)), layer])
    layer.kernel.assign(np.random.default_rng(seed).uniform(-1, 1, (30, 5)))
    return model


@pytest.mark.parametrize(("weight_bits", "input_bits"), [(10, 16), (12, 20), (8, 24)])
def test_the_remedy_gives_the_proof(weight_bits, input_bits):
    (entry,) = certify(lower(dense_model(weight_bits, input_bits))).open
    assert entry.operation == "Dense"
    assert entry.missing_bits == entry.bits - 24 > 0
    options = re.findall(r"(?:(?:weight|activation)_bits=\d+(?: with )?)+", entry.remedy)
    assert len(options) >= 2
    for option in options:
        given = {name: int(bits) for name, bits in re.findall(r"(weight|activation)_bits=(\d+)", option)}
        model = dense_model(given.get("weight", weight_bits), given.get("activation", input_bits))
        assert certify(lower(model)).proved, option


def test_the_remedy_names_the_layer_that_made_the_bits():
    x = keras.Input((30,))
    y = QDense(4, name="wide", iq_conf=data(20), kq_conf=weights(10), use_bias=False, activation="relu")(x)
    y = keras.layers.Reshape((2, 2), name="moved")(y)
    model = keras.Model(x, y)
    model.get_layer("wide").kernel.assign(np.random.default_rng(0).uniform(-1, 1, (30, 4)))
    certificate = certify(lower(model))
    assert [entry.operation for entry in certificate.open] == ["Dense", "Clip", "Reshape"]
    assert all("Rule(path='wide')" in entry.remedy for entry in certificate.open)
    assert list(certificate.layers) == ["wide", "moved"]
    assert "wide: Dense needs" in str(certificate)


def test_a_fine_bias_is_named():
    layer = QDense(2, iq_conf=data(8), kq_conf=weights(6), bq_conf=weights(20, 2, place="bias"))
    model = keras.Sequential([keras.Input((30,)), layer])
    layer.bias.assign([1.00001, -2.3])
    layer.kernel.assign(np.random.default_rng(0).uniform(-1, 1, (30, 2)))
    (entry,) = certify(lower(model)).open
    assert "bias" in entry.remedy


@pytest.mark.parametrize(("function", "proved"), [("power", True), ("sigmoid", False)])
def test_a_power_of_two_moves_all_bits_that_a_float_has(function, proved):
    """24 bits times a table of 8 octaves: exact where its entries are powers of two, and only there."""
    fine = {"overflow_mode": "SAT", "i0": 3, "f0": 20}
    x, m = keras.Input((4,)), keras.Input((4,))
    table = QActivation(
        power_scale if function == "power" else "sigmoid",
        activation_params={"lowest": -3, "highest": 4} if function == "power" else {},
        iq_conf={"overflow_mode": "SAT", "k0": 0, "i0": 5, "f0": 3},
        oq_conf={"i0": 4, "b0": 10},
    )
    product = QMultiplyPow2(lowest=-6, highest=3, iq_conf=[fine, {}])
    model = keras.Model([x, m], product([Quantize(iq_conf=fine)(x), table(m)]))
    refresh(model)
    program = lower(model)
    assert certify(program).proved is proved
    rng = np.random.default_rng(0)
    data = [rng.uniform(-8, 8, (400, 4)).astype(np.float32), rng.uniform(0, 40, (400, 4)).astype(np.float32)]
    same = np.array_equal(predict(model, data)[0], run(program, data).values[0])
    assert same is proved
