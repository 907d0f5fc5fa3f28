"""Effective bit operations (EBOPs), as HGQ defines them (arXiv 2405.00645, section III).

    EBOPs = sum over all multiplications of bits(a) * bits(b)

of one inference, the layer fully unrolled: a convolution counts every multiplication at every output
position, products with padded zeros excluded. The bits of

* an activation element are i + f of its quantizer, sign excluded, at least 0;
* a constant are its *span*: from its most to its least significant non-zero bit, 0 for 0.

Additions, biases, comparisons, table look-ups and shifts count 0, but for layers that are made of tables only
(`table_ebops`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from hgqify.quantizers import pow2, straight_through


def span(values: np.ndarray) -> np.ndarray:
    """Bits from the most to the least significant non-zero bit of float values; int64, same shape.

    0 for 0 and 1 for powers of two: 0.75 = 0b0.11 has 2.
    """
    mantissa, _ = np.frexp(np.asarray(values, np.float64))
    whole = np.abs(np.ldexp(mantissa, 53)).astype(np.int64)
    lowest = whole & -whole
    _, exponent = np.frexp(lowest.astype(np.float64))
    return np.where(whole == 0, 0, 54 - exponent.astype(np.int64))


def span_in_graph(values: Any) -> Any:
    """`span` of normal float32 tensors with Keras operations, as int32; carries no gradient."""
    pattern: Any = ops.view(ops.cast(ops.stop_gradient(values), "float32"), dtype="int32")
    mantissa: Any = ops.bitwise_or(ops.bitwise_and(pattern, 0x7FFFFF), 0x800000)
    # The lowest bit set, 2**t as a float, has the exponent 127 + t; 24 bits less t are the span.
    lowest: Any = ops.view(ops.cast(ops.bitwise_and(mantissa, -mantissa), "float32"), dtype="int32")
    exponent: Any = ops.right_shift(lowest, 23)
    bits = (24 + 127) - exponent
    return ops.where(ops.equal(values, 0), 0, bits)


def table_ebops(address_bits: np.ndarray, output_bits: np.ndarray, positions: int = 1) -> int:
    """EBOPs of tables whose results are added up, as HGQ2 counts them: in look-up tables of six inputs.

    ``sum over tables of w * (2**(a - 6) if a >= 5 else a / 10) + w`` at every position, rounded up.

    Args:
        address_bits, output_bits: a and w, ints of one shape, sign included.
        positions: places at which they are looked up.
    """
    a, w = (np.asarray(bits, np.int64) for bits in (address_bits, output_bits))
    tenths = np.where(a >= 5, 5 << np.maximum(a - 5, 0), a)
    return -(-int(np.sum(w * (tenths + 10))) * int(positions) // 10)


def table_ebops_in_graph(address_bits: Any, output_bits: Any, positions: int = 1) -> Any:
    """`table_ebops` of float32 tensors, with the gradient of the formula."""
    a: Any = address_bits
    address: Any = ops.cast(ops.stop_gradient(a), "int32")
    rising = straight_through(pow2(address - 5), ops.exp(math.log(2.0) * (a - 5.0)))
    tenths: Any = ops.where(ops.greater_equal(a, 5.0), 5.0 * rising, a)
    total: Any = ops.sum(output_bits * (tenths + 10.0))
    luts = total * float(positions) / 10.0
    return straight_through(ops.ceil(luts), luts)


def positions_met(
    inputs: int, window: int, stride: int, dilation: int, padding: tuple[int, int]
) -> np.ndarray:
    """Which inputs along an axis meet which offset of a window somewhere: (window, inputs), 0 or 1.

    Args:
        inputs: size of the axis.
        window, stride, dilation: of the convolution along it.
        padding: zeros (before, after).
    """
    outputs = (inputs + sum(padding) - dilation * (window - 1) - 1) // stride + 1
    offset, position = np.ogrid[:window, :outputs]
    place = position * stride + offset * dilation - padding[0]
    return np.any(place[:, :, None] == np.arange(inputs), axis=1)


def conv_ebops(
    input_bits: np.ndarray,
    kernel_span: np.ndarray,
    *,
    strides: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[tuple[int, int]],
    groups: int = 1,
) -> int:
    """Exact EBOPs of one convolution, channels last.

    ``sum over positions p, offsets o, channels c, filters n of
    bits[p * stride + o * dilation, c] * span[o, c, n]``; an offset's spans factor out of the positions.

    Args:
        input_bits: ints, (*spatial, channels), without batch.
        kernel_span: ints, (*window, channels // groups, filters).
        strides, dilation: per spatial axis.
        padding: (before, after) zeros per spatial axis.
        groups: channel groups; filters are ordered group by group.
    """
    rank = len(strides)
    window = kernel_span.shape[:rank]
    padded = np.pad(np.asarray(input_bits, np.int64), [*padding, (0, 0)])
    reach = [d * (w - 1) + 1 for d, w in zip(dilation, window, strict=True)]
    # (*window, channels): a group's channels meet only the filters of that group.
    per_group = kernel_span.reshape(*kernel_span.shape[:-1], groups, -1).sum(axis=-1)
    channel_span = np.moveaxis(per_group, -1, -2).reshape(*window, -1).astype(np.int64)
    total = 0
    for offset in np.ndindex(*window):
        place = tuple(
            slice(o * d, n - r + 1 + o * d, s)
            for o, d, n, r, s in zip(offset, dilation, padded.shape, reach, strides, strict=False)
        )
        total += int(padded[place].sum(axis=tuple(range(rank))) @ channel_span[offset])
    return total
