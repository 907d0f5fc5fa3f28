"""Rounding and overflow modes, named as in ``ap_fixed`` without the ``AP_`` prefix."""

import difflib
import enum
from types import MappingProxyType
from typing import TypeVar

from hgqify.errors import PrecisionError


class Rounding(enum.StrEnum):
    """What happens to the bits below the LSB. ``u`` is the exact value in units of the LSB.

    =============  ==================================================================
    TRN            floor(u)
    RND            nearest, ties to +infinity: floor(u + 1/2)
    RND_CONV       nearest, ties to the even code
    TRN_ZERO       towards zero
    RND_ZERO       nearest, ties towards zero
    RND_MIN_INF    nearest, ties to -infinity
    RND_INF        nearest, ties away from zero
    S_RND          stochastic in training; :func:`deployed` as RND
    S_RND_CONV     stochastic in training; :func:`deployed` as RND_CONV
    =============  ==================================================================
    """

    TRN = "TRN"
    RND = "RND"
    RND_CONV = "RND_CONV"
    TRN_ZERO = "TRN_ZERO"
    RND_ZERO = "RND_ZERO"
    RND_MIN_INF = "RND_MIN_INF"
    RND_INF = "RND_INF"
    S_RND = "S_RND"
    S_RND_CONV = "S_RND_CONV"

    @property
    def is_stochastic(self) -> bool:
        """Whether the mode draws random numbers, and so exists in training only."""
        return self in (Rounding.S_RND, Rounding.S_RND_CONV)

    @property
    def ap_name(self) -> str:
        """The mode as C++ spells it, e.g. ``AP_RND_CONV``; the stochastic ones have no such name.

        Raises:
            PrecisionError: for a stochastic mode.
        """
        return f"AP_{require_deterministic(self).value}"


class Overflow(enum.StrEnum):
    """What happens to a rounded code outside [low, high] of a format of W bits.

    =========  ======================================================================
    WRAP       keep the W lowest bits (two's complement when signed)
    WRAP_SM    sign-magnitude wrapping: neighbouring periods are mirrored, see
               :mod:`hgqify.fixed.quantize`; signed formats only
    SAT        clip to [low, high]
    SAT_SYM    clip to [-high, high] (signed), [0, high] (unsigned); W = 1 as SAT
    =========  ======================================================================
    """

    WRAP = "WRAP"
    WRAP_SM = "WRAP_SM"
    SAT = "SAT"
    SAT_SYM = "SAT_SYM"

    @property
    def saturates(self) -> bool:
        """Whether values outside the range go to its nearest end (SAT, SAT_SYM)."""
        return self in (Overflow.SAT, Overflow.SAT_SYM)

    @property
    def ap_name(self) -> str:
        """The mode as C++ spells it, e.g. ``AP_SAT_SYM``."""
        return f"AP_{self.value}"


_Mode = TypeVar("_Mode", Rounding, Overflow)


def _coerce(kind: type[_Mode], value: object) -> _Mode:
    if isinstance(value, kind):
        return value
    try:
        return kind(value)
    except ValueError:
        near = difflib.get_close_matches(str(value).upper(), list(kind), n=1, cutoff=0.0)
        raise PrecisionError(
            f"this is not a {kind.__name__.lower()} mode",
            received=repr(value),
            remedy=f"use one of {', '.join(kind)}; the closest is {near[0]}",
        ) from None


def as_rounding(value: object) -> Rounding:
    """``value`` as a :class:`Rounding`; its name is accepted too.

    Raises:
        PrecisionError: no such mode; names the closest.
    """
    return _coerce(Rounding, value)


def as_overflow(value: object) -> Overflow:
    """``value`` as an :class:`Overflow`; its name is accepted too.

    Raises:
        PrecisionError: no such mode; names the closest.
    """
    return _coerce(Overflow, value)


_DEPLOYED = MappingProxyType({Rounding.S_RND: Rounding.RND, Rounding.S_RND_CONV: Rounding.RND_CONV})
_STOCHASTIC = MappingProxyType({mode: drawn for drawn, mode in _DEPLOYED.items()})


def deployed(rounding: Rounding) -> Rounding:
    """The mode a network uses at inference: S_RND -> RND, S_RND_CONV -> RND_CONV, others unchanged."""
    mode = as_rounding(rounding)
    return _DEPLOYED.get(mode, mode)


def stochastic(rounding: Rounding) -> Rounding:
    """The mode that draws in training and is :func:`deployed` as this one; other modes as they are."""
    mode = as_rounding(rounding)
    return _STOCHASTIC.get(mode, mode)


def require_deterministic(rounding: object) -> Rounding:
    """``rounding`` itself, unless it is stochastic.

    Raises:
        PrecisionError: a stochastic mode has no defined codes; the caller maps it with :func:`deployed`.
    """
    mode = as_rounding(rounding)
    if mode.is_stochastic:
        raise PrecisionError(
            "stochastic rounding exists in training only and has no exact result",
            received=mode.value,
            remedy=f"use the mode it is deployed with, {deployed(mode).value}: deployed(rounding)",
        )
    return mode
