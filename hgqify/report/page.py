"""The whole page: one file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from hgqify.report.markup import Html, tag
from hgqify.report.sections import Data, sections
from hgqify.report.sections.headline import headline


def page(data: Data) -> str:
    """A report as one HTML file.

    Args:
        data: as `Report.to_dict` gives it and `schema.validated` has seen it. Everything in it is escaped,
            and the page forbids the browser all scripts but its own, and the network.
    """
    style, script = (files("hgqify.report").joinpath(name).read_text() for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    found = list(sections(data))
    links = (tag("a", section.title, href=f"#{section.name}") for section in found)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content=f"hgqify {data['version']}"),
        tag("title", f"{data['model']} · hgqify report"),
        tag("style", Html(style)),
    )
    body = tag(
        "body",
        tag("main", headline(data), tag("nav", links), (section.markup() for section in found)),
        tag("script", Html(script)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"
