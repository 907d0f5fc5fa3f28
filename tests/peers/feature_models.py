"""The features the peers lack (design, section 7) as branches of one float model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
from branches import Branch

kl = keras.layers
Built = tuple[list[keras.KerasTensor], list[keras.KerasTensor]]
Layers = Callable[[], list[Any]]


def chain(shape: tuple[int, ...], make: Layers) -> Built:
    """One layer after the other."""
    x = keras.Input(shape)
    y = x
    for layer in make():
        y = layer(y)
    return [x], [y]


def chain_of(shape: tuple[int, ...], make: Callable[[keras.KerasTensor], Any]) -> Built:
    """A function of one input, and a dense layer."""
    x = keras.Input(shape)
    return [x], [kl.Dense(2)(make(x))]


def concatenated(axis: int, shape: tuple[int, ...], count: int = 3) -> Built:
    x = keras.Input(shape)
    parts = [kl.Dense(shape[-1])(x) for _ in range(count - 1)]
    return [x], [kl.Concatenate(axis=axis)([x, *parts])]


def merged(kind: str, count: int) -> Built:
    x = keras.Input((6, 4))
    return [x], [getattr(kl, kind)()([x, *(kl.Dense(4)(x) for _ in range(count - 1))])]


def broadcast(kind: str, shape: tuple[int, ...], other: tuple[int, ...]) -> Built:
    x, y = keras.Input(shape), keras.Input(other)
    return [x, y], [getattr(kl, kind)()([x, y])]


def squeeze_excite() -> Built:
    x = keras.Input((5, 4, 6))
    y = kl.Conv2D(6, 3, padding="same", activation="relu")(x)
    gate = kl.GlobalAveragePooling2D(keepdims=True)(y)
    gate = kl.Dense(6, activation="sigmoid")(kl.Dense(3, activation="relu")(gate))
    return [x], [kl.Dense(2)(kl.GlobalMaxPooling2D()(kl.Multiply()([y, gate])))]


def nested() -> Built:
    inner_in = keras.Input((6,))
    inner = keras.Model(inner_in, kl.Dense(6, activation="relu")(inner_in), name="inner")
    x = keras.Input((6,))
    return [x], [inner(keras.Sequential([keras.Input((6,)), inner, kl.Dense(6)], name="outer")(x))]


def operations() -> Built:
    x = keras.Input((4, 6))
    y = keras.ops.maximum(kl.Dense(6)(x) * 2.0 + x, 0.0) - x
    y = keras.ops.concatenate([keras.ops.transpose(y, (0, 2, 1)), keras.ops.reshape(x, (-1, 6, 4))], axis=-1)
    return [x], [keras.ops.mean(y, axis=1), keras.ops.clip(y, -1, 1)]


def fan_out() -> Built:
    x = keras.Input((6, 5, 2))
    y = kl.Conv2D(4, 3, padding="same", activation="relu")(x)
    branches = [kl.Conv2D(4, size, padding="same")(y) for size in (1, 3)]
    return [x], [kl.Add()([*branches, y]), y, kl.GlobalAveragePooling2D()(y)]


def softmax_output() -> Built:
    x = keras.Input((6,))
    return [x], [kl.Dense(4, activation="softmax")(x), kl.Softmax()(kl.Dense(3)(x))]


def softmax_inside() -> Built:
    """By layer over other axes, as activation, by operation."""
    x = keras.Input((4, 3))
    y = kl.Softmax(axis=1)(kl.Dense(3)(x))
    y = kl.Dense(3, activation="softmax")(kl.Add()([x, y]))
    y = kl.Softmax(axis=[1, 2])(kl.Dense(4)(y))
    return [x], [kl.Dense(2)(keras.ops.softmax(kl.Dense(3)(y)))]


def masked_softmax() -> Built:
    """D10: the peer drops constant masks, causal ones included."""
    x = keras.Input((4, 4))
    causal = np.tril(np.ones((4, 4), bool))
    y = kl.Softmax()(kl.Dense(4)(x), mask=causal)
    # The first row has no element at all.
    return [x], [
        kl.Dense(2)(y),
        kl.Dense(2)(kl.Softmax()(kl.Dense(4)(y), mask=causal & ~np.eye(4, dtype=bool))),
    ]


def attention() -> Built:
    """D10: the peer does not find attention, and drops masks, causal ones included."""
    x = keras.Input((4, 3))
    y = kl.MultiHeadAttention(2, 2, output_shape=3)(x, x, use_causal_mask=True)
    return [x], [kl.Dense(2)(y)]


def cross_attention() -> Built:
    x, z = keras.Input((3, 3)), keras.Input((4, 2))
    y, scores = kl.MultiHeadAttention(2, 2, value_dim=1)(x, z, return_attention_scores=True)
    return [x, z], [kl.Dense(2)(y), scores]


def long_attention() -> Built:
    """More places than early division suits: it goes behind the product with the values."""
    x = keras.Input((18, 2))
    return [x], [kl.MultiHeadAttention(1, 2)(x, x)]


def dot_attention() -> Built:
    x, z = keras.Input((3, 3)), keras.Input((4, 3))
    return [x, z], [kl.Dense(2)(kl.Attention(use_scale=True)([kl.Dense(3)(x), z]))]


def summed_scores() -> Built:
    """The scores of every pair of places, causal for one of two."""
    x, z = keras.Input((3, 2)), keras.Input((3, 2))
    y = kl.AdditiveAttention()([kl.Dense(2)(x), z])
    scaled = kl.Attention(score_mode="concat", use_scale=True)
    return [x, z], [kl.Dense(2)(scaled([y, z], use_causal_mask=True))]


def gated_attention() -> Built:
    """A gate behind the heads, and a window that places see each other in."""
    x = keras.Input((5, 3))
    y = kl.MultiHeadAttention(2, 2, use_gate=True, sliding_window=2, output_shape=3)(x, x)
    return [x], [kl.Dense(2)(y)]


def masks_by_hand() -> Built:
    """A causal mask made of the shape of a tensor, and one that is added to the scores."""
    x, ops = keras.Input((4, 3)), keras.ops
    place = ops.cumsum(ops.ones_like(x[:, :, 0]), axis=1)
    mask = ops.less_equal(ops.expand_dims(place, 1), ops.expand_dims(place, 2))
    y = kl.MultiHeadAttention(1, 2)(x, x, attention_mask=mask)
    scores = ops.matmul(y, ops.transpose(x, (0, 2, 1)))
    scores = scores + (1 - ops.tril(ops.ones((4, 4)))) * -1e9
    return [x], [kl.Dense(2)(ops.matmul(ops.softmax(scores), x))]


def volumes() -> Built:
    """Three spatial axes padded, cropped and repeated."""
    x = keras.Input((3, 2, 2, 2))
    y = kl.ZeroPadding3D(((1, 0), (0, 1), (1, 1)))(x)
    y = kl.Conv3D(2, 2)(kl.UpSampling3D((1, 2, 2))(y))
    return [x], [kl.Cropping3D(((1, 0), (0, 2), (3, 1)))(y)]


def products() -> Built:
    """By layer and by operations."""
    x, z = keras.Input((3, 4)), keras.Input((4, 2))
    y = kl.Dot(axes=(2, 1))([kl.Dense(4)(x), z])
    square = keras.ops.einsum("btc,bsc->bts", y, y)
    return [x, z], [kl.Dense(2)(square @ y)]


def input_as_output() -> Built:
    """D13: refused by the peers; a quantizer of its own stands between."""
    x = keras.Input((6,))
    return [x], [x, kl.Dense(3)(x)]


def late_first_quantizer() -> Built:
    """D13: layers in front of the first one with weights."""
    x = keras.Input((4, 3, 2))
    y = kl.Rescaling(1 / 4, offset=-0.5)(x)
    y = kl.Permute((2, 1, 3))(kl.ZeroPadding2D(1)(y))
    return [x], [kl.Dense(4)(kl.Flatten()(kl.MaxPooling2D(2)(y)))]


def odd_names() -> Built:
    x = keras.Input((6,), name="input")
    y = x
    for name in ("a-b", "a.b", "a b", "1st"):
        y = kl.Dense(6, name=name)(y)
    return [x], [y]


def one(shape: tuple[int, ...], layer: Callable[..., Any], *args: Any, **options: Any) -> Branch:
    """A layer behind nothing."""
    return partial(chain, shape, lambda: [layer(*args, **options)])


def act(layer: Callable[..., Any], *args: Any, **options: Any) -> Branch:
    """An activation behind a dense layer."""
    return partial(chain, (6,), lambda: [kl.Dense(8), layer(*args, **options), kl.Dense(3)])


FIRST = {"data_format": "channels_first"}

BRANCHES: dict[str, Branch] = {
    "dilated convolution, 1D same": one((12, 3), kl.Conv1D, 4, 3, padding="same", dilation_rate=2),
    "dilated convolution, 2D": one((9, 8, 2), kl.Conv2D, 3, (3, 2), dilation_rate=(2, 3)),
    "groups, 1D": one((10, 4), kl.Conv1D, 6, 3, groups=2, strides=2),
    "groups, 2D": one((7, 6, 4), kl.Conv2D, 6, 3, groups=2, padding="same"),
    "causal": one((10, 3), kl.Conv1D, 4, 3, padding="causal"),
    "causal, dilated": one((10, 3), kl.Conv1D, 4, 3, padding="causal", dilation_rate=3),
    "channels_first": partial(
        chain,
        (2, 6, 8),
        lambda: [
            kl.Conv2D(4, 3, padding="same", activation="relu", **FIRST),
            kl.MaxPooling2D(2, **FIRST),
            kl.BatchNormalization(axis=1),
            kl.DepthwiseConv2D(2, **FIRST),
            kl.GlobalAveragePooling2D(**FIRST),
        ],
    ),
    "channels_first, flattened": partial(
        chain, (3, 8), lambda: [kl.Conv1D(4, 3, **FIRST), kl.Flatten(**FIRST), kl.Dense(3)]
    ),
    "channels_first, shapes": partial(
        chain,
        (3, 4, 4),
        lambda: [
            kl.ZeroPadding2D(1, **FIRST),
            kl.AveragePooling2D(2, **FIRST),
            kl.UpSampling2D(2, **FIRST),
            kl.Cropping2D(1, **FIRST),
            kl.GlobalMaxPooling2D(**FIRST),
        ],
    ),
    "Conv3D": one((4, 5, 3, 2), kl.Conv3D, 3, (2, 3, 2), padding="same", strides=(1, 2, 1)),
    "Conv3D, grouped and dilated": one((4, 5, 5, 4), kl.Conv3D, 6, 2, groups=2, dilation_rate=(2, 2, 1)),
    "3D pooling": partial(
        chain,
        (5, 4, 4, 2),
        lambda: [kl.MaxPooling3D(2, padding="same"), kl.AveragePooling3D((1, 2, 2)), kl.Dense(3)],
    ),
    "3D global pooling": partial(
        chain, (3, 2, 4, 2), lambda: [kl.Dense(3), kl.GlobalAveragePooling3D(), kl.Dense(3)]
    ),
    "pooling, 1D": partial(chain, (8, 3), lambda: [kl.AveragePooling1D(2), kl.GlobalMaxPooling1D()]),
    "3D global maximum": one((2, 2, 2, 3), kl.GlobalMaxPooling3D),
    "a vector repeated": partial(chain, (4,), lambda: [kl.RepeatVector(3), kl.Dense(2)]),
    "depthwise, 1D": one((10, 3), kl.DepthwiseConv1D, 3, padding="same"),
    "depthwise, 2D": one((7, 6, 3), kl.DepthwiseConv2D, 3, strides=2, padding="same"),
    "depthwise, multiplier 2": one((7, 6, 3), kl.DepthwiseConv2D, 3, depth_multiplier=2),
    "separable, 1D": one((10, 3), kl.SeparableConv1D, 4, 3, padding="same"),
    "separable, 2D": one((7, 6, 3), kl.SeparableConv2D, 4, 3, depth_multiplier=2),
    "transposed, 1D same": one((5, 3), kl.Conv1DTranspose, 2, 3, strides=2, padding="same"),
    "transposed, 1D dilated": one((5, 3), kl.Conv1DTranspose, 2, 3, dilation_rate=2),
    "transposed, 2D": one((4, 3, 2), kl.Conv2DTranspose, 3, (3, 2), strides=(2, 3)),
    "transposed, 2D same": one((4, 3, 2), kl.Conv2DTranspose, 3, 3, strides=2, padding="same"),
    "GlobalAveragePooling1D": one((7, 3), kl.GlobalAveragePooling1D),
    "GlobalAveragePooling2D": one((5, 4, 3), kl.GlobalAveragePooling2D),
    "GlobalMaxPooling2D": one((2, 2, 3), kl.GlobalMaxPooling2D),
    "GlobalAveragePooling2D, keepdims": one((5, 4, 3), kl.GlobalAveragePooling2D, keepdims=True),
    "concatenation, axis 1 of 1": partial(concatenated, -1, (5,)),
    "concatenation, axis 1 of 2": partial(concatenated, 1, (4, 3)),
    "concatenation, axis 2 of 2": partial(concatenated, 2, (4, 3)),
    "concatenation, axis 1 of 3": partial(concatenated, 1, (3, 4, 2)),
    "concatenation, axis 2 of 3": partial(concatenated, 2, (3, 4, 2)),
    "concatenation, axis 3 of 3": partial(concatenated, 3, (3, 4, 2)),
    "concatenation, axis 2 of 4": partial(concatenated, 2, (2, 3, 2, 2)),
    "merge of three: Add": partial(merged, "Add", 3),
    "merge of five: Add": partial(merged, "Add", 5),
    "merge of three: Multiply": partial(merged, "Multiply", 3),
    "merge of three: Maximum": partial(merged, "Maximum", 3),
    "merge of three: Minimum": partial(merged, "Minimum", 3),
    "merge of three: Average": partial(merged, "Average", 3),
    "broadcasting merge: vectors": partial(broadcast, "Add", (6,), (1,)),
    "broadcasting merge: channels": partial(broadcast, "Multiply", (4, 5, 3), (1, 1, 3)),
    "broadcasting merge: places": partial(broadcast, "Subtract", (4, 5, 3), (4, 5, 1)),
    "broadcasting merge: sequence": partial(broadcast, "Maximum", (1, 3), (5, 1)),
    "squeeze and excite": squeeze_excite,
    "nested models": nested,
    "keras.ops nodes": operations,
    "LSTM": one((3, 2), kl.LSTM, 3),
    "LSTM, sequences, backwards": one((3, 2), kl.LSTM, 3, return_sequences=True, go_backwards=True),
    "GRU": one((3, 2), kl.GRU, 3, return_sequences=True),
    "GRU, reset before": one((3, 2), kl.GRU, 3, reset_after=False),
    "SimpleRNN": one((4, 2), kl.SimpleRNN, 3),
    "Bidirectional": partial(
        chain, (3, 2), lambda: [kl.Bidirectional(kl.GRU(2, return_sequences=True), merge_mode="ave")]
    ),
    "Embedding": one((5,), kl.Embedding, 11, 4),
    "padding": one((4, 5, 2), kl.ZeroPadding2D, ((1, 2), (0, 3))),
    "padding, 1D": one((6, 2), kl.ZeroPadding1D, (2, 1)),
    "cropping": one((6, 5, 2), kl.Cropping2D, ((1, 2), (0, 1))),
    "cropping, 1D": one((6, 2), kl.Cropping1D, (2, 1)),
    "upsampling": one((3, 4, 2), kl.UpSampling2D, (2, 3)),
    "upsampling, 1D": one((4, 2), kl.UpSampling1D, 3),
    "ReLU6": act(kl.ReLU, max_value=6.0),
    "LeakyReLU(0.3)": act(kl.LeakyReLU, negative_slope=0.3),
    "ReLU with a threshold and a slope": act(kl.ReLU, negative_slope=0.3, threshold=0.5, max_value=2.0),
    "PReLU": act(kl.PReLU),
    "PReLU, one slope a channel": one((5, 4, 3), kl.PReLU, shared_axes=[1, 2]),
    "ELU": act(kl.ELU, alpha=0.8),
    "gelu": act(kl.Activation, "gelu"),
    "silu": act(kl.Activation, "silu"),
    "softplus": act(kl.Activation, "softplus"),
    "hard_sigmoid": act(kl.Activation, "hard_sigmoid"),
    "softmax as activation, at the end": softmax_output,
    "softmax inside": softmax_inside,
    "LayerNormalization": partial(
        chain,
        (5, 4),
        lambda: [kl.Dense(4), kl.LayerNormalization(), kl.Dense(6), kl.LayerNormalization(axis=[1, 2])],
    ),
    "RMSNormalization and UnitNormalization": partial(
        chain, (5, 4), lambda: [kl.Dense(4), kl.RMSNormalization(), kl.Dense(6), kl.UnitNormalization()]
    ),
    "GroupNormalization": partial(
        chain, (4, 3, 4), lambda: [kl.Conv2D(4, 2), kl.GroupNormalization(2), kl.Activation("relu")]
    ),
    "GroupNormalization, channels first": one((4, 3, 2), kl.GroupNormalization, 2, axis=1),
    "D10 softmax with constant masks": masked_softmax,
    "D10 MultiHeadAttention, causal mask": attention,
    "D10 MultiHeadAttention, cross, with scores": cross_attention,
    "D10 Attention": dot_attention,
    "products of two tensors": products,
    "D10 GroupQueryAttention": partial(chain_of, (4, 3), lambda x: kl.GroupQueryAttention(2, 4, 2)(x, x)),
    "D10 attention with a gate and a window": gated_attention,
    "D10 masks made by hand": masks_by_hand,
    "D10 AdditiveAttention": summed_scores,
    "D10 attention over many places": long_attention,
    "padding, cropping, upsampling, 3D": volumes,
    "AdaptiveAveragePooling": one((4, 5, 2), kl.AdaptiveAveragePooling2D, (2, 2)),
    "AdaptiveMaxPooling": one((5, 2), kl.AdaptiveMaxPooling1D, 3),
    "Resizing, nearest": one((6, 4, 2), kl.Resizing, 3, 8, interpolation="nearest"),
    "Resizing, bilinear": one((4, 4, 2), kl.Resizing, 2, 8),
    "CenterCrop": one((6, 5, 2), kl.CenterCrop, 3, 2),
    "ConvLSTM": one((2, 4, 2), kl.ConvLSTM1D, 2, 2, return_sequences=True),
    "GRU of many steps": one((9, 2), kl.GRU, 2),
    "Discretization": one((6,), kl.Discretization, [-0.5, 0.0, 0.7]),
    "BatchNorm on another axis": partial(
        chain, (4, 5, 3), lambda: [kl.BatchNormalization(axis=1), kl.Activation("relu")]
    ),
    "BatchNorm on another axis, behind a convolution": partial(
        chain, (6, 5, 2), lambda: [kl.Conv2D(3, 3), kl.BatchNormalization(axis=2)]
    ),
    "TimeDistributed(Dense)": partial(
        chain, (5, 4), lambda: [kl.TimeDistributed(kl.Dense(3, activation="relu"))]
    ),
    "TimeDistributed(Conv1D)": partial(
        chain, (3, 8, 2), lambda: [kl.TimeDistributed(kl.Conv1D(3, 3, padding="same"))]
    ),
    "TimeDistributed, a chain": partial(
        chain,
        (3, 5, 4, 2),
        lambda: [
            kl.TimeDistributed(layer)
            for layer in (kl.Conv2D(3, 2, activation="relu"), kl.MaxPooling2D(2), kl.Flatten(), kl.Dense(2))
        ],
    ),
    "EinsumDense, heads": one((4, 6), kl.EinsumDense, "abc,cde->abde", (None, 2, 3), bias_axes="de"),
    "EinsumDense, turned": one((4, 2, 3), kl.EinsumDense, "abcd,cde->aeb", (5, 4), bias_axes="e"),
    "EinsumDense, shared axis": one((4, 3, 2), kl.EinsumDense, "abcd,cde->abce", (4, 3, 2), bias_axes="ce"),
    "EinsumDense, bias on places": one((4, 3), kl.EinsumDense, "abc,cd->abd", (4, 2), bias_axes="bd"),
    "max-pool 'same' behind relu": partial(
        chain, (7, 5, 3), lambda: [kl.Activation("relu"), kl.MaxPooling2D(2, padding="same")]
    ),
    "max-pool 'same' of negative values": one((7, 5, 3), kl.MaxPooling2D, 2, padding="same"),
    "max-pool 'same', 1D": one((7, 3), kl.MaxPooling1D, 2, padding="same"),
    "fan-out": fan_out,
    "D13 an input as output": input_as_output,
    "D13 unquantized layers behind the input": late_first_quantizer,
    "D13 names": odd_names,
}

PARALLEL_ONLY = frozenset(
    {
        "D10 MultiHeadAttention, causal mask",
        "D10 MultiHeadAttention, cross, with scores",
        "D10 Attention",
        "D10 GroupQueryAttention",
        "D10 attention with a gate and a window",
        "D10 masks made by hand",
        "D10 AdditiveAttention",
        "D10 attention over many places",
        "products of two tensors",
    }
)
"""What is refused for io_stream: products of two tensors need both of them whole."""
