"""Products of two tensors over some of their axes, as nodes of kind 'Einsum'."""

from __future__ import annotations

import string
from typing import Any

from hgqify.equations import EquationError, matrices, result_shape, without_batch
from hgqify.graph.layers import Einsum
from hgqify.graph.model import Graph, Node, Ref

EINSUM = "Einsum"


def einsum_node(
    name: str, equation: str, inputs: tuple[str, str], shape: tuple[int, ...], **rest: Any
) -> Node:
    """A product of two tensors; the equation is that of one sample.

    Raises:
        EquationError: a label of one operand alone is summed over.
    """
    matrices(equation)
    return Node(
        name=name,
        kind=EINSUM,
        source=Einsum,
        config={"equation": equation},
        inputs=inputs,
        shape=shape,
        **rest,
    )


def _tensors(graph: Graph, node: Node, arguments: tuple[Any, ...]) -> tuple[str, str] | None:
    """Both operands of an operation, if both are tensors of the graph."""
    if len(arguments) != 2 or not all(isinstance(value, Ref) for value in arguments):
        return None
    first, second = (node.inputs[value.index] for value in arguments)
    return first, second


def product_of(
    graph: Graph, node: Node, inputs: tuple[str, str] | None, equation: str
) -> tuple[Node, ...] | None:
    """The node of a product by an equation with batch; None where it is none of two tensors."""
    if inputs is None:
        return None
    shapes = [graph[name].shape for name in inputs]
    try:
        sample = without_batch(equation, (len(shapes[0]) + 1, len(shapes[1]) + 1))
        if result_shape(sample, *shapes) != node.shape:
            return None
        return (einsum_node(node.name, sample, inputs, node.shape, origin=node.origin),)
    except EquationError:
        return None


def _arguments(node: Node, names: tuple[str, ...]) -> tuple[Any, ...]:
    if node.call is None:
        return tuple(Ref(index) for index in range(len(node.inputs)))
    return (*node.call.args, *(node.call.kwargs[name] for name in names if name in node.call.kwargs))


def einsum_rule(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    """``keras.ops.einsum`` of two tensors."""
    inputs = _tensors(graph, node, _arguments(node, ()))
    return product_of(graph, node, inputs, node.config["subscripts"])


def matmul_rule(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    """``keras.ops.matmul`` (``x @ y``) of two tensors with the same leading axes; vectors have no batch."""
    inputs = _tensors(graph, node, _arguments(node, ("x1", "x2")))
    if inputs is None:
        return None
    ranks = {len(graph[name].shape) + 1 for name in inputs}
    if len(ranks) > 1 or min(ranks) < 3:
        return None
    batch = string.ascii_lowercase[: ranks.pop() - 2]
    return product_of(graph, node, inputs, f"{batch}XY,{batch}YZ->{batch}XZ")
