"""PReLU and transposed convolutions as ordinary layers: the same values, for every option."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers
from tiny_zoo import tiny_models

from hgqify.graph import build, canonicalize, read

TRANSPOSED_1D = [
    {"kernel_size": k, "strides": s, "padding": p, "dilation_rate": d, "output_padding": o}
    for k, s, p, d, o in itertools.product((1, 2, 4, 5), (1, 2, 3), ("same", "valid"), (1, 2), (None, 0, 1))
    if not (d > 1 and s > 1) and not (o is not None and o >= s)
]
TRANSPOSED = [
    ((4, 5, 3), layers.Conv2DTranspose, {"kernel_size": (3, 2), "strides": (2, 3), "use_bias": False}),
    ((4, 5, 3), layers.Conv2DTranspose, {"kernel_size": (3, 4), "strides": (1, 2), "padding": "same"}),
    ((4, 5, 3), layers.Conv2DTranspose, {"kernel_size": (3, 4), "strides": (3, 1), "activation": "relu"}),
    ((4, 5, 3), layers.Conv2DTranspose, {"kernel_size": (3, 2), "dilation_rate": (2, 3)}),
    (
        (3, 4, 5),
        layers.Conv2DTranspose,
        {"kernel_size": (3, 4), "strides": 2, "output_padding": 1, "data_format": "channels_first"},
    ),
    (
        (3, 4, 2, 2),
        layers.Conv3DTranspose,
        {"kernel_size": (3, 4, 2), "strides": (2, 3, 2), "padding": "same"},
    ),
]


def check(shape, *stack):
    """The canonical graph of a chain of layers; it computes what they do."""
    model = keras.Sequential([keras.Input(shape), *stack])
    tiny_models.randomize(model, 1)
    graph, events = canonicalize(read(model))
    x = tiny_models.inputs(model)
    np.testing.assert_allclose(build(graph)(x), model(x, training=False), rtol=1e-5, atol=2e-5)
    return [node.kind for node in graph], events


def test_transposed_convolutions_of_sequences():
    for options in TRANSPOSED_1D:
        kinds, events = check((5, 3), layers.Conv1DTranspose(2, **options))
        assert kinds.count("Conv1D") == 1, options
        assert [event.action for event in events] == ["lowered"]


@pytest.mark.parametrize(("shape", "layer", "options"), TRANSPOSED)
def test_transposed_convolutions(shape, layer, options):
    kinds, _ = check(shape, layer(2, **options))
    strides = options.get("strides", 1)
    before_last = strides[:-1] if isinstance(strides, tuple) else (strides,) * (len(shape) - 2)
    assert sum(kind.startswith("Conv") and kind.endswith("D") for kind in kinds) == np.prod(before_last)


def test_a_normalization_folds_into_a_transposed_convolution_first():
    kinds, events = check((4, 3), layers.Conv1DTranspose(2, 2, strides=2), layers.BatchNormalization())
    assert kinds == ["InputLayer", "Conv1D", "Reshape"]
    assert [event.action for event in events] == ["folded", "lowered"]


def test_no_tap_meets_an_inserted_zero():
    model = keras.Sequential([keras.Input((4, 4, 2)), layers.Conv2DTranspose(3, 4, strides=2)])
    tiny_models.randomize(model, 0)
    graph, _ = canonicalize(read(model))
    taps = sum(np.count_nonzero(node.weights["kernel"]) for node in graph if "kernel" in node.weights)
    assert taps == np.count_nonzero(model.layers[0].kernel)


def test_shared_transposed_convolutions_and_prelus_stay_shared():
    a, b = keras.Input((4, 2)), keras.Input((4, 2))
    up, prelu = layers.Conv1DTranspose(2, 3, strides=2, name="up"), layers.PReLU(name="slope")
    model = keras.Model([a, b], [prelu(up(a)), prelu(up(b))])
    tiny_models.randomize(model, 1)
    graph, _ = canonicalize(read(model))
    built = build(graph)
    assert sum(type(layer).__name__ == "Conv1D" for layer in built.layers) == 1
    assert sum(type(layer).__name__ == "BatchNormalization" for layer in built.layers) == 1
    x = tiny_models.inputs(model)
    for actual, expected in zip(built(x), model(x), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shared_axes", [None, [1, 2], [3], [1, 2, 3]])
def test_prelu_scales_what_is_negative(shared_axes):
    kinds, events = check((4, 5, 3), layers.PReLU(shared_axes=shared_axes))
    assert {"Activation", "ReLU", "BatchNormalization", "Add"} <= set(kinds)
    assert [event.action for event in events] == ["lowered", "kept"]


def test_prelu_as_the_activation_of_a_layer():
    layer = layers.Dense(4, activation=layers.PReLU())
    layer(np.zeros((1, 3), np.float32))  # Keras builds such an inner layer at its first call
    kinds, _ = check((3,), layer)
    assert kinds == ["InputLayer", "Dense", "Activation", "ReLU", "BatchNormalization", "Add"]
