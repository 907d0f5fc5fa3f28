"""Constraints and regularizers of trained widths, as immutable text in a config.

A width is a real number that acts rounded. Constraints act on the number after every optimizer step,
regularizers add to the loss while it is trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import keras

from hgqify.errors import RuleError

CONSTRAINTS = ("bc", "ic", "fc", "mc", "ec", "e0c")
"""Of b (kbi), of trained i, of f (kif), and of a minifloat's m, e and e0."""

REGULARIZERS = ("br", "ir", "fr", "mr", "er", "e0r")

RULES = (*CONSTRAINTS, *REGULARIZERS)

Rule = str | Literal[False]
"""A constraint or regularizer as canonical JSON; False for none."""


@keras.saving.register_keras_serializable("hgqify")
class MinMax(keras.constraints.Constraint):
    """``min(max(w, low), high)``.

    Args:
        low, high: in bits; None for no bound.

    Raises:
        RuleError: ``low`` above ``high``.
    """

    def __init__(self, low: float | None = None, high: float | None = None) -> None:
        if low is not None and high is not None and low > high:
            raise RuleError("the lower bound is above the upper", where="MinMax", received=f"{low}, {high}")
        self.low, self.high = low, high

    def __call__(self, w: Any) -> Any:
        """The number within the bounds."""
        if self.low is not None:
            w = keras.ops.maximum(w, self.low)
        return w if self.high is None else keras.ops.minimum(w, self.high)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"low": self.low, "high": self.high}


@keras.saving.register_keras_serializable("hgqify")
class MonoL1(keras.regularizers.Regularizer):
    """``l1 * sum(w)``: every bit costs the same, whatever its sign, so that widths fall below 0 too.

    Args:
        l1: loss per bit.
    """

    def __init__(self, l1: float) -> None:
        self.l1 = float(l1)

    def __call__(self, x: Any) -> Any:
        """The loss."""
        total: Any = keras.ops.sum(x)
        return self.l1 * total

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"l1": self.l1}


def as_rule(option: str, value: Any) -> Rule:
    """A constraint or regularizer as an immutable setting.

    Args:
        option: one of `RULES`.
        value: of Keras: an object, its config, or its name; False for none.

    Raises:
        RuleError: not one.
    """
    if value is False:
        return False
    kind, module = _kind(option)
    try:
        given = json.loads(value) if isinstance(value, str) and value.startswith("{") else value
        found = module.get(_unnumbered(given) if isinstance(given, Mapping) else given)
        if not isinstance(found, kind):
            raise TypeError(type(found).__name__)  # noqa: TRY301 - one message for all
        config: Any = keras.saving.serialize_keras_object(found)
        return json.dumps(_unnumbered(config), sort_keys=True)
    except (ValueError, TypeError) as error:
        raise RuleError(
            f"{option} must be a {kind.__name__.lower()} of Keras, or False for none",
            where=option,
            received=repr(value),
            remedy=f"such as {'MinMax(0, 8)' if kind is keras.constraints.Constraint else 'MonoL1(1e-6)'} of "
            f"hgqify.quantizers ({str(error).splitlines()[0]})",
        ) from error


def _unnumbered(config: Mapping[str, Any]) -> dict[str, Any]:
    """Without the number by which Keras finds an object again while it saves or loads a model.

    It is the object's address, and those of rules, which live for a moment, come again.
    """
    return {name: value for name, value in config.items() if name != "shared_object_id"}


def rule_config(rule: Rule) -> Any:
    """A rule as JSON values."""
    return rule if rule is False else json.loads(rule)


def rule_object(option: str, rule: Rule) -> Any:
    """The Keras object of a rule, None for none."""
    if rule is False:
        return None
    _, module = _kind(option)
    return module.get(json.loads(rule))


def _kind(option: str) -> tuple[type, Any]:
    if option in CONSTRAINTS:
        return keras.constraints.Constraint, keras.constraints
    return keras.regularizers.Regularizer, keras.regularizers
