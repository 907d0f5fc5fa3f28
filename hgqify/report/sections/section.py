"""What all sections of the page are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hgqify.report.markup import Html, tag

Data = Mapping[str, Any]
"""A report as `Report.to_dict` gives it."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page.

    Attributes:
        name: of its anchor.
        title: above it, and in the navigation.
        content: below the title.
    """

    name: str
    title: str
    content: Html

    def markup(self) -> Html:
        """The section as an element."""
        return tag("section", tag("h2", self.title), self.content, id=self.name)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        title: of its head.
        note: what it means, shown when pointing at the head.
        number: whether its cells are numbers, set to the right.
    """

    title: str
    note: str = ""
    number: bool = False


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell whose order is not that of its text.

    Attributes:
        content: what is shown.
        order: by which it is sorted; None sorts last.
    """

    content: Any
    order: float | str | None


def table(
    columns: Sequence[Column], rows: Iterable[Sequence[Any]], *, foot: Sequence[Any] | None = None
) -> Html:
    """A table that a click on a head sorts.

    Args:
        columns: heads.
        rows: cells: text, markup, or `Cell`.
        foot: cells of a last row that stays last.
    """
    kinds = ["number" if column.number else None for column in columns]
    head = tag(
        "tr",
        (
            tag("th", column.title, title=column.note or None, class_=kind, scope="col")
            for column, kind in zip(columns, kinds, strict=True)
        ),
    )
    body = tag("tbody", (tag("tr", map(_cell, row, kinds)) for row in rows))
    end = None if foot is None else tag("tfoot", tag("tr", map(_cell, foot, kinds)))
    return tag("div", tag("table", tag("thead", head), body, end, class_="sortable"), class_="scroll")


def _cell(cell: Any, kind: str | None) -> Html:
    if isinstance(cell, Cell):
        order = "" if cell.order is None else cell.order
        return tag("td", cell.content, class_=kind, data_order=order)
    return tag("td", cell, class_=kind)


def key(*entries: tuple[str, str]) -> Html:
    """What colours mean: pairs of a class and a text."""
    return tag("p", (tag("span", tag("i", class_=kind), text) for kind, text in entries), class_="key")
