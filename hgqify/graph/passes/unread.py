"""What nobody reads any more once some nodes are gone."""

from __future__ import annotations

from collections.abc import Iterable

from hgqify.graph.model import INPUT, Graph


def unread(graph: Graph, gone: Iterable[str]) -> set[str]:
    """Nodes that go, and those that only they read; model inputs and outputs stay."""
    found = set(gone)
    for node in reversed(graph.nodes):
        readers = graph.consumers(node.name)
        stays = node.kind == INPUT or node.name in graph.outputs
        if readers and not stays and all(reader.name in found for reader in readers):
            found.add(node.name)
    return found
