"""Lower Dot to a product of two tensors."""

from __future__ import annotations

import string

from hgqify.graph.model import Graph, Node
from hgqify.graph.passes.base import Pass, PassResult
from hgqify.graph.passes.products import einsum_node


class LowerDot(Pass):
    """Dot -> Einsum; with normalization it is left."""

    name = "lower-dot"

    def run(self, graph: Graph) -> PassResult:
        """Lower every Dot that does not normalize."""
        replacements, events = {}, []
        for node in graph:
            if node.kind != "Dot" or node.call is not None:
                continue
            if node.config.get("normalize"):
                events.append(self.event(node, "kept", "it normalizes its inputs"))
                continue
            replacements[node.name] = _lower(graph, node)
            events.append(self.event(node, "lowered", "product of two tensors"))
        return self.result(graph, replacements, {}, events)


def _lower(graph: Graph, node: Node) -> tuple[Node, ...]:
    shapes = [graph[name].shape for name in node.inputs]
    given = node.config["axes"]
    axes = [given, given] if isinstance(given, int) else list(given)
    # Counted with the batch axis, from either end.
    places = [axis % (len(shape) + 1) - 1 for axis, shape in zip(axes, shapes, strict=True)]
    letters = iter(string.ascii_lowercase)
    terms = [[next(letters) for _ in shape] for shape in shapes]
    for term, place in zip(terms, places, strict=True):
        term[place] = "z"
    result = [letter for term in terms for letter in term if letter != "z"]
    equation = f"{''.join(terms[0])},{''.join(terms[1])}->{''.join(result)}"
    inputs = (node.inputs[0], node.inputs[1])
    if result:
        return (einsum_node(node.name, equation, inputs, node.shape, origin=node.origin, shared=node.shared),)
    # Of two vectors Keras makes a vector of one element.
    part = f"{node.name}/product"
    product = einsum_node(part, "az,bz->ab", ("", ""), (1, 1))
    rows = [
        Node(
            name=f"{node.name}/{side}",
            kind="Reshape",
            config={"target_shape": (1, *shape)},
            inputs=(name,),
            shape=(1, *shape),
            origin=node.origin,
        )
        for side, name, shape in zip(("left", "right"), inputs, shapes, strict=True)
    ]
    product = product.with_(inputs=(rows[0].name, rows[1].name), origin=node.origin)
    last = Node(
        name=node.name,
        kind="Reshape",
        config={"target_shape": (1,)},
        inputs=(part,),
        shape=(1,),
        origin=node.origin,
    )
    return (*rows, product, last)
