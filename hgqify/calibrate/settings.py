"""How to calibrate."""

from __future__ import annotations

import difflib
import enum
from dataclasses import dataclass

from hgqify.errors import RuleError


class Ranges(enum.StrEnum):
    """Which range of values an activation's format holds; what lies beyond saturates.

    ==========  ==================================================================================
    minmax      all values seen
    percentile  all but a share of the values seen, zeros not counted
    mse         the integer bits, at the same width, whose rounding and clipping cost least: squared
                errors weighted by what they do to the outputs (the allocation's sensitivity)
    ==========  ==================================================================================

    'percentile' and 'mse' leave alone what wraps (a margin lies above all values seen), the outputs of the
    model and tables, 'mse' also what is added, subtracted or compared. Under a budget the allocation chooses
    integer bits along with widths, by the loss of 'mse' and starting from the range given here: 'mse' is
    then 'minmax', and a percentile the widest range that is tried.
    """

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"


DEFAULT_PERCENTILE = 99.9


@dataclass(frozen=True, kw_only=True)
class CalibrateSettings:
    """From data to formats.

    Attributes:
        margin: additional integer bits of activations whose overflow wraps.
        ranges: which values the formats of activations that saturate hold. None stands for 'percentile'
            if ``percentile`` is given, else for 'minmax'.
        percentile: with 'percentile': per cent of the values other than zero, of each tensor, channel or
            element that has a format of its own, that must not saturate. None: 99.9.
        equalize: scale channels between layers by powers of two, which changes no float result, so that they
            use a common format equally well. Takes a pass of gradients; pays from 8 bits down.
        correct_bias: let biases take back what rounding shifts on average.

    Raises:
        RuleError: a value out of range, or a percentile that nothing would use.
    """

    margin: int = 1
    ranges: Ranges | None = None
    percentile: float | None = None
    equalize: bool = False
    correct_bias: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.margin, bool) or not isinstance(self.margin, int) or self.margin < 0:
            raise RuleError("margin must be a whole number of bits, 0 or more", received=repr(self.margin))
        for name in ("equalize", "correct_bias"):
            if not isinstance(getattr(self, name), bool):
                raise RuleError(f"{name} must be True or False", received=repr(getattr(self, name)))
        ranges = _as_ranges(self.ranges)
        if ranges is None:
            ranges = Ranges.MINMAX if self.percentile is None else Ranges.PERCENTILE
        if ranges is not Ranges.PERCENTILE and self.percentile is not None:
            raise RuleError(
                f"ranges={str(ranges)!r} has no use for a percentile",
                received=f"percentile={self.percentile!r}",
                remedy="leave percentile out, or ask for ranges='percentile'",
            )
        object.__setattr__(self, "ranges", ranges)
        if ranges is Ranges.PERCENTILE:
            percentile = DEFAULT_PERCENTILE if self.percentile is None else self.percentile
            number = isinstance(percentile, int | float) and not isinstance(percentile, bool)
            if not (number and 0 < percentile <= 100):
                raise RuleError(
                    "percentile must be a number above 0, at most 100", received=repr(self.percentile)
                )
            object.__setattr__(self, "percentile", float(percentile))


def _as_ranges(value: object) -> Ranges | None:
    if value is None:
        return None
    try:
        return Ranges(str(value).lower())
    except ValueError:
        near = difflib.get_close_matches(str(value), list(Ranges), n=1, cutoff=0.0)[0]
        raise RuleError(
            "ranges does not know this value",
            received=repr(value),
            remedy=f"use one of {', '.join(Ranges)}; the closest is {near}",
        ) from None
