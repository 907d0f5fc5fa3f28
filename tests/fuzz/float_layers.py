"""Families of Keras layers: each puts one layer of its class on tensors that suit it, options at random.

`FAMILIES` has one for every class that hgqify converts, by the name of the class.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
from float_drawing import Drawing, made
from float_sequences import (
    attention,
    bidirectional,
    conv_lstm,
    grouped_query,
    long_attention,
    multi_head,
    recurrent,
    rnn,
    time_distributed,
)
from float_windows import (
    RANKS,
    UNARY,
    adaptive,
    conv,
    dense,
    depthwise,
    einsum_dense,
    global_pooling,
    pooling,
    transposed,
)

Family = Callable[[Drawing], Any]


def plain(kind: str, rank: Any = (1, 2, 3), **options: Any) -> Family:
    """A layer on one tensor of these ranks, always with these options."""
    return lambda d: d.call(kind, d.tensor(rank), **options)


# normalizations and elementwise


def batch_normalization(d: Drawing) -> None:
    x = d.tensor()
    axis = d.one_of([-1, -1, *range(1, len(x.shape))])
    d.call("BatchNormalization", x, axis=axis, scale=not d.rarely(3), center=not d.rarely(3))


def layer_normalization(kind: str) -> Family:
    def family(d: Drawing) -> None:
        x = d.tensor(fits=lambda shape: shape[-1] > 1)
        options: dict[str, Any] = {"axis": [-2, -1] if len(x.shape) > 2 and d.rarely(3) else -1}
        if kind == "LayerNormalization":
            options |= {"center": not d.rarely(3), "scale": not d.rarely(3)}
        if kind != "UnitNormalization":
            options["epsilon"] = d.one_of([1e-3, 1e-6])
        d.call(kind, x, **options)

    return family


def group_normalization(d: Drawing) -> None:
    x = d.tensor((2, 3), lambda shape: math.prod(shape[:-1]) > 1)
    d.call("GroupNormalization", x, groups=d.one_of([g for g in (-1, 1, 2, 3) if x.shape[-1] % abs(g) == 0]))


def normalization(d: Drawing) -> None:
    x = d.tensor()
    n = x.shape[-1]
    d.call("Normalization", x, mean=d.numbers(n), variance=d.numbers(n, low=0.25, high=3))


def relu(d: Drawing) -> None:
    options = d.one_of(
        [{}, {"max_value": 2.0}, {"negative_slope": 0.25}, {"negative_slope": 0.3, "threshold": 0.5}]
    )
    d.call("ReLU", d.tensor(), **options)


def prelu(d: Drawing) -> None:
    x = d.tensor()
    axes = list(range(1, len(x.shape) - 1))
    d.call("PReLU", x, shared_axes=axes if axes and d.rarely(2) else None)


def softmax(d: Drawing) -> None:
    x = d.tensor(fits=lambda shape: shape[-1] > 1)
    if len(x.shape) == 3 and d.rarely(3):
        mask = d.rng.random(x.shape[1:]) < 0.7
        d.apply(keras.layers.Softmax(), "Softmax", {}, (x,), {"mask": np.asarray(mask)[None]})
        return
    d.call("Softmax", x, axis=d.one_of([-1, -1, *range(1, len(x.shape))]))


# merges and moves


def merge(kind: str) -> Family:
    def family(d: Drawing) -> None:
        x = d.tensor()
        count = 2 if kind == "Subtract" else d.number(2, 3)
        d.call(kind, [x, *(d.like(x) for _ in range(count - 1))])

    return family


def concatenate(d: Drawing) -> None:
    x = d.tensor()
    d.call("Concatenate", [x, d.like(x)], axis=d.number(1, len(x.shape) - 1))


def dot(d: Drawing) -> None:
    x = d.tensor(2)
    d.call("Dot", [x, d.like(x)], axes=d.one_of([1, 2]))


def reshape(d: Drawing) -> None:
    x = d.tensor()
    shape = tuple(x.shape[1:])
    d.call(
        "Reshape", x, target_shape=d.one_of([(math.prod(shape),), (*shape[1:], shape[0]), (-1, shape[-1])])
    )


def permute(d: Drawing) -> None:
    x = d.tensor((2, 3))
    d.call("Permute", x, dims=tuple(int(n) + 1 for n in d.rng.permutation(len(x.shape) - 1)))


def around(kind: str, rank: int, option: str) -> Family:
    def family(d: Drawing) -> None:
        x = d.tensor(RANKS[rank])
        if kind == "UpSampling":
            amount: Any = d.number(1, 2) if rank == 1 else tuple(d.number(1, 2) for _ in range(rank))
        else:
            pairs = tuple((d.number(0, 1), d.number(0, 1)) for _ in range(rank))
            if kind == "Cropping":
                pairs = tuple(p if sum(p) < n else (0, 0) for p, n in zip(pairs, x.shape[1:-1], strict=True))
            amount = pairs if rank > 1 else pairs[0]
        d.call(f"{kind}{rank}D", x, **{option: amount})

    return family


def upsampling(d: Drawing) -> None:
    x = d.tensor(3, lambda shape: math.prod(shape) <= 48)
    how = d.one_of(["nearest", "bilinear"])
    d.call("UpSampling2D", x, size=(d.number(1, 2), 2), interpolation=how)


def resizing(kind: str) -> Family:
    def family(d: Drawing) -> None:
        x = d.tensor(3)
        most = [min(n, 4) for n in x.shape[1:3]]
        options = {"height": d.number(1, most[0]), "width": d.number(1, most[1])}
        if kind == "Resizing":
            options["interpolation"] = d.one_of(["bilinear", "nearest"])
        d.call(kind, x, **options)

    return family


# what only inputs, or only the host, should see


def embedding(kind: str) -> Family:
    def family(d: Drawing) -> None:
        rows = d.number(2, 9)
        x = d.input(d.one_of([(3,), (4,), (2, 2)]), below=rows)
        d.call(kind, x, input_dim=rows, output_dim=d.number(1, 3))

    return family


def discretization(d: Drawing) -> None:
    bounds = sorted({float(b) for b in d.numbers(3, low=-2, high=2)})
    d.call("Discretization", d.input(d.one_of([(4,), (5, 2)])), bin_boundaries=bounds)


def masking(d: Drawing) -> None:
    y = d.call("Masking", d.tensor(2))
    d.call("Conv1D", y, filters=2, kernel_size=2)


def spectral(d: Drawing) -> None:
    d.call("SpectralNormalization", d.tensor(1), layer=made("Dense", units=d.number(1, 3)))


def augmentation(kind: str, **options: Any) -> Family:
    return lambda d: d.call(kind, d.shaped((4, 4, 3)), **options)


# whole models


def nested(d: Drawing) -> None:
    """A model in the model, called twice."""
    x = d.tensor()
    shape, inner = tuple(x.shape[1:]), Drawing(d.rng)
    inner.input(shape)
    y = inner.call("Dense", inner.tensors[0], units=shape[-1], activation=d.one_of([None, "tanh", "relu"]))
    y = inner.call("Add", [y, inner.tensors[0]])
    model = keras.Model(inner.inputs, y)
    again = d.apply(model, "nested model", {}, (x,), {})
    d.apply(model, "nested model", {}, (again,), {})


def again(d: Drawing) -> None:
    """A layer called once more, on another tensor of that shape."""
    if not d.layers:
        dense(d)
    layer, x = d.one_of(d.layers)
    d.apply(layer, f"again {type(layer).__name__}", {}, (d.like(x),), {})


_RATES = {
    **{name: {"rate": 0.5} for name in ("AlphaDropout", "Dropout", "GaussianDropout")},
    "GaussianNoise": {"stddev": 0.5},
    "ActivityRegularization": {"l2": 0.1},
    "Identity": {},
}
_FACTORS = ("RandomBrightness", "RandomColorDegeneration", "RandomContrast", "RandomHue", "RandomRotation",
            "RandomSaturation", "RandomSharpness")  # fmt: skip
_BARE = ("RandomColorJitter", "RandomElasticTransform", "RandomGaussianBlur", "RandomShear", "RandomFlip",
         "RandomInvert", "RandomPerspective", "RandomErasing", "RandomGrayscale", "CutMix", "MixUp", "AugMix",
         "RandAugment")  # fmt: skip
_AUGMENTATIONS: dict[str, dict[str, Any]] = {
    **{name: {"factor": 0.2} for name in _FACTORS},
    **{name: {} for name in _BARE},
    "RandomPosterization": {"factor": 4},
    "RandomZoom": {"height_factor": 0.2},
    "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.2},
}
_SPATIAL = {
    "Conv": conv,
    "DepthwiseConv": partial(depthwise, kind="Depthwise"),
    "SeparableConv": partial(depthwise, kind="Separable"),
    "Transpose": transposed,
    **{f"{kind}Pooling": partial(pooling, kind=kind) for kind in ("Max", "Average")},
    **{f"Global{kind}Pooling": partial(global_pooling, kind=kind) for kind in ("Max", "Average")},
    **{f"Adaptive{kind}Pooling": partial(adaptive, kind=kind) for kind in ("Max", "Average")},
    "SpatialDropout": lambda rank: plain(f"SpatialDropout{rank}D", RANKS[rank], rate=0.5),
    "ConvLSTM": conv_lstm,
    "ZeroPadding": lambda rank: around("ZeroPadding", rank, "padding"),
    "Cropping": lambda rank: around("Cropping", rank, "cropping"),
    "UpSampling": lambda rank: around("UpSampling", rank, "size"),
}


def _by_rank() -> dict[str, Family]:
    found = {}
    for kind, family in _SPATIAL.items():
        for rank in (1, 2, 3):
            name = f"Conv{rank}DTranspose" if kind == "Transpose" else f"{kind}{rank}D"
            if hasattr(keras.layers, name):
                found[name] = family(rank)
    return found


FAMILIES: dict[str, Family] = {
    **_by_rank(),
    "Activation": lambda d: d.call("Activation", d.tensor(), activation=d.one_of(UNARY)),
    **{name: plain(name, **options) for name, options in _RATES.items()},
    **{name: augmentation(name, **options) for name, options in _AUGMENTATIONS.items()},
    **{name: recurrent(name) for name in ("LSTM", "GRU", "SimpleRNN")},
    **{name: rnn(name) for name in ("LSTMCell", "GRUCell", "SimpleRNNCell")},
    **{name: attention(name) for name in ("Attention", "AdditiveAttention")},
    **{
        f"{kind}Normalization": layer_normalization(f"{kind}Normalization")
        for kind in ("Layer", "RMS", "Unit")
    },
    **{name: merge(name) for name in ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract")},
    **{name: embedding(name) for name in ("Embedding", "ReversibleEmbedding")},
    **{name: resizing(name) for name in ("CenterCrop", "Resizing")},
    "BatchNormalization": batch_normalization,
    "Bidirectional": bidirectional,
    "Concatenate": concatenate,
    "Dense": dense,
    "Discretization": discretization,
    "Dot": dot,
    "EinsumDense": einsum_dense,
    "ELU": plain("ELU", alpha=0.75),
    "Flatten": plain("Flatten"),
    "GroupNormalization": group_normalization,
    "GroupedQueryAttention": grouped_query,
    "InputLayer": lambda d: d.call("Dense", d.input(d.one_of([(4,), (4, 3)])), units=2),
    "LeakyReLU": lambda d: d.call("LeakyReLU", d.tensor(), negative_slope=d.one_of([0.25, 0.3])),
    "Masking": masking,
    "MultiHeadAttention": multi_head,
    "Normalization": normalization,
    "Permute": permute,
    "PReLU": prelu,
    "ReLU": relu,
    "RepeatVector": plain("RepeatVector", 1, n=3),
    "Rescaling": plain("Rescaling", scale=0.5, offset=0.25),
    "Reshape": reshape,
    "RNN": rnn(),
    "Softmax": softmax,
    "SpectralNormalization": spectral,
    "StackedRNNCells": rnn("GRUCell", "LSTMCell"),
    "TimeDistributed": time_distributed,
    "UpSampling2D": upsampling,
    "nested models": nested,
    "layers called again": again,
    "attention over many places": long_attention,
}
"""By the name of the class; some by what they are."""
