"""The quantization kernel with a fused forward and backward pass on JAX."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from hgqify.fixed import Overflow, Rounding
from hgqify.quantizers.arithmetic import leading, quantize, width_gradients, within


def jax_kernel(
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

    The backward pass is one elementwise expression and, for shared widths, one reduction per width. What
    nobody asks for (the gradient of a width that is not trained) is removed by the compiler.

    Args:
        part: the gradient of the widths is taken from the first 1/part of axis 0, and is as many times as
            large. More than 1 only where x has its full shape and the widths have size 1 along that axis.
    """
    return _compiled(rounding, overflow, part, x, k, i, f, noise, digits)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _kernel(
    rounding: Rounding,
    overflow: Overflow | None,
    part: int,
    x: Any,
    k: Any,
    i: Any,
    f: Any,
    noise: Any,
    digits: Any,
) -> Any:
    del part
    return quantize(x, k, i, f, rounding, overflow, noise, digits).value


def _forward(
    rounding: Rounding,
    overflow: Overflow | None,
    part: int,
    x: Any,
    k: Any,
    i: Any,
    f: Any,
    noise: Any,
    digits: Any,
) -> tuple[Any, Any]:
    result = quantize(x, k, i, f, rounding, overflow, noise, digits)
    seen, passed = (x, result.value, result.rounded), None
    if part > 1:
        # Of the other samples only this is kept: most of what a step costs is what it has to remember.
        if overflow is not None and overflow.saturates:
            passed = within(result.value, result.rounded)
        seen = tuple(t[: leading(len(x), part)] for t in seen)
    return result.value, (seen, passed, k, i, f, noise, digits)


def _backward(
    rounding: Rounding, overflow: Overflow | None, part: int, residuals: Any, gradient: Any
) -> tuple[Any, ...]:
    del rounding
    (x, value, rounded), passed, k, i, f, noise, digits = residuals
    dx, di, df, dd = width_gradients(x, value, rounded, k, i, f, overflow, digits)
    if part == 1:
        seen, to_x = gradient, _reduced(gradient if dx is None else gradient * dx, x)
    else:
        seen = gradient[: len(x)] * (len(gradient) / len(x))
        to_x = gradient if passed is None else gradient * passed
    return (
        to_x,
        None if k is None else jnp.zeros_like(k),
        None if i is None else jnp.zeros_like(i) if di is None else _reduced(seen * di, i),
        _reduced(seen * df, f),
        None if noise is None else jnp.zeros_like(noise),
        None if digits is None else _reduced(seen * dd, digits),
    )


def _reduced(gradient: Any, operand: Any) -> Any:
    """The gradient summed over the axes along which ``operand`` was broadcast."""
    shape = jnp.shape(operand)
    extra = gradient.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        extra + axis for axis, size in enumerate(shape) if size == 1 and gradient.shape[extra + axis] != 1
    )
    return jnp.reshape(jnp.sum(gradient, axis=axes), shape) if axes else gradient


@jax.custom_vjp
def jax_straight_through(value: Any, through: Any) -> Any:
    """See :func:`hgqify.quantizers.kernel.straight_through`; costs no operation, and what only ``through``
    needed going forward is never computed.
    """
    del through
    return value


jax_straight_through.defvjp(
    lambda value, through: (value, None), lambda _, gradient: (jnp.zeros_like(gradient), gradient)
)

_kernel.defvjp(_forward, _backward)

# Outside a jitted function this is one compiled call instead of some forty; inside, it is inlined.
_compiled = jax.jit(_kernel, static_argnums=(0, 1, 2), inline=True)
