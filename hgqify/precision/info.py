"""Making `TensorInfo`: one place that tightens bounds, strips common zeros and guards the code width."""

from __future__ import annotations

import numpy as np

from hgqify.errors import PrecisionError
from hgqify.fixed import MAX_BITS, trailing_zeros
from hgqify.precision.ops import Constant
from hgqify.precision.program import TensorInfo

# The step of an element that is always zero: below every real one, so that it never wins a maximum.
NO_STEP = -(1 << 20)


def live(info: TensorInfo) -> np.ndarray:
    """Elements that can be other than zero."""
    return (info.low != 0) | (info.high != 0)


def live_step(info: TensorInfo) -> np.ndarray:
    """Step per element, `NO_STEP` where the element is always zero."""
    return np.where(live(info), info.step, NO_STEP)


def constant_step(constant: Constant) -> np.ndarray:
    """Own fractional bits of each constant, `NO_STEP` for zeros."""
    codes = np.asarray(constant.codes, dtype=np.int64)
    return np.where(codes == 0, NO_STEP, constant.frac - trailing_zeros(codes))


def check_bits(magnitude: float, where: str | None, what: str) -> None:
    """Refuses codes that would not fit.

    Raises:
        PrecisionError: ``magnitude`` (of codes) is 2**62 or more.
    """
    if magnitude >= 2.0**MAX_BITS:
        bits = int(np.ceil(np.log2(magnitude))) + 1
        raise PrecisionError(
            f"{what} needs integers beyond {MAX_BITS} bits",
            where=where,
            received=f"about {bits} bits",
            remedy="quantize its inputs or weights with fewer bits, or closer ranges of fractional bits",
        )


def shift_up(codes: np.ndarray, bits: int, where: str | None) -> np.ndarray:
    """``codes * 2**bits`` for ``bits >= 0``, guarded."""
    if bits == 0:
        return codes
    largest = float(np.max(np.abs(codes), initial=0))
    if largest == 0.0:
        return codes
    check_bits(largest * 2.0 ** min(bits, 900), where, "alignment of the operands' binary points")
    return codes << bits


def align(info: TensorInfo, frac: int, where: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of ``info`` as codes on the finer ``2**-frac``."""
    return shift_up(info.low, frac - info.frac, where), shift_up(info.high, frac - info.frac, where)


def make_info(
    shape: tuple[int, ...],
    frac: int,
    low: np.ndarray,
    high: np.ndarray,
    step: np.ndarray,
    *,
    where: str | None = None,
    keep_frac: bool = False,
) -> TensorInfo:
    """Info from raw bounds on ``2**-frac``.

    Bounds move inwards to each element's own grid, a constant element gets the grid of its value, and
    (unless ``keep_frac``) zeros common to the whole tensor are dropped from the codes.

    Raises:
        PrecisionError: the codes do not fit.
    """
    low = np.broadcast_to(np.asarray(low, dtype=np.int64), shape)
    high = np.broadcast_to(np.asarray(high, dtype=np.int64), shape)
    step = np.asarray(np.minimum(np.broadcast_to(np.asarray(step, dtype=np.int64), shape), frac))
    # Bounds are ordered: the ends tell the largest magnitude without an array of magnitudes.
    check_bits(max(-float(np.min(low, initial=0)), float(np.max(high, initial=0))), where, "it")
    constant = low == high
    if constant.any():
        step[constant] = np.minimum(step[constant], frac - trailing_zeros(low[constant]))
    zeros = np.minimum(frac - step, MAX_BITS)
    low = -((-low >> zeros) << zeros)
    high = (high >> zeros) << zeros
    alive = (low != 0) | (high != 0)
    any_alive = bool(alive.any())
    if not keep_frac:
        finest = int(np.max(step, where=alive, initial=NO_STEP)) if any_alive else 0
        if finest < frac:
            low, high = low >> min(frac - finest, 63), high >> min(frac - finest, 63)
        frac = finest
    step[~alive] = int(np.min(step, where=alive, initial=-NO_STEP)) if any_alive else frac
    return TensorInfo(shape=tuple(shape), frac=frac, low=low, high=high, step=step)
