"""What a handler may ask while it prints one node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hgqify.export.backends import Backend
from hgqify.export.plan import Plan
from hgqify.export.spec import LayerSpec
from hgqify.export.types import HlsType
from hgqify.precision.program import Node


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """A plan, the backend, the hls4ml tensor that holds each node's value, and the names that nodes have."""

    plan: Plan
    backend: Backend
    tensors: Mapping[str, str]
    taken: frozenset[str] = frozenset()

    def apart(self, name: str) -> str:
        """The name of a layer beside a node's own: as wished, or longer where another node has it."""
        while name in self.taken:
            name += "_"
        return name

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Shape of a node's output."""
        return self.plan.program.by_name[name].shape

    def type_of(self, name: str) -> HlsType:
        """Type a node's output is stored in."""
        return self.plan.result[name]

    def accumulator(self, node: Node) -> HlsType:
        """Type in which the node adds up; partial sums may wrap, what is seen of the total is right."""
        return self.plan.accumulator[node.name]

    def spec(
        self,
        node: Node,
        kind: str,
        *,
        types: Mapping[str, HlsType] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> LayerSpec:
        """The layer that writes the node's tensor."""
        return LayerSpec(
            name=node.name.lower(),
            kind=kind,
            inputs=tuple(self.tensors[name] for name in node.inputs),
            types={"result": self.type_of(node.name), **(types or {})},
            attributes=dict(attributes or {}),
            node=node.name,
            layer=node.layer,
        )

    def cast(self, node: Node) -> LayerSpec:
        """A layer that only assigns its input to its result type.

        hls4ml removes such a layer when both types are equal, and the tensor is then its input's.
        """
        return self.spec(
            node, "Activation", attributes={"activation": "linear", "n_in": int(np.prod(node.shape))}
        )


def renamed(spec: LayerSpec, **changes: Any) -> LayerSpec:
    """A copy of a spec with some fields changed."""
    return replace(spec, **changes)
