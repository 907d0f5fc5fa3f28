"""Keras operations as layers: the same values, in the float model and in its clone without quantizers."""

import keras
import numpy as np
import pytest
from keras import ops
from tiny_zoo import tiny_models

from hgqify.convert import convert
from hgqify.graph import build, canonicalize, read
from hgqify.graph.model import OPERATION_PREFIX

SHAPE = (4, 3, 5)
MASK = np.arange(60).reshape(1, *SHAPE) % 3 == 0


def numbers(*shape):
    return np.linspace(-1, 1, int(np.prod(shape)), dtype="float32").reshape(shape)


OPERATIONS = {
    "slice": lambda x: x[:, 1:3],
    "slices": lambda x: x[:, :2, ..., 1:-1],
    "slice with a step": lambda x: x[:, ::2, :, ::-2],
    "integer": lambda x: x[:, -1],
    "integers": lambda x: x[:, 1, :, 2],
    "new axis": lambda x: x[:, None, 0, ..., None],
    "nothing": lambda x: x[:, :, :],
    "split": lambda x: ops.split(x, 2, axis=1),
    "split at": lambda x: ops.split(x, [1, 4], axis=-1),
    "unstack": lambda x: ops.unstack(x, axis=2),
    "stack": lambda x: ops.stack([x, x * 2.0], axis=1),
    "stack last": lambda x: ops.stack([x, x + 1.0, -x], axis=-1),
    "flip": lambda x: ops.flip(x, axis=1),
    "flip two": lambda x: ops.flip(x, axis=(1, -1)),
    "roll": lambda x: ops.roll(x, 2, axis=-1),
    "tile": lambda x: ops.tile(x, (1, 1, 2, 3)),
    "take": lambda x: ops.take(x, np.array([3, 0, 0, 1]), axis=1),
    "take one": lambda x: ops.take(x, 2, axis=3),
    "squeeze": lambda x: ops.squeeze(ops.expand_dims(x, 2), 2),
    "transpose": lambda x: ops.transpose(x, (0, 3, 1, 2)),
    "swapaxes": lambda x: ops.swapaxes(x, 1, -1),
    "sum": lambda x: ops.sum(x, axis=2),
    "sum keepdims": lambda x: ops.sum(x, axis=(1, 3), keepdims=True),
    "sum of all": lambda x: ops.sum(x, axis=(1, 2, 3), keepdims=True),
    "mean": lambda x: ops.mean(x, axis=-1),
    "mean of two": lambda x: ops.mean(x, axis=(1, 3)),
    "max": lambda x: ops.max(x, axis=1, keepdims=True),
    "amax": lambda x: ops.amax(x, axis=(2, 3)),
    "min": lambda x: ops.min(x, axis=3),
    "amin": lambda x: ops.amin(x, axis=(1, 2)),
    "abs": ops.abs,
    "square": ops.square,
    "cube": lambda x: x**3,
    "negative": lambda x: -x,
    "clip": lambda x: ops.clip(x, -0.5, 0.25),
    "clip at zero": lambda x: ops.clip(x, 0, 1),
    "clip below zero": lambda x: ops.clip(x, -2, -0.5),
    "maximum": lambda x: ops.maximum(x, 0.5),
    "maximum of an array": lambda x: ops.maximum(x, numbers(5)),
    "minimum": lambda x: ops.minimum(x, 0.75),
    "minimum, negative": lambda x: ops.minimum(x, -0.25),
    "minimum of an array": lambda x: ops.minimum(x, numbers(1, 4, 1, 1)),
    "where": lambda x: ops.where(MASK, x, x * 2.0),
    "where else a constant": lambda x: ops.where(MASK, x, -1.0),
    "where a constant": lambda x: ops.where(MASK[..., :1], numbers(3, 1), x),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_become_layers(name):
    x = keras.Input(SHAPE)
    model = keras.Model(x, OPERATIONS[name](x))
    graph = read(model)
    canonical, _ = canonicalize(graph)
    assert any(node.kind.startswith(OPERATION_PREFIX) for node in graph)
    assert not any(node.kind.startswith(OPERATION_PREFIX) for node in canonical)
    data = tiny_models.inputs(model)
    expected = keras.tree.flatten(model(data))
    for other in (build(canonical), convert(graph).clone):
        for actual, value in zip(keras.tree.flatten(other(data)), expected, strict=True):
            np.testing.assert_allclose(actual, value, rtol=1e-5, atol=1e-5)


def test_a_used_and_an_unused_piece():
    x = keras.Input(SHAPE)
    a = keras.tree.flatten(ops.split(x, 2, axis=1))[0]
    model = keras.Model(x, keras.layers.Dense(2)(a))
    tiny_models.randomize(model, 0)
    data = tiny_models.inputs(model)
    np.testing.assert_allclose(convert(read(model)).clone(data), model(data), rtol=1e-5, atol=1e-5)


def test_a_scale_moves_behind_the_end_of_its_own_operation():
    """The minimum ends in a reshape, and its negation moved behind it had the name that it had before."""
    x = keras.Input((4, 3))
    model = keras.Model(x, keras.layers.Conv1D(2, 1)(keras.ops.amin(x, axis=(1, 2), keepdims=True)))
    data = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32)
    canonical, _ = canonicalize(read(model))
    built = build(canonical)
    np.testing.assert_allclose(
        built.predict_on_batch(data), model.predict_on_batch(data), rtol=1e-5, atol=1e-6
    )
