"""The quantization kernel on plain keras.ops: any backend, gradient by its own differentiation."""

from typing import Any

import keras

from hgqify.fixed import Overflow, Rounding
from hgqify.quantizers.arithmetic import leading, quantize, width_gradients

ops: Any = keras.ops  # typed as if every operation could return None


def ops_kernel(
    x: Any,
    k: Any,
    i: Any,
    f: Any,
    rounding: Rounding,
    overflow: Overflow | None,
    noise: Any = None,
    digits: Any = None,
    part: int = 1,
) -> Any:
    """Quantize; arguments as :func:`~hgqify.quantizers.arithmetic.quantize`, gradient as ``width_gradients``.

    The value is q + sum of (factor * (p - stop(p))) over x and the widths: p - p is 0 exactly, and the
    factors are what differentiation sees. ``part`` as for :func:`~hgqify.quantizers.jax_kernel.jax_kernel`.
    """
    x_, k_, i_, f_, digits_ = (None if t is None else ops.stop_gradient(t) for t in (x, k, i, f, digits))
    result = quantize(x_, k_, i_, f_, rounding, overflow, noise, digits_)
    factors = width_gradients(x_, result.value, result.rounded, k_, i_, f_, overflow, digits_)
    dx, *rest = (None if factor is None else ops.stop_gradient(factor) for factor in factors)
    value = ops.stop_gradient(result.value)
    value = value + (_zero(x) if dx is None else dx * _zero(x))
    for factor, width in zip(rest, (i, f, digits), strict=True):
        if factor is not None:
            value = value + (factor if part == 1 else factor * _seen(x, part)) * _zero(width)
    return value


def _seen(x: Any, part: int) -> Any:
    """For every sample the weight of what it says of the widths: 0 but for the first 1/``part`` of them."""
    size = ops.shape(x)[0]
    rows = leading(size, part)
    weights = ops.cast(ops.arange(size) < rows, x.dtype) * (size / rows)
    return ops.reshape(weights, (size, *(1,) * (len(x.shape) - 1)))


def ops_straight_through(value: Any, through: Any) -> Any:
    """See :func:`hgqify.quantizers.kernel.straight_through`.

    The forward value is value + 0, since a - a = 0 exactly; the usual a + (value - a) need not be.
    """
    return ops.stop_gradient(value) + _zero(through)


def _zero(t: Any) -> Any:
    """0, with the gradient of ``t``."""
    return t - ops.stop_gradient(t)
