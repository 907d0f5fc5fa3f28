"""A model of our layers as an HGQ2 model, with the same codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import keras

from hgqify import layers as q
from hgqify.errors import HgqifyError, UnsupportedLayerError
from hgqify.graph import Graph, Node, float_factory, layers_by_path, read
from hgqify.graph.model import INPUT
from hgqify.hgq2 import peer, peer_layers, peer_linear, peer_softmax, peer_tables
from hgqify.hgq2.peer_placed import Ours, PeerPlaced
from hgqify.hgq2.placed import Apply
from hgqify.hgq2.walking import rebuilt, refused

Exporter = Callable[[Ours], Apply]


def _exporters() -> dict[type, Exporter]:
    found: dict[type, Exporter] = {
        q.Quantize: peer_layers.quantize,
        q.QActivation: peer_tables.activation,
        q.QAffineActivation: peer_tables.activation,
        q.QBatchNormalization: peer_linear.batch_normalization,
        q.QEinsum: peer_layers.einsum,
        q.QMask: peer_linear.mask,
    }
    linear = (q.QDense, q.QBatchNormDense, q.QEinsumDense, q.QEinsumDenseBatchnorm)
    found |= dict.fromkeys((*linear, q.QConv1D, q.QConv2D, q.QConv3D), peer_linear.linear)
    merges = (q.QAdd, q.QSubtract, q.QMultiply, q.QMaximum, q.QMinimum, q.QAverage, q.QAveragePow2)
    found |= dict.fromkeys(merges, peer_layers.merge)
    found |= dict.fromkeys((q.QSum, q.QMean, q.QMeanPow2), peer_layers.reduction)
    kinds = [f"Q{extent}{word}Pooling" for extent in ("", "Global") for word in ("Max", "Average")]
    pools = [getattr(q, f"{kind}{rank}D") for kind in kinds for rank in (1, 2, 3)]
    return found | dict.fromkeys(pools, peer_layers.pooling)


EXPORTERS: Mapping[type, Exporter] = MappingProxyType(_exporters())
"""By our classes."""

_REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "QDepthwiseConv1D": "HGQ2 has no depthwise convolution: use QConv1D with groups",
        "QDepthwiseConv2D": "HGQ2 has no depthwise convolution: use QConv2D with groups",
        "QBelowMaximum": "it is known in a softmax only, whose sum and product change no entry of its tables",
        "QDenseT": "learned tables are read from HGQ2, and not given back",
        "QEmbedding": "HGQ2 has no embedding: give the vectors as input",
        "KeptFloat": "convert it, or end the model before it",
    }
)


def to_hgq2(model: keras.Model) -> keras.Model:
    """An HGQ2 model that computes what a model of our layers does, formats and weights included.

    Layers of Keras that only move values stay. The constants and tables of every layer are compared with
    ours, code for code. Attention comes as the layers it consists of, with HGQ2's softmax; normalizations
    that are folded in as plain layers. The model given is not changed.

    Args:
        model: of our layers, refreshed (`hgqify.layers.refresh`) if it was trained.

    Returns:
        A functional model with the same inputs and outputs, not compiled, which HGQ2 can train and save. A
        range that wraps follows the data there as here, and never shrinks (``i_decay_speed=0``).

    Raises:
        HgqifyError: HGQ2 is not installed.
        UnsupportedLayerError: some layers have no counterpart; names all of them, each with a remedy.
        BitExactnessError: a constant or table whose codes HGQ2 computes differently.
        PrecisionError: stored constants that are older than the weights.
    """
    peer.library()
    graph = read(model, opened=False)
    layers = layers_by_path(model)
    whole = peer_softmax.find_softmax(graph, layers)
    inner = {name for one in whole for name in one.inner}
    products = {one.product.name: one for one in whole}
    made: dict[str, Apply] = {}
    problems: list[HgqifyError] = []
    for node in graph:
        path = node.origin[0]
        if node.kind == INPUT or node.name in inner or path in made:
            continue
        try:
            if node.name in products:
                made[path] = peer_softmax.softmax(products[node.name], layers)
            else:
                made[path] = _exported(node, layers.get(path))
        except HgqifyError as error:
            problems.append(error)
    if problems:
        raise refused(problems, "exported", graph.name)
    return rebuilt(_joined(graph, products, inner), made)


def _exported(node: Node, layer: Any) -> Apply:
    exporter = EXPORTERS.get(type(layer))
    if exporter is not None and node.call is None:
        return exporter(Ours(layer, node))
    if layer is not None and not isinstance(layer, q.QLayer | q.KeptFloat) and node.call is None:
        return PeerPlaced(float_factory(node.with_(layer=layer.name)))
    name = node.kind.split(".")[-1]
    raise UnsupportedLayerError(
        "HGQ2 has no layer that computes the same",
        where=node.origin[0],
        received=name,
        remedy=_REMEDIES.get(name, "call it as layer(x) or layer([x, y, ...])"),
    )


def _joined(graph: Graph, products: Mapping[str, peer_softmax.Softmax], inner: set[str]) -> Graph:
    """The graph with one node for each softmax."""
    replacements = dict.fromkeys(inner, ())
    joined = {name: (graph[name].with_(inputs=one.first.inputs),) for name, one in products.items()}
    return graph.rewrite({**replacements, **joined}) if products else graph
