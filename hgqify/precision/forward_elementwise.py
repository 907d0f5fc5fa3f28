"""Transfer rules of the operations that work element by element."""

from __future__ import annotations

import numpy as np

from hgqify.errors import PrecisionError
from hgqify.fixed import Interval, Overflow, code_bounds
from hgqify.precision import ops
from hgqify.precision.info import (
    NO_STEP,
    align,
    check_bits,
    constant_step,
    live,
    live_step,
    make_info,
    shift_up,
)
from hgqify.precision.kernels import rescale, rescale_each
from hgqify.precision.program import TensorInfo

Infos = tuple[TensorInfo, ...]
Shape = tuple[int, ...]


def quantize(op: ops.Quantize, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """The requantized bounds where nothing wraps, else the range of the format."""
    digits = None if op.digits is None else np.broadcast_to(np.asarray(op.digits, np.int64), shape)
    k, i, f = (np.broadcast_to(np.asarray(a, dtype=np.int64), shape) for a in (op.k, op.i, op.f))
    alive = k + i + f > 0
    frac = int(f[alive].max()) if alive.any() else int(f.max(initial=0))
    # Dead elements are zero whatever their f, which may be finer than the tensor's.
    f = np.where(alive, f, min(frac, 0))
    i = np.where(alive, i, -f)
    k = np.where(alive, k, 0)
    if not inputs:
        low, high = code_bounds(k, i, f, op.overflow, digits)
        step = f
    else:
        source = inputs[0]
        interval = Interval(source.low, source.high, source.frac)
        image = interval.requantized(k, i, f, op.rounding, op.overflow, frac, digits)
        low, high = image.low, image.high
        finest = live_step(source)
        if op.overflow is not Overflow.WRAP:  # a wrapped value keeps the zeros of its input
            under, over = interval.beyond(k, i, f, op.rounding, op.overflow, digits)
            lowest = (
                f if op.overflow is not Overflow.SAT or digits is not None else np.where(k > 0, -i, NO_STEP)
            )
            finest = np.maximum(finest, np.where(under, lowest, NO_STEP))
            finest = np.maximum(finest, np.where(over, f, NO_STEP))
        return make_info(shape, frac, low, high, np.minimum(f, finest), where=where, keep_frac=True)
    up = np.where(alive, frac - f, 0)
    check_bits(float(np.max(np.abs(low) * 2.0 ** np.minimum(up, 900), initial=0)), where, "it")
    check_bits(float(np.max(np.abs(high) * 2.0 ** np.minimum(up, 900), initial=0)), where, "it")
    return make_info(shape, frac, low << up, high << up, step, where=where, keep_frac=True)


def _corners(a_low: np.ndarray, a_high: np.ndarray, b_low: np.ndarray, b_high: np.ndarray, where: str | None):
    """Bounds of a product of two independent intervals."""
    reach = np.maximum(np.abs(a_low), np.abs(a_high)) * np.maximum(np.abs(b_low), np.abs(b_high)).astype(
        np.float64
    )
    check_bits(float(np.max(reach, initial=0)), where, "the product")
    ends = (a_low * b_low, a_low * b_high, a_high * b_low, a_high * b_high)
    return np.minimum.reduce(ends), np.maximum.reduce(ends)


def scale_shift(op: ops.ScaleShift, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """Products with constants, then the shift."""
    (x,) = inputs
    low, high = _corners(x.low, x.high, op.scale.codes, op.scale.codes, where)
    frac = x.frac + op.scale.frac
    step = np.maximum(live_step(x) + constant_step(op.scale), NO_STEP)
    if op.shift is None:
        return make_info(shape, frac, low, high, step, where=where)
    common = max(frac, op.shift.frac)
    shift = shift_up(op.shift.codes, common - op.shift.frac, where)
    low, high = shift_up(low, common - frac, where) + shift, shift_up(high, common - frac, where) + shift
    return make_info(shape, common, low, high, np.maximum(step, constant_step(op.shift)), where=where)


def _aligned(inputs: Infos, where: str | None) -> tuple[int, list[tuple[np.ndarray, np.ndarray]]]:
    frac = max(info.frac for info in inputs)
    return frac, [align(info, frac, where) for info in inputs]


def add(op: ops.Add, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """Sum of independent operands."""
    a, b = inputs
    frac, ((a_low, a_high), (b_low, b_high)) = _aligned(inputs, where)
    step = np.maximum(live_step(a), live_step(b))
    return make_info(shape, frac, a_low + b_low, a_high + b_high, step, where=where)


def subtract(op: ops.Subtract, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """Difference of independent operands."""
    a, b = inputs
    frac, ((a_low, a_high), (b_low, b_high)) = _aligned(inputs, where)
    step = np.maximum(live_step(a), live_step(b))
    return make_info(shape, frac, a_low - b_high, a_high - b_low, step, where=where)


def multiply(op: ops.Multiply, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """Product of independent operands."""
    a, b = inputs
    low, high = _corners(a.low, a.high, b.low, b.high, where)
    step = np.maximum(live_step(a) + live_step(b), NO_STEP)
    return make_info(shape, a.frac + b.frac, low, high, step, where=where)


def maximum(op: ops.Maximum, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """Larger of independent operands; an operand that can never win gives no bits."""
    a, b = inputs
    frac, ((a_low, a_high), (b_low, b_high)) = _aligned(inputs, where)
    step = np.maximum(
        np.where(a_high >= b_low, live_step(a), NO_STEP), np.where(b_high >= a_low, live_step(b), NO_STEP)
    )
    return make_info(shape, frac, np.maximum(a_low, b_low), np.maximum(a_high, b_high), step, where=where)


def minimum(op: ops.Minimum, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """Smaller of independent operands; an operand that can never win gives no bits."""
    a, b = inputs
    frac, ((a_low, a_high), (b_low, b_high)) = _aligned(inputs, where)
    step = np.maximum(
        np.where(a_low <= b_high, live_step(a), NO_STEP), np.where(b_low <= a_high, live_step(b), NO_STEP)
    )
    return make_info(shape, frac, np.minimum(a_low, b_low), np.minimum(a_high, b_high), step, where=where)


def clip(op: ops.Clip, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """Clipping is monotone: the images of the bounds are the bounds."""
    (x,) = inputs
    limits = [c for c in (op.low, op.high) if c is not None]
    frac = max([x.frac, *(c.frac for c in limits)])
    low, high = align(x, frac, where)
    step = live_step(x)
    # In the order of the definition, min(max(x, low), high): high wins if the two cross.
    if op.low is not None:
        floor = shift_up(op.low.codes, frac - op.low.frac, where)
        step = np.where(high < floor, NO_STEP, step)
        step = np.where(low < floor, np.maximum(step, constant_step(op.low)), step)
        low, high = np.maximum(low, floor), np.maximum(high, floor)
    if op.high is not None:
        roof = shift_up(op.high.codes, frac - op.high.frac, where)
        step = np.where(low > roof, NO_STEP, step)
        step = np.where(high > roof, np.maximum(step, constant_step(op.high)), step)
        low, high = np.minimum(low, roof), np.minimum(high, roof)
    return make_info(shape, frac, low, high, step, where=where)


def leaky_relu(op: ops.LeakyRelu, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """Monotone on each side of zero."""
    (x,) = inputs
    slope = int(op.slope.codes)
    frac = x.frac + max(op.slope.frac, 0)
    unit = max(op.slope.frac, 0)
    factor = slope << max(-op.slope.frac, 0)
    reach = float(np.max(np.maximum(np.abs(x.low), np.abs(x.high)), initial=0))
    check_bits(reach * max(abs(factor), 2**unit), where, "the product")
    ends = [np.where(v >= 0, v << unit, v * factor) for v in (x.low, x.high)]
    straddles = (x.low < 0) & (x.high > 0)
    low, high = np.minimum(*ends), np.maximum(*ends)
    low, high = np.where(straddles, np.minimum(low, 0), low), np.where(straddles, np.maximum(high, 0), high)
    slope_step = int(constant_step(op.slope))
    step = np.maximum(
        np.where(x.high > 0, live_step(x), NO_STEP),
        np.where(x.low < 0, np.maximum(live_step(x) + slope_step, NO_STEP), NO_STEP),
    )
    return make_info(shape, frac, low, high, step, where=where)


def table(op: ops.Table, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """Image of the codes that can reach each element.

    Raises:
        PrecisionError: codes finer than ``in_frac`` or outside of the table.
    """
    (x,) = inputs
    entries = np.asarray(op.entries.codes, dtype=np.int64)
    finest = live_step(x).max(initial=NO_STEP)
    low, high = rescale(x.low, x.frac, op.in_frac), rescale(x.high, x.frac, op.in_frac)
    if x.low.size and (finest > op.in_frac or low.min() < op.first or high.max() >= op.first + entries.size):
        raise PrecisionError(
            "values reach a lookup table that it has no entry for",
            where=where,
            received=f"codes {low.min()} to {high.max()}, table from {op.first} to "
            f"{op.first + entries.size - 1} with {op.in_frac} fractional bits",
            remedy="give the table the input quantizer that stands before it",
        )
    stride = np.minimum(np.where(live(x), np.maximum(op.in_frac - x.step, 0), 0), 62)
    keys = np.stack([low.ravel(), high.ravel(), stride.ravel()])
    kinds, index = np.unique(keys, axis=1, return_inverse=True)
    steps = constant_step(op.entries)
    images = np.empty((3, kinds.shape[1]), dtype=np.int64)
    for n, (start, end, zeros) in enumerate(kinds.T):
        # Codes are multiples of 2**zeros, and the bounds lie on that grid.
        reached = slice(start - op.first, end - op.first + 1, 1 << int(zeros))
        images[:, n] = entries[reached].min(), entries[reached].max(), steps[reached].max()
    low, high, step = images[:, index.ravel()].reshape(3, *shape)
    return make_info(shape, op.entries.frac, low, high, step, where=where)


def edge_tables(op: ops.EdgeTables, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """As `table`, each element by the table of its edge.

    Raises:
        PrecisionError: codes finer than an edge's ``in_frac`` or outside of its table.
    """
    (x,) = inputs
    *edges, size = op.entries.codes.shape
    count = int(np.prod(edges))
    entries = np.asarray(op.entries.codes, np.int64).reshape(count, size)
    low, high = (rescale_each(end, x.frac, op.in_frac) - op.first for end in (x.low, x.high))
    if x.low.size and (np.any(live_step(x) > op.in_frac) or low.min() < 0 or high.max() >= size):
        raise PrecisionError(
            "values reach a lookup table that it has no entry for",
            where=where,
            received=f"entries {low.min()} to {high.max()} of {size}",
            remedy="give the tables the input quantizer that stands before them",
        )
    stride = np.minimum(np.where(live(x), np.maximum(op.in_frac - x.step, 0), 0), 62)
    edge = np.broadcast_to(np.arange(count).reshape(edges), shape)
    kinds, index = np.unique(
        np.stack([part.ravel() for part in (edge, low, high, stride)]), axis=1, return_inverse=True
    )
    steps = constant_step(op.entries).reshape(count, size)
    images = np.empty((3, kinds.shape[1]), dtype=np.int64)
    for n, (own, start, end, zeros) in enumerate(kinds.T):
        reached = (own, slice(start, end + 1, 1 << int(zeros)))
        images[:, n] = entries[reached].min(), entries[reached].max(), steps[reached].max()
    low, high, step = images[:, index.ravel()].reshape(3, *shape)
    return make_info(shape, op.entries.frac, low, high, step, where=where)
