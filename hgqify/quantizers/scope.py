"""Default quantizer settings for a block of code, kept in a context variable.

The active scopes are a tuple of immutable entries in a :class:`contextvars.ContextVar`: another thread,
or another asyncio task, sees its own scopes only, and leaving a scope cannot disturb anyone else.
"""

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from types import MappingProxyType, TracebackType
from typing import Any

from hgqify.errors import RuleError
from hgqify.fixed import Overflow, Rounding
from hgqify.quantizers.kinds import ALL, Place, QType, as_member, check_names
from hgqify.quantizers.width_rules import RULES, as_rule

OPTIONS = (
    "k0",
    "i0",
    "f0",
    "b0",
    "m0",
    "e0",
    "e00",
    "round_mode",
    "overflow_mode",
    "homogeneous_axis",
    "heterogeneous_axis",
    "trainable",
    "max_bits",
    "width_gradient_part",
    *RULES,
)
"""What a scope can override, and what :class:`QuantizerConfig` takes beside ``q_type`` and ``place``."""

AXIS_OPTIONS = ("homogeneous_axis", "heterogeneous_axis")


class QuantizerConfigScope:
    """Sets the defaults of quantizer configs made inside the ``with`` block; inner scopes win.

    Args:
        q_type: only configs of this parametrisation (or of these) are affected; 'all' for any.
        place: only quantizers at this place (or these) are affected; 'all' for any.
        default_q_type: the parametrisation of configs that name none.
        **overrides: new defaults, any of :data:`OPTIONS`. Giving one of ``homogeneous_axis`` and
            ``heterogeneous_axis`` replaces both. A minifloat saturates whatever ``overflow_mode`` says.

    Example::

        with (
            QuantizerConfigScope(place="all", default_q_type="kbi", overflow_mode="SAT_SYM"),
            QuantizerConfigScope(place="datalane", default_q_type="kif", overflow_mode="WRAP"),
        ):
            layer = QDense(10)

    Raises:
        RuleError: unknown option, place, parametrisation or mode; names the nearest valid one.
    """

    __slots__ = ("_default_q_type", "_overrides", "_places", "_q_types")

    def __init__(
        self,
        q_type: str | Iterable[str] = ALL,
        place: str | Iterable[str] = ALL,
        default_q_type: str | None = None,
        **overrides: Any,
    ) -> None:
        check_names(overrides, OPTIONS, "QuantizerConfigScope")
        if all(overrides.get(name) is not None for name in AXIS_OPTIONS):
            raise RuleError(
                "homogeneous_axis and heterogeneous_axis say the same thing twice",
                where="QuantizerConfigScope",
                remedy="give one of them",
            )
        for option, kind in (("round_mode", Rounding), ("overflow_mode", Overflow)):
            if overrides.get(option) is not None:
                overrides[option] = as_member(kind, overrides[option], option)
        for option in RULES:
            if overrides.get(option) is not None:
                overrides[option] = as_rule(option, overrides[option])
        self._q_types = _members(QType, q_type, "q_type")
        self._places = _members(Place, place, "place")
        self._default_q_type = (
            None if default_q_type is None else as_member(QType, default_q_type, "default_q_type")
        )
        self._overrides: Mapping[str, Any] = MappingProxyType(
            {name: value for name, value in overrides.items() if value is not None}
        )

    def __enter__(self) -> "QuantizerConfigScope":
        _active.set((*_active.get(), self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _active.set(_active.get()[:-1])

    def q_type_for(self, place: Place) -> QType | None:
        """The parametrisation this scope gives to a config at ``place`` that names none, if any."""
        return self._default_q_type if place in self._places else None

    def overrides_for(self, place: Place, q_type: QType) -> Mapping[str, Any]:
        """What this scope sets for a config of this place and parametrisation."""
        return self._overrides if place in self._places and q_type in self._q_types else {}


def _members(kind: type[QType] | type[Place], value: str | Iterable[str], option: str) -> frozenset[Any]:
    if isinstance(value, str):
        return frozenset(kind) if value == ALL else frozenset((as_member(kind, value, option),))
    return frozenset(as_member(kind, item, option) for item in value)


# The defaults of an empty context. Parametrisation and overflow are those of the HGQ2 page; rounding is
# RND, the nearest code with one adder in hardware. Weights, biases and data have one width per element
# (the finest granularity, which the study behind our recipe found cheapest at equal accuracy), tables one
# width in all: a table's entries leave through one port. Minifloats start with HGQ2's 1 + 4 + 2 bits and
# round to nearest even, as minifloats elsewhere do.
_BUILT_IN = (
    QuantizerConfigScope(
        default_q_type="kbi",
        k0=1,
        i0=1,
        f0=6,
        b0=7,
        m0=2,
        e0=4,
        e00=0,
        round_mode="RND",
        overflow_mode="SAT_SYM",
        homogeneous_axis=(),
        trainable=True,
        max_bits=24,
        width_gradient_part=1,
        **dict.fromkeys(RULES, False),
    ),
    QuantizerConfigScope(place="table", heterogeneous_axis=()),
    QuantizerConfigScope(
        place="datalane", default_q_type="kif", overflow_mode="WRAP", homogeneous_axis=(0,), i0=2, f0=4
    ),
    QuantizerConfigScope(q_type="float", round_mode="RND_CONV"),
)

_active: ContextVar[tuple[QuantizerConfigScope, ...]] = ContextVar("quantizer_config_scopes", default=())


def default_q_type(place: Place) -> QType:
    """The parametrisation of a config at ``place`` that names none, in the current context."""
    chosen = [scope.q_type_for(place) for scope in (*_BUILT_IN, *_active.get())]
    return [q_type for q_type in chosen if q_type is not None][-1]


def defaults_for(place: Place, q_type: QType) -> dict[str, Any]:
    """Every option's default in the current context; exactly one of the two axis options is present."""
    values: dict[str, Any] = {"overflow_mode": Overflow.SAT_SYM}
    for scope in (*_BUILT_IN, *_active.get()):
        new = dict(scope.overrides_for(place, q_type))
        if q_type is QType.FLOAT:
            # A minifloat saturates; what a scope says for others is no concern of it.
            new.pop("overflow_mode", None)
        if any(name in new for name in AXIS_OPTIONS):
            for name in AXIS_OPTIONS:
                values.pop(name, None)
        values.update(new)
    return values
