"""Markup that escapes whatever is not markup: names of layers come from strangers."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any

_VOID = {"meta", "br", "hr", "line", "rect", "path", "circle", "polyline", "col"}
# Characters that no HTML document may hold, as escapes or otherwise, and such as turn text around.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Html(str):
    """Text that is markup already. Only `tag`, `joined` and constants of this package make it."""

    __slots__ = ()


def escaped(text: object) -> Html:
    """Text as markup that shows just that text."""
    if isinstance(text, Html):
        return text
    return Html(html.escape(_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(text)), quote=True))


def joined(*children: Any) -> Html:
    """Children one after the other: markup as it is, None left out, iterables flattened, all else escaped."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Iterable) and not isinstance(child, str):
            parts.append(joined(*child))
        else:
            parts.append(escaped(child))
    return Html("".join(parts))


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """An element.

    Args:
        name: of the element, a constant.
        children: as for `joined`.
        attributes: values are escaped; None and False leave one out, True gives it without a value. A
            trailing underscore is dropped and others become hyphens: ``class_``, ``stroke_width``.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        word = key.rstrip("_").replace("_", "-")
        if isinstance(value, float):
            value = f"{value:.2f}".rstrip("0").rstrip(".")
        parts.append(word if value is True else f'{word}="{escaped(value)}"')
    opening = f"<{' '.join(parts)}>"
    content = joined(*children)
    if name in _VOID and not content:
        # Elements of SVG must be closed even without content; HTML's void ones may look so.
        return Html(f"{opening[:-1]}/>")
    return Html(f"{opening}{content}</{name}>")
