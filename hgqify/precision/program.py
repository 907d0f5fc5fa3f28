"""The fixed program: an immutable graph of integer operations.

It is what the reference executes, what the exporter prints, what the report counts and what `check`
compares against.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hgqify.precision.ops import Input, Op, Quantize


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


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A float layer of the model that the program does not compute.

    Attributes:
        layer: path of the Keras layer.
        kind: class of the float layer.
        reads: names of the nodes it reads: codes, or real numbers (`Input`).
        gives: names of the `Input` nodes that stand for what it gives, in flat order.
    """

    layer: str
    kind: str
    reads: tuple[str, ...]
    gives: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.layer} ({self.kind})"


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """Nodes in topological order, names of the inputs and of the outputs (in the model's order).

    Where layers stay in float, the program is cut at them: it computes what lies between, as one function.
    After the model's own outputs come, as further outputs, the codes that float layers read; after the
    model's own inputs, as further inputs, the real numbers they give. So the arithmetic of every exact part
    is defined, run, counted, certified and compared like that of any program, and a float layer, whose
    results differ in their last bits from one machine to the next, is in none of it.

    Attributes:
        nodes: every node after all it reads.
        inputs, outputs: names of nodes.
        name: of the model.
        kept: the layers in float, in the model's order.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    name: str = "model"
    kept: tuple[Kept, ...] = ()

    @cached_property
    def entries(self) -> tuple[str, ...]:
        """The inputs that float layers give."""
        given = {name for kept in self.kept for name in kept.gives}
        return tuple(name for name in self.inputs if name in given)

    @cached_property
    def exits(self) -> tuple[str, ...]:
        """The nodes with codes that float layers read."""
        real = {node.name for node in self.nodes if isinstance(node.op, Input)}
        return tuple(dict.fromkeys(name for kept in self.kept for name in kept.reads if name not in real))

    @cached_property
    def minifloats(self) -> tuple[str, ...]:
        """Paths of the layers that quantize data to minifloats. Those of weights are constants like any."""
        quantizers = ((node.layer, node.op) for node in self.nodes if isinstance(node.op, Quantize))
        return tuple(dict.fromkeys(layer for layer, op in quantizers if op.digits is not None))

    @property
    def model_inputs(self) -> tuple[str, ...]:
        """The inputs of the model itself."""
        return self.inputs[: len(self.inputs) - len(self.entries)]

    @property
    def model_outputs(self) -> tuple[str, ...]:
        """The outputs of the model itself."""
        return self.outputs[: len(self.outputs) - len(self.exits)]

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
