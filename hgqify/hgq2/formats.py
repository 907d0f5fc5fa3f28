"""Quantizers of HGQ2 as ours: the config, and the widths as they are trained, rounded to the same integers.

============================  ===================================================================
HGQ2's                        ours
============================  ===================================================================
data, kif or kbi              the same, k, i and f or b as they are
constant, nothing overflows   WRAP: kif, whose k and i follow from the constant
constant, else                kbi with b = i + f
dummy                         dummy
============================  ===================================================================

What HGQ2 does and we do not: under SAT_SYM one bit with a sign is the constant 0 (ours: {-1, 0} LSB), so k is
0 there. Not carried over, as inference does not use it: ``i_decay_speed`` and ``qnoise_factor``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from hgqify.errors import HgqifyError, PrecisionError, UnsupportedLayerError
from hgqify.fixed import Overflow, Rounding, as_overflow, as_rounding, deployed, to_codes
from hgqify.hgq2 import peer
from hgqify.quantizers import (
    EXPONENT_LIMIT,
    MAX_BITS,
    MinMax,
    MonoL1,
    Place,
    QType,
    Quantizer,
    QuantizerConfig,
)

_WIDE = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What makes one of our quantizers.

    Attributes:
        config: its settings.
        widths: values of its variables by name, in their shape; None for 'dummy'.
    """

    config: QuantizerConfig
    widths: Mapping[str, np.ndarray]

    def assign(self, quantizer: Quantizer | None) -> None:
        """Give a built quantizer the widths."""
        for name, value in self.widths.items():
            variable = getattr(quantizer, name)
            # One width for all may come in any rank.
            one_or_all = np.reshape(value, ()) if np.size(value) == 1 else value
            variable.assign(np.broadcast_to(one_or_all, variable.shape))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Widths:
    """The integer format of an HGQ2 quantizer, in the shape of its widths.

    Attributes:
        k, i, f: int64; k + i + f <= 0 is the constant 0.
        rounding, overflow: as at inference.
    """

    k: np.ndarray
    i: np.ndarray
    f: np.ndarray
    rounding: Rounding
    overflow: Overflow

    @property
    def is_live(self) -> np.ndarray:
        """Where there is a bit at all."""
        return self.k + self.i + self.f > 0

    @property
    def is_uniform(self) -> bool:
        """Whether there is one format for all elements."""
        return self.k.size == 1


def widths_of(quantizer: Any, where: str) -> Widths:
    """The format of a fixed-point quantizer.

    Raises:
        UnsupportedLayerError: as `of_data`.
    """
    _check(quantizer, where)
    raw = peer.variables(quantizer)
    k, i = (np.rint(raw[name]).astype(np.int64) for name in ("k", "i"))
    f = np.rint(raw["f"]).astype(np.int64) if "f" in raw else np.rint(raw["b"]).astype(np.int64) - i
    overflow = as_overflow(quantizer.quantizer.overflow_mode)
    if overflow is Overflow.SAT_SYM:
        k = np.where(i + f == 0, 0, k)
    return Widths(k=k, i=i, f=f, rounding=deployed(_rounding(quantizer)), overflow=overflow)


def of_data(quantizer: Any, where: str) -> Setting:
    """Ours for a quantizer of data.

    Args:
        quantizer: built, of HGQ2.
        where: what an error names.

    Raises:
        UnsupportedLayerError: minifloat, WRAP_SM, a scale or an affine map, or a granularity of its own.
        PrecisionError: a format that float32 cannot hold.
    """
    if quantizer.q_type == "dummy":
        return Setting(config=QuantizerConfig(QType.DUMMY, Place.DATALANE), widths={})
    found = widths_of(quantizer, where)
    _check_bits(found, where)
    raw = dict(peer.variables(quantizer))
    raw["k"] = found.k.astype(np.float32)
    config = _config(quantizer, Place.DATALANE, QType(quantizer.q_type), found)
    return Setting(config=config, widths=raw)


def of_constant(quantizer: Any, values: np.ndarray, place: Place, where: str) -> Setting:
    """Ours for a quantizer of a constant.

    Args:
        quantizer: built, of HGQ2.
        values: the constant before quantization.
        place: 'weight', 'bias' or 'table'.
        where: what an error names.

    Raises:
        UnsupportedLayerError, PrecisionError: as `of_data`.
    """
    if quantizer.q_type == "dummy":
        return Setting(config=QuantizerConfig(QType.DUMMY, place), widths={})
    found = widths_of(quantizer, where)
    if found.overflow is Overflow.WRAP and _rounds_only(quantizer, values, found):
        raw = peer.variables(quantizer)
        f = raw["f"] if "f" in raw else found.f.astype(np.float32)
        if np.abs(f).max(initial=0) > EXPONENT_LIMIT:
            raise _too_wide(found, where)
        return Setting(config=_config(quantizer, place, QType.KIF, found), widths={"f": f})
    return of_table(quantizer, where, place)


def of_table(quantizer: Any, where: str, place: Place = Place.TABLE) -> Setting:
    """Ours for a quantizer of constants that are computed later, with the range it has.

    Raises:
        UnsupportedLayerError, PrecisionError: as `of_data`.
    """
    found = widths_of(quantizer, where)
    _check_bits(found, where)
    raw = peer.variables(quantizer)
    b = found.i + found.f
    widths = {"k": found.k.astype(np.float32), "i": raw["i"], "b": b.astype(np.float32)}
    if "b" in raw:
        widths["b"] = raw["b"]
    return Setting(config=_config(quantizer, place, QType.KBI, found), widths=widths)


def fixed(place: Place, k: int, i: int, f: int, rounding: Rounding = Rounding.RND) -> Setting:
    """A saturating quantizer of one format for all elements, which is not trained."""
    q_type = QType.KBI if place.is_constant else QType.KIF
    config = QuantizerConfig(
        q_type,
        place,
        k0=k,
        i0=i,
        f0=f,
        b0=i + f,
        overflow_mode=Overflow.SAT,
        round_mode=rounding,
        heterogeneous_axis=(),
        trainable=False,
        max_bits=MAX_BITS,
    )
    widths = {"k": k, "i": i, "b": i + f} if place.is_constant else {"k": k, "i": i, "f": f}
    return Setting(config=config, widths={name: np.asarray(v, np.float32) for name, v in widths.items()})


def _rounds_only(quantizer: Any, values: np.ndarray, found: Widths) -> bool:
    """Whether no element of a constant leaves the range, so that its quantizer is pure rounding."""
    theirs = np.rint(np.ldexp(peer.numpy(quantizer(keras.ops.convert_to_tensor(values))), found.f))
    return np.array_equal(theirs, to_codes(values, 1, _WIDE - found.f, found.f, found.rounding))


def _check(quantizer: Any, where: str) -> None:
    def refuse(what: str, received: object, remedy: str) -> None:
        raise UnsupportedLayerError(what, where=where, received=received, remedy=remedy)

    config = quantizer.config
    if quantizer.q_type == "float":
        refuse("minifloat quantizers are not imported", "q_type='float'", "train it with 'kif' or 'kbi'")
    if config.scaler is not None or config.affine is not None:
        refuse(
            "the quantizer scales what it quantizes, which is no fixed-point format",
            f"scaler={config.scaler}, affine={config.affine}",
            "put the scale into a layer of its own, such as QBatchNormalization",
        )
    inner = quantizer.quantizer
    if type(inner.bw_mapper).__name__ != "DefaultBitwidthMapper":
        refuse(
            "the widths are laid over the tensor by code of its own",
            type(inner.bw_mapper).__name__,
            "use homogeneous_axis or heterogeneous_axis",
        )
    if inner.overflow_mode not in ("WRAP", "SAT", "SAT_SYM"):
        refuse(
            "this overflow mode has no exact counterpart",
            inner.overflow_mode,
            "use WRAP, SAT or SAT_SYM",
        )


def _check_bits(found: Widths, where: str) -> None:
    live = found.is_live
    far = (np.abs(found.i) > EXPONENT_LIMIT) | (np.abs(found.f) > EXPONENT_LIMIT)
    if np.any(live & (far | (found.i + found.f > MAX_BITS))):
        raise _too_wide(found, where)


def _too_wide(found: Widths, where: str) -> HgqifyError:
    bits = np.where(found.is_live, found.i + found.f, 0)
    worst = np.unravel_index(int(np.argmax(bits)), bits.shape)
    return PrecisionError(
        f"a format of more than {MAX_BITS} bits, which float32 cannot hold: HGQ2 itself is not exact there",
        where=where,
        received=f"i={found.i[worst]}, f={found.f[worst]}",
        remedy="trace its range again (hgq.utils.trace_minmax), or limit f with fc=MinMax(..., ...)",
    )


def _rounding(quantizer: Any) -> Rounding:
    return as_rounding(quantizer.quantizer.round_mode)


def _config(quantizer: Any, place: Place, q_type: QType, found: Widths) -> QuantizerConfig:
    inner = quantizer.quantizer
    one = [int(np.clip(np.median(v), -EXPONENT_LIMIT, EXPONENT_LIMIT)) for v in (found.i, found.f)]
    return QuantizerConfig(
        q_type,
        place,
        k0=int(found.k.any()),
        i0=one[0],
        f0=one[1],
        b0=int(np.clip(sum(one), -EXPONENT_LIMIT, EXPONENT_LIMIT)),
        round_mode=_rounding(quantizer),
        overflow_mode=found.overflow,
        homogeneous_axis=tuple(int(axis) for axis in inner.bw_mapper.homogeneous_axis),
        trainable=bool(inner.trainable),
        max_bits=MAX_BITS,
        **{name: _rule(inner, name) for name in ("bc", "ic", "fc", "br", "ir", "fr")},
    )


def _rule(inner: Any, name: str) -> Any:
    """A constraint or regularizer of ours, or of Keras, for HGQ2's; False for none."""
    kind = "constraint" if name.endswith("c") else "regularizer"
    rule = getattr(inner, f"{name[0]}_{kind}", None)
    if rule is None:
        return False
    given = rule.get_config()
    match peer.class_name(rule):
        case "MinMax" | "Min" | "Max":
            return MinMax(given.get("min_value"), given.get("max_value"))
        case "Constant":
            return MinMax(given["value"], given["value"])
        case "MonoL1":
            return MonoL1(given["l1"])
    return rule
