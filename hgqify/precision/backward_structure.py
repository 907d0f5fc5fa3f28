"""What operations that move, join or select elements see of their operands."""

from __future__ import annotations

import numpy as np

from hgqify.precision import ops
from hgqify.precision.forward_structure import crop_slices
from hgqify.precision.program import TensorInfo
from hgqify.precision.request import NOTHING, WHOLE, Request, request

Infos = list[TensorInfo]


def reshape(op: ops.Reshape, infos: Infos, index: int, out: Request) -> Request:
    """Same elements in the same order."""
    return out.map(lambda a: a.reshape(infos[0].shape))


def transpose(op: ops.Transpose, infos: Infos, index: int, out: Request) -> Request:
    """Same elements, axes permuted back."""
    return out.map(lambda a: a.transpose(np.argsort(op.perm)))


def concatenate(op: ops.Concatenate, infos: Infos, index: int, out: Request) -> Request:
    """Each operand is its part of the result."""
    start = sum(info.shape[op.axis] for info in infos[:index])
    part = (slice(None),) * op.axis + (slice(start, start + infos[index].shape[op.axis]),)
    return out.map(lambda a: a[part])


def pad(op: ops.Pad, infos: Infos, index: int, out: Request) -> Request:
    """The part without padding."""
    return out.map(lambda a: a[inner(op.padding, infos[0].shape)])


def inner(padding: tuple[tuple[int, int], ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Where something of ``shape`` lies once it is padded."""
    return tuple(slice(before, before + n) for (before, _), n in zip(padding, shape, strict=True))


def crop(op: ops.Crop, infos: Infos, index: int, out: Request) -> Request:
    """Nothing of what is cut off."""

    def move(a: np.ndarray) -> np.ndarray:
        result = np.full(infos[0].shape, NOTHING)
        result[crop_slices(op)] = a
        return result

    return out.map(move)


def repeat(op: ops.Repeat, infos: Infos, index: int, out: Request) -> Request:
    """What is seen of any copy."""
    shape = infos[0].shape
    split = tuple(n for pair in zip(shape, op.repeats, strict=True) for n in pair)
    return out.map(lambda a: a.reshape(split).max(axis=tuple(range(1, 2 * len(shape), 2))))


def spread(
    bits: np.ndarray,
    shape: tuple[int, ...],
    window: tuple[int, ...],
    strides: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
) -> np.ndarray:
    """Largest of ``bits`` over all windows that an element lies in, `NOTHING` where it lies in none."""
    padded = tuple(n + sum(p) for n, p in zip(shape[:-1], padding, strict=True))
    result = np.full((*padded, shape[-1]), NOTHING)
    for tap in np.ndindex(*window):
        place = tuple(
            slice(t, t + (o - 1) * s + 1, s) for t, o, s in zip(tap, bits.shape[:-1], strides, strict=True)
        )
        result[place] = np.maximum(result[place], bits)
    return result[inner(padding, shape[:-1])]


def max_pool(op: ops.MaxPool, infos: Infos, index: int, out: Request) -> Request:
    """All integer bits of every place in a window that is seen; flooring commutes with the maximum."""
    seen = out.map(lambda a: spread(a, infos[0].shape, op.window, op.strides, op.padding))
    return request(infos[0].shape, np.where(seen.unseen, NOTHING, WHOLE), seen.frac_bits)
