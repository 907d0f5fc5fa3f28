"""The quantization kernel with its own backward pass on TensorFlow, eager, in a graph, or compiled by XLA."""

from typing import Any

import tensorflow as tf

from hgqify.fixed import Overflow, Rounding
from hgqify.quantizers.arithmetic import leading, quantize, width_gradients, within


def tensorflow_kernel(
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

    The tape sees one operation. In a graph, what nobody asks for is pruned. ``part`` as for
    :func:`~hgqify.quantizers.jax_kernel.jax_kernel`.
    """
    # Variables are read here, so that the tape follows them to what is passed on.
    given = [None if t is None else tf.convert_to_tensor(t) for t in (x, k, i, f, noise, digits)]

    @tf.custom_gradient
    def kernel(*tensors: Any) -> tuple[Any, Any]:
        rest = iter(tensors)
        operands: list[Any] = [None if t is None else next(rest) for t in given]
        x, k, i, f, noise, digits = operands
        result = quantize(x, k, i, f, rounding, overflow, noise, digits)
        seen = x, result.value, result.rounded
        passed = weight = None
        if part > 1:
            size = tf.shape(x)[0]
            rows = leading(size, part)
            if overflow is not None and overflow.saturates:
                passed = within(*result)
            seen = x[:rows], result.value[:rows], result.rounded[:rows]
            weight = tf.cast(size / rows, x.dtype)

        def backward(gradient: Any) -> list[Any]:
            dx, di, df, dd = width_gradients(*seen, k, i, f, overflow, digits)
            if weight is None:
                told, to_x = gradient, _reduced(gradient if dx is None else gradient * dx, x)
            else:
                told = gradient[: tf.shape(seen[0])[0]] * weight
                to_x = gradient if passed is None else gradient * tf.cast(passed, gradient.dtype)
            found = (
                to_x,
                None,
                None if di is None else _reduced(told * di, i),
                _reduced(told * df, f),
                None,
                None if dd is None else _reduced(told * dd, digits),
            )
            return [piece for piece, t in zip(found, given, strict=True) if t is not None]

        return result.value, backward

    return kernel(*(t for t in given if t is not None))


@tf.custom_gradient
def tensorflow_straight_through(value: Any, through: Any) -> tuple[Any, Any]:
    """See :func:`hgqify.quantizers.kernel.straight_through`."""
    del through
    return tf.identity(value), lambda gradient: (None, gradient)


def _reduced(gradient: Any, operand: Any) -> Any:
    """The gradient summed over the axes along which ``operand`` was broadcast."""
    rank, kept = gradient.shape.rank, operand.shape
    extra = rank - kept.rank
    axes = [a for a in range(rank) if a < extra or kept[a - extra] == 1]
    return tf.reshape(tf.reduce_sum(gradient, axis=axes), tf.shape(operand)) if axes else gradient
