"""What a pass is: one rewriting step from graph to graph that reports what it did."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

from hgqify.graph.model import Graph, Node


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """One thing a pass did, or could not do, to a layer.

    Attributes:
        layer: path of the original layer.
        action: what happened, one word ('removed', 'folded', 'split', 'lowered', 'kept').
        reason: one clause that says into what, or why (not).
        pass_name: the pass that reports.
    """

    layer: str
    action: str
    reason: str
    pass_name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class PassResult:
    """A pass's graph, whether it differs from the one given, and what happened."""

    graph: Graph
    modified: bool
    events: tuple[Event, ...] = ()


class Pass(abc.ABC):
    """Base of passes. A pass holds no state between calls and changes no graph in place."""

    name: ClassVar[str]
    """Kebab-case name; agrees with the file and the class."""

    @abc.abstractmethod
    def run(self, graph: Graph) -> PassResult:
        """Rewrite the graph."""

    def __call__(self, graph: Graph) -> PassResult:
        return self.run(graph)

    def event(self, node: Node, action: str, reason: str) -> Event:
        """An event about `node`, under the path of the layer it stems from."""
        return Event(layer=node.origin[0], action=action, reason=reason, pass_name=self.name)

    def result(
        self,
        graph: Graph,
        replacements: Mapping[str, Sequence[Node]],
        redirect: Mapping[str, str],
        events: Sequence[Event],
    ) -> PassResult:
        """Apply replacements (see `Graph.rewrite`) and wrap the outcome."""
        modified = bool(replacements)
        new = graph.rewrite(replacements, redirect) if modified else graph
        return PassResult(graph=new, modified=modified, events=tuple(events))
