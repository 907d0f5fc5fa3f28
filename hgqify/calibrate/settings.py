"""How to calibrate."""

from __future__ import annotations

from dataclasses import dataclass

from hgqify.errors import RuleError


@dataclass(frozen=True, kw_only=True)
class CalibrateSettings:
    """From data to formats.

    Attributes:
        margin: additional integer bits of activations whose overflow wraps.

    Raises:
        RuleError: a value out of range.
    """

    margin: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.margin, bool) or not isinstance(self.margin, int) or self.margin < 0:
            raise RuleError("margin must be a whole number of bits, 0 or more", received=repr(self.margin))
