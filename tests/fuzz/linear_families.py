"""The families of layers with a kernel, or a scale for each channel: what each draws.

A family adds one step (a separable convolution two), or raises `NothingFits`.
"""

import math
from typing import Any

from description import Shape, Step
from drawing import (
    EXACT,
    FACTOR_BITS,
    Drawing,
    constant_formats,
    format_range,
    rarely,
    shape_of,
)
from hypothesis import strategies as st


def window(d: Drawing, shape: Shape, *, largest: int = 3) -> dict[str, Any]:
    """Kernel or pool size, strides and padding that fit the spatial axes."""
    draw, space = d.draw, shape[:-1]
    padding = draw(st.sampled_from(["valid", "same"]))
    size = tuple(draw(st.integers(1, min(largest, s) if padding == "valid" else largest)) for s in space)
    stride = draw(st.integers(1, 2))
    return {"size": size, "strides": (stride,) * len(space), "padding": padding}


def linear(
    d: Drawing, layer: str, source: int, options: dict[str, Any], terms: int, out: Shape | None = None
) -> None:
    """A layer with kernel and bias.

    Args:
        d: the drawing.
        layer: its class.
        source: the tensor it takes.
        options: of the class.
        terms: of one sum of products.
        out: shape of the result; None for what Keras says, and to draw whether there is a bias.
    """
    draw = d.draw
    iq, kq = d.factors((source,), FACTOR_BITS), d.factor()
    if layer == "QBatchNormalization":
        kq = draw(constant_formats())
    if layer == "QBatchNormalization" or out is not None:
        bq = draw(constant_formats())
    else:
        options = options | {"use_bias": not rarely(draw, 3)}
        bq = draw(constant_formats()) if options["use_bias"] else None
        activation = draw(st.sampled_from([None, None, *EXACT]))
        if activation:
            options["activation"] = activation
        if activation == "leaky_relu":
            options["activation_params"] = {"negative_slope": draw(st.sampled_from([0.25, 0.125, -0.5]))}
    seen = d.seen((source,), iq)
    kernel_top, kernel_frac = format_range(kq)
    top, frac = seen.top + kernel_top + math.ceil(math.log2(terms)) + 1, seen.frac + kernel_frac
    if bq is not None:
        top, frac = max(top, bq.i + bq.spread) + 1, max(frac, bq.f + bq.spread)
    step = Step(
        layer,
        (source,),
        options,
        iq=iq,
        kq=kq,
        bq=bq,
        oq=d.data() if rarely(draw, 4) else None,
        weights=draw(st.sampled_from(["random", "random", "sparse", "constant", "zero"])),
    )
    plain = {k: v for k, v in options.items() if k not in ("activation", "activation_params")}
    d.add(step, out or shape_of(layer, plain, d.tensors[source].shape), top, frac)


def dense(d: Drawing) -> None:
    source = d.pick()
    linear(d, "QDense", source, {"units": d.draw(st.integers(1, 4))}, d.tensors[source].shape[-1])


def batchnorm(d: Drawing) -> None:
    source = d.pick()
    axes = [-1, *range(1, len(d.tensors[source].shape))]
    linear(d, "QBatchNormalization", source, {"axis": d.draw(st.sampled_from(axes))}, 1)


def conv(d: Drawing) -> None:
    source = d.pick(lambda t: len(t.shape) > 1)
    shape = d.tensors[source].shape
    options = window(d, shape)
    rank, channels, size = len(shape) - 1, shape[-1], options.pop("size")
    if options["strides"] == (1,) * rank and rarely(d.draw, 3):
        fits = options["padding"] == "same" or all((k - 1) * 2 < s for k, s in zip(size, shape, strict=False))
        options["dilation_rate"] = 2 if fits else 1
    if rank == 1 and rarely(d.draw, 4):
        options["padding"] = "causal"
    groups = d.draw(st.sampled_from([g for g in (1, 2, 3, 4) if channels % g == 0]))
    options |= {"filters": groups * d.draw(st.integers(1, 2)), "kernel_size": size}
    if groups > 1:
        options["groups"] = groups
    linear(d, f"QConv{rank}D", source, options, math.prod(size) * channels // groups)


def depthwise(d: Drawing) -> None:
    source = d.pick(lambda t: 1 < len(t.shape) < 4 and t.shape[-1] <= 4)
    shape = d.tensors[source].shape
    options = window(d, shape)
    rank, size = len(shape) - 1, options.pop("size")
    if rank == 1:
        options["strides"] = options["strides"][0]
    options |= {"kernel_size": size, "depth_multiplier": d.draw(st.integers(1, 2))}
    if options["depth_multiplier"] * shape[-1] > 6:
        options["depth_multiplier"] = 1
    linear(d, f"QDepthwiseConv{rank}D", source, options, math.prod(size))


def separable(d: Drawing) -> None:
    depthwise(d)
    source = len(d.tensors) - 1
    rank = len(d.tensors[source].shape) - 1
    options = {"filters": d.draw(st.integers(1, 3)), "kernel_size": (1,) * rank}
    linear(d, f"QConv{rank}D", source, options, d.tensors[source].shape[-1])
