"""Families of keras.ops: each puts one operation on tensors that suit it.

`FAMILIES` has one for every operation with a rule, by the name of the operation's class.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from float_drawing import Drawing
from keras import ops

Family = Callable[[Drawing], Any]

UNARY = {
    "Exp": ops.exp,
    "HardSigmoid": ops.hard_sigmoid,
    "HardSilu": ops.hard_silu,
    "HardTanh": ops.hard_tanh,
    "LogSigmoid": ops.log_sigmoid,
    "Relu": ops.relu,
    "Relu6": ops.relu6,
    "Selu": ops.selu,
    "Sigmoid": ops.sigmoid,
    "Silu": ops.silu,
    "Softplus": ops.softplus,
    "Softsign": ops.soft_sign if hasattr(ops, "soft_sign") else ops.softsign,
    "SparsePlus": ops.sparse_plus,
    "SparseSigmoid": ops.sparse_sigmoid,
    "Tanh": ops.tanh,
    "TanhShrink": ops.tanh_shrink,
    "Abs": ops.abs,
    "Absolute": ops.absolute,
    "Negative": ops.negative,
    "Square": ops.square,
    "Elu": lambda x: ops.elu(x, alpha=0.75),
    "Gelu": lambda x: ops.gelu(x, approximate=False),
    "LeakyRelu": lambda x: ops.leaky_relu(x, negative_slope=0.25),
    "Softmax": lambda x: ops.softmax(x, axis=-1),
}


def unary(name: str) -> Family:
    return lambda d: d.compute(name, UNARY[name], d.tensor())


def _against(d: Drawing, x: Any) -> np.ndarray:
    """A constant that broadcasts to a tensor."""
    shape = tuple(x.shape[1:])
    return d.numbers(*d.one_of([(), shape[-1:], shape]))


def binary(name: str, function: Callable[..., Any]) -> Family:
    def family(d: Drawing) -> None:
        x = d.tensor()
        if not d.rarely(3):
            d.compute(name, function, x, d.like(x))
            return
        turned = d.rarely(2)
        d.compute(
            name,
            lambda x, constant: function(constant, x) if turned else function(x, constant),
            x,
            constant=_against(d, x),
        )

    return family


def divide(function: Callable[..., Any], name: str) -> Family:
    def family(d: Drawing) -> None:
        x = d.tensor()
        divisor = d.numbers(x.shape[-1], low=0.5, high=2)
        d.compute(name, lambda x, divisor: function(x, divisor), x, divisor=divisor)

    return family


def power(d: Drawing) -> None:
    exponent = d.number(2, 3)
    d.compute("Power", lambda x: ops.power(x, exponent), d.tensor())


def reduction(name: str, function: Callable[..., Any]) -> Family:
    def family(d: Drawing) -> None:
        x = d.tensor((2, 3))
        rank = len(x.shape)
        axes = tuple(int(a) for a in d.rng.permutation(range(1, rank))[: d.number(1, rank - 1)])
        keepdims = d.rarely(2) or len(axes) == rank - 1
        d.compute(name, lambda x: function(x, axis=axes, keepdims=keepdims), x)

    return family


def clip(d: Drawing) -> None:
    low, high = d.one_of([(-1, 1), (-0.5, 0.25), (0, 1), (-2, -0.5)])
    d.compute("Clip", lambda x: ops.clip(x, low, high), d.tensor())


# moves


def get_item(d: Drawing) -> None:
    x = d.tensor((2, 3))

    def key(n: int) -> Any:
        return d.one_of([slice(None), slice(0, max(n - 1, 1)), slice(None, None, -1), slice(None, None, 2)])

    keys = (slice(None), *(key(n) for n in x.shape[1:]))
    if d.rarely(3):
        keys = (*keys[:-1], -1)
    d.compute("GetItem", lambda x: x[keys], x)


def split(name: str, function: Callable[..., Any]) -> Family:
    def family(d: Drawing) -> None:
        x = d.tensor((2, 3), lambda shape: name == "Unstack" or shape[0] > 1)
        if name == "Unstack":
            axis = d.number(1, len(x.shape) - 1)
            d.compute(name, lambda x: function(x, axis=axis), x)
        else:
            d.compute(name, lambda x: function(x, [1], axis=1), x)

    return family


def stack(d: Drawing) -> None:
    x = d.tensor((1, 2))
    axis = d.number(1, len(x.shape))
    d.compute("Stack", lambda x, y: ops.stack([x, y], axis=axis), x, d.like(x))


def moved(name: str, move: Callable[[Any, int], Any], rank: Any = (2, 3)) -> Family:
    def family(d: Drawing) -> None:
        x = d.tensor(rank)
        axis = d.number(1, len(x.shape) - 1)
        d.compute(name, lambda x: move(x, axis), x)

    return family


def transpose(d: Drawing) -> None:
    x = d.tensor((2, 3))
    order = (0, *(int(n) + 1 for n in d.rng.permutation(len(x.shape) - 1)))
    d.compute("Transpose", lambda x: ops.transpose(x, order), x)


def swap(d: Drawing) -> None:
    d.compute("Swapaxes", lambda x: ops.swapaxes(x, 1, -1), d.tensor((2, 3)))


def tile(d: Drawing) -> None:
    x = d.tensor(fits=lambda shape: math.prod(shape) <= 36)
    repeats = (1, *(d.number(1, 2) for _ in x.shape[1:]))
    d.compute("Tile", lambda x: ops.tile(x, repeats), x)


def reshape(d: Drawing) -> None:
    d.compute("Reshape", lambda x: ops.reshape(x, (-1, math.prod(x.shape[1:]))), d.tensor())


def squeeze(d: Drawing) -> None:
    x = d.compute("ExpandDims", lambda x: ops.expand_dims(x, 2), d.tensor((1, 2)))
    d.compute("Squeeze", lambda x: ops.squeeze(x, 2), x)


def concatenate(d: Drawing) -> None:
    x = d.tensor()
    axis = d.number(1, len(x.shape) - 1)
    d.compute("Concatenate", lambda x, y: ops.concatenate([x, y], axis=axis), x, d.like(x))


def join(d: Drawing) -> None:
    """A class token: a constant of its own before or behind a sequence."""
    x = d.tensor(2)
    token = d.numbers(1, 1, x.shape[-1])

    def function(x: Any, token: np.ndarray) -> Any:
        rows = ops.broadcast_to(ops.convert_to_tensor(token), (ops.shape(x)[0], *token.shape[1:]))
        return ops.concatenate([rows, x], axis=1)

    d.compute("JoinWithConstants", function, x, token=token)


def pad(d: Drawing) -> None:
    x = d.tensor((2, 3))
    widths = [(0, 0), *((d.number(0, 1), d.number(0, 1)) for _ in x.shape[1:-1]), (0, 0)]
    d.compute("Pad", lambda x: ops.pad(x, widths), x)


def where(d: Drawing) -> None:
    x = d.tensor()
    condition = d.rng.random((1, *x.shape[1:])) < 0.5
    if d.rarely(2):
        d.compute("Where", lambda x, condition: ops.where(condition, x, -0.5), x, condition=condition)
    else:
        both = lambda x, y, condition: ops.where(condition, x, y)  # noqa: E731
        d.compute("Where", both, x, d.like(x), condition=condition)


def take(d: Drawing) -> None:
    if d.rarely(2):
        x = d.input((4,), below=5)
        table = d.numbers(5, 2)
        d.compute("Take", lambda x, table: ops.take(table, x, axis=0), x, table=table)
        return
    x = d.tensor((1, 2))
    indices = d.rng.integers(0, x.shape[1], 3)
    d.compute("Take", lambda x, indices: ops.take(x, indices, axis=1), x, indices=indices)


# products


def matmul(d: Drawing) -> None:
    if d.rarely(2):
        x = d.tensor()
        kernel = d.numbers(x.shape[-1], 3)
        d.compute("Matmul", lambda x, kernel: ops.matmul(x, kernel), x, kernel=kernel)
        return
    x = d.tensor(2)
    d.compute("Matmul", lambda x, y: ops.matmul(x, ops.transpose(y, (0, 2, 1))), x, d.like(x))


def einsum(d: Drawing) -> None:
    x = d.tensor(2)
    if d.rarely(2):
        kernel = d.numbers(x.shape[-1], 2)
        d.compute("Einsum", lambda x, kernel: ops.einsum("abc,cd->abd", x, kernel), x, kernel=kernel)
    else:
        equation = d.one_of(["btc,bsc->bts", "btc,btd->bcd"])
        d.compute("Einsum", lambda x, y: ops.einsum(equation, x, y), x, d.like(x))


def conv(d: Drawing) -> None:
    rank = d.number(1, 2)
    x = d.tensor(rank + 1)
    kernel = d.numbers(*(2,) * rank, x.shape[-1], 2)
    padding = d.one_of(["valid", "same"])
    d.compute("Conv", lambda x, kernel: ops.conv(x, kernel, padding=padding), x, kernel=kernel)


def depthwise(d: Drawing) -> None:
    x = d.tensor(3)
    kernel = d.numbers(2, 2, x.shape[-1], 1)
    d.compute("DepthwiseConv", lambda x, kernel: ops.depthwise_conv(x, kernel), x, kernel=kernel)


FAMILIES: dict[str, Family] = {
    **{name: unary(name) for name in UNARY},
    **{
        name: binary(name, getattr(ops, name.lower()))
        for name in ("Add", "Subtract", "Multiply", "Maximum", "Minimum")
    },
    **{
        name: reduction(name, getattr(ops, name.lower()))
        for name in ("Amax", "Amin", "Max", "Min", "Mean", "Sum")
    },
    "Clip": clip,
    "Concatenate": concatenate,
    "Conv": conv,
    "DepthwiseConv": depthwise,
    "Divide": divide(ops.divide, "Divide"),
    "Einsum": einsum,
    "ExpandDims": squeeze,
    "Flip": moved("Flip", lambda x, axis: ops.flip(x, axis=axis)),
    "GetItem": get_item,
    "JoinWithConstants": join,
    "Matmul": matmul,
    "Moveaxis": moved("Moveaxis", lambda x, axis: ops.moveaxis(x, axis, -1)),
    "Pad": pad,
    "Power": power,
    "Reshape": reshape,
    "Roll": moved("Roll", lambda x, axis: ops.roll(x, 1, axis=axis), (1, 2, 3)),
    "Split": split("Split", ops.split),
    "Squeeze": squeeze,
    "Stack": stack,
    "Swapaxes": swap,
    "Take": take,
    "Tile": tile,
    "Transpose": transpose,
    "TrueDivide": divide(ops.true_divide, "TrueDivide"),
    "Unstack": split("Unstack", ops.unstack),
    "Where": where,
}
"""By the name of the operation's class."""
