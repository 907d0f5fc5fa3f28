"""Give integer model inputs the type the layers compute in."""

import keras

from hgqify.graph.model import CUSTOM_PREFIX, INPUT, Graph, Node
from hgqify.graph.passes.base import Pass, PassResult

# These look their input up or compare it: for them an integer is a key, not a number.
_KEYED = frozenset({"CategoryEncoding", "Discretization", "HashedCrossing", "Hashing", "IntegerLookup"})


class FloatInputs(Pass):
    """uint8 images and other integer inputs -> float32, which holds the same values up to 2^24."""

    name = "float-inputs"

    def run(self, graph: Graph) -> PassResult:
        """Retype every numeric model input."""
        replacements, events = {}, []
        for node in graph:
            if node.kind == INPUT and _is_integer(node) and not _is_keyed(graph, node):
                replacements[node.name] = (node.with_(config={**node.config, "dtype": "float32"}),)
                events.append(self.event(node, "retyped", f"{node.config['dtype']} input as float32"))
        return self.result(graph, replacements, {}, events)


def _is_integer(node: Node) -> bool:
    return keras.backend.is_int_dtype(node.config["dtype"])


def _is_keyed(graph: Graph, node: Node) -> bool:
    kinds = [consumer.kind for consumer in graph.consumers(node.name)]
    return any(kind in _KEYED or kind.startswith(CUSTOM_PREFIX) for kind in kinds)
