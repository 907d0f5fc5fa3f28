"""Quantization inside the interpreter: `fixed.requantize`, with a short path for the common modes.

The short path is plain shifts, masks and clips; a test compares it with `fixed` code for code.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hgqify.fixed import Overflow, Rounding, code_bounds, requantize, to_codes
from hgqify.precision.ops import Quantize
from hgqify.precision.program import TensorInfo

Step = Callable[[np.ndarray], np.ndarray]

_SHORT_ROUNDING = (Rounding.TRN, Rounding.RND, Rounding.RND_CONV)
_SHORT_OVERFLOW = (Overflow.WRAP, Overflow.SAT, Overflow.SAT_SYM)


def _parts(op: Quantize, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """k, i, f as int64: 0-d if one format serves all elements; the constant 0 as k = i = f = 0."""
    k, i, f = (np.asarray(a, dtype=np.int64) for a in (op.k, op.i, op.f))
    if op.is_uniform:
        k, i, f = (np.asarray(a.ravel()[0]) for a in (k, i, f))
    else:
        k, i, f = (np.broadcast_to(a, shape) for a in (k, i, f))
    alive = k + i + f > 0
    return np.where(alive, k, 0), np.where(alive, i, 0), np.where(alive, f, 0)


def real_quantizer(op: Quantize, info: TensorInfo) -> Step:
    """Floats to codes on ``info.frac``."""
    k, i, f = _parts(op, info.shape)
    up = np.where(k + i + f > 0, info.frac - f, 0)
    return lambda x: to_codes(x, k, i, f, op.rounding, op.overflow, op.digits) << up


def code_quantizer(op: Quantize, source: TensorInfo, info: TensorInfo) -> Step:
    """Codes on ``source.frac`` to codes on ``info.frac``."""
    k, i, f = _parts(op, info.shape)
    alive = k + i + f > 0
    up = np.where(alive, info.frac - f, 0)
    down = np.where(alive, source.frac - f, 0)
    reach = max(int(np.max(np.abs(source.low), initial=0)), int(np.max(np.abs(source.high), initial=0)))
    short = (
        op.digits is None
        and op.rounding in _SHORT_ROUNDING
        and op.overflow in _SHORT_OVERFLOW
        and int(down.max(initial=0)) < 61
        and reach.bit_length() + max(0, -int(down.min(initial=0))) < 62
    )
    if not short:
        return lambda x: requantize(x, source.frac, k, i, f, op.rounding, op.overflow, op.digits) << up
    round_codes = _rounding(op.rounding, np.maximum(down, 0), np.maximum(-down, 0))
    limit = _limit(op.overflow, k, i, f)
    if np.any(up):
        return lambda x: limit(round_codes(x)) << up
    return lambda x: limit(round_codes(x))


def _rounding(rounding: Rounding, right: np.ndarray, left: np.ndarray) -> Step:
    half = np.left_shift(1, right) >> 1
    shifts_left = bool(np.any(left))

    def base(x: np.ndarray) -> np.ndarray:
        return x << left if shifts_left else x

    if not np.any(right):
        return base
    if rounding is Rounding.TRN:
        return lambda x: base(x) >> right
    if rounding is Rounding.RND:
        return lambda x: (base(x) + half) >> right
    # Ties to even: add one less than half, and one more where the floor is odd.
    below = np.maximum(half - 1, 0)
    odd = np.where(right > 0, 1, 0)
    return lambda x: (base(x) + below + ((base(x) >> right) & odd)) >> right


def _limit(overflow: Overflow, k: np.ndarray, i: np.ndarray, f: np.ndarray) -> Step:
    low, high = code_bounds(k, i, f, overflow)
    if overflow is Overflow.WRAP:
        sign = -low
        mask = np.where(k > 0, (sign << 1) - 1, high)
        return lambda x: ((x + sign) & mask) - sign
    return lambda x: np.clip(x, low, high)
