"""What dot products see of their inputs: dense, convolution, sum over windows.

An input is seen through every weight it meets: modulo 2**J if each product moves by a multiple of what is
seen of its sum. Carries from below are seen always.
"""

from __future__ import annotations

import numpy as np

from hgqify.precision import ops
from hgqify.precision.backward_structure import inner, spread
from hgqify.precision.info import constant_step, live, live_step
from hgqify.precision.program import TensorInfo
from hgqify.precision.request import NOTHING, WHOLE, Request, request, scaled

Infos = list[TensorInfo]

# Working memory of one max-plus product, in elements.
_ELEMENTS = 1 << 22


def _seen(ints: np.ndarray) -> Request:
    return request(ints.shape, ints, np.where(ints == NOTHING, NOTHING, WHOLE))


def max_plus(bits: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Largest ``bits + step`` over the outputs that an input meets, as `scaled` adds them.

    Args:
        bits: (places, groups, outputs per group), what is seen of each output.
        step: (groups, outputs per group, inputs per group), fractional bits of the weights.

    Returns:
        (places, groups, inputs per group).
    """
    places, groups, outputs = bits.shape
    if places > 1 and np.all(bits == bits[:1]):
        return np.broadcast_to(max_plus(bits[:1], step), (places, groups, step.shape[-1]))
    if np.all((bits == WHOLE) | (bits == NOTHING)):
        # Usual, and an ordinary product: is there any weight to an output that is seen?
        seen, weights = (bits == WHOLE).astype(np.float32), (step > NOTHING).astype(np.float32)
        met = np.einsum("pgo,goc->pgc", seen, weights, optimize=True)
        return np.where(met > 0, WHOLE, NOTHING)
    result = np.empty((places, groups, step.shape[-1]), np.int64)
    rows = max(1, _ELEMENTS // max(1, places * groups * outputs))
    for start in range(0, step.shape[-1], rows):
        part = slice(start, start + rows)
        result[..., part] = scaled(bits[..., None], step[None, ..., part]).max(axis=2)
    return result


def dense(op: ops.Dense, infos: Infos, index: int, out: Request) -> Request:
    """Through the whole row of weights."""
    outputs = out.int_bits.shape[-1]
    ints = max_plus(out.int_bits.reshape(-1, 1, outputs), constant_step(op.kernel).T[None])
    return _seen(ints.reshape(infos[0].shape))


def matmul(op: ops.Matmul, infos: Infos, index: int, out: Request) -> Request:
    """Through all that an element is multiplied by: each row of a meets all of b, and the other way round.

    An element that is always zero must be zero where it is stored: it hides what it is multiplied by.
    """
    bits = out.int_bits if index == 0 else out.int_bits.transpose(0, 2, 1)
    other = live_step(infos[1 - index])
    groups = [max_plus(rows[:, None], step[None]) for rows, step in zip(bits, other, strict=True)]
    ints = np.stack([group[:, 0] for group in groups])
    hidden = ~live(infos[index]) & (bits != NOTHING).any(axis=-1, keepdims=True)
    return _seen(np.where(hidden, WHOLE, ints))


def conv(op: ops.Conv, infos: Infos, index: int, out: Request) -> Request:
    """Tap by tap, each at the places it meets."""
    shape, space = infos[0].shape, out.int_bits.shape[:-1]
    *window, per_group, filters = op.kernel.codes.shape
    groups = op.groups
    bits = out.int_bits.reshape(-1, groups, filters // groups)
    steps = constant_step(op.kernel)
    result = np.full((*(n + sum(p) for n, p in zip(shape[:-1], op.padding, strict=True)), shape[-1]), NOTHING)
    for tap in np.ndindex(*window):
        step = steps[tap].reshape(per_group, groups, filters // groups).transpose(1, 2, 0)
        met = max_plus(bits, step).reshape(*space, shape[-1])
        place = tap_slices(op, tap, space)
        result[place] = np.maximum(result[place], met)
    return _seen(result[inner(op.padding, shape[:-1])])


def tap_slices(op: ops.Conv, tap: tuple[int, ...], space: tuple[int, ...]) -> tuple[slice, ...]:
    """Where in the padded input one tap of the window reads, for all places of the output."""
    return tuple(
        slice(t * d, t * d + (o - 1) * s + 1, s)
        for t, d, o, s in zip(tap, op.dilation, space, op.strides, strict=True)
    )


def sum_pool(op: ops.SumPool, infos: Infos, index: int, out: Request) -> Request:
    """As a convolution with ones."""
    return _seen(spread(out.int_bits, infos[0].shape, op.window, op.strides, op.padding))
