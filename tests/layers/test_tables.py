"""Stored constants: tables and scales belong to their widths, or say that they do not."""

import keras
import numpy as np
import pytest
from autodiff import numpy, value_and_gradients

from hgqify import fixed
from hgqify.errors import PrecisionError, RuleError
from hgqify.layers import QActivation, QBatchNormalization, refresh

SAT = {"overflow_mode": "SAT", "q_type": "kif"}


@pytest.mark.parametrize("overflow", ["SAT", "SAT_SYM", "WRAP"])
@pytest.mark.parametrize(
    ("k", "i", "f"), [(1, 2, 3), (0, 3, 1), (1, -1, 4), (1, 4, -2), (1, 0, 0), (1, 1, -2)]
)
def test_table_covers_every_code(k, i, f, overflow) -> None:
    layer = QActivation(
        "tanh", iq_conf={"q_type": "kif", "overflow_mode": overflow}, oq_conf={"q_type": "kif"}
    )
    layer.build((None, 40))
    layer.iq.set_state(k=k, i=i, f=f)
    layer.refresh_table()
    form, codes, frac = layer.table_codes()
    assert (form.k, form.i, form.f) == (k, i, f)
    assert codes.size == (1 if form.is_zero else 2**form.W)
    x = np.linspace(-9, 9, 40, dtype=np.float32)[None]
    state = layer.iq.state()
    entries = fixed.to_codes(x, k, i, f, state.rounding, state.overflow) - (
        0 if form.is_zero else -k << form.b
    )
    np.testing.assert_array_equal(numpy(layer(x)), codes[entries] * 2.0**-frac)


def test_a_moved_width_makes_the_table_stale_but_not_wrong() -> None:
    layer = QActivation("sigmoid", iq_conf=SAT, oq_conf=SAT)
    x = np.linspace(-3, 3, 12, dtype=np.float32)[None]
    layer(x)
    layer.refresh_table()
    layer.iq.set_state(i=2, f=2)
    with pytest.raises(PrecisionError, match="refresh"):
        layer.table_codes()
    on_the_fly = numpy(layer(x))
    layer.refresh_table()
    np.testing.assert_array_equal(numpy(layer(x)), on_the_fly)
    assert layer.table_codes()[1].size == 32


def test_inference_reads_the_stored_table() -> None:
    layer = QActivation("tanh", oq_conf=SAT)
    layer(np.zeros((1, 3), np.float32))
    layer.refresh_table()
    layer.stored.value.assign(np.full(layer.stored.value.shape, 0.5))
    np.testing.assert_array_equal(numpy(layer(np.ones((1, 3), np.float32))), 0.5)


def test_a_function_that_is_not_finite_is_refused() -> None:
    layer = QActivation("log", name="logarithm")
    layer.build((None, 3))
    with pytest.raises(PrecisionError, match="not finite"):
        layer.refresh_table()


def test_widths_stay_within_the_table() -> None:
    layer = QActivation("tanh", max_table_bits=6)
    x = np.linspace(-300, 300, 9, dtype=np.float32)[None]
    layer(x, training=True)
    layer.refresh_table()
    form, codes, _ = layer.table_codes()
    assert form.W <= 6
    assert codes.size == 2**form.W


def test_table_gradient_is_that_of_the_function() -> None:
    layer = QActivation("sigmoid", iq_conf={**SAT, "f0": 8, "i0": 3}, oq_conf={**SAT, "f0": 10})
    x = np.linspace(-2, 2, 17, dtype=np.float32)[None]
    layer(x)

    _, (slope,) = value_and_gradients(lambda x: layer(x, training=True), x)
    q = numpy(layer.iq(x)).astype(np.float64)
    s = 1 / (1 + np.exp(-q))
    np.testing.assert_allclose(slope, s * (1 - s), rtol=1e-5)


def test_no_table_without_input_quantizer() -> None:
    with pytest.raises(RuleError, match="input quantizer"):
        QActivation("tanh", iq_conf=False)


def test_dummy_quantizers_evaluate_the_function() -> None:
    layer = QActivation("tanh", iq_conf={"q_type": "dummy"}, oq_conf={"q_type": "dummy"})
    x = np.linspace(-3, 3, 12, dtype=np.float32)[None]
    np.testing.assert_array_equal(numpy(layer(x)), numpy(keras.ops.tanh(keras.ops.convert_to_tensor(x))))


def test_batchnorm_scale_follows_its_weights() -> None:
    model = keras.Sequential([keras.Input((3,)), QBatchNormalization()])
    layer = model.layers[0]
    layer.moving_variance.assign([4.0, 1.0, 0.25])
    layer.moving_mean.assign([1.0, 0.0, -1.0])
    with pytest.raises(PrecisionError, match="refresh"):
        layer.scale_shift()
    refresh(model)
    scale, shift = layer.scale_shift()
    variance = np.array([4.0, 1.0, 0.25]) + 1e-3
    np.testing.assert_array_equal(scale, (1 / np.sqrt(variance)).astype(np.float32))
    np.testing.assert_array_equal(shift, (-np.array([1.0, 0.0, -1.0]) / np.sqrt(variance)).astype(np.float32))


def test_batchnorm_trains_on_batch_statistics_unless_frozen() -> None:
    x = np.random.default_rng(0).normal(3, 2, (64, 3)).astype(np.float32)
    off = {"q_type": "dummy"}
    for frozen in (False, True):
        layer = QBatchNormalization(freeze_statistics=frozen, iq_conf=False, kq_conf=off, bq_conf=off)
        y = numpy(layer(x, training=True))
        reference = keras.layers.BatchNormalization()
        expected = numpy(reference(x, training=not frozen))
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(numpy(layer.moving_mean), numpy(reference.moving_mean), rtol=1e-5)
        np.testing.assert_allclose(numpy(layer.moving_variance), numpy(reference.moving_variance), rtol=1e-5)
