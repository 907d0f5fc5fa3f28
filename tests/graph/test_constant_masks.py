"""Masks made of shapes and constants, by operations, reach the softmax as constants."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from tiny_zoo import tiny_models

from hgqify.convert import plan
from hgqify.graph import build, canonicalize, read

SCORES = (4, 3)


def attended(mask):
    def make():
        x = keras.Input(SCORES)
        return keras.Model(x, layers.MultiHeadAttention(2, 2)(x, x, attention_mask=mask(x)))

    return make


def masked_by(mask):
    def make():
        x = keras.Input(SCORES)
        scores = mask(ops.matmul(x, ops.transpose(x, (0, 2, 1))))
        return keras.Model(x, ops.matmul(ops.softmax(scores), x))

    return make


def of_places(x):
    place = ops.cumsum(ops.ones_like(x[:, :, 0]), axis=1)
    return ops.less_equal(ops.expand_dims(place, 1), ops.expand_dims(place, 2))


def of_ranges(x):
    row, column = ops.arange(4)[:, None], ops.arange(4)[None]
    return ops.cast(row >= column, "int32")[None]


def of_scores(x):
    return ops.cast(ops.tril(ops.ones_like(ops.matmul(x, ops.transpose(x, (0, 2, 1))))), "bool")


TRIL = np.tril(np.ones((4, 4), np.float32))


@pytest.mark.parametrize(
    "make",
    [
        attended(of_places),
        attended(of_ranges),
        attended(of_scores),
        masked_by(lambda s: ops.where(TRIL > 0, s, -1e9)),
        masked_by(lambda s: ops.where(TRIL == 0, float("-inf"), s)),
        masked_by(lambda s: s + (1 - TRIL) * -1e9),
    ],
)
def test_a_mask_that_depends_on_no_data(make):
    model = make()
    tiny_models.randomize(model, 1)
    graph, _ = canonicalize(read(model))
    (softmax,) = (node for node in graph if node.kind == "Softmax")
    np.testing.assert_array_equal(np.squeeze(softmax.call.kwargs["mask"]), TRIL)
    assert not any(node.kind.startswith("ops.") for node in graph)
    x = tiny_models.inputs(model)
    np.testing.assert_allclose(build(graph)(x), model(x), rtol=1e-5, atol=1e-6)
    assert not plan(read(model)).refused


@pytest.mark.parametrize(
    "mask",
    [
        lambda s: s + (1 - TRIL) * -3.0,  # a number, no mask
        lambda s: ops.where(np.zeros((4, 4), bool), s, -1e9),  # a row of nothing
    ],
)
def test_what_is_no_mask_stays_arithmetic(mask):
    graph, _ = canonicalize(read(masked_by(mask)()))
    (softmax,) = (node for node in graph if node.kind == "Softmax")
    assert softmax.call is None


def test_a_mask_of_data_is_refused_with_a_way_out():
    x = keras.Input((4,), dtype="int32")
    rows = layers.Embedding(10, 3)(x)
    mask = ops.expand_dims(ops.not_equal(x, 0), 1)
    model = keras.Model(x, layers.MultiHeadAttention(2, 2)(rows, rows, attention_mask=mask))
    refused = {entry.kind: entry.remedy for entry in plan(read(model)).refused}
    assert "same for every sample" in refused["ops.NotEqual"]
    assert "same for every sample" in refused["MultiHeadAttention"]


def test_casts_to_the_type_of_layers_are_dropped():
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2)(ops.cast(x, "float32")))
    graph, _ = canonicalize(read(model))
    assert [node.kind for node in graph] == ["InputLayer", "Dense"]
