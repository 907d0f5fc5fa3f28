"""Transfer rules of the operations that move, join or select elements."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hgqify.precision import ops
from hgqify.precision.info import NO_STEP, align, live_step, make_info
from hgqify.precision.kernels import pad_space, windows
from hgqify.precision.program import TensorInfo

Infos = tuple[TensorInfo, ...]
Shape = tuple[int, ...]

# Padding that never wins a maximum, and stays clear of overflow.
NEVER = -(1 << 62)


def max_pool(op: ops.MaxPool, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """Largest of each window; elements that can never win give no bits."""
    (x,) = inputs
    axes = tuple(range(-len(op.window), 0))
    ones = (1,) * len(op.window)

    def view(a: np.ndarray, fill: int) -> np.ndarray:
        return windows(pad_space(a[None], op.padding, fill), op.window, op.strides, ones)[0]

    highs = view(x.high, NEVER)
    low, high = view(x.low, NEVER).max(axis=axes), highs.max(axis=axes)
    wins = highs >= np.expand_dims(low, axes)
    step = np.where(wins, view(live_step(x), NO_STEP), NO_STEP).max(axis=axes)
    return make_info(shape, x.frac, low, high, step, where=where)


def _moved(x: TensorInfo, shape: Shape, where: str | None, move: Callable[..., np.ndarray]) -> TensorInfo:
    """Info after elements were moved or dropped; ``move(array)`` does it."""
    return make_info(shape, x.frac, move(x.low), move(x.high), move(live_step(x)), where=where)


def reshape(op: ops.Reshape, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """Same elements in the same order."""
    return _moved(inputs[0], shape, where, lambda a: a.reshape(shape))


def transpose(op: ops.Transpose, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """Same elements, axes permuted."""
    return _moved(inputs[0], shape, where, lambda a: a.transpose(op.perm))


def crop(op: ops.Crop, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """The elements that stay."""
    return _moved(inputs[0], shape, where, lambda a: a[crop_slices(op)])


def crop_slices(op: ops.Crop) -> tuple[slice, ...]:
    """Slices of the elements that stay, batch axis excluded."""
    return tuple(slice(before, -after or None) for before, after in op.cropping)


def repeat(op: ops.Repeat, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """Each element several times."""

    def move(a: np.ndarray) -> np.ndarray:
        for axis, count in enumerate(op.repeats):
            a = np.repeat(a, count, axis=axis) if count > 1 else a
        return a

    return _moved(inputs[0], shape, where, move)


def pad(op: ops.Pad, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """Zeros around the elements."""
    (x,) = inputs
    step = np.pad(live_step(x), op.padding, constant_values=NO_STEP)
    return make_info(shape, x.frac, np.pad(x.low, op.padding), np.pad(x.high, op.padding), step, where=where)


def concatenate(op: ops.Concatenate, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """Elements of all operands on the finest of their LSBs."""
    frac = max(info.frac for info in inputs)
    ends = [align(info, frac, where) for info in inputs]
    low, high = (np.concatenate([pair[n] for pair in ends], axis=op.axis) for n in (0, 1))
    step = np.concatenate([live_step(info) for info in inputs], axis=op.axis)
    return make_info(shape, frac, low, high, step, where=where)
