"""A laid-out network as SVG, in parts that flow like columns of a newspaper.

A deep network is a narrow band thousands of pixels long. It is cut between ranks where the fewest edges
cross, and its parts stand side by side: on a screen it needs less scrolling, and on paper no part is torn.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hgqify.report.markup import Html, joined, tag
from hgqify.report.numbers import percent, shape, span, whole
from hgqify.report.picture.layout import Layout, lay_out

_BOX, _HEIGHT, _GAP = 214, 46, 38  # pixels: a node, and between ranks
_PORT = 66  # pixels between two edges that enter a node
_RANKS = 8  # of a part
_REGULAR = 9.2  # pixels of letters that are bold and as wide as those of 11 pixels that are not
_WIDTHS = (
    dict.fromkeys("il.,:;'|!ïI j", 0.4) | dict.fromkeys("_()[]-frt/", 0.52) | dict.fromkeys("mwMW@%", 1.12)
)
_STUB = 9  # pixels of edges below the last rank of a part


@dataclass(frozen=True)
class _Shape:
    """Something drawn, and the box around it."""

    markup: Html
    left: float
    right: float
    top: float
    bottom: float


def draw(graph: Mapping[str, Any], layers: Mapping[str, Mapping[str, Any]]) -> Html:
    """The network of a report.

    Args:
        graph: nodes and edges, see `gather.network`.
        layers: entries of the layer table by name.
    """
    nodes, edges = graph["nodes"], graph["edges"]
    entering: dict[int, list[int]] = {node["id"]: [] for node in nodes}
    for number, edge in enumerate(edges):
        entering[edge["target"]].append(number)
    widths = {n: float(max(_BOX, _PORT * len(found))) for n, found in entering.items()}
    layout = lay_out(widths, [(edge["source"], edge["target"]) for edge in edges])
    total = sum(layer["ebops"] for layer in layers.values())
    most = max((layer["ebops"] for layer in layers.values()), default=0)
    shapes = list(_edges(edges, entering, layout, widths))
    for node in nodes:
        layer = layers.get(node["layer"])
        shapes.append(_node(node, layer, layout, widths[node["id"]], total, most))
    return tag("div", _parts(shapes, layout, edges), class_="network")


def _top(rank: int) -> float:
    return rank * (_HEIGHT + _GAP)


def _node(
    node: Mapping[str, Any],
    layer: Mapping[str, Any] | None,
    layout: Layout,
    width: float,
    total: int,
    most: int,
) -> _Shape:
    left, top = layout.x[node["id"]] - width / 2, _top(layout.rank[node["id"]])
    name = str(node["layer"])
    kind = layer["kind"] if layer is not None else " + ".join(node["operations"])
    ebops = layer["ebops"] if layer is not None else 0
    note = f"{name}: {kind} ({', '.join(node['operations'])}), output {shape(node['shape'])}"
    if ebops:
        note += f"; {whole(ebops)} EBOPs, {percent(ebops / total, 1)} of the model"
    end = node["operations"] in (["Input"], ["Output"])
    parts = [
        tag("title", note),
        tag("rect", x=left, y=top, width=width, height=_HEIGHT, rx=6, class_="box end" if end else "box"),
        tag("text", cut(name, width - 18), x=left + 10, y=top + 18, class_="name"),
        tag(
            "text",
            cut(f"{kind} · {shape(node['shape'])}", width - 18, _REGULAR),
            x=left + 10,
            y=top + 34,
            class_="kind",
        ),
    ]
    if ebops:
        parts.append(
            tag(
                "rect",
                x=left + 10,
                y=top + 39,
                width=max((width - 20) * ebops / most, 1.0),
                height=3,
                class_="cost",
            )
        )
    return _Shape(tag("g", parts), left - 2, left + width + 2, top, top + _HEIGHT)


def cut(text: str, room: float, size: float = 12.0) -> str:
    """As much of a text as fits.

    Args:
        text: of the normal or bold face.
        room: in pixels.
        size: of the letters, in pixels. Of fonts in use, DejaVu Sans Bold is about the widest.
    """
    taken, end = 0.0, 0
    widths = [
        size * _WIDTHS.get(letter, 0.72 if letter.islower() or letter.isdigit() else 0.85) for letter in text
    ]
    if sum(widths) <= room:
        return text
    while end < len(text) and taken + widths[end] <= room - size:
        taken += widths[end]
        end += 1
    return f"{text[:end]}…"


def _edges(
    edges: Sequence[Mapping[str, Any]],
    entering: Mapping[int, Sequence[int]],
    layout: Layout,
    widths: Mapping[int, float],
) -> itertools.chain[_Shape]:
    ports: dict[int, float] = {}
    for target, numbers in entering.items():
        came = sorted(
            numbers, key=lambda n: layout.bends[n][-1] if layout.bends[n] else layout.x[edges[n]["source"]]
        )
        for position, number in enumerate(came, start=1):
            step = widths[target] / (len(came) + 1)
            ports[number] = layout.x[target] - widths[target] / 2 + step * position
    return itertools.chain.from_iterable(
        _edge(edge, layout, layout.bends[number], ports[number]) for number, edge in enumerate(edges)
    )


def _edge(edge: Mapping[str, Any], layout: Layout, bends: Sequence[float], port: float) -> list[_Shape]:
    """One shape for each rank it passes, so that no part draws more than it shows."""
    start, end = layout.rank[edge["source"]], layout.rank[edge["target"]]
    kind = " quantized" if edge["format"] else ""
    note = tag("title", edge_note(edge))
    shapes = []
    xs = [layout.x[edge["source"]], *bends, port]
    for rank, (a, b) in enumerate(itertools.pairwise(xs), start=start):
        top, bottom = _top(rank) + _HEIGHT, _top(rank + 1)
        tip = bottom - 6 if rank + 1 == end else bottom
        bend = (bottom - top) * 0.6
        path = f"M{a:.1f} {top:.1f}C{a:.1f} {top + bend:.1f} {b:.1f} {tip - bend:.1f} {b:.1f} {tip:.1f}"
        if rank + 1 < end:
            path += f"V{bottom + _HEIGHT:.1f}"
            bottom += _HEIGHT
        shapes.append(
            _Shape(
                tag("g", note, tag("path", d=path, class_=f"edge{kind}")),
                min(a, b) - 4,
                max(a, b) + 2,
                top,
                bottom,
            )
        )
        if rank + 1 == end:
            head = f"M{b - 4:.1f} {tip - 2:.1f}L{b + 4:.1f} {tip - 2:.1f}L{b:.1f} {bottom:.1f}Z"
            text = edge_text(edge)
            parts = [
                note,
                tag("path", d=head, class_=f"head{kind}"),
                tag("text", text, x=b + 6, y=bottom - 7, class_=f"bits{kind}"),
            ]
            shapes.append(_Shape(tag("g", parts), b - 4, b + 8 + 6.5 * len(text), bottom - 18, bottom))
    return shapes


def edge_text(edge: Mapping[str, Any]) -> str:
    """Widths on an edge, short."""
    if edge["bits"] is None:
        return "real"
    low, _, high = edge["bits"]
    return f"{span((low, high))} bit"


def edge_note(edge: Mapping[str, Any]) -> str:
    """Widths on an edge, in full; with the type's C++ name where there is one type."""
    if edge["bits"] is None:
        return "real numbers"
    low, mean, high = edge["bits"]
    format_ = edge["format"]
    text = f"{span((low, high))} bits" + (f" (mean {mean:.2f})" if low != high else "")
    if format_ is None:
        return f"{text}: what the exact result takes"
    k, i, f = (format_[part] for part in "kif")
    if "digits" in format_:
        digits, low, high = span(format_["digits"]), -f[1], i[1]
        return (
            f"{text}: minifloats of {digits} digits from 2^{low} to 2^{high}, rounding {format_['rounding']}"
        )
    if all(ends[0] == ends[1] for ends in (k, i, f)):
        name = "ap_fixed" if k[0] else "ap_ufixed"
        total, whole_bits = max(k[0] + i[0] + f[0], 0), k[0] + i[0]
        text += f": {name}<{total},{whole_bits},AP_{format_['rounding']},AP_{format_['overflow']}>"
        return text
    return (
        f"{text}: k {span(k)}, i {span(i)}, f {span(f)}, rounding {format_['rounding']}, "
        f"overflow {format_['overflow']}"
    )


def _parts(shapes: Sequence[_Shape], layout: Layout, edges: Sequence[Mapping[str, Any]]) -> Html:
    ranks = max(layout.rank.values()) + 1
    cuts = _cuts(ranks, layout, edges)
    figures = []
    for number, (first, last) in enumerate(itertools.pairwise(cuts), start=1):
        top = _top(first) - (_GAP - _STUB if first else 3)
        bottom = _top(last - 1) + _HEIGHT + (_STUB if last < ranks else 3)
        inside = [s for s in shapes if s.bottom > top + 1 and s.top < bottom - 1]
        left, right = min(s.left for s in inside), max(s.right for s in inside)
        width, height = right - left, bottom - top
        picture = tag(
            "svg",
            (s.markup for s in inside),
            viewBox=f"{left:.0f} {top:.0f} {width:.0f} {height:.0f}",
            width=f"{width:.0f}",
            height=f"{height:.0f}",
            role="img",
            aria_label=f"network, part {number} of {len(cuts) - 1}",
        )
        caption = tag("figcaption", f"part {number} of {len(cuts) - 1}") if len(cuts) > 2 else None
        figures.append(tag("figure", caption, picture))
    return joined(figures)


def _cuts(ranks: int, layout: Layout, edges: Sequence[Mapping[str, Any]]) -> list[int]:
    """First rank of every part, and the number of ranks at last."""
    crossing = [0] * (ranks + 1)
    for edge in edges:
        for rank in range(layout.rank[edge["source"]] + 1, layout.rank[edge["target"]] + 1):
            crossing[rank] += 1
    count = -(-ranks // (_RANKS + 1))
    cuts = [0]
    while (left := ranks - cuts[-1]) > _RANKS + 1:
        aim = cuts[-1] + -(-left // max(count - len(cuts) + 1, 2))
        around = range(max(aim - 2, cuts[-1] + 3), min(aim + 2, ranks - 2) + 1)
        cuts.append(min(around, key=lambda rank: (crossing[rank], abs(rank - aim))))
    return [*cuts, ranks]
