"""A report in a notebook: the headline and the layers that cost most."""

from __future__ import annotations

from hgqify.report.markup import tag
from hgqify.report.sections.headline import small_table
from hgqify.report.sections.layers import compact
from hgqify.report.sections.section import Data

_HEADS = ("layer", "kind", "input bits", "weight bits", "EBOPs", "share", "SQNR dB")


def summary_html(data: Data) -> str:
    """A compact summary. It takes fonts and colours from the notebook, light or dark."""
    pairs = small_table(data)
    facts = (
        tag("tr", tag("th", name, style=_LEFT, scope="row"), tag("td", text, style=_LEFT))
        for name, text in pairs
    )
    rows = compact(data)
    left = sum(1 for layer in data["layers"] if layer["ebops"]) - len(rows)
    head = tag("tr", (tag("th", title, style=_LEFT if n < 2 else _RIGHT) for n, title in enumerate(_HEADS)))
    body = (
        tag("tr", (tag("td", text, style=_LEFT if n < 2 else _RIGHT) for n, text in enumerate(row)))
        for row in rows
    )
    return tag(
        "div",
        tag("strong", data["model"]),
        tag("table", facts, style="margin: 4px 0 8px"),
        tag("table", tag("thead", head), tag("tbody", body)) if rows else None,
        tag("small", f"{left} layers with fewer EBOPs are left out") if left > 0 else None,
        class_="hgqify-summary",
    )


_LEFT = "text-align: left"
_RIGHT = "text-align: right"
