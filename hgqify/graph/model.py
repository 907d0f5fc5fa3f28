"""The graph: a small immutable picture of a Keras model that passes rewrite.

A `Graph` is a list of `Node`s in topological order. A node stands for one call of one Keras layer (or
operation), has one output tensor and carries everything needed to build that layer again: kind, config
and weights. Passes never change a node in place; they make a new graph with `Graph.rewrite`.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

INPUT = "InputLayer"
"""Kind of a model input."""

SELECT = "SelectOutput"
"""Kind of a node that picks output `config['index']` of a layer with several outputs."""

OPERATION_PREFIX = "ops."
"""Kinds of Keras operations (`keras.ops.add` -> 'ops.Add') start with this; layers' kinds do not."""

CUSTOM_PREFIX = "custom."
"""Kinds of layers whose class is not part of Keras start with this ('custom.TransformerBlock')."""


@dataclasses.dataclass(frozen=True)
class Ref:
    """Placeholder for input number `index` of a node, inside a `Call`."""

    index: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """How a layer is called, where that is not simply `layer(x)` or `layer([x, y, ...])`.

    Attributes:
        args: positional arguments, nested structures of constants and `Ref`s.
        kwargs: keyword arguments, likewise.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One call of one layer.

    Attributes:
        name: path of the layer in the original model, such as 'block/conv1'; 'conv1@2' is the second
            call of a shared layer; layers a pass split off append their part ('dense/relu').
        kind: class name in `keras.layers` ('Conv2D'), 'InputLayer', 'ops.<Name>' for a Keras operation,
            'custom.<Name>' for any other layer class.
        config: the layer's `get_config()` without name, dtype and initial values of the weights.
        weights: float weights by name ('kernel', 'bias'), read-only arrays.
        inputs: names of the nodes whose outputs this one takes; a name may occur twice.
        shape: shape of the output without the batch dimension.
        shared: a key equal for all calls of one layer, None for a layer called once.
        origin: paths of the original layers this node stems from, in the order they were merged.
        call: the call's arguments, None for `layer(x)` (one input) and `layer([x, y])` (several).
        source: the layer or operation class, for kinds not in `keras.layers`.
        outputs: number of tensors the layer returns; above one, consumers are 'SelectOutput' nodes.
        layer: unique Keras name of the layer; empty until `build` assigns it.
        closed: why a layer with code of its own was not opened into the operations it calls.
    """

    name: str
    kind: str
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    weights: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    shared: str | None = None
    origin: tuple[str, ...] = ()
    call: Call | None = None
    source: type | None = None
    outputs: int = 1
    layer: str = ""
    closed: str = ""

    def __post_init__(self) -> None:
        weights = {key: _read_only(value) for key, value in self.weights.items()}
        object.__setattr__(self, "weights", MappingProxyType(weights))
        object.__setattr__(self, "config", MappingProxyType(dict(self.config)))
        object.__setattr__(self, "inputs", tuple(self.inputs))
        object.__setattr__(self, "shape", tuple(self.shape))
        if not self.origin:
            object.__setattr__(self, "origin", (self.name,))

    def with_(self, **changes: Any) -> "Node":
        """A copy with some attributes changed."""
        return dataclasses.replace(self, **changes)

    @property
    def is_plain(self) -> bool:
        """Whether the layer is called once, without extra arguments, and returns one tensor."""
        return self.shared is None and self.call is None and self.outputs == 1


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """A model as nodes in topological order.

    Attributes:
        nodes: every node after all nodes it takes inputs from.
        input_structure: the structure the model is called with (one tensor, list, dict, nested), with
            node names as leaves.
        output_structure: the structure the model returns, likewise; a name may occur twice.
        name: the model's name.
        borrowed: of a model as read, the weights that several layers have in common
            (`hgqify.graph.borrowed.Borrowed`); a rewritten graph has none.
    """

    nodes: tuple[Node, ...]
    input_structure: Any
    output_structure: Any
    name: str = "model"
    borrowed: tuple[Any, ...] = ()

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input nodes, in the flat order of `input_structure`."""
        return tuple(keras.tree.flatten(self.input_structure))

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names of the nodes that are model outputs, in the flat order of `output_structure`."""
        return tuple(keras.tree.flatten(self.output_structure))

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        """Nodes by name."""
        return MappingProxyType({node.name: node for node in self.nodes})

    @cached_property
    def _consumers(self) -> Mapping[str, tuple[Node, ...]]:
        found: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in node.inputs:
                found[name].append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, name: str) -> Node:
        return self.by_name[name]

    def consumers(self, name: str) -> tuple[Node, ...]:
        """Nodes that take the output of `name`, once per use (twice for `x + x`)."""
        return self._consumers[name]

    def only_consumer(self, name: str) -> Node | None:
        """The node that alone takes the output of `name`; None if several do or it is a model output."""
        consumers = self._consumers[name]
        return consumers[0] if len(consumers) == 1 and name not in self.outputs else None

    def rewrite(
        self,
        replacements: Mapping[str, Sequence[Node]],
        redirect: Mapping[str, str] | None = None,
    ) -> "Graph":
        """A graph with nodes replaced, and their consumers connected anew.

        Args:
            replacements: node name -> the nodes that take its place, in order; empty removes it.
            redirect: node name -> the node its consumers (and the model's outputs) take instead. May
                chain. Connections among the replacements of one node stay as given.

        Raises:
            ValueError: the result is not a valid graph; a pass that causes this has a defect.
        """
        redirect = dict(redirect or {})

        def target(name: str) -> str:
            while name in redirect:
                name = redirect[name]
            return name

        nodes: list[Node] = []
        for node in self.nodes:
            group = replacements.get(node.name, (node,))
            within = {new.name for new in group}
            for new in group:
                inputs = tuple(name if name in within else target(name) for name in new.inputs)
                nodes.append(new if inputs == new.inputs else new.with_(inputs=inputs))
        graph = Graph(
            nodes=tuple(nodes),
            input_structure=self.input_structure,
            output_structure=keras.tree.map_structure(target, self.output_structure),
            name=self.name,
        )
        graph.validate()
        return graph

    def validate(self) -> None:
        """Check names, order, shapes and sharing.

        Raises:
            ValueError: what is inconsistent. Not an `HgqifyError`: only a defective pass causes it.
        """
        seen: dict[str, Node] = {}
        shared: dict[str, Node] = {}
        for node in self.nodes:
            if node.name in seen:
                raise ValueError(f"two nodes are called {node.name!r}")
            missing = [name for name in node.inputs if name not in seen]
            if missing:
                raise ValueError(f"node {node.name!r} takes {missing}, which no earlier node produces")
            if (node.kind == INPUT) == bool(node.inputs):
                raise ValueError(f"node {node.name!r} of kind {node.kind} has inputs {node.inputs}")
            if node.shared is not None:
                first = shared.setdefault(node.shared, node)
                if first.kind != node.kind or first.weights.keys() != node.weights.keys():
                    raise ValueError(f"{first.name!r} and {node.name!r} share a layer but differ")
            seen[node.name] = node
        for name in self.inputs:
            if name not in seen or seen[name].kind != INPUT:
                raise ValueError(f"model input {name!r} is not an input node")
        for name in self.outputs:
            if name not in seen:
                raise ValueError(f"model output {name!r} does not exist")


def _read_only(value: np.ndarray) -> np.ndarray:
    array = np.array(value, order="C")
    array.setflags(write=False)
    return array
