"""The table of layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hgqify.report.markup import Html, joined, tag
from hgqify.report.numbers import NOTHING, fixed, percent, shape, short, span, whole
from hgqify.report.sections.section import Cell, Column, Data, Section, table


def layers(data: Data) -> Section | None:
    """One row for every quantized layer; a click on a head sorts."""
    entries = data["layers"]
    if not entries:
        return None
    sensitivity = _sensitivity(data)
    total = sum(sensitivity.values())
    columns = [
        Column(title="Layer"),
        Column(title="Kind"),
        Column(title="Output"),
        Column(
            title="Input bits",
            note="width of what is multiplied, sign included: smallest–largest, mean",
            number=True,
        ),
        Column(
            title="Weight bits", note="width of weights, sign included: smallest–largest, mean", number=True
        ),
        Column(title="Zeros", note="share of the weights that are zero", number=True),
        Column(title="EBOPs", note="bits × bits of all multiplications", number=True),
        Column(title="Share", note="of the model's EBOPs", number=True),
        Column(
            title="SQNR dB",
            note="signal to quantization noise at the output against the float model, noise of the layers "
            "before included",
            number=True,
        ),
        Column(
            title="Float32 bits",
            note="bits of significand that the worst operation needs; float32 has 24: up to there Keras is "
            "proved equal to the integers",
            number=True,
        ),
    ]
    if sensitivity:
        column = Column(
            title="Sensitivity",
            note="share of the expected increase of the loss that rounding here causes, "
            "as the bits were allocated",
            number=True,
        )
        columns.insert(9, column)
    certificate = _certificate(data)
    rows = []
    for layer in entries:
        share = layer["ebops"] / data["ebops"] if data["ebops"] else 0.0
        row = [
            tag("code", layer["layer"]),
            layer["kind"],
            tag("span", shape(layer["shape"]), class_="shape"),
            _widths(layer["input_bits"], layer["input_mean"]),
            _widths(layer["weight_bits"], layer["weight_mean"]),
            Cell(content=percent(layer["zeros"], 1), order=layer["zeros"]),
            Cell(content=whole(layer["ebops"]) if layer["ebops"] else NOTHING, order=layer["ebops"]),
            Cell(content=_bar(share) if layer["ebops"] else NOTHING, order=share),
            Cell(content=fixed(layer["sqnr_db"], 1), order=layer["sqnr_db"]),
            _proof(certificate.get(layer["layer"])),
        ]
        if sensitivity:
            part = sensitivity.get(layer["layer"])
            cell = NOTHING if part is None or not total else _bar(part / total)
            row.insert(9, Cell(content=cell, order=part))
        rows.append(row)
    foot = ["all layers", *[""] * 5, whole(data["ebops"]), *[""] * (len(columns) - 7)]
    return Section(name="layers", title="Layers", content=table(columns, rows, foot=foot))


def _widths(ends: Any, mean: float | None) -> Cell:
    text: Any = span(ends)
    if ends is not None and ends[0] != ends[1] and mean is not None:
        text = joined(text, tag("span", f" ø {fixed(mean, 1)}", class_="muted"))
    return Cell(content=text, order=mean)


def _bar(share: float) -> Html:
    return joined(
        tag("span", tag("i", style=f"width:{100 * share:.1f}%"), class_="share"), f"{100 * share:.1f} %"
    )


def _certificate(data: Data) -> dict[str, Mapping[str, Any]]:
    """The entry of each layer that needs the most bits."""
    worst: dict[str, Mapping[str, Any]] = {}
    for entry in data["certificate"]:
        if entry["layer"] not in worst or entry["bits"] > worst[entry["layer"]]["bits"]:
            worst[entry["layer"]] = entry
    return worst


def _proof(entry: Mapping[str, Any] | None) -> Cell:
    if entry is None:
        return Cell(content=NOTHING, order=None)
    if entry["proved"]:
        return Cell(content=joined(tag("span", "✓ ", class_="good"), entry["bits"]), order=entry["bits"])
    text = tag("span", f"{entry['bits']} (+{entry['missing_bits']})", class_="bad", title=entry["remedy"])
    return Cell(content=text, order=entry["bits"])


def _sensitivity(data: Data) -> dict[str, float]:
    """Expected loss by layer, kernel and inputs together; empty where nothing was allocated."""
    found: dict[str, float] = {}
    for part in (data["allocation"] or {}).get("shares", ()):
        if part["loss"] is not None:
            found[part["layer"]] = found.get(part["layer"], 0.0) + part["loss"]
    return found


def compact(data: Data, most: int = 8) -> list[tuple[str, ...]]:
    """The layers with the most EBOPs, as text, for notebooks."""
    entries = sorted((e for e in data["layers"] if e["ebops"]), key=lambda e: -e["ebops"])[:most]
    total = data["ebops"] or 1
    return [
        (
            e["layer"],
            e["kind"],
            span(e["input_bits"]),
            span(e["weight_bits"]),
            short(e["ebops"]),
            percent(e["ebops"] / total, 1),
            fixed(e["sqnr_db"], 1),
        )
        for e in entries
    ]
