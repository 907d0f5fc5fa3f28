"""Recurrent layers step by step: the same values for every option, and clear reasons for what is left."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers
from tiny_zoo import tiny_models

from hgqify.convert import convert, plan
from hgqify.errors import UnsupportedLayerError
from hgqify.graph import build, canonicalize, read
from hgqify.graph.passes.recurrent_cells import MAX_PIECES
from hgqify.graph.passes.unroll_recurrent import MAX_STEPS

SHAPE = (4, 3)
CELLS = {
    "SimpleRNN": (layers.SimpleRNN, {}),
    "LSTM": (layers.LSTM, {}),
    "GRU": (layers.GRU, {}),
    "GRU before": (layers.GRU, {"reset_after": False}),
}
STATES = {"SimpleRNN": 1, "LSTM": 2, "GRU": 1, "GRU before": 1}


def check(model, *, clone=False):
    """The canonical graph; it computes what the model does, and so does the clone without quantizers."""
    tiny_models.randomize(model, 1)
    graph, _ = canonicalize(read(model))
    x = tiny_models.inputs(model)
    expected = keras.tree.flatten(model(x, training=False))
    built = [build(graph), convert(read(model)).clone] if clone else [build(graph)]
    for other in built:
        for actual, value in zip(keras.tree.flatten(other(x)), expected, strict=True):
            np.testing.assert_allclose(actual, value, rtol=1e-5, atol=1e-6)
    used = {name for node in graph for name in node.inputs} | set(graph.outputs)
    assert used == set(graph.by_name), "a node that nothing reads"
    return graph


def single(layer, shape=SHAPE):
    x = keras.Input(shape)
    return keras.Model(x, layer(x))


@pytest.mark.parametrize("name", CELLS)
class TestCell:
    def test_every_option(self, name):
        make, options = CELLS[name]
        names = ("return_sequences", "return_state", "go_backwards", "use_bias")
        for values in itertools.product((False, True), repeat=4):
            layer = make(3, **dict(zip(names, values, strict=True)), **options)
            check(single(layer), clone=all(values))

    def test_both_directions(self, name):
        make, options = CELLS[name]
        for mode, sequences, state in itertools.product(
            ("concat", "sum", "ave", "mul", None), (False, True), (False, True)
        ):
            inner = make(3, return_sequences=sequences, return_state=state, **options)
            check(single(layers.Bidirectional(inner, merge_mode=mode)))

    def test_given_states(self, name):
        make, options = CELLS[name]
        x, states = keras.Input(SHAPE), [keras.Input((3,)) for _ in range(2 * STATES[name])]
        layer, half = make(3, return_state=True, **options), states[: STATES[name]]
        check(keras.Model([x, *half], layer(x, initial_state=half)), clone=True)
        both = layers.Bidirectional(make(3, **options))
        check(keras.Model([x, *states], both(x, initial_state=states)))

    def test_a_shared_layer_stays_one(self, name):
        make, options = CELLS[name]
        a, b, layer = keras.Input(SHAPE), keras.Input(SHAPE), make(3, **options)
        graph = check(keras.Model([a, b], [layer(a), layer(b)]))
        assert len({node.shared for node in graph if node.kind == "Dense"}) == (
            3 if name == "GRU before" else 2
        )

    def test_weights_are_shared_between_steps(self, name):
        make, options = CELLS[name]
        model = convert(read(single(make(3, **options)))).model
        dense = [layer for layer in model.layers if type(layer).__name__ == "QDense"]
        assert len(dense) == (3 if name == "GRU before" else 2)

    def test_a_single_step(self, name):
        make, options = CELLS[name]
        check(single(make(3, return_sequences=True, **options), shape=(1, 3)), clone=True)


def test_cells_in_rnn():
    stack = [layers.LSTMCell(4), layers.GRUCell(3, use_bias=False), layers.SimpleRNNCell(2)]
    check(single(layers.RNN(layers.LSTMCell(3), return_sequences=True, return_state=True)))
    check(single(layers.RNN(stack, return_sequences=True)))
    check(single(layers.RNN(stack, return_state=True)), clone=True)
    check(single(layers.Bidirectional(layers.RNN(layers.GRUCell(3)))))


def test_many_steps_are_cut_out_in_halves():
    graph = check(single(layers.GRU(2, return_sequences=True), shape=(19, 2)))
    assert max(len(graph.consumers(node.name)) for node in graph) <= MAX_PIECES


def test_other_activations_and_dropout():
    check(single(layers.LSTM(3, activation="relu", recurrent_activation="hard_sigmoid", dropout=0.5)))
    check(single(layers.SimpleRNN(3, activation=None, recurrent_dropout=0.5)))


def test_stacked_layers_and_a_head():
    stack = [layers.GRU(3, return_sequences=True), layers.LSTM(3), layers.Dense(2)]
    check(keras.Sequential([keras.Input(SHAPE), *stack]), clone=True)


@keras.saving.register_keras_serializable("test_unroll_recurrent")
class OwnCell(layers.SimpleRNNCell):
    """A cell with a name of its own."""


def _masked():
    x, mask = keras.Input(SHAPE), keras.Input(SHAPE[:1], dtype="bool")
    return keras.Model([x, mask], layers.LSTM(3, name="r")(x, mask=mask))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: single(layers.LSTM(3, name="r"), shape=(MAX_STEPS + 1, 2)), ("65 steps", "pooling")),
        (lambda: single(layers.GRU(2000, name="r")), ("2000 units", "pooling")),
        (lambda: single(layers.RNN(OwnCell(3), name="r")), ("OwnCell", "GRU, LSTM, SimpleRNN")),
        (_masked, ("masks", "full sequences")),
    ],
)
def test_reasons(make, words):
    (entry,) = plan(read(make())).refused
    assert entry.layer == "r"
    for word in words:
        assert word in entry.reason + entry.remedy


def test_masking_upstream_is_refused_by_name():
    stack = [layers.Masking(name="mask"), layers.LSTM(3)]
    with pytest.raises(UnsupportedLayerError, match=r"mask \(Masking\).*[Rr]emove masks"):
        convert(read(keras.Sequential([keras.Input(SHAPE), *stack])))
