"""Resizing, adaptive pooling, ConvLSTM, layers that wrap others, as ordinary layers: the same values."""

import keras
import numpy as np
import pytest
from keras import layers
from tiny_zoo import tiny_models

from hgqify.convert import plan
from hgqify.graph import build, canonicalize, read

MOVES = {"Cropping1D", "Cropping2D", "Concatenate", "Permute", "Reshape", "UpSampling2D", "ZeroPadding2D"}


def single(shape, layer, dtype="float32"):
    x = keras.Input(shape, dtype=dtype)
    return keras.Model(x, layer(x))


def check(model):
    """Kinds of the canonical graph, which computes what the model does."""
    tiny_models.randomize(model, 1)
    graph, _ = canonicalize(read(model))
    x = tiny_models.inputs(model)
    found, expected = (keras.tree.flatten(m(x, training=False)) for m in (build(graph), model))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    return [node.kind for node in graph if node.kind != "InputLayer"]


@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((6, 5, 2), layers.Resizing(3, 3, interpolation="nearest")),
        ((8, 8, 2), layers.Resizing(2, 4, interpolation="nearest")),
        ((4, 3, 2), layers.Resizing(8, 6, interpolation="nearest")),
        ((2, 4, 6), layers.Resizing(7, 6, interpolation="nearest", data_format="channels_first")),
        ((6, 5, 2), layers.CenterCrop(3, 2)),
        ((6, 5, 2), layers.RandomCrop(6, 5)),
    ],
)
def test_what_only_moves_values(shape, layer):
    assert set(check(single(shape, layer))) <= MOVES


@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((6, 5, 2), layers.Resizing(3, 7)),
        ((6, 4, 2), layers.Resizing(3, 3, crop_to_aspect_ratio=True, antialias=True)),
        ((6, 4, 2), layers.Resizing(3, 3, pad_to_aspect_ratio=True)),
        ((2, 6, 4), layers.Resizing(3, 4, interpolation="bicubic", data_format="channels_first")),
        ((3, 4, 2), layers.UpSampling2D(2, interpolation="bilinear")),
        ((6, 5, 2), layers.CenterCrop(8, 6)),
    ],
)
def test_what_interpolates_is_a_matrix_for_each_axis(shape, layer):
    kinds = set(check(single(shape, layer)))
    assert "Dense" in kinds
    assert kinds <= MOVES | {"Dense"}


def test_weights_of_a_bilinear_upsampling_are_dyadic():
    graph, _ = canonicalize(read(single((4, 4, 1), layers.UpSampling2D(2, interpolation="bilinear"))))
    kernels = [node.weights["kernel"] for node in graph if "kernel" in node.weights]
    assert len(kernels) == 2
    for kernel in kernels:
        np.testing.assert_array_equal(kernel * 4, np.round(kernel * 4))


@pytest.mark.parametrize(
    ("shape", "layer", "pieces"),
    [
        ((6, 2), layers.AdaptiveAveragePooling1D(3), 1),
        ((7, 2), layers.AdaptiveAveragePooling1D(3), 1),  # windows of three places at a step of two
        ((7, 2), layers.AdaptiveMaxPooling1D(4), 4),
        ((3, 2), layers.AdaptiveAveragePooling1D(5), 5),
        ((6, 5, 2), layers.AdaptiveMaxPooling2D((4, 1)), 4),
        ((2, 5, 4), layers.AdaptiveAveragePooling2D((4, 2), data_format="channels_first"), 1),
        ((2, 5, 4), layers.AdaptiveAveragePooling2D((3, 2), data_format="channels_first"), 3),
        ((4, 3, 5, 2), layers.AdaptiveMaxPooling3D((2, 2, 3)), 3),
    ],
)
def test_adaptive_pooling(shape, layer, pieces):
    kinds = check(single(shape, layer))
    assert sum("Pooling" in kind for kind in kinds) == pieces


@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((3, 6, 2), layers.ConvLSTM1D(3, 2)),
        (
            (2, 4, 4, 2),
            layers.ConvLSTM2D(2, 3, padding="same", strides=2, go_backwards=True, return_sequences=True),
        ),
        (
            (2, 2, 4, 5),
            layers.ConvLSTM2D(
                3,
                3,
                data_format="channels_first",
                use_bias=False,
                return_state=True,
                return_sequences=True,
            ),
        ),
        ((2, 3, 3, 3, 1), layers.ConvLSTM3D(2, 2, return_state=True)),
        ((1, 6, 2), layers.ConvLSTM1D(3, 3, dilation_rate=2, activation="relu", return_sequences=True)),
    ],
)
def test_conv_lstm_step_by_step(shape, layer):
    assert {"Conv1D", "Conv2D", "Conv3D"} & set(check(single(shape, layer)))


def test_conv_lstm_with_given_states_called_twice():
    x, z = keras.Input((2, 5, 2)), keras.Input((2, 5, 2))
    h, c = keras.Input((4, 3)), keras.Input((4, 3))
    layer = layers.ConvLSTM1D(3, 2)
    model = keras.Model([x, z, h, c], [layer(x, initial_state=[h, c]), layer(z, initial_state=[h, c])])
    check(model)
    built = build(canonicalize(read(model))[0])
    assert sum(type(layer).__name__ == "Conv1D" for layer in built.layers) == 8


def test_wrappers_are_opened():
    assert check(single((6,), layers.SpectralNormalization(layers.Dense(3)))) == ["Dense"]
    assert check(single((6,), layers.ReversibleEmbedding(10, 3, tie_weights=False), "int32")) == ["Embedding"]


@pytest.mark.parametrize(
    ("shape", "layer", "words"),
    [
        ((6, 5, 2), layers.RandomCrop(3, 3), ("whole image", "CenterCrop")),
        (
            (6, 4, 2),
            layers.Resizing(3, 3, pad_to_aspect_ratio=True, fill_value=2.0),
            ("matrix", "fill_value"),
        ),
        ((199, 2), layers.AdaptiveMaxPooling1D(100), ("100 windows", "divides")),
        ((17, 5, 1), layers.ConvLSTM1D(2, 2), ("17 steps", "16")),
    ],
)
def test_what_is_refused(shape, layer, words):
    (entry,) = plan(read(single(shape, layer))).refused
    for word in words:
        assert word in entry.reason + entry.remedy


def test_resized_integers_are_rounded_and_so_refused():
    model = single((4, 4, 1), layers.Resizing(3, 3), "uint8")
    assert [entry.kind for entry in plan(read(model)).refused] == ["Resizing"]
