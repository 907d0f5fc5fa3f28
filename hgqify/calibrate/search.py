"""The price at which as much is taken as a limit allows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_EVALUATIONS = 40
_STEP = math.log(30.0)
_ELASTICITY = 0.2  # amounts fall with about this power of the price, where nothing is known of it
_NEAREST = math.log(1.1)
_LOWEST, _HIGHEST = math.log(1e-40), math.log(1e20)
_CLOSE = 1e-6


def largest_within(
    evaluate: Callable[[float], tuple[int, _T]],
    limit: int,
    *,
    start: float,
    enough: float = 0.995,
    known: tuple[int, _T] | None = None,
) -> _T | None:
    """What is found at the lowest price whose amount stays within a limit.

    Amounts fall as prices rise, roughly: both are bracketed and interpolated as logarithms. The search ends
    when an amount in ``[enough * limit, limit]`` is met, or when the bracket is closed (amounts jump).

    Args:
        evaluate: from a price above 0 to the amount and what has it.
        limit: the largest amount allowed.
        start: the first price tried.
        enough: share of the limit that counts as used.
        known: what ``evaluate(start)`` gives, if that is known: the limit is near, and so is the price.

    Returns:
        What had the largest amount within the limit; None if no price is high enough.
    """
    best: _T | None = None
    most = -1
    over: tuple[float, int] | None = None
    under: tuple[float, int] | None = None
    place, step = min(max(math.log(start), _LOWEST), _HIGHEST), _STEP
    if known is not None:
        miss = math.log(max(known[0], 1) / (limit * (1 + enough) / 2))
        step = min(max(abs(miss) / _ELASTICITY, _NEAREST), _STEP)
    for _ in range(_EVALUATIONS):
        amount, found = evaluate(math.exp(place)) if known is None else known
        known = None
        if amount > limit:
            over = (place, amount)
        else:
            under = (place, amount)
            if amount > most:
                best, most = found, amount
            if amount >= enough * limit:
                break
        if under is None or over is None:
            if not _LOWEST < place < _HIGHEST:
                break
            place = min(max(place + (step if under is None else -step), _LOWEST), _HIGHEST)
            step *= 2
        elif abs(under[0] - over[0]) < _CLOSE:
            break
        else:
            place = _between(over, under, limit * (1 + enough) / 2)
    return best


def _between(over: tuple[float, int], under: tuple[float, int], wanted: float) -> float:
    """Where the line through two ends meets the wanted amount, not too near either."""
    high, low, aim = (math.log(max(n, 1)) for n in (over[1], under[1], wanted))
    share = (high - aim) / (high - low) if high > low else 0.5
    return over[0] + min(max(share, 0.1), 0.9) * (under[0] - over[0])
