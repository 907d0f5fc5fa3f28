"""Rules: which layers they match, and what they set for them. The first match wins."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from hgqify.convert.settings import (
    ConvertSettings,
    Granularity,
    Operands,
    OverflowPolicy,
    as_choice,
    check_bits,
    check_modes,
    check_stream,
)
from hgqify.errors import RuleError
from hgqify.fixed import Rounding
from hgqify.graph import Node


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Settings for some layers; None leaves the conversion's setting.

    Match (all that are given must agree):
        path: regular expression that must match the whole layer name, or the whole path of one of the
            original layers it came from.
        layer_type: kind of layer, e.g. 'Dense'.
        predicate: function of the graph node.

    Action:
        q_type: 'kif' or 'float', see `Operands`.
        weight_bits, activation_bits, output_bits, table_bits: widths, sign included. activation_bits
            is the width of the layer's inputs, output_bits that of its output quantizer if it has one,
            table_bits that of the entries of its lookup table.
        weight_granularity, activation_granularity, overflow, rounding: as in `ConvertSettings`.
        strategy, reuse_factor, parallelization_factor: how the firmware builds the layers' sums of products,
            see `hgqify.export.LayerOptions`.
        keep_float: leave the layer in float, between quantizers, as ``unsupported='keep'`` does with layers
            that have no fixed-point form. It computes as before, and cannot be exported.

    Raises:
        RuleError: no match half, no action half, or contradicting actions.
    """

    path: str | None = None
    layer_type: str | None = None
    predicate: Callable[[Node], bool] | None = None

    q_type: Operands | None = None
    weight_bits: int | None = None
    activation_bits: int | None = None
    output_bits: int | None = None
    table_bits: int | None = None
    weight_granularity: Granularity | None = None
    activation_granularity: Granularity | None = None
    overflow: OverflowPolicy | None = None
    rounding: Rounding | None = None
    strategy: str | None = None
    reuse_factor: int | None = None
    parallelization_factor: int | None = None
    keep_float: bool = False

    def __post_init__(self) -> None:
        if self.path is None and self.layer_type is None and self.predicate is None:
            raise RuleError("a rule must say what it matches", remedy="give path, layer_type or predicate")
        if self.path is not None:
            try:
                re.compile(self.path)
            except re.error as error:
                raise RuleError(
                    f"path is not a regular expression: {error}", received=repr(self.path)
                ) from None
        for name in ("weight_granularity", "activation_granularity"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, as_choice(Granularity, value, name))
        if self.q_type is not None:
            object.__setattr__(self, "q_type", as_choice(Operands, self.q_type, "q_type"))
        check_modes(self)
        actions = {f.name: getattr(self, f.name) for f in fields(self)[3:-1]}
        given = sorted(name for name, value in actions.items() if value is not None)
        for name in given:
            if name.endswith("_bits"):
                check_bits(name, actions[name], low=2 if name == "weight_bits" else 1)
            elif name.endswith("_factor"):
                _check_factor(name, actions[name])
        if self.keep_float and given:
            raise RuleError(
                f"keep_float leaves nothing for {', '.join(given)} to set", remedy="drop one of the two"
            )
        if not self.keep_float and not given:
            raise RuleError(
                "a rule must set something",
                remedy="give a q_type, a width, a mode, a strategy, a factor or keep_float=True",
            )

    def matches(self, node: Node) -> bool:
        """Whether the rule's match half agrees with a node."""
        names = (node.name, *node.origin)
        if self.path is not None and not any(re.fullmatch(self.path, name) for name in names):
            return False
        if self.layer_type is not None and self.layer_type != node.kind:
            return False
        return self.predicate is None or self.predicate(node)

    @property
    def building(self) -> dict[str, Any]:
        """What it says of the firmware: strategy and factors, those that are given."""
        values = {
            name: getattr(self, name) for name in ("strategy", "reuse_factor", "parallelization_factor")
        }
        return {name: value for name, value in values.items() if value is not None}

    def describe(self) -> str:
        """The match half as short text, for messages."""
        parts = [f"path={self.path!r}"] if self.path is not None else []
        parts += [f"layer_type={self.layer_type!r}"] if self.layer_type is not None else []
        parts += ["predicate"] if self.predicate is not None else []
        return f"Rule({', '.join(parts)})"


def _check_factor(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RuleError(f"{name} is a whole number from 1 on", received=repr(value))


@dataclass(frozen=True, kw_only=True)
class Target:
    """What rules and settings together ask of one layer; the fields are those of `ConvertSettings`."""

    q_type: Operands
    weight_bits: int
    activation_bits: int
    merge_bits: int
    input_bits: int
    output_bits: int
    table_in_bits: int
    table_out_bits: int
    weight_granularity: Granularity
    activation_granularity: Granularity
    overflow: OverflowPolicy
    rounding: Rounding
    keep_float: bool = False


def resolve(nodes: Sequence[Node], rules: Sequence[Rule], settings: ConvertSettings) -> dict[str, Target]:
    """The target of every node: its first matching rule over the settings.

    Raises:
        RuleError: a rule that matches nothing (with the closest name), or that is never reached because
            earlier rules take all it matches; granularity that io_stream cannot build.
    """
    used: set[int] = set()
    matched: set[int] = set()
    targets: dict[str, Target] = {}
    for rule in rules:
        check_stream(settings.io_type, rule.activation_granularity, rule.describe())
    for node in nodes:
        hits = [number for number, rule in enumerate(rules) if rule.matches(node)]
        matched.update(hits)
        used.update(hits[:1])
        targets[node.name] = _target(settings, rules[hits[0]] if hits else None)
    for number, rule in enumerate(rules):
        if number not in matched:
            raise RuleError(
                "the rule matches no layer",
                where=f"rule[{number}]",
                received=rule.describe(),
                remedy=_closest(rule, nodes),
            )
        if number not in used:
            raise RuleError(
                "earlier rules take every layer this rule matches",
                where=f"rule[{number}]",
                received=rule.describe(),
                remedy="put it before them: the first match wins",
            )
    return targets


def first_rules(nodes: Sequence[Node], rules: Sequence[Rule]) -> dict[str, Rule]:
    """The rule of every node that has one, by the node's name: the first that matches it."""
    found = {node.name: next((rule for rule in rules if rule.matches(node)), None) for node in nodes}
    return {name: rule for name, rule in found.items() if rule is not None}


def _target(settings: ConvertSettings, rule: Rule | None) -> Target:
    values = {f.name: getattr(settings, f.name) for f in fields(Target) if f.name != "keep_float"}
    if rule is None:
        return Target(**values)
    if rule.activation_bits is not None:
        # A rule names one layer, so its width holds for whatever that layer's inputs are.
        for name in ("activation_bits", "merge_bits", "input_bits", "table_in_bits"):
            values[name] = rule.activation_bits
    if rule.table_bits is not None:
        values["table_out_bits"] = rule.table_bits
    for name in (
        "q_type",
        "weight_bits",
        "output_bits",
        "weight_granularity",
        "activation_granularity",
        "overflow",
        "rounding",
    ):
        if getattr(rule, name) is not None:
            values[name] = getattr(rule, name)
    return Target(**values, keep_float=rule.keep_float)


def _closest(rule: Rule, nodes: Sequence[Node]) -> str:
    if rule.path is not None:
        names = sorted({name for node in nodes for name in (node.name, *node.origin)})
        wanted = rule.path
    elif rule.layer_type is not None:
        names = sorted({node.kind for node in nodes})
        wanted = rule.layer_type
    else:
        return "the predicate is false for every layer"
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.0)
    return f"the closest is {near[0]!r}" if near else "the model has no layers"
