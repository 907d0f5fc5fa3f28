"""The graph, with widths on every edge."""

from __future__ import annotations

from hgqify.report.markup import joined, tag
from hgqify.report.numbers import whole
from hgqify.report.picture import draw
from hgqify.report.sections.section import Data, Section, key

_MANY = 60
"""Nodes from which on the picture scrolls in a box of its own."""


def network(data: Data) -> Section | None:
    """The picture; None where the report holds no graph."""
    graph = data["graph"]
    if not graph:
        return None
    if graph["omitted"]:
        count = whole(graph["omitted"])
        text = f"The network has {count} nodes: too many to be drawn. The tables list its layers."
        return Section(name="network", title="Network", content=tag("p", text))
    many = len(graph["nodes"]) > _MANY
    picture = draw(graph, {layer["layer"]: layer for layer in data["layers"]})
    content = joined(
        tag(
            "p",
            "Each box is a layer; the number at an arrow is the width of what arrives, in bits with sign, "
            "from the smallest to the largest element. Point at an arrow for its type.",
        ),
        key(
            ("quantized", "a quantizer sets the width"),
            ("plain", "the exact result of the layer above, nothing rounded"),
            ("cost", "EBOPs, longest bar: most"),
        ),
        tag("div", picture, class_="tall" if many else None, tabindex="0" if many else None),
    )
    return Section(name="network", title="Network", content=content)
