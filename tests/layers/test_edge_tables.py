"""Layers of learned tables: they train, their tables belong to their weights, and the program holds them."""

import itertools

import keras
import numpy as np
import program_oracle
import pytest
from autodiff import numpy, variable_gradients

from hgqify.errors import ExportError, PrecisionError, RuleError, UnsupportedLayerError
from hgqify.export import ProjectOptions, refuse_unprintable
from hgqify.layers import LayerConfigScope, QActivation, QDenseT, Quantize, refresh, total_ebops
from hgqify.layers.ebops import table_ebops
from hgqify.precision import certify, lower
from hgqify.precision.ebops import total
from hgqify.precision.ops import EdgeTables
from hgqify.precision.ops import Quantize as Quantizing
from hgqify.reference import run

GRAINS = {
    "edge": {},
    "output": {"heterogeneous_axis": (2,)},
    "input": {"heterogeneous_axis": (1,)},
    "layer": {"heterogeneous_axis": ()},
}


def settle(layer, seed=0):
    """Differing small widths, some of them no bits, and weights that fill the tables."""
    rng = np.random.default_rng(seed)
    shape = layer.iq.width_shape
    k = 1 if layer.iq.config.overflow_mode == "WRAP_SM" else rng.integers(0, 2, shape)
    layer.iq.set_state(k=k, i=rng.integers(-2, 3, shape), f=rng.integers(-2, 4, shape))
    shape = layer.toq.width_shape
    layer.toq.set_state(i=rng.integers(-1, 3, shape), f=rng.integers(-1, 6, shape))
    for weight in layer.network.trainable_variables:
        weight.assign(rng.normal(0, 1, weight.shape))
    layer.refresh()


def far(rng, *shape):
    """In range, far outside, on ties, and zeros."""
    x = rng.normal(0, 2, (40, *shape)).astype(np.float32)
    x[10:20] *= 50
    x[20] *= 1e20
    x[21] = np.round(x[21] * 16) / 32
    x[22] = -0.0
    return x


def test_fit_moves_networks_and_widths_and_learns():
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (512, 2)).astype(np.float32)
    y = np.stack([np.abs(x[:, 0]) - x[:, 1] ** 2, np.sin(2 * x[:, 1])], axis=-1)
    layer = QDenseT(2, iq_conf={"overflow_mode": "SAT"})
    model = keras.Sequential([keras.Input((2,)), layer])
    before = {w.path: numpy(w).copy() for w in layer.trainable_variables}
    model.compile(keras.optimizers.Adam(0.02), "mse")
    history = model.fit(x, y, batch_size=128, epochs=40, verbose=0).history["loss"]
    assert history[-1] < history[0] / 10
    assert all(np.any(numpy(w) != before[w.path]) for w in layer.trainable_variables)
    refresh(model)
    np.testing.assert_array_equal(model.predict(x, verbose=0), run(lower(model), [x]).outputs[0].values)


def test_a_price_on_ebops_narrows_the_tables():
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).uniform(-2, 2, (64, 3)).astype(np.float32)
    with LayerConfigScope(enable_ebops=True, beta0=1.0):
        layer = QDenseT(2, iq_conf={"overflow_mode": "SAT"})
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    before = layer.ebops()
    model.fit(x, x[:, :2], epochs=20, verbose=0)
    assert layer.ebops() < before / 2


def test_training_computes_with_the_tables():
    layer = QDenseT(3, d_hl=4, iq_conf={"overflow_mode": "SAT"})
    x = np.random.default_rng(1).normal(0, 1, (9, 4)).astype(np.float32)
    layer(x)
    settle(layer)
    np.testing.assert_array_equal(numpy(layer(x, training=True)), numpy(layer(x)))


def test_gradient_of_ebops_is_that_of_its_formula():
    layer = QDenseT(1, iq_conf={"overflow_mode": "SAT", "k0": 0})
    layer(np.zeros((1, 1), np.float32))
    layer.iq.set_state(i=2, f=4)
    layer.toq.set_state(k=1, i=1, f=2)
    gradients = variable_gradients(layer.ebops_value, [layer.iq.f, layer.toq.b])
    assert numpy(layer.ebops_value()) == layer.ebops() == 4 * 1 + 4
    np.testing.assert_allclose(np.ravel(gradients[0]), 4 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(np.ravel(gradients[1]), 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("a", "w", "luts"), [(0, 3, 3), (4, 1, 2), (4, 5, 7), (5, 2, 3), (8, 3, 15), (3, 0, 0)]
)
def test_ebops_count_six_input_tables(a, w, luts):
    assert table_ebops(np.array([a]), np.array([w])) == luts


def test_moved_weights_make_the_tables_stale_but_not_wrong():
    x = keras.Input((3,))
    layer = QDenseT(2)
    model = keras.Model(x, layer(x))
    settle(layer)
    layer.network.kernels[0].assign(-numpy(layer.network.kernels[0]))
    with pytest.raises(PrecisionError, match="refresh"):
        layer.tables()
    with pytest.raises(PrecisionError, match="refresh"):
        lower(model)
    data = far(np.random.default_rng(2), 3)
    on_the_fly = numpy(model(data))
    refresh(model)
    np.testing.assert_array_equal(numpy(model(data)), on_the_fly)


def test_inference_reads_the_stored_tables():
    layer = QDenseT(2)
    layer(np.zeros((1, 3), np.float32))
    layer.refresh()
    layer.stored.value.assign(np.full(layer.stored.value.shape, 0.5))
    np.testing.assert_array_equal(numpy(layer(np.ones((1, 3), np.float32))), 1.5)


@pytest.mark.parametrize("overflow", ["WRAP", "SAT", "SAT_SYM", "WRAP_SM"])
def test_reference_equals_keras_in_every_granularity(overflow):
    rng = np.random.default_rng(3)
    inputs, outputs = [], []
    for grain, real, shape in itertools.product(GRAINS.values(), (True, False), ((4,), (2, 3))):
        x = keras.Input(shape)
        config = {"overflow_mode": overflow, **grain}
        layer = QDenseT(3, d_hl=2, n_hl=2, activation="relu", iq_conf=config, max_table_bits=6)
        outputs.append(layer(x if real else Quantize()(x)))
        inputs.append(x)
        settle(layer, len(inputs))
    model = keras.Model(inputs, outputs)
    program = lower(model)
    assert certify(program).proved
    assert total_ebops(model) == total(program)
    data = [far(rng, *x.shape[1:]) for x in inputs]
    found = run(program, data)
    for ours, keras_ in zip(found.outputs, model(data), strict=True):
        np.testing.assert_array_equal(numpy(keras_), ours.values)
    few = [x[:3] for x in data]
    rationals, some = program_oracle.run(program, few), run(program, few)
    for name, ours in zip(program.outputs, some.outputs, strict=True):
        expected = np.array(rationals[name], object).reshape(ours.values.shape).astype(float)
        np.testing.assert_array_equal(ours.values, expected)


def test_formats_of_outputs_that_differ_quantize_a_real_input_once_each():
    x = keras.Input((4,))
    layer = QDenseT(3)
    model = keras.Model(x, layer(x))
    assert _quantizers(model) == 1
    layer.iq.set_state(f=np.arange(12).reshape(1, 4, 3) % 5)
    layer.refresh()
    assert _quantizers(model) == 3


def _quantizers(model):
    refresh(model)
    program = lower(model)
    assert sum(isinstance(node.op, EdgeTables) for node in program.nodes) == 1
    return sum(isinstance(node.op, Quantizing) for node in program.nodes)


def test_positions_of_unknown_number():
    layer = QDenseT(2)
    x = keras.Input((None, 3))
    model = keras.Model(x, layer(x))
    assert model.output_shape == (None, None, 2)
    assert numpy(model(np.ones((2, 5, 3), np.float32))).shape == (2, 5, 2)
    assert layer.ebops_value() is None
    with pytest.raises(PrecisionError, match="fixed"):
        layer.ebops()


def test_quantizers_off_evaluate_the_networks():
    off = {"q_type": "dummy"}
    layer = QDenseT(2, subnn_activation="relu", iq_conf=off, toq_conf=off)
    x = np.array([[0.3, -1.7]], np.float32)
    layer(x)
    assert layer.stored is None
    hidden = np.maximum(x[0, :, None, None] * numpy(layer.network.kernels[0])[:, :, 0], 0)
    expected = (hidden * numpy(layer.network.kernels[1])[..., 0]).sum(axis=(0, 2))
    np.testing.assert_allclose(numpy(layer(x))[0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"n_out": 0}, "n_out=0"),
        ({"n_out": 2.5}, "n_out=2.5"),
        ({"n_hl": -1}, "n_hl=-1"),
        ({"iq_conf": False}, "input quantizer"),
        ({"iq_conf": {"q_type": "float"}}, "fixed-point"),
        ({"toq_conf": {"q_type": "float"}}, "fixed-point"),
        ({"toq_conf": {"heterogeneous_axis": (0, 1)}}, "one format"),
        ({"toq_conf": {"homogeneous_axis": ()}}, "one format"),
        ({"max_table_bits": 13}, "2 to 12 bits"),
    ],
)
def test_what_makes_no_tables_is_refused(options, text):
    with pytest.raises(RuleError, match=text):
        QDenseT(**{"n_out": 2} | options)


def test_the_sum_takes_no_function_by_table():
    with pytest.raises(UnsupportedLayerError, match="QActivation"):
        QDenseT(2, activation="tanh")


def test_a_network_that_is_not_finite_is_refused():
    layer = QDenseT(1, subnn_activation="exp", name="steep")
    layer(np.zeros((1, 1), np.float32))
    layer.network.kernels[0].assign(np.full(layer.network.kernels[0].shape, 1e4))
    with pytest.raises(PrecisionError, match="steep"):
        layer.refresh()


def test_behind_other_layers_and_called_twice():
    x = keras.Input((3,))
    layer = QDenseT(3, iq_conf={"overflow_mode": "SAT"})
    y = QActivation("tanh", iq_conf={"overflow_mode": "SAT"})(layer(layer(x)))
    model = keras.Model(x, y)
    settle(layer)
    refresh(model)
    data = far(np.random.default_rng(4), 3)
    np.testing.assert_array_equal(numpy(model(data)), run(lower(model), [data]).outputs[0].values)


def test_streams_and_other_dialects_are_refused_by_name():
    x = keras.Input((3,))
    layer = QDenseT(2, iq_conf={"heterogeneous_axis": ()}, name="tables")
    model = keras.Model(x, layer(x))
    refresh(model)
    program = lower(model)
    refuse_unprintable(program, ProjectOptions())
    with pytest.raises(ExportError, match=r"a table for every edge needs all edges at once.*io_parallel"):
        refuse_unprintable(program, ProjectOptions(io_type="io_stream"))
    with pytest.raises(ExportError, match="Catapult has no kernel for a table for every edge"):
        refuse_unprintable(program, ProjectOptions(backend="Catapult"))
