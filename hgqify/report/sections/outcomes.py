"""Confusion of classes, or residuals."""

from __future__ import annotations

from hgqify.report.charts.curves import Mark, Series, plane
from hgqify.report.charts.histograms import value_histogram
from hgqify.report.charts.matrix import confusion
from hgqify.report.markup import Html, joined, tag
from hgqify.report.numbers import percent, significant, whole
from hgqify.report.sections.section import Cell, Column, Data, Section, key, table


def outcomes(data: Data) -> Section | None:
    """What came out on the data; None where nobody knows."""
    found = data["outcomes"]
    if found is None:
        return None
    if found["kind"] == "classes":
        return Section(name="outcomes", title="Classes", content=_classes(data))
    return Section(name="outcomes", title="Residuals", content=_numbers(data))


def _classes(data: Data) -> Html:
    found = data["outcomes"]
    labelled = found["against"] == "labels"
    rows = "label" if labelled else "class of the float model"
    counts = found["quantized"]
    samples = sum(map(sum, counts))
    told = (
        f"{whole(samples)} samples of {data['quality']['data']}. Shades are shares of a row; errors are "
        "shaded stronger, by the root of their share."
    )
    matrix = confusion(counts, rows=rows, columns="class of the quantized model")
    side = table(*_per_class(counts, found.get("float"))) if labelled else None
    return joined(tag("p", told), tag("div", tag("div", matrix, class_="scroll"), side, class_="pair"))


def _per_class(
    counts: list[list[int]], floats: list[list[int]] | None
) -> tuple[list[Column], list[list[object]]]:
    """Accuracy of every class."""
    columns = [
        Column(title="Class", number=True),
        Column(title="Samples", number=True),
        *(
            [Column(title="Float", note="share of the class that the float model finds", number=True)]
            if floats
            else []
        ),
        Column(title="Quantized", note="share of the class that the quantized model finds", number=True),
    ]
    rows: list[list[object]] = []
    for n, row in enumerate(counts):
        total = sum(row)
        shares = [
            Cell(
                content=percent(c[n][n] / total, 1) if total else percent(None),
                order=c[n][n] / total if total else None,
            )
            for c in ([floats, counts] if floats else [counts])
        ]
        rows.append([Cell(content=n, order=n), Cell(content=whole(total), order=total), *shares])
    return columns, rows


def _numbers(data: Data) -> Html:
    found = data["outcomes"]
    labelled = found["against"] == "labels"
    what = "output − label" if labelled else "quantized − float output"
    parts = []
    if labelled:
        parts.append(
            key(
                ("float", f"float model, rms {significant(found['float_rms'], 4)}"),
                ("quantized", f"quantized model, rms {significant(found['rms'], 4)}"),
            )
        )
    else:
        parts.append(tag("p", f"Root mean square {significant(found['rms'], 4)}."))
    histogram = value_histogram(
        found["high"],
        found["counts"],
        found["float_counts"] if labelled else None,
        what=what,
        size=(540, 300),
    )
    series = [Series(points=[(t, a) for t, _, a in found["points"]], colour="quantized", radius=2)]
    if labelled:
        series.insert(0, Series(points=[(t, b) for t, b, _ in found["points"]], colour="float", radius=2))
    scatter = plane(
        series,
        description=f"{what} against the {'label' if labelled else 'float output'}",
        x_title="label" if labelled else "float output",
        y_title=what,
        marks=[Mark(at=0.0, text="")],
    )
    caption = tag(
        "p", f"Histogram of {what} (heights as square roots), and {what} of {len(found['points'])} elements."
    )
    return joined(parts, caption, tag("div", histogram, scatter, class_="pair"))
