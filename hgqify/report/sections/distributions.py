"""Histograms of widths and weights, and formats against the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hgqify.report.charts.formats import format_ruler
from hgqify.report.charts.histograms import value_histogram, width_histogram
from hgqify.report.markup import Html, joined, tag
from hgqify.report.numbers import percent, whole
from hgqify.report.sections.section import Data, Section, key

_MOST = 60
"""Layers shown each by itself, those with the most EBOPs; the others are in report.json."""


def widths(data: Data) -> Section | None:
    """Widths of the whole model, then weights and widths layer by layer."""
    entries = [layer for layer in data["layers"] if layer["weight_widths"]]
    if not entries:
        return None
    shown = {e["layer"] for e in sorted(entries, key=lambda e: -e["ebops"])[:_MOST]}
    whole_model = [
        (title, _summed(layer[name] for layer in data["layers"]))
        for title, name in (("all weights", "weight_widths"), ("all inputs of layers", "input_widths"))
    ]
    left = len(entries) - len(shown)
    content = joined(
        tag(
            "div",
            (
                _figure(
                    f"Bits of {title}", _count(counts), width_histogram(counts, what=title, size=(520, 170))
                )
                for title, counts in whole_model
                if counts
            ),
            class_="pair",
        ),
        tag("h3", "Weights, layer by layer"),
        key(
            ("float", "float weights"),
            ("quantized", "quantized weights and their widths in bits; heights of values as square roots"),
        ),
        tag("div", (_layer(layer) for layer in entries if layer["layer"] in shown), class_="grid"),
        tag("p", f"{left} more layers are in report.json.", class_="muted") if left > 0 else None,
    )
    return Section(name="widths", title="Widths and weights", content=content)


def _layer(layer: Mapping[str, Any]) -> Html:
    name, values = layer["layer"], layer["weight_values"]
    counts = layer["weight_widths"]
    total = sum(number for _, number in counts)
    facts = f"{layer['kind']} · {whole(total)} weights" + (
        f" · {percent(layer['zeros'], 1)} zero" if layer["zeros"] is not None else ""
    )
    pictures = []
    if values is not None:
        pictures.append(
            value_histogram(
                values["high"],
                values["counts"],
                values["float_counts"],
                what=f"weights of {name}",
                size=(185, 110),
            )
        )
    pictures.append(width_histogram(counts, what=f"weights of {name}", size=(170, 110)))
    return _figure(name, facts, joined(pictures), class_="layer")


def _figure(title: str, facts: str, picture: Html, class_: str | None = None) -> Html:
    caption = tag("figcaption", tag("strong", title), " ", tag("span", facts, class_="muted"))
    return tag("figure", caption, picture, class_=class_)


def _summed(parts: Iterable[Iterable[tuple[int, int]]]) -> list[tuple[int, int]]:
    total: dict[int, int] = {}
    for pairs in parts:
        for bits, number in pairs:
            total[bits] = total.get(bits, 0) + number
    return sorted(total.items())


def _count(counts: list[tuple[int, int]]) -> str:
    total = sum(number for _, number in counts)
    mean = sum(bits * number for bits, number in counts) / total
    return f"{whole(total)}, mean {mean:.2f} bits"


def ranges(data: Data) -> Section | None:
    """Formats of activations and what the data reached, and every quantizer's overflow where one can wrap."""
    sites = [s for s in data["calibration"].get("sites", ()) if None not in (s["low"], s["high"])]
    if not sites:
        return None
    shown = sites[:_MOST]
    hidden = len(sites) - len(shown)
    content = joined(
        tag(
            "p",
            "The bits of each format by their weight, sign not drawn. A line marks the largest magnitude in "
            f"the {whole(data['calibration']['samples'])} calibration samples: right of the bits, values "
            "beyond the range saturate or wrap; room between line and end is unused.",
        ),
        key(
            ("quantized", "bits of all elements"),
            ("some", "bits of some elements"),
            ("reach", "largest value seen"),
            ("beyond", "beyond the range"),
        ),
        tag("div", format_ruler(shown), class_="scroll"),
        tag("p", f"{hidden} more are in report.json.", class_="muted") if hidden else None,
    )
    return Section(name="ranges", title="Activation ranges", content=content)
