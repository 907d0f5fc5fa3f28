"""More bits where rows of very different sizes come from: no scaling gives back what the smallest lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from hgqify.convert.parts import BY_POWER, FACTOR_BITS
from hgqify.convert.rules import Rule, Target, first_rules
from hgqify.convert.settings import WIDTH_LIMIT
from hgqify.graph import Graph, Node

_ADDERS = ("Add", "Subtract")
_MOVES = ("Permute", "Reshape")
_MORE = 2


def with_row_precision(
    graph: Graph, targets: Mapping[str, Target], rules: Sequence[Rule]
) -> dict[str, Target]:
    """Targets in which sums that end in rows to be scaled keep the bits of the smallest row.

    Adders count no EBOPs and get all bits that make a difference; what multiplies before them gets two more
    for its inputs. Layers whose inputs have a width by a rule keep it.

    Args:
        graph: lowered.
        targets: by name of the node.
        rules: that they were resolved from.
    """
    first = first_rules(graph.nodes, rules)
    ruled = {name for name, rule in first.items() if rule.activation_bits is not None}
    found = dict(targets)
    for node in graph:
        if node.kind != BY_POWER:
            continue
        octaves = node.config["highest"] - node.config["lowest"]
        # Two operands may be a bit wider than what they add up to.
        bits = min(FACTOR_BITS + octaves, WIDTH_LIMIT - 2)
        for source in _sources(graph, graph[node.inputs[0]]):
            if source.name in ruled:
                continue
            if source.kind in _ADDERS:
                target = found[source.name]
                found[source.name] = dataclasses.replace(target, merge_bits=max(target.merge_bits, bits))
            elif source.weights:
                target = targets[source.name]
                more = min(target.activation_bits + _MORE, WIDTH_LIMIT)
                found[source.name] = dataclasses.replace(target, activation_bits=more)
    return found


def _sources(graph: Graph, node: Node) -> list[Node]:
    """The sums that a tensor is made of, and what they add up, moves left out."""
    waiting, found = [node], {}
    while waiting:
        node = waiting.pop()
        if node.name not in found:
            found[node.name] = node
            if node.kind in (*_ADDERS, *_MOVES):
                waiting += [graph[name] for name in node.inputs]
    # What is no sum of anything has the bits that it has.
    return [*found.values()] if len(found) > 1 else []
