"""Which layers stay in float, and why some cannot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras

from hgqify.convert.edges import INPUT
from hgqify.convert.structure import QUANTIZE, STRUCTURAL
from hgqify.errors import UnsupportedLayerError
from hgqify.graph import Call, Graph, Node, Ref, float_factory
from hgqify.graph.describe import first_line
from hgqify.graph.model import SELECT
from hgqify.layers import KeptFloat
from hgqify.layers.kept import TENSOR

BETWEEN = "moves values between layers that are kept"
_LAMBDA = "__lambda__"


def why_not(node: Node, *, allow_code: bool) -> UnsupportedLayerError | None:
    """Why a node cannot stay in float; None if it can.

    Args:
        node: of the canonical graph.
        allow_code: the user trusts the Python code that the model carries: the result will carry it too.
    """

    def refused(what: str, remedy: str) -> UnsupportedLayerError:
        return UnsupportedLayerError(
            f"it cannot be kept in float: {what}", where=node.name, received=node.kind, remedy=remedy
        )

    if not allow_code and (node.kind == "Lambda" or _holds_code(node.config)):
        return refused(
            "it is Python code, which the converted model would carry and run on loading",
            "write it as a layer class or with keras.ops, or trust it: safe_mode=False (--unsafe)",
        )
    if node.kind == "Masking" or node.config.get("mask_zero"):
        return refused(
            "it hands masks to the layers behind it, which end at a quantizer",
            "remove masks: firmware works on full sequences",
        )
    if node.config.get("stateful"):
        return refused("it has a state from batch to batch", "use stateful=False")
    try:
        float_factory(node)
    except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        return refused(
            f"it cannot be made again from its config ({first_line(error)[:200]})",
            "give it a get_config() that returns its constructor's arguments",
        )
    return None


def _holds_code(value: Any) -> bool:
    if isinstance(value, Mapping):
        return value.get("class_name") == _LAMBDA or any(_holds_code(item) for item in value.values())
    return isinstance(value, list | tuple) and any(_holds_code(item) for item in value)


def between(graph: Graph, kept: Iterable[str]) -> frozenset[str]:
    """Nodes that only move values, read nothing but model inputs and kept layers, and serve kept ones alone.

    There is nothing exact before them nor behind them: they are kept as well.

    Args:
        graph: canonical.
        kept: names of the nodes that stay in float.
    """
    real = set(kept)
    for node in graph:
        moves = node.kind in STRUCTURAL or node.kind == SELECT
        if node.kind == INPUT or (moves and all(name in real for name in node.inputs)):
            real.add(node.name)
    found = set(kept)
    for node in reversed(graph.nodes):
        readers = graph.consumers(node.name)
        if node.kind in STRUCTURAL and node.name in real and readers and node.name not in graph.outputs:
            serves = all(r.name in found or (r.kind == SELECT and r.inputs[0] in found) for r in readers)
            found |= {node.name} if serves else set()
    return frozenset(found - set(kept))


def is_kept_by_rule(node: Node) -> bool:
    """Whether `Rule.keep_float` means this node: the quantizers that a conversion adds are not its matter."""
    return node.kind not in (INPUT, QUANTIZE, SELECT)


def kept_layer(node: Node, name: str) -> KeptFloat:
    """The float layer of a node, marked as such, with its weights still to be assigned.

    Args:
        node: of the canonical graph.
        name: of the layer.

    Raises:
        UnsupportedLayerError: a call with arguments that cannot be written down.
    """
    arguments = None if node.call is None else _written(node, node.call)
    return KeptFloat(float_factory(node.with_(layer=name)), arguments, name=name, dtype="float32")


def _written(node: Node, call: Call) -> dict[str, Any]:
    def written(value: Any) -> Any:
        return {TENSOR: value.index} if isinstance(value, Ref) else value

    arguments = {
        "args": [keras.tree.map_structure(written, argument) for argument in call.args],
        "kwargs": {key: keras.tree.map_structure(written, value) for key, value in call.kwargs.items()},
    }
    try:
        keras.saving.serialize_keras_object(arguments)
    except (TypeError, ValueError) as error:
        raise UnsupportedLayerError(
            "it cannot be kept in float: its call has arguments that cannot be saved",
            where=node.name,
            received=first_line(error),
            remedy="call it with tensors and plain values",
        ) from error
    return arguments
