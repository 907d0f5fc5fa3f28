"""Which parametrisation a quantizer uses and where it stands."""

import difflib
import enum
from collections.abc import Iterable
from typing import TypeVar

from hgqify.errors import RuleError


class QType(enum.StrEnum):
    """How the format of a quantizer is parametrised: fixed point (k, i, f), or a minifloat.

    ======  ================================================================
    kif     sign, integer bits, fractional bits
    kbi     sign, bits without sign b = i + f, integer bits; so f = b - i
    float   minifloat: mantissa bits m, exponent bits e, offset e0 of the exponents
    dummy   no quantization: the value passes unchanged
    ======  ================================================================
    """

    KIF = "kif"
    KBI = "kbi"
    FLOAT = "float"
    DUMMY = "dummy"


class Place(enum.StrEnum):
    """Where a quantizer stands: at a constant (weight, bias, table) or on data (datalane)."""

    WEIGHT = "weight"
    BIAS = "bias"
    TABLE = "table"
    DATALANE = "datalane"

    @property
    def is_constant(self) -> bool:
        """Whether the quantized tensor is known before any data arrives, and has no batch axis."""
        return self is not Place.DATALANE


ALL = "all"
"""In a scope: every place, or every parametrisation."""

_E = TypeVar("_E", bound=enum.StrEnum)


def nearest(word: object, valid: Iterable[str]) -> str:
    """The valid word closest to ``word``, for error messages; of equally close ones the first."""
    return max(valid, key=lambda candidate: difflib.SequenceMatcher(None, str(word), candidate).ratio())


def as_member(kind: type[_E], value: object, option: str) -> _E:
    """``value`` as a member of ``kind``; its name is accepted in any case.

    Raises:
        RuleError: no such member; names the nearest.
    """
    text = value.value if isinstance(value, enum.Enum) else value
    if isinstance(text, str):
        for member in kind:
            if member.value.lower() == text.lower():
                return member
    words = [member.value for member in kind]
    near = difflib.get_close_matches(str(text).lower(), [w.lower() for w in words], n=1, cutoff=0.0)[0]
    raise RuleError(
        f"{option} must be one of {', '.join(words)}",
        where=option,
        received=repr(value),
        remedy=f"the nearest is '{words[[w.lower() for w in words].index(near)]}'",
    )


def check_names(names: Iterable[str], valid: Iterable[str], where: str) -> None:
    """Refuse option names outside ``valid``.

    Raises:
        RuleError: the first unknown name, with the nearest valid one.
    """
    words = list(valid)
    for name in names:
        if name not in words:
            raise RuleError(
                "no such option",
                where=where,
                received=repr(name),
                remedy=f"did you mean '{nearest(name, words)}'? Options are {', '.join(words)}",
            )
