"""Transfer rules of dot products: dense, convolution, sum over windows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hgqify.precision import ops
from hgqify.precision.info import NO_STEP, check_bits, constant_step, live_step, make_info, shift_up
from hgqify.precision.kernels import convolve, exact_product, matmul, pad_space, peak, weight_sum, windows
from hgqify.precision.ops import Constant
from hgqify.precision.program import TensorInfo

Infos = tuple[TensorInfo, ...]
Shape = tuple[int, ...]
Product = Callable[[np.ndarray, np.ndarray], np.ndarray]


def product_of(op: ops.Dense | ops.Conv) -> Product:
    """The bilinear map (batch of inputs, kernel) -> batch of outputs of a dense layer or convolution."""
    if isinstance(op, ops.Dense):
        return matmul
    return lambda x, kernel: convolve(x, kernel, op.strides, op.dilation, op.padding, op.groups)


def dot_bounds(
    product: Product, low: np.ndarray, high: np.ndarray, kernel: np.ndarray, where: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of a dot product: positive weights meet one end of the inputs, negative ones the other.

    Raises:
        PrecisionError: sums beyond 62 bits.
    """
    reach = np.maximum(np.abs(low), np.abs(high))
    x_peak, total = peak(reach), weight_sum(kernel)
    if x_peak * total >= 1 << 62:
        sums = product(reach[None].astype(np.float64), np.abs(kernel).astype(np.float64))
        check_bits(float(np.max(sums, initial=0)) * (1 + 1e-9), where, "the accumulator")
    ends = np.stack([low, high])
    positive = exact_product(product, ends, np.maximum(kernel, 0), x_peak, total)
    negative = exact_product(product, ends[::-1], np.minimum(kernel, 0), x_peak, total)
    low, high = positive + negative
    return low, high


def dot_steps(product: Product, x_step: np.ndarray, kernel_step: np.ndarray) -> np.ndarray:
    """Per output, the largest x_step + kernel_step over the terms: a max-plus product.

    One ordinary product does it: with a base M above the number of terms, the exponent of
    sum(M**x_step * M**kernel_step) in base M is the largest exponent of a term.
    """
    x_live, k_live = x_step > NO_STEP, kernel_step > NO_STEP
    if not x_live.any() or not k_live.any():
        return np.full(product(np.zeros((1, *x_step.shape)), np.zeros(kernel_step.shape)).shape[1:], NO_STEP)
    terms = int(np.prod(kernel_step.shape[:-1]))
    bits = terms.bit_length() + 1
    x_top, k_top = int(x_step.max()), int(kernel_step.max())
    # Exponents below double precision's range are raised to it: a safe, coarser answer.
    depth = 480 // bits
    x_power = np.where(x_live, np.ldexp(1.0, bits * np.clip(x_step - x_top, -depth, 0)), 0.0)
    k_power = np.where(k_live, np.ldexp(1.0, bits * np.clip(kernel_step - k_top, -depth, 0)), 0.0)
    sums = product(x_power[None], k_power)[0]
    exponent = (np.frexp(sums)[1] - 1) // bits
    return np.where(sums > 0, exponent + x_top + k_top, NO_STEP)


def _with_bias(
    shape: Shape, frac: int, low: np.ndarray, high: np.ndarray, step: np.ndarray, bias: Constant | None,
    where: str | None,
) -> TensorInfo:  # fmt: skip
    if bias is None:
        return make_info(shape, frac, low, high, step, where=where)
    common = max(frac, bias.frac)
    shift = shift_up(bias.codes, common - bias.frac, where)
    low, high = shift_up(low, common - frac, where) + shift, shift_up(high, common - frac, where) + shift
    return make_info(shape, common, low, high, np.maximum(step, constant_step(bias)), where=where)


def _linear(op: ops.Dense | ops.Conv, x: TensorInfo, shape: Shape, where: str | None) -> TensorInfo:
    product = product_of(op)
    kernel = np.asarray(op.kernel.codes, dtype=np.int64)
    low, high = dot_bounds(product, x.low, x.high, kernel, where)
    step = dot_steps(product, live_step(x), constant_step(op.kernel))
    return _with_bias(shape, x.frac + op.kernel.frac, low, high, step, op.bias, where)


def dense(op: ops.Dense, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """Sums over positive and negative weights."""
    return _linear(op, inputs[0], shape, where)


def conv(op: ops.Conv, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """As `dense`, place by place: padded places contribute zero."""
    return _linear(op, inputs[0], shape, where)


def sum_pool(op: ops.SumPool, inputs: Infos, shape: Shape, where: str | None) -> TensorInfo:
    """Sums of the bounds over each window."""
    (x,) = inputs
    axes = tuple(range(-len(op.window), 0))
    ones = (1,) * len(op.window)

    def view(a: np.ndarray, fill: int) -> np.ndarray:
        return windows(pad_space(a[None], op.padding, fill), op.window, op.strides, ones)[0]

    reach = np.maximum(np.abs(x.low), np.abs(x.high)).astype(np.float64)
    check_bits(float(np.max(view(reach, 0).sum(axis=axes), initial=0)), where, "the sum")
    low, high = view(x.low, 0).sum(axis=axes), view(x.high, 0).sum(axis=axes)
    step = view(live_step(x), NO_STEP).max(axis=axes)
    return make_info(shape, x.frac, low, high, step, where=where)
