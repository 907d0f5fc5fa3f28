"""Transfer rule of matrix products of two tensors."""

from __future__ import annotations

import numpy as np

from hgqify.precision import ops
from hgqify.precision.info import NO_STEP, check_bits, live_step, make_info
from hgqify.precision.kernels import batched_product
from hgqify.precision.program import TensorInfo

# Working memory for all products of a few rows, in elements.
_ELEMENTS = 1 << 21


def matmul(
    op: ops.Matmul, inputs: tuple[TensorInfo, ...], shape: tuple[int, ...], where: str | None
) -> TensorInfo:
    """Sums of the bounds of products of independent operands."""
    a, b = inputs
    low, high = product_bounds(a, b, where)
    step = product_steps(live_step(a), live_step(b))
    return make_info(shape, a.frac + b.frac, low, high, step, where=where)


def product_bounds(
    a: TensorInfo, b: TensorInfo, where: str | None, *, partial: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest sums of ``a[g, m, c] * b[g, n, c]`` over c, as codes.

    Args:
        a, b: the operands, (groups, rows, summed).
        where: the layer, for messages.
        partial: of the sums of any of the products, which may be none.

    Raises:
        PrecisionError: sums beyond 62 bits.
    """
    ends = [np.maximum(np.abs(x.low), np.abs(x.high)).astype(np.float64) for x in (a, b)]
    check_bits(float(np.max(batched_product(*ends), initial=0)) * (1 + 1e-9), where, "the accumulator")
    groups, rows, summed = a.shape
    columns = b.shape[1]
    low, high = (np.empty((groups, rows, columns), np.int64) for _ in range(2))
    some = max(1, _ELEMENTS // max(1, columns * summed))
    for g in range(groups):
        for start in range(0, rows, some):
            part = slice(start, start + some)
            a_low, a_high = (x[g, part, None, :] for x in (a.low, a.high))
            b_low, b_high = (x[g, None, :, :] for x in (b.low, b.high))
            corners = (a_low * b_low, a_low * b_high, a_high * b_low, a_high * b_high)
            least, most = np.minimum.reduce(corners), np.maximum.reduce(corners)
            if partial:
                least, most = np.minimum(least, 0), np.maximum(most, 0)
            low[g, part], high[g, part] = least.sum(axis=-1), most.sum(axis=-1)
    return low, high


def product_steps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The finest of the steps of the products, per sum: (groups, rows, columns)."""
    groups, rows, summed = a.shape
    result = np.empty((groups, rows, b.shape[1]), np.int64)
    some = max(1, _ELEMENTS // max(1, b.shape[1] * summed))
    for g in range(groups):
        for start in range(0, rows, some):
            part = slice(start, start + some)
            # `NO_STEP` lies so far down that it stays below every real step in a sum.
            result[g, part] = (a[g, part, None, :] + b[g, None, :, :]).max(axis=-1, initial=NO_STEP)
    return np.where(result > NO_STEP // 2, result, NO_STEP)
