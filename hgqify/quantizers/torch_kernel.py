"""The quantization kernel with its own backward pass on PyTorch."""

from typing import Any

import torch  # pyright: ignore[reportMissingImports]

from hgqify.fixed import Overflow, Rounding
from hgqify.quantizers.arithmetic import leading, quantize, width_gradients, within


def torch_kernel(
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

    Autograd sees one node. PyTorch computes whatever it is told, so nothing is asked for in vain: where no
    width is trained, the node keeps which elements saturated and passes the others' gradient on. ``part`` as
    for :func:`~hgqify.quantizers.jax_kernel.jax_kernel`.
    """
    return _Kernel.apply(x, k, i, f, digits, noise, rounding, overflow, part)


def torch_straight_through(value: Any, through: Any) -> Any:
    """See :func:`hgqify.quantizers.kernel.straight_through`."""
    return _StraightThrough.apply(value, through)


class _Kernel(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Any,
        k: Any,
        i: Any,
        f: Any,
        digits: Any,
        noise: Any,
        rounding: Rounding,
        overflow: Overflow | None,
        part: int,
    ) -> Any:
        result = quantize(x, k, i, f, rounding, overflow, noise, digits)
        ctx.overflow, ctx.part, ctx.of_widths = overflow, part, any(ctx.needs_input_grad[1:])
        # Where nothing saturates, the gradient does not ask for the value.
        value = result.value if overflow is not None and overflow.saturates else None
        outside = None if value is None or (ctx.of_widths and part == 1) else ~within(value, result.rounded)
        if not ctx.of_widths:
            ctx.shape = x.shape
            ctx.save_for_backward(outside)
        elif part == 1:
            ctx.save_for_backward(None, x, value, result.rounded, k, i, f, digits)
        else:
            # Copies: a slice would keep all of its tensor.
            rows = leading(len(x), part)
            seen = (None if t is None else t[:rows].clone() for t in (x, value, result.rounded))
            ctx.save_for_backward(outside, *seen, k, i, f, digits)
        return result.value

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        (gradient,) = gradients
        if not ctx.of_widths:
            return _passed(gradient, *ctx.saved_tensors).sum_to_size(ctx.shape), *(None,) * 8
        outside, x, value, rounded, k, i, f, digits = ctx.saved_tensors
        dx, di, df, dd = width_gradients(x, value, rounded, k, i, f, ctx.overflow, digits)
        wants_x, _, wants_i, wants_f, wants_digits, *_ = ctx.needs_input_grad
        seen = gradient if ctx.part == 1 else gradient[: len(x)] * (len(gradient) / len(x))
        to_x = None
        if wants_x and ctx.part == 1:
            to_x = _reduced(gradient if dx is None else gradient * dx, x)
        elif wants_x:
            to_x = _passed(gradient, outside)
        return (
            to_x,
            None,
            None if di is None or not wants_i else _reduced(seen * di, i),
            _reduced(seen * df, f) if wants_f else None,
            None if dd is None or not wants_digits else _reduced(seen * dd, digits),
            *(None,) * 4,
        )


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Any, through: Any) -> Any:
        del ctx, through
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, Any]:
        del ctx
        return None, gradients[0]


def _reduced(gradient: Any, operand: Any) -> Any:
    """The gradient summed over the axes along which ``operand`` was broadcast."""
    return gradient.sum_to_size(operand.shape)


def _passed(gradient: Any, outside: Any) -> Any:
    """The gradient where nothing saturated."""
    return gradient if outside is None else gradient.masked_fill(outside, 0.0)
