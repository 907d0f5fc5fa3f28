"""How codes and entries of a table belong together: entry n is of code n - k * 2**b, b = max(i + f, 0)."""

from __future__ import annotations

from typing import Any

from keras import ops

from hgqify.quantizers import EXPONENT_LIMIT, Quantizer, pow2


def table_format(iq: Quantizer, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """(k, b, f) of what a data quantizer gives now, int32 of ``shape`` (no batch axis), with f = b - i.

    Args:
        iq: fixed point, built; with one format for all elements, if the shape is ().
        shape: one format for each element.
    """
    i = ops.clip(ops.round(ops.convert_to_tensor(iq.i)), -EXPONENT_LIMIT, EXPONENT_LIMIT)
    parts = ops.squeeze(ops.convert_to_tensor(iq.k), 0), iq.bits(), ops.squeeze(i, 0)
    fit = ops.broadcast_to if shape else ops.reshape
    k, b, i = (fit(ops.cast(ops.stop_gradient(part), "int32"), shape) for part in parts)
    return k, b, ops.subtract(b, i)


def entry_inputs(k: Any, b: Any, f: Any, size: int, dtype: str) -> Any:
    """The values that ``size`` entries belong to, along a first axis; past the last code they repeat it."""
    one: Any = ops.ones_like(b)
    first, end = (ops.left_shift(v, b) for v in (k, one))
    place: Any = ops.reshape(ops.arange(size, dtype="int32"), (size, *(1,) * len(b.shape)))
    codes = ops.minimum(ops.subtract(place, first), ops.subtract(end, one))
    return ops.cast(codes, dtype) * pow2(ops.negative(f), dtype)


def entry_of(x: Any, k: Any, b: Any, f: Any, size: int, dtype: str) -> Any:
    """The number of the entry of every on-grid element, int32."""
    code: Any = ops.cast(ops.stop_gradient(x) * pow2(f, dtype), "int32")
    return ops.clip(code + ops.left_shift(k, b), 0, size - 1)


def tabulated(values: Any) -> Any:
    """Entries as numbers that can be quantized: not finite ones are refused when a table is refreshed."""
    return ops.nan_to_num(values, nan=0.0, posinf=2.0**60, neginf=-(2.0**60))
