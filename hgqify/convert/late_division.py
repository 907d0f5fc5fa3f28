"""Divide behind the product with the values, where attention runs over many places.

    y = sum_s softmax(x)_s v_s = (sum_s e_s v_s) / sum_s e_s,   e_s = exp(x_s - max(x))

A sum over n places leaves ``24 - log2(n)`` bits of a float32 significand to both factors together. Each
probability is about 1/n, of which a format for [0, 1] of so few bits keeps next to nothing; of the
exponentials the largest is 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hgqify.convert.lower_softmax import constant_mask, exponentials
from hgqify.convert.parts import MASK, SUM, TABLE, Exponents, Parts, positive_axes
from hgqify.equations import matrices
from hgqify.graph import Graph, Node, Pass, PassResult
from hgqify.layers import exp_of_negative, get_activation, reciprocal_from_one

EINSUM = "Einsum"
_SIGNIFICAND = 24
_SHORT = 16
"""Rows up to this long keep enough bits of each probability."""
_EXP = get_activation(exp_of_negative).name
_PASSING = ("Permute", MASK)
_LONGEST = 9
"""Binary logarithm of the largest sum that is brought near 1: the table has an index for every octave."""


@dataclass(frozen=True, kw_only=True)
class _Attention:
    """A softmax whose one reader, behind permutations, is a product over all that it runs over.

    Attributes:
        softmax, product: the nodes.
        permutations: between the two, in order.
        mask: constant mask of the softmax.
        operand: which operand of the product the probabilities are.
    """

    softmax: Node
    product: Node
    permutations: tuple[Node, ...]
    mask: np.ndarray | None
    operand: int


class LateDivision(Pass):
    """Softmax(x) -> e = exp(x - max(x)); its Einsum(., v) -> Einsum(e, v) * p * reciprocal(sum(e) * p).

    p is the power of two that brings the row's sum into [1, 2), so that one table serves all of them. The
    softmax's last part keeps its name, so does the product's.
    """

    name = "late-division"

    def run(self, graph: Graph) -> PassResult:
        """Move every division that can go behind a product over more than a few places."""
        replacements, events = {}, []
        for node in graph:
            found = _attention(graph, node)
            if found is None:
                continue
            parts = Parts(node)
            exponentials(parts, found.mask)
            replacements[node.name] = parts.done()
            replacements[found.product.name] = _divided(found)
            events.append(self.event(node, "lowered", "table of exp, divided behind the product with values"))
        return self.result(graph, replacements, {}, events)


def share(graph: Graph, node: Node) -> int | None:
    """Bits of the exponentials that a product takes: half of what a significand has beyond its sums' growth.

    Given for the product itself, whose first operand they are, and for their table, so that the sum which
    divides is one of the same numbers. None for all other nodes.

    Args:
        graph: lowered.
        node: any of its nodes.
    """
    product: Node | None = node
    if _is_table(node):
        while product is not None and product.kind != EINSUM:
            readers = [r for r in graph.consumers(product.name) if r.kind in (*_PASSING, EINSUM)]
            product = readers[0] if readers else None
    if product is None or product.kind != EINSUM:
        return None
    first = source = graph[product.inputs[0]]
    while source.kind in _PASSING:
        source = graph[source.inputs[0]]
    if not _is_table(source):
        return None
    equation = product.config["equation"]
    sizes = dict(zip(equation.split(",")[0], first.shape, strict=True))
    terms = math.prod(sizes[label] for label in matrices(equation).summed)
    return (_SIGNIFICAND - (terms - 1).bit_length()) // 2


def _is_table(node: Node) -> bool:
    return node.kind == TABLE and node.config["activation"] == _EXP


def _attention(graph: Graph, node: Node) -> _Attention | None:
    if node.kind != "Softmax" or node.shared is not None:
        return None
    constant, mask = constant_mask(node)
    axes = [axis - 1 for axis in positive_axes(node)]
    if not constant or -1 in axes or math.prod(node.shape[a] for a in axes) <= _SHORT:
        return None
    permutations: list[Node] = []
    source, reader = node, graph.only_consumer(node.name)
    while reader is not None and reader.kind == "Permute" and reader.shared is None:
        permutations.append(reader)
        axes = [reader.config["dims"].index(axis + 1) for axis in axes]
        source, reader = reader, graph.only_consumer(reader.name)
    if reader is None or reader.kind != EINSUM or reader.shared is not None:
        return None
    operand = reader.inputs.index(source.name)
    equation = reader.config["equation"]
    labels = equation.split("->")[0].split(",")[operand]
    if {labels[axis] for axis in axes} != set(matrices(equation).summed):
        return None
    return _Attention(
        softmax=node, product=reader, permutations=tuple(permutations), mask=mask, operand=operand
    )


def _divided(found: _Attention) -> tuple[Node, ...]:
    """The product of exponentials and values, and behind it the division by their sum."""
    node, softmax = found.product, found.softmax
    parts, axes = Parts(node), positive_axes(found.softmax)
    count = math.prod(softmax.shape[a - 1] for a in axes)
    # What is rounded may fall short of 1, the least sum there is.
    exponents = Exponents(-1, min(count.bit_length() - 1, _LONGEST))
    total = parts.reduced("sum", SUM, softmax.name, softmax.shape, axes)
    power = parts.power("power", total, exponents)
    scaled = parts.by_power("scaled_sum", total, power, parts.shapes[total], exponents)
    reciprocal = parts.table("reciprocal", reciprocal_from_one, scaled)
    operands = node.config["equation"].split("->")[0].split(",")
    result = node.config["equation"].split("->")[1]
    first, second = found.operand, 1 - found.operand
    y = parts.add(
        "product",
        EINSUM,
        (node.inputs[first], node.inputs[second]),
        node.shape,
        {"equation": f"{operands[first]},{operands[second]}->{result}"},
        source=node.source,
    )
    power, reciprocal = (
        _like_result(parts, label, x, found, operands[first], result)
        for label, x in (("power", power), ("reciprocal", reciprocal))
    )
    y = parts.by_power("scaled", y, power, node.shape, exponents)
    parts.divided("divided", y, reciprocal, node.shape)
    return parts.done()


def _like_result(parts: Parts, label: str, x: str, found: _Attention, labels: str, result: str) -> str:
    """A factor of each row, moved as the probabilities are and then to where the product has its rows."""
    for n, permutation in enumerate(found.permutations):
        order = [dim - 1 for dim in permutation.config["dims"]]
        x = parts.permute(f"{label}_moved_{n}", x, parts.shapes[x], order)
    shape = parts.shapes[x]
    rows = [labels.index(name) for name in result if name in labels]
    order = rows + [axis for axis in range(len(labels)) if axis not in rows]
    x = parts.permute(f"{label}_turned", x, shape, order)
    target = tuple(shape[labels.index(name)] if name in labels else 1 for name in result)
    return x if parts.shapes[x] == target else parts.reshape(f"{label}_rows", x, target)
