"""The plot of a sweep: EBOPs against the metric."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path

from hgqify.errors import ExportError
from hgqify.files import atomic_write
from hgqify.pareto.front import Metric, SweepPoint

_SIZE = (7.0, 4.5)  # inches
_FRONT, _OTHER, _CHOSEN = "tab:blue", "0.72", "tab:red"


def draw(
    path: str | os.PathLike[str],
    points: Sequence[SweepPoint],
    *,
    metric: Metric,
    float_metric: float | None,
    title: str,
) -> None:
    """Draw the points of a sweep to a file.

    Args:
        path: its suffix says the format: .png, .svg, .pdf.
        points: with front and choice marked.
        metric: of the points.
        float_metric: its value for the float model; None for none.
        title: above the axes.

    Raises:
        ExportError: matplotlib is not installed or does not know the format, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure  # not pyplot, which keeps figures and picks a window system
        from matplotlib.ticker import EngFormatter, NullFormatter
    except ImportError as error:
        raise ExportError(
            "there is no plot without matplotlib", remedy="install it: pip install 'hgqify[plot]'"
        ) from error
    figure = Figure(figsize=_SIZE, layout="constrained")
    kind = Path(path).suffix.lstrip(".").lower()
    if kind not in figure.canvas.get_supported_filetypes():
        raise ExportError("unknown format of a plot", received=str(path), remedy="use .png, .svg or .pdf")
    axes = figure.subplots()
    drawn = sorted((p for p in points if math.isfinite(p.metric)), key=lambda p: p.ebops)
    front = [p for p in drawn if p.on_front]
    others = [p for p in drawn if not p.on_front]
    if float_metric is not None:
        axes.axhline(float_metric, color="0.35", linestyle="--", linewidth=1, label="float model", zorder=1)
    axes.plot(
        [p.ebops for p in front], [p.metric for p in front], "o-", color=_FRONT, label="front", zorder=3
    )
    if others:
        axes.plot(
            [p.ebops for p in others],
            [p.metric for p in others],
            "o",
            color=_OTHER,
            label="dominated",
            zorder=2,
        )
    for point in drawn:
        if point.chosen:
            axes.plot(
                [point.ebops],
                [point.metric],
                "o",
                markersize=13,
                markerfacecolor="none",
                markeredgecolor=_CHOSEN,
                markeredgewidth=2,
                label=f"chosen: {point.ebops:,} EBOPs, {point.metric:.2f} {metric.unit}",
                zorder=4,
            )
    axes.set_xscale("log")
    numbers = EngFormatter(sep="")
    axes.xaxis.set_major_formatter(numbers)
    low, high = axes.get_xlim()
    # Within a decade the powers of ten alone may be none or one.
    axes.xaxis.set_minor_formatter(numbers if high < 10 * low else NullFormatter())
    axes.set_xlabel("EBOPs (bit operations)")
    axes.set_ylabel(f"{metric.title} ({metric.unit})")
    axes.set_title(title, fontsize="medium")
    axes.set_axisbelow(True)
    axes.grid(visible=True, which="major", color="0.9")
    axes.legend(loc="best", fontsize="small")
    content = io.BytesIO()
    figure.savefig(content, format=kind, dpi=150)
    atomic_write(path, content.getvalue())
