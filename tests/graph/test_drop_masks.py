"""Masks that nobody reads are dropped; those that change values are refused by name."""

import keras
import numpy as np
import pytest
from keras import layers
from tiny_zoo import tiny_models

from hgqify.convert import plan
from hgqify.graph import build, canonicalize, read

MASKING = [keras.Input((6, 3)), layers.Masking()]
ROWS = [keras.Input((6,), dtype="int32"), layers.Embedding(10, 3, mask_zero=True)]


def dropped(start, *stack):
    """Whether no mask is left; then the values are those of the model, whose graph may hold the masks."""
    x = y = start[0]
    for layer in (type(start[1]).from_config(start[1].get_config()), *stack):
        y = layer(y)
    model = keras.Model(x, y)
    tiny_models.randomize(model, 1)
    graph, _ = canonicalize(read(model))
    x = tiny_models.inputs(model)
    np.testing.assert_allclose(build(graph)(x), model(x, training=False), rtol=1e-5, atol=1e-6)
    assert not any(node.kind.startswith("ops.") for node in graph)
    return not any(node.kind == "Masking" or node.config.get("mask_zero") for node in graph)


@pytest.mark.filterwarnings("ignore:.*destroy the mask:UserWarning")
@pytest.mark.parametrize("start", [MASKING, ROWS])
def test_a_mask_that_nobody_reads(start):
    assert dropped(start, layers.Dense(2), layers.BatchNormalization())
    # Where it reaches what does not know it, it ends.
    assert dropped(start, layers.Conv1D(2, 2), layers.GlobalAveragePooling1D())
    assert dropped(start, layers.Flatten(), layers.Softmax())


@pytest.mark.parametrize("start", [MASKING, ROWS])
@pytest.mark.parametrize(
    "reader",
    [
        layers.GlobalAveragePooling1D,
        lambda: layers.LSTM(2),
        lambda: layers.Bidirectional(layers.GRU(2)),
        lambda: layers.TimeDistributed(layers.Softmax()),
    ],
)
def test_a_mask_that_a_layer_reads(start, reader):
    stack = [type(start[1]).from_config(start[1].get_config()), layers.Dense(2), reader()]
    refused = plan(read(keras.Sequential([start[0], *stack]))).refused
    assert {entry.kind for entry in refused} >= {type(start[1]).__name__}


def test_one_layer_of_two_calls_keeps_its_mask_where_one_is_read():
    x, z = keras.Input((6,), dtype="int32"), keras.Input((6,), dtype="int32")
    rows = layers.Embedding(10, 3, mask_zero=True)
    model = keras.Model([x, z], [layers.Dense(2)(rows(x)), layers.LSTM(2)(rows(z))])
    graph, _ = canonicalize(read(model))
    assert [node.config["mask_zero"] for node in graph if node.kind == "Embedding"] == [True, True]


def test_masks_that_set_steps_to_zero_are_refused():
    model = keras.Sequential([keras.Input((6, 3)), layers.Masking(2.0, name="m"), layers.Dense(2)])
    (entry,) = plan(read(model)).refused
    assert entry.layer == "m"
    assert "sets steps to zero" in entry.reason
