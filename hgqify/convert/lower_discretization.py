"""Lower Discretization to a table."""

from __future__ import annotations

from hgqify.convert.parts import Parts
from hgqify.graph import Graph, Pass, PassResult
from hgqify.layers import bin_index


class LowerDiscretization(Pass):
    """Discretization(output_mode='int') -> a table with the number of the bin.

    A value that lies closer to a boundary than half the table's step may fall into the bin beside its own.
    """

    name = "lower-discretization"

    def run(self, graph: Graph) -> PassResult:
        """Lower every such layer whose boundaries are known."""
        replacements, events = {}, []
        for node in graph:
            if node.kind != "Discretization" or node.call is not None:
                continue
            boundaries = node.config.get("bin_boundaries")
            if not boundaries or node.config.get("output_mode", "int") != "int":
                continue
            parts = Parts(node)
            parts.shapes[node.inputs[0]] = node.shape
            parts.table("bins", bin_index, node.inputs[0], boundaries=[float(b) for b in boundaries])
            replacements[node.name] = parts.done()
            events.append(self.event(node, "lowered", "a table of bins"))
        return self.result(graph, replacements, {}, events)
