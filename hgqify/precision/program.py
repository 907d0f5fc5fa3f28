"""The fixed program: an immutable graph of integer operations.

It is what the reference executes, what the exporter prints, what the report counts and what `check`
compares against.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hgqify.precision.ops import Op


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorInfo:
    """What is known for certain about a tensor, element by element.

    Attributes:
        shape: without the batch axis.
        frac: common fractional bits of the tensor's codes: ``value = code * 2**-frac``.
        low, high: int64 arrays of ``shape``: exact bounds of the codes.
        step: int array of ``shape``: each element's own fractional bits, at most ``frac``; its codes
            are multiples of ``2**(frac - step)``.
    """

    shape: tuple[int, ...]
    frac: int
    low: np.ndarray
    high: np.ndarray
    step: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One operation.

    Attributes:
        name: unique, a valid C identifier.
        op: what it computes.
        inputs: names of the nodes it reads, in order.
        shape: of its output, without the batch axis.
        layer: path of the Keras layer it comes from, for messages and reports.
        info: bounds of its output; None for `Input` (real numbers).
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    layer: str
    info: TensorInfo | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """Nodes in topological order, names of the inputs and of the outputs (in the model's order)."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    name: str = "model"

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """Nodes by name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def consumers(self) -> dict[str, tuple[Node, ...]]:
        """The nodes that read each node, once per reading input."""
        result: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in node.inputs:
                result[name].append(node)
        return {name: tuple(nodes) for name, nodes in result.items()}
