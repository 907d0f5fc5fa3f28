"""A Keras model as an immutable graph: load, read, rewrite by passes, build again."""

from hgqify.graph.build import assign_weights, build, float_factory, layer_name, unique_name
from hgqify.graph.canonical import canonicalize, default_passes
from hgqify.graph.channels import FIXED, Channels, find_channels, layer_key, shifted
from hgqify.graph.first import first_trained
from hgqify.graph.interface import with_inputs
from hgqify.graph.load import load_model
from hgqify.graph.model import Call, Graph, Node, Ref
from hgqify.graph.passes import Event, Pass, PassResult, why_not_unrolled
from hgqify.graph.paths import layers_by_path
from hgqify.graph.read import read
from hgqify.graph.walk import walk

__all__ = [
    "FIXED",
    "Call",
    "Channels",
    "Event",
    "Graph",
    "Node",
    "Pass",
    "PassResult",
    "Ref",
    "assign_weights",
    "build",
    "canonicalize",
    "default_passes",
    "find_channels",
    "first_trained",
    "float_factory",
    "layer_key",
    "layer_name",
    "layers_by_path",
    "load_model",
    "read",
    "shifted",
    "unique_name",
    "walk",
    "why_not_unrolled",
    "with_inputs",
]
