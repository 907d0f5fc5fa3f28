"""The quantization kernel with its own backward pass on PyTorch."""

from typing import Any

import torch  # pyright: ignore[reportMissingImports]

from hgqify.fixed import Overflow, Rounding
from hgqify.quantizers.arithmetic import quantize, width_gradients, within


def torch_kernel(
    x: Any,
    k: Any,
    i: Any,
    f: Any,
    rounding: Rounding,
    overflow: Overflow | None,
    noise: Any = None,
    digits: Any = None,
) -> Any:
    """Quantize; arguments as :func:`~hgqify.quantizers.arithmetic.quantize`, gradient as ``width_gradients``.

    Autograd sees one node. PyTorch computes whatever it is told, so nothing is asked for in vain: where no
    width is trained, the node keeps which elements saturated and passes the others' gradient on.
    """
    return _Kernel.apply(x, k, i, f, digits, noise, rounding, overflow)


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
    ) -> Any:
        result = quantize(x, k, i, f, rounding, overflow, noise, digits)
        ctx.overflow, ctx.of_widths = overflow, any(ctx.needs_input_grad[1:])
        # Where nothing saturates, the gradient does not ask for the value.
        value = result.value if overflow is not None and overflow.saturates else None
        if ctx.of_widths:
            ctx.save_for_backward(x, value, result.rounded, k, i, f, digits)
        else:
            ctx.shape = x.shape
            ctx.save_for_backward(None if value is None else ~within(value, result.rounded))
        return result.value

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        (gradient,) = gradients
        if not ctx.of_widths:
            (outside,) = ctx.saved_tensors
            passed = gradient if outside is None else gradient.masked_fill(outside, 0.0)
            return passed.sum_to_size(ctx.shape), *(None,) * 7
        x, value, rounded, k, i, f, digits = ctx.saved_tensors
        dx, di, df, dd = width_gradients(x, value, rounded, k, i, f, ctx.overflow, digits)
        wants_x, _, wants_i, wants_f, wants_digits, *_ = ctx.needs_input_grad
        return (
            _reduced(gradient if dx is None else gradient * dx, x) if wants_x else None,
            None,
            None if di is None or not wants_i else _reduced(gradient * di, i),
            _reduced(gradient * df, f) if wants_f else None,
            None if dd is None or not wants_digits else _reduced(gradient * dd, digits),
            *(None,) * 3,
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
