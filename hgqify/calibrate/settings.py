"""How to calibrate."""

from __future__ import annotations

from dataclasses import dataclass

from hgqify.errors import RuleError


@dataclass(frozen=True, kw_only=True)
class CalibrateSettings:
    """From data to formats.

    Attributes:
        margin: additional integer bits of activations whose overflow wraps.
        equalize: scale channels between layers by powers of two, which changes no float result, so that they
            use a common format equally well. Takes a pass of gradients; pays from 8 bits down.
        correct_bias: let biases take back what rounding shifts on average.

    Raises:
        RuleError: a value out of range.
    """

    margin: int = 1
    equalize: bool = False
    correct_bias: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.margin, bool) or not isinstance(self.margin, int) or self.margin < 0:
            raise RuleError("margin must be a whole number of bits, 0 or more", received=repr(self.margin))
        for name in ("equalize", "correct_bias"):
            if not isinstance(getattr(self, name), bool):
                raise RuleError(f"{name} must be True or False", received=repr(getattr(self, name)))
