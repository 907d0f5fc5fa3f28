"""The settings of one quantizer, immutable and complete."""

import dataclasses
import math
import numbers
from collections.abc import Mapping
from typing import Any

from hgqify.errors import RuleError
from hgqify.fixed import Overflow, Rounding, stochastic
from hgqify.quantizers.kinds import Place, QType, as_member, check_names
from hgqify.quantizers.scope import AXIS_OPTIONS, OPTIONS, default_q_type, defaults_for
from hgqify.quantizers.width_rules import RULES, Rule, as_rule, rule_config

MAX_BITS = 24
"""Widest b = i + f of a quantizer that can overflow: float32 holds integers exactly up to 2**24."""

EXPONENT_LIMIT = 100
"""Largest |i| and |f|: every LSB and every bound then stays a normal float32 number."""

MAX_EXPONENT_BITS = 5
"""Most exponent bits of a minifloat: the integer program holds its numbers as codes of up to 62 bits."""

OFFSET_LIMIT = 60
"""Largest |e0| of a minifloat: with it, |i| and |f| stay within `EXPONENT_LIMIT`."""

_UNSET: Any = None

_TRAINABLE = ("b", "i", "f", "m", "e", "e0")


@dataclasses.dataclass(frozen=True)
class QuantizerConfig:
    """Settings of a :class:`~hgqify.quantizers.Quantizer`.

    Options left out take the defaults of the active :class:`QuantizerConfigScope` when the config is
    made; afterwards the config is complete and independent of any scope.

    Args:
        q_type: :class:`QType` or its name.
        place: :class:`Place` or its name; 'datalane' if left out.
        k0: initial sign bit, 0 or 1.
        i0: initial integer bits without sign (kif, kbi).
        f0: initial fractional bits (kif).
        b0: initial bits without sign, i + f (kbi).
        m0: initial mantissa bits (float), the leading one not counted; -1 rounds everything to 0.
        e0: initial exponent bits (float), 1 to 5.
        e00: initial offset e0 of the exponents (float): they go from 1 - 2^(e-1) + e0 to 2^(e-1) - 1 + e0.
        round_mode: :class:`~hgqify.fixed.Rounding` or its name.
        overflow_mode: :class:`~hgqify.fixed.Overflow` or its name; minifloats only saturate.
        homogeneous_axis: axes along which one width is shared. Negative axes count from the end.
        heterogeneous_axis: axes along which widths differ; give this or ``homogeneous_axis``.
            Data always shares its widths along the batch axis 0.
        trainable: whether the widths are trained; or which of them, such as ``("f",)``.
        max_bits: upper limit of b = i + f in use, or of a minifloat's significant bits m + 1; 1 to 24.
        width_gradient_part: 4 takes the gradient of a data quantizer's widths from the first quarter of every
            batch, times 4: training gets faster and needs less memory, and that gradient noisier. 1 for all.
            Constants have no batch.
        bc, ic, fc, mc, ec, e0c: constraints of trained b, i, f, m, e and e0 (`keras.constraints`, or `MinMax`
            in bits), applied after every step of the optimizer; False for none.
        br, ir, fr, mr, er, e0r: regularizers of the same (`keras.regularizers`, or `MonoL1`), in units of the
            loss; False for none.

    Raises:
        RuleError: an unknown name, a value out of range, or settings that contradict each other.
    """

    q_type: QType = _UNSET
    place: Place = _UNSET
    _: dataclasses.KW_ONLY
    k0: int = _UNSET
    i0: float = _UNSET
    f0: float = _UNSET
    b0: float = _UNSET
    m0: float = _UNSET
    e0: float = _UNSET
    e00: float = _UNSET
    round_mode: Rounding = _UNSET
    overflow_mode: Overflow = _UNSET
    homogeneous_axis: tuple[int, ...] | None = None
    heterogeneous_axis: tuple[int, ...] | None = None
    trainable: bool | tuple[str, ...] = _UNSET
    max_bits: int = _UNSET
    width_gradient_part: int = _UNSET
    bc: Rule = _UNSET
    ic: Rule = _UNSET
    fc: Rule = _UNSET
    mc: Rule = _UNSET
    ec: Rule = _UNSET
    e0c: Rule = _UNSET
    br: Rule = _UNSET
    ir: Rule = _UNSET
    fr: Rule = _UNSET
    mr: Rule = _UNSET
    er: Rule = _UNSET
    e0r: Rule = _UNSET

    def __post_init__(self) -> None:
        place = Place.DATALANE if self.place is None else as_member(Place, self.place, "place")
        q_type = default_q_type(place) if self.q_type is None else as_member(QType, self.q_type, "q_type")
        given = {name: getattr(self, name) for name in OPTIONS if getattr(self, name) is not None}
        values = defaults_for(place, q_type)
        if any(name in given for name in AXIS_OPTIONS):
            for name in AXIS_OPTIONS:
                values.pop(name, None)
        values.update(given)
        values |= {
            "q_type": q_type,
            "place": place,
            "k0": _sign(values["k0"]),
            "i0": _exponent("i0", values["i0"]),
            "f0": _exponent("f0", values["f0"]),
            "b0": _exponent("b0", values["b0"]),
            "m0": _number("m0", values["m0"], -1, MAX_BITS - 1),
            "e0": _number("e0", values["e0"], 1, MAX_EXPONENT_BITS),
            "e00": _number("e00", values["e00"], -OFFSET_LIMIT, OFFSET_LIMIT),
            "round_mode": as_member(Rounding, values["round_mode"], "round_mode"),
            "overflow_mode": as_member(Overflow, values["overflow_mode"], "overflow_mode"),
            "homogeneous_axis": _axes("homogeneous_axis", values.get("homogeneous_axis")),
            "heterogeneous_axis": _axes("heterogeneous_axis", values.get("heterogeneous_axis")),
            "trainable": _trainable(values["trainable"]),
            "max_bits": _max_bits(values["max_bits"]),
            "width_gradient_part": _gradient_part(values["width_gradient_part"]),
            **{name: as_rule(name, values[name]) for name in RULES},
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        if self.homogeneous_axis is not None and self.heterogeneous_axis is not None:
            raise RuleError(
                "homogeneous_axis and heterogeneous_axis say the same thing twice",
                where="QuantizerConfig",
                received=f"{self.homogeneous_axis} and {self.heterogeneous_axis}",
                remedy="give one of them",
            )
        if self.overflow_mode is Overflow.WRAP_SM and not self.k0:
            raise RuleError(
                "overflow_mode WRAP_SM needs a sign: no hardware type wraps unsigned numbers that way",
                where="QuantizerConfig",
                received="k0=0",
                remedy="set k0=1, or use WRAP",
            )
        if self.q_type is QType.FLOAT and not self.overflow_mode.saturates:
            raise RuleError(
                "a minifloat saturates at its largest number and never wraps",
                where="QuantizerConfig",
                received=f"overflow_mode={self.overflow_mode} with q_type='float'",
                remedy="leave overflow_mode out, or use SAT_SYM",
            )

    def trains(self, width: str) -> bool:
        """Whether a width, such as 'f' or 'e0', is trained, where the quantizer has it as its own."""
        return self.trainable if isinstance(self.trainable, bool) else width in self.trainable

    def replace(self, **changes: Any) -> "QuantizerConfig":
        """A copy with some options changed; setting one axis option clears the other.

        Raises:
            RuleError: as the constructor.
        """
        check_names(changes, ("q_type", "place", *OPTIONS), "QuantizerConfig")
        if any(changes.get(name) is not None for name in AXIS_OPTIONS):
            changes = dict.fromkeys(AXIS_OPTIONS) | changes
        return dataclasses.replace(self, **changes)

    def with_stochastic_rounding(self) -> "QuantizerConfig":
        """A copy that draws in training where it is deployed to round to nearest (RND, RND_CONV)."""
        return self.replace(round_mode=stochastic(self.round_mode))

    def get_config(self) -> dict[str, Any]:
        """All options as JSON values."""
        values = {name: getattr(self, name) for name in ("q_type", "place", *OPTIONS)}
        values |= {name: str(values[name]) for name in ("q_type", "place", "round_mode", "overflow_mode")}
        values |= {name: None if values[name] is None else list(values[name]) for name in AXIS_OPTIONS}
        values |= {name: rule_config(values[name]) for name in RULES}
        if not isinstance(self.trainable, bool):
            values["trainable"] = list(self.trainable)
        return values

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "QuantizerConfig":
        """The inverse of :meth:`get_config`; options left out take the active defaults.

        Raises:
            RuleError: an unknown option (names the nearest), or as the constructor.
        """
        check_names(config, ("q_type", "place", *OPTIONS), "QuantizerConfig")
        return cls(**config)


def resolve(conf: QuantizerConfig | Mapping[str, Any] | None, place: Place | str) -> QuantizerConfig:
    """The complete config of a quantizer at ``place``.

    Args:
        conf: a config, a mapping of its options, or None for the active defaults. A config made for one
            constant place (weight, bias, table) serves at the others too.
        place: where the quantizer stands.

    Raises:
        RuleError: unknown options, or a config for data where a constant is meant and the other way round.
    """
    where = as_member(Place, place, "place")
    if conf is None:
        return QuantizerConfig(place=where)
    if isinstance(conf, Mapping):
        conf = QuantizerConfig.from_config({"place": where, **conf})
    if not isinstance(conf, QuantizerConfig):
        raise RuleError(
            "a quantizer is configured by a QuantizerConfig, a mapping of its options, or None",
            where=f"quantizer at place '{where}'",
            received=f"{conf!r} of type {type(conf).__name__}",
        )
    if conf.place.is_constant != where.is_constant:
        raise RuleError(
            f"a quantizer config for place '{conf.place}' cannot serve at place '{where}'",
            where=f"quantizer at place '{where}'",
            received=f"place='{conf.place}'",
            remedy=f"make it with QuantizerConfig(place='{where}', ...)",
        )
    return conf if conf.place is where else conf.replace(place=where)


def _sign(value: object) -> int:
    if isinstance(value, (bool, numbers.Integral)) and int(value) in (0, 1):
        return int(value)
    raise RuleError("k0 must be 0 (unsigned) or 1 (signed)", where="k0", received=repr(value))


def _trainable(value: Any) -> bool | tuple[str, ...]:
    if isinstance(value, bool) or (isinstance(value, numbers.Integral) and value in (0, 1)):
        return bool(value)
    if isinstance(value, (tuple, list)) and set(value) <= set(_TRAINABLE):
        return tuple(sorted(set(value)))
    raise RuleError(
        f"trainable must be True, False, or some of {', '.join(map(repr, _TRAINABLE))}",
        where="trainable",
        received=repr(value),
    )


def _exponent(name: str, value: object) -> float:
    return _number(name, value, -EXPONENT_LIMIT, EXPONENT_LIMIT)


def _number(name: str, value: object, low: int, high: int) -> float:
    if isinstance(value, numbers.Real) and math.isfinite(value) and low <= float(value) <= high:
        return float(value)
    raise RuleError(f"{name} must be a number from {low} to {high}", where=name, received=repr(value))


def _max_bits(value: object) -> int:
    if isinstance(value, numbers.Integral) and 1 <= int(value) <= MAX_BITS:
        return int(value)
    raise RuleError(
        f"max_bits must be an integer from 1 to {MAX_BITS}",
        where="max_bits",
        received=repr(value),
        remedy="float32 training cannot represent wider data exactly",
    )


def _gradient_part(value: object) -> int:
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 1:
        return int(value)
    raise RuleError(
        "width_gradient_part must be a whole number, at least 1",
        where="width_gradient_part",
        received=repr(value),
        remedy="4 takes a quarter of every batch, 1 all of it",
    )


def _axes(name: str, value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    if isinstance(value, numbers.Integral):
        value = (value,)
    if isinstance(value, (tuple, list)) and all(isinstance(axis, numbers.Integral) for axis in value):
        return tuple(int(axis) for axis in value)
    raise RuleError(f"{name} must be a tuple of integers", where=name, received=repr(value))
