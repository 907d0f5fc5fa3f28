"""Tell what became of every original layer, from graphs, events and refusals."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from hgqify.convert.edges import INPUT, Edges
from hgqify.convert.report import ConversionReport, LayerEntry, Status, merge
from hgqify.convert.structure import QUANTIZE, STRUCTURAL
from hgqify.errors import UnsupportedLayerError
from hgqify.graph import Event, Graph, Node
from hgqify.graph.model import SELECT

_GONE = {"removed": Status.REMOVED, "folded": Status.FOLDED}


def describe(
    original: Graph,
    edges: Edges,
    events: Sequence[Event],
    refusals: Mapping[str, UnsupportedLayerError],
    kept: Mapping[str, str],
    layers: Mapping[str, str],
) -> ConversionReport:
    """The report of a conversion.

    Args:
        original: the graph as read.
        edges: the canonical graph with quantized edges.
        events: what passes did.
        refusals: by name of the node (in `edges.graph`) that has no quantized layer.
        kept: by name of the node that stays in float: why.
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
        entries.append(_entry(node, heirs.get(path, []), said, refusals, kept, layers))
    return _with_borrowed(merge(entries), original)


def _with_borrowed(report: ConversionReport, original: Graph) -> ConversionReport:
    """With a word on every weight that becomes a copy."""
    told: dict[str, list[str]] = {}
    for one in original.borrowed:
        told.setdefault(one.layer, []).append(str(one))
    entries = tuple(
        dataclasses.replace(e, reason="; ".join([*filter(None, [e.reason]), *told[e.layer]]))
        if e.layer in told
        else e
        for e in report.entries
    )
    notes = tuple(f"{one.layer}: {one}" for one in original.borrowed)
    return ConversionReport(entries=entries, notes=notes)


def _entry(
    node: Node,
    heirs: Sequence[Node],
    events: Sequence[Event],
    refusals: Mapping[str, UnsupportedLayerError],
    kept: Mapping[str, str],
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
    names = ", ".join(dict.fromkeys(layers[heir.name] for heir in heirs if heir.kind not in (INPUT, SELECT)))
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
    elif floating := [heir for heir in own if heir.name in kept]:
        status = Status.FLOAT
        parts = [heir for heir in own if heir.name not in kept and heir.kind not in (QUANTIZE, SELECT)]
        which = f"{', '.join(layers[heir.name] for heir in floating)}: " if parts else ""
        reasons.append(f"{which}{'; '.join(dict.fromkeys(kept[heir.name] for heir in floating))}")
    elif all(heir.kind in STRUCTURAL or heir.kind == QUANTIZE for heir in own):
        status = Status.KEPT
        reasons.append("moves values only")
    return LayerEntry(layer=path, kind=kind, status=status, reason="; ".join(reasons), target=names)
