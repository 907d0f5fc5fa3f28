"""The budgets of a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral

from hgqify.errors import RuleError

POINTS = 8
"""Budgets of a sweep that is given none: the widest formats' EBOPs, halved again and again."""


def default_budgets(limit: int) -> tuple[int, ...]:
    """The EBOPs of the widest formats that settings and rules allow, then 1/2, 1/4, ... 1/128 of them."""
    return as_budgets([max(1, limit >> halved) for halved in range(POINTS)])


def as_budgets(values: object) -> tuple[int, ...]:
    """Budgets each once, the largest first.

    Args:
        values: whole numbers above 0.

    Raises:
        RuleError: no list, an empty one, or one with something else in it; lists all that is wrong.
    """
    listed = isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping)
    found = [*values] if listed else []  # type: ignore[misc]
    if not found:
        raise RuleError(
            "budgets must be a list of EBOPs", received=repr(values), remedy="give some, as [8000, 4000]"
        )
    wrong = [v for v in found if isinstance(v, bool) or not isinstance(v, Integral) or int(v) < 1]
    if wrong:
        raise RuleError(
            "every budget must be a whole number above 0", received=", ".join(repr(v) for v in wrong)
        )
    return tuple(sorted({int(v) for v in found}, reverse=True))
