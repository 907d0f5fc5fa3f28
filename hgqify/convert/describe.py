"""Tell what became of every original layer, from graphs, events and refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hgqify.convert.edges import INPUT, Edges
from hgqify.convert.report import ConversionReport, LayerEntry, Status, merge
from hgqify.convert.rules import Target
from hgqify.convert.structure import QUANTIZE, STRUCTURAL
from hgqify.errors import UnsupportedLayerError
from hgqify.graph import Event, Graph, Node

_GONE = {"removed": Status.REMOVED, "folded": Status.FOLDED}


def describe(
    original: Graph,
    edges: Edges,
    events: Sequence[Event],
    refusals: Mapping[str, UnsupportedLayerError],
    targets: Mapping[str, Target],
    layers: Mapping[str, str],
) -> ConversionReport:
    """The report of a conversion.

    Args:
        original: the graph as read.
        edges: the canonical graph with quantized edges.
        events: what passes did.
        refusals: by name of the node (in `edges.graph`) that has no quantized layer.
        targets: by node name.
        layers: Keras layer name by node name.
    """
    heirs: dict[str, list[Node]] = {}
    for node in edges.graph:
        for path in dict.fromkeys(node.origin):
            heirs.setdefault(path, []).append(node)
    entries = []
    for node in original:
        path = node.origin[0]
        said = [event for event in events if event.layer == path]
        entries.append(_entry(node, heirs.get(path, []), said, refusals, targets, layers))
    return merge(entries)


def _entry(
    node: Node,
    heirs: Sequence[Node],
    events: Sequence[Event],
    refusals: Mapping[str, UnsupportedLayerError],
    targets: Mapping[str, Target],
    layers: Mapping[str, str],
) -> LayerEntry:
    path, kind = node.origin[0], node.kind
    reasons = list(dict.fromkeys(event.reason for event in events))
    for heir in heirs:
        if heir.name in refusals:
            error = refusals[heir.name]
            received = "" if error.received in (None, kind) else f" ({error.received})"
            reason = f"{error.what}{received}"
            if heir.origin[0] != path:
                reason = f"it is one with {heir.origin[0]}: {reason}"
            return LayerEntry(
                layer=path, kind=kind, status=Status.REFUSED, reason=reason, remedy=error.remedy or ""
            )
    gone = [_GONE[event.action] for event in events if event.action in _GONE]
    own = [heir for heir in heirs if heir.origin[0] == path]
    names = ", ".join(dict.fromkeys(layers[heir.name] for heir in heirs if heir.kind != INPUT))
    if gone and (Status.FOLDED in gone or not own):
        return LayerEntry(layer=path, kind=kind, status=gone[-1], reason="; ".join(reasons), target=names)
    # Of layers folded into one, the first gave it its name; the others of its kind stand for it as well.
    own = own or [heir for heir in heirs if heir.kind == kind]
    if not own:
        status = Status.FOLDED if heirs else Status.REMOVED
        return LayerEntry(layer=path, kind=kind, status=status, reason="; ".join(reasons), target=names)
    status = Status.CONVERTED
    if kind == INPUT:
        reasons.append("quantized, saturating")
    elif all(targets[heir.name].keep_float for heir in own):
        status = Status.KEPT
        reasons.append("a rule keeps it float: the model cannot be exported")
    elif all(heir.kind in STRUCTURAL or heir.kind == QUANTIZE for heir in own):
        status = Status.KEPT
        reasons.append("moves values only")
    return LayerEntry(layer=path, kind=kind, status=status, reason="; ".join(reasons), target=names)
