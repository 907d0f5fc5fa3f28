"""One prepared function per node: integer codes in, integer codes out, batch axis first.

Everything that depends only on the program (constants, shifts, which arithmetic is exact) is settled when
the function is made. Results are on the ``frac`` of the node's info.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hgqify.errors import PrecisionError
from hgqify.precision import ops
from hgqify.precision.forward_linear import product_of
from hgqify.precision.forward_structure import NEVER, crop_slices
from hgqify.precision.kernels import (
    batched_product,
    exact_product,
    pad_space,
    peak,
    rescale,
    rescale_each,
    weight_sum,
    windows,
)
from hgqify.precision.program import Node, TensorInfo
from hgqify.reference.quantize import code_quantizer, real_quantizer

Step = Callable[..., np.ndarray]
Infos = tuple[TensorInfo, ...]


def prepare(node: Node, inputs: Infos) -> Step:
    """The function that computes ``node``, whose info must be known.

    Raises:
        PrecisionError: the program was not annotated, or holds an operation without execution.
    """
    if node.info is None:
        raise PrecisionError(
            "the program has no bounds yet", where=node.layer, remedy="call precision.annotate(program) first"
        )
    maker = _MAKERS.get(type(node.op))
    if maker is None:
        raise PrecisionError(
            "no execution rule for this operation", where=node.layer, received=type(node.op).__name__
        )
    return maker(node.op, inputs, node.info)


def _quantize(op: ops.Quantize, inputs: Infos, info: TensorInfo) -> Step:
    return code_quantizer(op, inputs[0], info) if inputs else real_quantizer(op, info)


def _linear(op: ops.Dense | ops.Conv, inputs: Infos, info: TensorInfo) -> Step:
    (source,) = inputs
    product = product_of(op)
    kernel = np.asarray(op.kernel.codes, dtype=np.int64)
    x_peak, total = max(peak(source.low), peak(source.high)), weight_sum(kernel)
    frac = source.frac + op.kernel.frac
    common = frac if op.bias is None else max(frac, op.bias.frac)
    shift = None if op.bias is None else rescale(np.asarray(op.bias.codes, np.int64), op.bias.frac, common)

    def step(x: np.ndarray) -> np.ndarray:
        y = rescale(exact_product(product, x, kernel, x_peak, total), frac, common)
        if shift is not None:
            y = y + shift
        return rescale(y, common, info.frac)

    return step


def _scale_shift(op: ops.ScaleShift, inputs: Infos, info: TensorInfo) -> Step:
    (source,) = inputs
    scale = np.asarray(op.scale.codes, np.int64)
    frac = source.frac + op.scale.frac
    if op.shift is None:
        return lambda x: rescale(x * scale, frac, info.frac)
    common = max(frac, op.shift.frac)
    shift = rescale(np.asarray(op.shift.codes, np.int64), op.shift.frac, common)
    return lambda x: rescale(rescale(x * scale, frac, common) + shift, common, info.frac)


def _aligned(
    compute: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Callable[[Any, Infos, TensorInfo], Step]:
    """Operations on two tensors brought to the finer LSB."""

    def make(op: ops.Op, inputs: Infos, info: TensorInfo) -> Step:
        a_frac, b_frac = (source.frac for source in inputs)
        frac = max(a_frac, b_frac)
        ranks = tuple(len(source.shape) for source in inputs)

        def step(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            a, b = _same_rank(a, b, ranks)
            return rescale(compute(rescale(a, a_frac, frac), rescale(b, b_frac, frac)), frac, info.frac)

        return step

    return make


def _same_rank(a: np.ndarray, b: np.ndarray, ranks: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Inserts axes after the batch axis, so that broadcasting aligns the trailing axes."""
    rank = max(ranks)
    a = a.reshape(a.shape[0], *(1,) * (rank - ranks[0]), *a.shape[1:])
    b = b.reshape(b.shape[0], *(1,) * (rank - ranks[1]), *b.shape[1:])
    return a, b


def _multiply(op: ops.Multiply, inputs: Infos, info: TensorInfo) -> Step:
    frac = sum(source.frac for source in inputs)
    ranks = tuple(len(source.shape) for source in inputs)

    def step(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a, b = _same_rank(a, b, ranks)
        return rescale(a * b, frac, info.frac)

    return step


def _matmul(op: ops.Matmul, inputs: Infos, info: TensorInfo) -> Step:
    a_peak, b_peak = (max(peak(source.low), peak(source.high)) for source in inputs)
    frac = sum(source.frac for source in inputs)
    total = b_peak * inputs[0].shape[-1]

    def step(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return rescale(exact_product(batched_product, a, b, a_peak, total), frac, info.frac)

    return step


def _clip(op: ops.Clip, inputs: Infos, info: TensorInfo) -> Step:
    (source,) = inputs
    frac = max([source.frac, *(c.frac for c in (op.low, op.high) if c is not None)])
    low = None if op.low is None else rescale(np.asarray(op.low.codes, np.int64), op.low.frac, frac)
    high = None if op.high is None else rescale(np.asarray(op.high.codes, np.int64), op.high.frac, frac)

    def step(x: np.ndarray) -> np.ndarray:
        x = rescale(x, source.frac, frac)
        if low is not None:
            x = np.maximum(x, low)
        if high is not None:
            x = np.minimum(x, high)
        return rescale(x, frac, info.frac)

    return step


def _leaky_relu(op: ops.LeakyRelu, inputs: Infos, info: TensorInfo) -> Step:
    (source,) = inputs
    unit = max(op.slope.frac, 0)
    factor = int(op.slope.codes) << max(-op.slope.frac, 0)
    return lambda x: rescale(np.where(x >= 0, x << unit, x * factor), source.frac + unit, info.frac)


def _table(op: ops.Table, inputs: Infos, info: TensorInfo) -> Step:
    (source,) = inputs
    entries = rescale(
        np.asarray(op.entries.codes, np.int64), op.entries.frac, max(op.entries.frac, info.frac)
    )
    frac = max(op.entries.frac, info.frac)
    return lambda x: rescale(entries[rescale(x, source.frac, op.in_frac) - op.first], frac, info.frac)


def _edge_tables(op: ops.EdgeTables, inputs: Infos, info: TensorInfo) -> Step:
    (source,) = inputs
    *edges, size = op.entries.codes.shape
    frac = max(op.entries.frac, info.frac)
    entries = rescale(np.asarray(op.entries.codes, np.int64), op.entries.frac, frac).ravel()
    starts = np.arange(math.prod(edges)).reshape(edges) * size - op.first
    return lambda x: rescale(entries[rescale_each(x, source.frac, op.in_frac) + starts], frac, info.frac)


def _pool(reduce: Callable[..., np.ndarray], fill: int) -> Callable[[Any, Infos, TensorInfo], Step]:
    def make(op: ops.MaxPool | ops.SumPool, inputs: Infos, info: TensorInfo) -> Step:
        (source,) = inputs
        axes = tuple(range(-len(op.window), 0))
        ones = (1,) * len(op.window)

        def step(x: np.ndarray) -> np.ndarray:
            view = windows(pad_space(x, op.padding, fill), op.window, op.strides, ones)
            return rescale(reduce(view, axis=axes), source.frac, info.frac)

        return step

    return make


def _moved(
    move: Callable[[Any, np.ndarray, TensorInfo], np.ndarray],
) -> Callable[[Any, Infos, TensorInfo], Step]:
    def make(op: ops.Op, inputs: Infos, info: TensorInfo) -> Step:
        (source,) = inputs
        return lambda x: rescale(move(op, x, info), source.frac, info.frac)

    return make


def _repeat(op: ops.Repeat, x: np.ndarray, info: TensorInfo) -> np.ndarray:
    for axis, count in enumerate(op.repeats, start=1):
        x = np.repeat(x, count, axis=axis) if count > 1 else x
    return x


def _concatenate(op: ops.Concatenate, inputs: Infos, info: TensorInfo) -> Step:
    fracs = [source.frac for source in inputs]
    frac = max(fracs)

    def step(*xs: np.ndarray) -> np.ndarray:
        parts = [rescale(x, own, frac) for x, own in zip(xs, fracs, strict=True)]
        return rescale(np.concatenate(parts, axis=op.axis + 1), frac, info.frac)

    return step


_MAKERS: dict[type[ops.Op], Callable[[Any, Infos, TensorInfo], Step]] = {
    ops.Quantize: _quantize,
    ops.Dense: _linear,
    ops.Conv: _linear,
    ops.ScaleShift: _scale_shift,
    ops.Add: _aligned(np.add),
    ops.Subtract: _aligned(np.subtract),
    ops.Maximum: _aligned(np.maximum),
    ops.Minimum: _aligned(np.minimum),
    ops.Multiply: _multiply,
    ops.Matmul: _matmul,
    ops.Clip: _clip,
    ops.LeakyRelu: _leaky_relu,
    ops.Table: _table,
    ops.EdgeTables: _edge_tables,
    ops.MaxPool: _pool(np.max, NEVER),
    ops.SumPool: _pool(np.sum, 0),
    ops.Reshape: _moved(lambda op, x, info: x.reshape(x.shape[0], *info.shape)),
    ops.Transpose: _moved(lambda op, x, info: x.transpose(0, *(axis + 1 for axis in op.perm))),
    ops.Crop: _moved(lambda op, x, info: x[(slice(None), *crop_slices(op))]),
    ops.Pad: _moved(lambda op, x, info: np.pad(x, ((0, 0), *op.padding))),
    ops.Repeat: _moved(_repeat),
    ops.Concatenate: _concatenate,
}
