"""Scopes, the EBOPs penalty, reciprocals, and what constructors refuse."""

import threading
from fractions import Fraction

import keras
import numpy as np
import pytest
from autodiff import numpy, variable_gradients
from hypothesis import given
from hypothesis import strategies as st

from hgqify.errors import PrecisionError, RuleError
from hgqify.layers import (
    LayerConfigScope,
    QAdd,
    QAveragePooling1D,
    QConv2D,
    QDense,
    quantized_layers,
    reciprocal,
    span,
    total_ebops,
)
from hgqify.layers.scope import current_layer_config
from hgqify.quantizers import QuantizerConfig, QuantizerConfigScope


@given(st.integers(1, 10**6), st.integers(1, 24))
def test_reciprocal_is_the_nearest_of_so_many_bits(count, bits) -> None:
    code, frac = reciprocal(count, bits)
    assert code % 2 == 1
    assert code < 2**bits
    # Half an LSB of a bits-bit significand in [1/2, 1).
    assert abs(Fraction(code, 1) / Fraction(2) ** frac * count - 1) <= Fraction(1, 2**bits)
    if count & (count - 1) == 0:
        assert code == 1


@given(st.integers(0, 2**24), st.integers(-40, 40))
def test_span_counts_between_outermost_ones(code, shift) -> None:
    expected = len(bin(code)[2:].strip("0"))
    assert span(np.float32(code) * np.float32(2.0) ** shift) == expected


def test_scopes_nest_and_stay_in_their_thread() -> None:
    seen = []
    with LayerConfigScope(enable_ebops=False, beta0=1e-3):
        with LayerConfigScope(beta0=0.5):
            assert (current_layer_config().enable_ebops, current_layer_config().beta0) == (False, 0.5)
            thread = threading.Thread(target=lambda: seen.append(current_layer_config().beta0))
            thread.start()
            thread.join()
        assert current_layer_config().beta0 == 1e-3
    assert seen == [1e-5]
    assert current_layer_config().enable_ebops


def test_example_of_the_hgq2_page() -> None:
    with (
        QuantizerConfigScope(place="all", default_q_type="kbi", overflow_mode="SAT_SYM"),
        QuantizerConfigScope(place="datalane", default_q_type="kif", overflow_mode="WRAP"),
        LayerConfigScope(enable_ebops=True, beta0=1e-5),
    ):
        model = keras.Sequential(
            [
                QConv2D(32, (3, 3), activation="relu"),
                keras.layers.MaxPooling2D((2, 2)),
                keras.layers.Flatten(),
                QDense(10),
            ]
        )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 6, 6, 1)).astype(np.float32), np.arange(16) % 10
    history = model.fit(x, y, epochs=2, batch_size=8, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert [type(layer) for layer in quantized_layers(model)] == [QConv2D, QDense]
    assert total_ebops(model) == sum(float(layer.ebops_value()) for layer in quantized_layers(model)) > 0


def test_the_penalty_is_beta_times_ebops_and_pulls_on_widths() -> None:
    layer = QDense(3, beta0=1e-3)
    x = np.ones((2, 4), np.float32)
    layer(x, training=True)
    assert float(layer.losses[0]) == np.float32(1e-3) * np.float32(layer.ebops())
    layer.penalty.beta.assign(0.25)
    layer(x, training=True)
    assert float(layer.losses[0]) == 0.25 * layer.ebops()

    variables = layer.trainable_variables

    gradients = variable_gradients(layer.ebops_value, variables)
    by_path = {v.path.split("/", 1)[1]: g for v, g in zip(variables, gradients, strict=True)}
    kernel_bits = layer.kq.bits(layer.kernel)
    input_bits = np.broadcast_to(numpy(layer.iq.bits()), (4,))
    pull = next(g for path, g in by_path.items() if path.endswith("kq/b"))
    assert kernel_bits.shape == pull.shape
    np.testing.assert_array_equal(pull, np.broadcast_to(input_bits[:, None], (4, 3)))


def test_no_penalty_when_switched_off_or_not_trained() -> None:
    off, frozen = QDense(3, enable_ebops=False), QDense(3)
    frozen.penalty.trainable = False
    for layer in (off, frozen):
        layer(np.ones((2, 4), np.float32), training=True)
        assert layer.losses == []


def test_a_price_of_nothing_counts_all_the_same() -> None:
    layer = QDense(3, beta0=0.0)
    layer(np.ones((2, 4), np.float32), training=True)
    assert float(layer.losses[0]) == 0.0
    assert float(layer.penalty.counted) == layer.ebops() > 0


def test_average_is_exact_where_a_division_is_not() -> None:
    x = np.full((1, 3, 1), 1.0, np.float32)
    y = numpy(QAveragePooling1D(3, reciprocal_bits=12)(x))
    code, frac = reciprocal(3)
    assert y.item() == code * 3 / 2**frac != 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QDense(2, dtype="float16"), "float32"),
        (lambda: QDense(2, iq_conf=True), "False"),
        (lambda: QDense(2, beta0=-1.0), "negative"),
        (lambda: QAveragePooling1D(2, reciprocal_bits=0), "significant bits"),
        (lambda: QAdd(iq_conf=[None])([np.ones((1, 2)), np.ones((1, 2))]), "per input"),
        (lambda: QAdd()([np.ones((1, 2)), np.ones((1, 3, 2))]), "rank"),
        (lambda: QAdd(iq_conf=[None, False])([np.ones((1, 2)), np.ones((1, 2))]), "all inputs"),
    ],
)
def test_mistakes_are_explained(make, message) -> None:
    with pytest.raises(RuleError, match=message):
        make()


def test_ebops_need_an_input_quantizer() -> None:
    layer = QDense(2, iq_conf=False)
    layer(np.ones((1, 2), np.float32))
    with pytest.raises(PrecisionError, match="input quantizer"):
        layer.ebops()


def test_dummy_quantizers_give_the_float_layer() -> None:
    off = {"q_type": "dummy"}
    layer = QConv2D(3, 2, activation="relu", iq_conf=off, kq_conf=off, bq_conf=off)
    reference = keras.layers.Conv2D(3, 2, activation="relu")
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 2)).astype(np.float32)
    y = numpy(layer(x, training=True))
    reference.build(x.shape)
    reference.set_weights([numpy(layer.kernel), numpy(layer.bias)])
    np.testing.assert_array_equal(y, numpy(reference(x)))


@pytest.mark.parametrize("make", [lambda **conf: QDense(3, **conf), lambda **conf: QConv2D(3, 2, **conf)])
@pytest.mark.parametrize("part", [1, 3])
def test_the_gradient_towards_an_input_that_nobody_trains_is_left_out(make, part) -> None:
    """Of the input's gradient only the part that tells its widths is computed; the others stay the same."""
    data = QuantizerConfig(
        "kif", "datalane", overflow_mode="SAT", i0=1, f0=2, width_gradient_part=part, heterogeneous_axis=()
    )
    layer = make(iq_conf=data, enable_ebops=False)
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(8, 5, 5, 2)), rng.normal(size=(8, 1, 1, 3))
    x, weight = (keras.ops.convert_to_tensor(t.astype(np.float32)) for t in (x, weight))
    layer(x)

    def output():
        return layer(x, training=True) * weight

    variables = sorted(layer.trainable_variables, key=lambda v: v is not layer.iqs[0].f)
    value, gradients = numpy(output()), variable_gradients(output, variables)
    layer.needs_input_gradient = False
    np.testing.assert_array_equal(numpy(output()), value)
    assert np.any(gradients[0])
    for got, wanted in zip(variable_gradients(output, variables), gradients, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
