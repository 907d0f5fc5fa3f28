"""A trained HGQ2 model as a model of our layers, with the same codes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import keras

from hgqify import layers as q
from hgqify.errors import HgqifyError, UnsupportedLayerError
from hgqify.graph import Graph, float_factory, layer_name, layers_by_path, load_model, read, unique_name
from hgqify.graph.model import INPUT, SELECT
from hgqify.hgq2 import attention, edge_tables, elementwise, linear, peer, recurrent, softmax, tables
from hgqify.hgq2.placed import Apply, Placed, Source
from hgqify.hgq2.walking import rebuilt, refused
from hgqify.precision import default_registry

Importer = Callable[[Source], Apply]


def _importers() -> dict[str, Importer]:
    found: dict[str, Importer] = {
        "Quantizer": elementwise.quantizer,
        "QDense": linear.dense,
        "QDenseT": edge_tables.dense,
        "QBatchNormDense": linear.batchnorm_dense,
        "QEinsumDense": linear.einsum_dense,
        "QEinsumDenseBatchnorm": linear.einsum_dense_batchnorm,
        "QBatchNormalization": linear.batch_normalization,
        "QAdd": elementwise.merge(q.QAdd),
        "QSubtract": elementwise.merge(q.QSubtract),
        "QMultiply": elementwise.merge(q.QMultiply),
        "QMaximum": elementwise.merge(q.QMaximum),
        "QMinimum": elementwise.merge(q.QMinimum),
        "QAveragePow2": elementwise.merge(q.QAveragePow2),
        "QEinsum": elementwise.einsum,
        "QDot": elementwise.dot,
        "QSum": elementwise.total,
        "QMeanPow2": elementwise.total,
        "QUnaryFunctionLUT": tables.unary_function,
        "QAffinedUnaryFunctionLUT": tables.unary_function,
        "QSoftmax": softmax.softmax,
        "QMultiHeadAttention": attention.attention,
        "QLinformerAttention": attention.attention,
        "QSimpleRNN": recurrent.simple_rnn,
        "QGRU": recurrent.gru,
    }
    for rank in (1, 2, 3):
        found[f"QConv{rank}D"] = linear.conv(rank)
    return found | {f"Q{kind}": importer for kind, importer in _pooling().items()}


def _pooling() -> dict[str, Importer]:
    """By the names of Keras."""
    found: dict[str, Importer] = {}
    for rank in (1, 2, 3):
        for mean, word in ((True, "Average"), (False, "Max")):
            for everywhere, extent in ((True, "Global"), (False, "")):
                kind = f"{extent}{word}Pooling{rank}D"
                cls = getattr(q, f"Q{kind}")
                found[kind] = elementwise.pooling(cls, average=mean, everywhere=everywhere)
    return found


IMPORTERS: Mapping[str, Importer] = MappingProxyType(_importers())
"""By class names of HGQ2."""

PLAIN: Mapping[str, Importer] = MappingProxyType(
    {
        **_pooling(),
        **{
            name: elementwise.plain_merge(getattr(q, f"Q{name}"))
            for name in ("Add", "Subtract", "Multiply", "Maximum", "Minimum")
        },
    }
)
"""Layers of Keras that compute; what only moves values stays as it is."""

_REMEDIES = MappingProxyType(
    {
        "QEinsumDenseT": "rebuild it with QDenseT, the only layer of learned tables that is imported",
        "QConvT1D": "rebuild it with QConv1D: of layers made of learned tables only QDenseT is imported",
        "QConvT2D": "rebuild it with QConv2D: of layers made of learned tables only QDenseT is imported",
        "QMultiHeadAttentionT": "rebuild it with QMultiHeadAttention",
        "QLinformerAttentionT": "rebuild it with QLinformerAttention",
    }
)


def import_model(
    model: keras.Model | str | os.PathLike[str],
    *,
    safe_mode: bool = True,
    custom_objects: Mapping[str, Any] | None = None,
) -> keras.Model:
    """Read a trained HGQ2 model, quantizers included, into our layers.

    Every layer computes the same codes; the constants and tables of each are compared with HGQ2's, code for
    code. Layers of Keras that only move values stay. The model given is not changed.

    Equal as far as HGQ2's own float32 is exact: its sums up to 24 bits, and what it rounds up to 22 bits, as
    ``floor(x + 1/2)`` loses the half above. Ours saturates and wraps exactly for every float32.

    Args:
        model: a built model, or a file that `model.save` wrote.
        safe_mode: refuse files that carry Python code.
        custom_objects: classes and functions that the file uses and that are not registered with Keras.

    Returns:
        A functional model of our layers with the same inputs and outputs, not compiled. Attention and softmax
        are the layers they consist of.

    Raises:
        HgqifyError: HGQ2 is not installed.
        ModelLoadError: the file cannot be opened.
        UnsupportedLayerError: some layers have no counterpart; names all of them, each with a remedy.
        BitExactnessError: a constant whose codes differ.
    """
    peer.library()
    if not isinstance(model, keras.Model):
        model = load_model(model, safe_mode=safe_mode, custom_objects=custom_objects)
    graph = read(model, opened=False)
    return rebuilt(graph, _made(graph, layers_by_path(model)))


def _made(graph: Graph, layers: Mapping[str, Any]) -> dict[str, Apply]:
    """What takes the place of each layer, by its path; calls of a shared one find the same.

    Raises:
        UnsupportedLayerError: names all layers that nothing can take the place of.
    """
    made: dict[str, Apply] = {}
    problems: list[HgqifyError] = []
    names: set[str] = set()
    for node in graph:
        path = node.origin[0]
        if node.kind in (INPUT, SELECT) or path in made:
            continue
        shapes = tuple(graph[name].shape for name in node.inputs)
        name = unique_name(layer_name(node), names)
        source = Source(layer=layers.get(path), node=node.with_(layer=name), shapes=shapes)
        try:
            made[path] = _importer(source)(source)
        except HgqifyError as error:
            problems.append(error)
    if problems:
        raise refused(problems, "imported", graph.name)
    return made


def _importer(source: Source) -> Importer:
    node, kind = source.node, peer.class_name(source.layer)
    importer = IMPORTERS.get(kind) if kind else PLAIN.get(node.kind)
    if importer is not None:
        own = importer in (attention.attention, softmax.softmax)  # they read the call themselves
        if not own and (node.call is not None or node.outputs != 1):
            raise UnsupportedLayerError(
                "the layer is called with more than its input tensors",
                where=source.path,
                received=kind or node.kind,
                remedy="call it as layer(x) or layer([x, y, ...])",
            )
        return importer
    moves = source.layer is not None and default_registry().find(type(source.layer)) is not None
    if kind is None and moves and node.call is None:
        return _as_it_is
    name = kind or node.kind
    raise UnsupportedLayerError(
        "nothing of ours computes the same as this layer",
        where=source.path,
        received=name,
        remedy=_REMEDIES.get(
            name, "replace it by a layer of HGQ2, or by one of Keras that only moves values"
        ),
    )


def _as_it_is(source: Source) -> Apply:
    return Placed(float_factory(source.node))
