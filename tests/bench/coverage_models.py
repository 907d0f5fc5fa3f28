"""A tiny model for every public layer class of Keras, or why it has none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

kl = keras.layers
Built = tuple[list[keras.KerasTensor], list[keras.KerasTensor]]

ROW, SEQUENCE, IMAGE, VOLUME = (6,), (6, 4), (6, 5, 2), (4, 4, 4, 2)


def one(shape: tuple[int, ...], make: Callable[[], Any], dtype: str = "float32") -> Built:
    """One layer on one input."""
    x = keras.Input(shape, dtype=dtype)
    return [x], keras.tree.flatten(make()(x))


def two(make: Callable[[], Any], shape: tuple[int, ...] = SEQUENCE) -> Built:
    """One layer on a list of two inputs of one shape."""
    inputs = [keras.Input(shape), keras.Input(shape)]
    return inputs, keras.tree.flatten(make()(inputs))


def twice(make: Callable[[], Any]) -> Built:
    """A layer called as layer(query, value)."""
    x = keras.Input(SEQUENCE)
    return [x], keras.tree.flatten(make()(x, x))


def input_layer() -> Built:
    x = keras.Input(ROW)
    return [x], [kl.Dense(2)(x)]


def _by_rank(kind: str, *args: Any, **options: Any) -> dict[str, Callable[[], Built]]:
    shapes = {"1D": SEQUENCE, "2D": IMAGE, "3D": VOLUME}
    return {
        f"{kind}{rank}": partial(one, shape, partial(getattr(kl, f"{kind}{rank}"), *args, **options))
        for rank, shape in shapes.items()
        if hasattr(kl, f"{kind}{rank}")
    }


def _plain(shape: tuple[int, ...], *names: str, **options: Any) -> dict[str, Callable[[], Built]]:
    return {name: partial(one, shape, partial(getattr(kl, name), **options)) for name in names}


MODELS: dict[str, Callable[[], Built]] = {
    "InputLayer": input_layer,
    **_plain(ROW, "ActivityRegularization", "ELU", "Identity", "LeakyReLU", "PReLU", "ReLU", "Softmax"),
    "Activation": partial(one, ROW, partial(kl.Activation, "gelu")),
    **_plain(ROW, "AlphaDropout", "Dropout", "GaussianDropout", rate=0.5),
    "GaussianNoise": partial(one, ROW, partial(kl.GaussianNoise, 0.5)),
    **_by_rank("SpatialDropout", 0.5),
    "Dense": partial(one, ROW, partial(kl.Dense, 3)),
    "EinsumDense": partial(one, SEQUENCE, partial(kl.EinsumDense, "abc,cd->abd", (None, 3))),
    "Embedding": partial(one, ROW, partial(kl.Embedding, 10, 3), "int32"),
    "ReversibleEmbedding": partial(one, ROW, partial(kl.ReversibleEmbedding, 10, 3), "int32"),
    "Lambda": partial(one, ROW, partial(kl.Lambda, lambda x: 2 * x)),
    "Masking": partial(one, SEQUENCE, kl.Masking),
    **_by_rank("Conv", 3, 2),
    **_by_rank("SeparableConv", 3, 2),
    **_by_rank("DepthwiseConv", 2),
    "Conv1DTranspose": partial(one, SEQUENCE, partial(kl.Conv1DTranspose, 3, 3, strides=2)),
    "Conv2DTranspose": partial(one, IMAGE, partial(kl.Conv2DTranspose, 3, 3, strides=2)),
    "Conv3DTranspose": partial(one, VOLUME, partial(kl.Conv3DTranspose, 3, 3, strides=2)),
    **_by_rank("MaxPooling", 2),
    **_by_rank("AveragePooling", 2),
    **_by_rank("GlobalMaxPooling"),
    **_by_rank("GlobalAveragePooling"),
    **_by_rank("AdaptiveAveragePooling", 2),
    **_by_rank("AdaptiveMaxPooling", 2),
    **_plain(SEQUENCE, "LSTM", "GRU", "SimpleRNN", units=3),
    **{
        name: partial(one, SEQUENCE, partial(kl.RNN, getattr(kl, name)(3)))
        for name in ("LSTMCell", "GRUCell", "SimpleRNNCell")
    },
    "RNN": partial(one, SEQUENCE, lambda: kl.RNN(kl.GRUCell(3), return_sequences=True)),
    "StackedRNNCells": partial(
        one, SEQUENCE, lambda: kl.RNN(kl.StackedRNNCells([kl.GRUCell(3), kl.LSTMCell(2)]))
    ),
    "Bidirectional": partial(one, SEQUENCE, lambda: kl.Bidirectional(kl.LSTM(3))),
    "TimeDistributed": partial(one, SEQUENCE, lambda: kl.TimeDistributed(kl.Dense(3))),
    "ConvLSTM1D": partial(one, (3, 6, 2), partial(kl.ConvLSTM1D, 3, 2)),
    "ConvLSTM2D": partial(one, (3, 6, 5, 2), partial(kl.ConvLSTM2D, 3, 2)),
    "ConvLSTM3D": partial(one, (3, 4, 4, 4, 2), partial(kl.ConvLSTM3D, 3, 2)),
    "MultiHeadAttention": partial(twice, partial(kl.MultiHeadAttention, 2, 2)),
    "GroupedQueryAttention": partial(twice, partial(kl.GroupQueryAttention, 2, 2, 1)),
    "Attention": partial(two, kl.Attention),
    "AdditiveAttention": partial(two, kl.AdditiveAttention),
    "BatchNormalization": partial(one, SEQUENCE, kl.BatchNormalization),
    **_plain(SEQUENCE, "LayerNormalization", "RMSNormalization", "UnitNormalization"),
    "GroupNormalization": partial(one, SEQUENCE, partial(kl.GroupNormalization, 2)),
    "SpectralNormalization": partial(one, ROW, lambda: kl.SpectralNormalization(kl.Dense(3))),
    **{name: partial(two, getattr(kl, name)) for name in ("Add", "Average", "Concatenate", "Maximum")},
    **{name: partial(two, getattr(kl, name)) for name in ("Minimum", "Multiply", "Subtract")},
    "Dot": partial(two, partial(kl.Dot, 2)),
    "Flatten": partial(one, SEQUENCE, kl.Flatten),
    "Permute": partial(one, SEQUENCE, partial(kl.Permute, (2, 1))),
    "RepeatVector": partial(one, ROW, partial(kl.RepeatVector, 3)),
    "Reshape": partial(one, ROW, partial(kl.Reshape, (2, 3))),
    **_by_rank("ZeroPadding", 1),
    **_by_rank("Cropping", 1),
    **_by_rank("UpSampling", 2),
    "CenterCrop": partial(one, IMAGE, partial(kl.CenterCrop, 3, 3)),
    "Resizing": partial(one, IMAGE, partial(kl.Resizing, 3, 3)),
    "Rescaling": partial(one, IMAGE, partial(kl.Rescaling, 0.5, 0.25)),
    "Normalization": partial(
        one, ROW, lambda: kl.Normalization(mean=np.arange(6.0), variance=np.arange(1.0, 7))
    ),
    "CategoryEncoding": partial(one, ROW, partial(kl.CategoryEncoding, num_tokens=4), "int32"),
    "Discretization": partial(one, ROW, partial(kl.Discretization, bin_boundaries=[0.0, 0.5])),
    "RandomCrop": partial(one, IMAGE, partial(kl.RandomCrop, 3, 3)),
    "RandomGrayscale": partial(one, (6, 5, 3), kl.RandomGrayscale),
    **_plain((6, 5, 3), "RandomFlip", "RandomInvert", "RandomPerspective", "RandomErasing"),
    **_plain((6, 5, 3), "RandomBrightness", "RandomColorDegeneration", "RandomContrast", factor=0.2),
    **_plain((6, 5, 3), "RandomHue", "RandomPosterization", "RandomRotation", "RandomSaturation", factor=0.2),
    "RandomPosterization": partial(one, (6, 5, 3), partial(kl.RandomPosterization, 4)),
    "RandomSharpness": partial(one, (6, 5, 3), partial(kl.RandomSharpness, 0.2)),
    "RandomZoom": partial(one, (6, 5, 3), partial(kl.RandomZoom, 0.2)),
    "RandomTranslation": partial(one, (6, 5, 3), partial(kl.RandomTranslation, 0.2, 0.2)),
    **_plain((6, 5, 3), "RandomColorJitter", "RandomElasticTransform", "RandomGaussianBlur", "RandomShear"),
    **_plain((6, 5, 3), "AugMix", "AutoContrast", "CutMix", "Equalization", "MixUp", "RandAugment"),
    **_plain((6, 5, 3), "ContrastLimitedAdaptiveHistogramEqualization", "Solarization"),
    "MelSpectrogram": partial(one, (600,), partial(kl.MelSpectrogram, fft_length=256)),
    "STFTSpectrogram": partial(one, (600, 1), partial(kl.STFTSpectrogram)),
}
"""Makes the inputs and outputs of a model, by class name."""

_TEXT = "takes text or integers that only a host has"
_FOREIGN = "holds code of another framework"
_BASE = "is a base of other layers"

WITHOUT: dict[str, str] = {
    **dict.fromkeys(("Layer", "Wrapper"), _BASE),
    **dict.fromkeys(("FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"), _FOREIGN),
    **dict.fromkeys(("HashedCrossing", "Hashing", "IntegerLookup", "StringLookup"), _TEXT),
    "TextVectorization": _TEXT,
    "MaxNumBoundingBoxes": "prepares labels, not data",
    "Pipeline": "prepares data outside a model",
}
"""Classes without a model, and why."""
