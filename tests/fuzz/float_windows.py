"""Families of linear layers and pooling, in the form of those in `float_layers`."""

import math
from collections.abc import Callable
from typing import Any

from float_drawing import Drawing

Family = Callable[[Drawing], Any]

RANKS = {1: 2, 2: 3, 3: 4}
"""Rank of a tensor without its batch, by the number in the layer's name."""
UNARY = ("relu", "relu6", "tanh", "sigmoid", "elu", "gelu", "silu", "softplus", "hard_sigmoid", "selu",
         "mish", "exponential", "softsign", "hard_silu", "log_sigmoid", "celu", "leaky_relu",
         "hard_tanh")  # fmt: skip


# dense and convolutions


def _activated(d: Drawing) -> dict[str, Any]:
    return {"use_bias": not d.rarely(3), "activation": d.one_of([None, None, "relu", *UNARY])}


def dense(d: Drawing) -> None:
    d.call("Dense", d.tensor(), units=d.number(1, 4), **_activated(d))


def einsum_dense(d: Drawing) -> None:
    x = d.tensor(2)
    equation, shape, axes = d.one_of(
        [
            ("abc,cd->abd", (None, 3), "d"),
            ("abc,cde->abde", (None, 2, 2), "e"),
            ("abc,bcd->ad", (3,), None),
            ("abc,bcd->abd", (x.shape[1], 2), "bd"),
            ("abc,bd->adc", (3, x.shape[2]), "d"),
        ]
    )
    d.call("EinsumDense", x, equation=equation, output_shape=shape, bias_axes=axes)


def _windows(d: Drawing, shape: Any, paddings: Any = ("valid", "same")) -> dict[str, Any]:
    padding = d.one_of(paddings)
    size = tuple(d.number(1, min(3, n)) for n in shape)
    options: dict[str, Any] = {"kernel_size": size, "padding": padding}
    if d.rarely(3):
        options["strides"] = 2
    elif d.rarely(3) and all(k * 2 - 1 <= n for k, n in zip(size, shape, strict=True)):
        options["dilation_rate"] = 2
    return options


def conv(rank: int) -> Family:
    def family(d: Drawing) -> None:
        x = d.tensor(RANKS[rank])
        options = _windows(d, x.shape[1:-1], ("valid", "same", *(("causal",) if rank == 1 else ())))
        groups = d.one_of([g for g in (1, 1, 2, 3) if x.shape[-1] % g == 0])
        options |= {"filters": groups * d.number(1, 2), "groups": groups}
        d.call(f"Conv{rank}D", x, **options, **_activated(d))

    return family


def depthwise(rank: int, kind: str) -> Family:
    def family(d: Drawing) -> None:
        x = d.tensor(RANKS[rank])
        options = _windows(d, x.shape[1:-1]) | {"depth_multiplier": d.number(1, 2)}
        if kind == "Separable":
            options["filters"] = d.number(1, 3)
        d.call(f"{kind}Conv{rank}D", x, **options, **_activated(d))

    return family


def transposed(rank: int) -> Family:
    def family(d: Drawing) -> None:
        x = d.tensor(RANKS[rank], lambda shape: math.prod(shape) <= 48)
        options: dict[str, Any] = {"kernel_size": d.number(1, 3), "padding": d.one_of(["valid", "same"])}
        if rank < 3 and d.rarely(3):
            options["dilation_rate"] = 2
        else:
            options["strides"] = d.number(1, 2)
        d.call(f"Conv{rank}DTranspose", x, filters=d.number(1, 2), **options, **_activated(d))

    return family


# pooling


def pooling(rank: int, kind: str) -> Family:
    def family(d: Drawing) -> None:
        x = d.tensor(RANKS[rank])
        options: dict[str, Any] = {"pool_size": d.number(1, 2), "padding": d.one_of(["valid", "same"])}
        if d.rarely(2):
            options["strides"] = d.number(1, 2)
        d.call(f"{kind}Pooling{rank}D", x, **options)

    return family


def global_pooling(rank: int, kind: str) -> Family:
    return lambda d: d.call(f"Global{kind}Pooling{rank}D", d.tensor(RANKS[rank]), keepdims=d.rarely(2))


def adaptive(rank: int, kind: str) -> Family:
    def family(d: Drawing) -> None:
        x = d.tensor(RANKS[rank])
        size = tuple(d.number(1, n) for n in x.shape[1:-1])
        d.call(f"Adaptive{kind}Pooling{rank}D", x, output_size=size if rank > 1 else size[0])

    return family
