"""A Keras model as an immutable graph: load, read, rewrite by passes, build again."""

from hgqify.graph.build import assign_weights, build, float_factory, layer_name
from hgqify.graph.model import Call, Graph, Node, Ref
from hgqify.graph.read import read

__all__ = [
    "Call",
    "Graph",
    "Node",
    "Ref",
    "assign_weights",
    "build",
    "float_factory",
    "layer_name",
    "read",
]
