"""Lower Keras operations (`x + y`, `2 * x`, `keras.ops.relu(x)`) to the layers that do the same."""

from hgqify.graph.model import OPERATION_PREFIX, Graph
from hgqify.graph.passes.base import Pass, PassResult
from hgqify.graph.passes.operation_moves import SPLITS, split
from hgqify.graph.passes.operation_rules import RULES


class LowerOperations(Pass):
    """Replace operation nodes by layers; those without an equivalent layer stay as they are."""

    name = "lower-operations"

    def run(self, graph: Graph) -> PassResult:
        """Lower every operation that has an equivalent layer."""
        replacements, events = {}, []
        for node in graph:
            kind = node.kind.removeprefix(OPERATION_PREFIX)
            if kind == node.kind:
                continue
            pieces = split(graph, node) if kind in SPLITS else None
            if pieces is not None:
                replacements |= {node.name: (), **pieces}
                events.append(self.event(node, "lowered", "operation as its pieces"))
            if node.outputs != 1:
                continue
            rule = RULES.get(kind)
            nodes = rule(graph, node) if rule else None
            if nodes:
                replacements[node.name] = nodes
                events.append(self.event(node, "lowered", f"operation as {nodes[-1].kind}"))
        return self.result(graph, replacements, {}, events)
