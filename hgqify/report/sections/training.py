"""The Pareto plot and the curves of the fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hgqify.report.charts.curves import Mark, Series, plane
from hgqify.report.markup import Html, joined, tag
from hgqify.report.numbers import fixed, significant, whole
from hgqify.report.sections.section import Column, Data, Section, table


def pareto(data: Data) -> Section | None:
    """EBOPs against quality: points of a sweep, models that the training passed through; None for less."""
    parts = []
    if data["sweep"] is not None and data["sweep"]["points"]:
        parts.append(_sweep(data["sweep"], data["ebops"]))
    looks = [look for look in data["finetune"].get("looks", ()) if None not in (look["ebops"], look["loss"])]
    archive = [entry for entry in data["archive"] if entry["loss"] is not None]
    if len({(e["ebops"], e["loss"]) for e in [*looks, *archive]}) > 1:
        parts.append(_passed(data, looks, archive))
    if not parts:
        return None
    return Section(name="pareto", title="EBOPs against quality", content=joined(parts))


_METRICS = {"accuracy": "accuracy (%)", "agreement": "same class as float (%)", "sqnr": "output SQNR (dB)"}


def _sweep(sweep: Mapping[str, Any], ebops: int) -> Html:
    points = [p for p in sweep["points"] if p["metric"] is not None]
    kinds: dict[str, list[Mapping[str, Any]]] = {"dominated": [], "front": [], "chosen": []}
    for point in sorted(points, key=lambda p: p["ebops"]):
        kinds["front" if point["on_front"] else "dominated"].append(point)
        if point["ebops"] == ebops:
            kinds["chosen"].append(point)
    series = [
        _points(kinds["dominated"], "metric", "dominated", "faint"),
        _points(kinds["front"], "metric", "front", "quantized", line=True),
        _points(kinds["chosen"], "metric", "this result", "chosen", radius=6.5),
    ]
    level = sweep["float_metric"]
    marks = [] if level is None else [Mark(at=level, text=f"float model {level:.2f}")]
    name = _METRICS.get(sweep["metric"], "")
    plot = plane(
        [s for s in series if s.points],
        description=f"Sweep over budgets: {name} against EBOPs, {len(points)} points",
        x_title="EBOPs",
        y_title=name,
        x_log=True,
        marks=marks,
        size=(620, 320),
    )
    told = (
        f"Budgets of one sweep, judged on {whole(sweep['samples'])} samples of {sweep['data']}; chosen: "
        f"{sweep['rule']}."
    )
    return joined(tag("p", told), tag("div", plot, class_="scroll"))


def _points(
    entries: Sequence[Mapping[str, Any]],
    value: str,
    name: str,
    colour: str,
    line: bool = False,
    radius: float = 4,
) -> Series:
    return Series(
        points=[(e["ebops"], e[value]) for e in entries],
        name=name,
        colour=colour,
        line=line,
        radius=radius,
        notes=[_note(e, value) for e in entries],
    )


def _note(entry: Mapping[str, Any], value: str) -> str:
    text = f"{whole(entry['ebops'])} EBOPs, {value} {significant(entry[value], 4)}"
    return text + (f", step {entry['step']}" if "step" in entry else "")


def _passed(data: Data, looks: Sequence[Mapping[str, Any]], archive: Sequence[Mapping[str, Any]]) -> Html:
    front = sorted(archive, key=lambda e: e["ebops"])
    kept = data["finetune"].get("best_step")
    chosen = [e for e in [*front, *looks] if e["step"] == kept][:1]
    values = [e["loss"] for e in [*looks, *front]]
    series = [
        _points(looks, "loss", "seen in training", "faint"),
        _points(front, "loss", "none better", "quantized", line=True),
        _points(chosen, "loss", "this result", "chosen", radius=6.5),
    ]
    target = (data["allocation"] or {}).get("target_ebops")
    plot = plane(
        [s for s in series if s.points],
        description=f"Held-out loss against EBOPs of {len(looks)} models of the training",
        x_title="EBOPs",
        y_title="held-out loss",
        x_log=True,
        y_log=min(values) > 0 and max(values) > 8 * min(values),
        marks=[Mark(at=target, text="budget", vertical=True)] if target else (),
        size=(620, 320),
    )
    columns = [Column(title=t, number=True) for t in ("Step", "EBOPs", "Loss", "Accuracy %", "Same class %")]
    rows = [
        [
            whole(e["step"]),
            whole(e["ebops"]),
            significant(e["loss"], 4),
            fixed(e["accuracy"]),
            fixed(e["agreement"]),
        ]
        for e in front
    ]
    told = tag(
        "p",
        "Models that the training passed through, judged on held-out samples, as they would be deployed. "
        "In Python result.at(ebops) takes another one of them.",
    )
    return joined(told, tag("div", plot, table(columns, rows), class_="pair"))


def training(data: Data) -> Section | None:
    """Loss, EBOPs and accuracy by step; None without fine-tuning."""
    report = data["finetune"]
    losses = [pair for pair in report.get("losses", ()) if pair[1] is not None]
    if not report.get("steps") or len(losses) < 2:
        return None
    stage = report.get("width_steps") or 0
    marks = [Mark(at=report["best_step"], text="kept", vertical=True)]
    if 0 < stage < report["steps"]:
        marks.append(Mark(at=stage, text="widths fixed", vertical=True))
    values = [loss for _, loss in losses]
    plots = [
        plane(
            [Series(points=losses, line=True)],
            description=f"Held-out loss by step, from {values[0]:.4g} to {values[-1]:.4g}",
            x_title="step",
            y_title="held-out loss",
            y_log=min(values) > 0 and max(values) > 8 * min(values),
            marks=marks,
        )
    ]
    looks = report.get("looks", ())
    counted = [(look["step"], look["ebops"]) for look in looks if look["ebops"] is not None]
    if len({ebops for _, ebops in counted}) > 1:
        target = (data["allocation"] or {}).get("target_ebops")
        plots.append(
            plane(
                [Series(points=counted, line=True)],
                description="EBOPs by step",
                x_title="step",
                y_title="EBOPs",
                marks=[Mark(at=target, text="budget")] if target else (),
            )
        )
    judged = [
        Series(
            points=[(look["step"], look[name]) for look in looks if look[name] is not None],
            name=text,
            colour=colour,
            line=True,
        )
        for name, text, colour in (
            ("accuracy", "accuracy", "quantized"),
            ("agreement", "same class as float", "float"),
        )
    ]
    judged = [series for series in judged if series.points]
    if judged:
        plots.append(
            plane(
                judged, description="Accuracy and agreement by step", x_title="step", y_title="% of held-out"
            )
        )
    told = (
        f"{whole(report['samples'])} samples trained on, {whole(report['holdout'])} held out; loss before "
        f"{significant(report['start_loss'], 4)}, of the weights kept {significant(report['loss'], 4)}."
    )
    fallen = report.get("collapses", ())
    lost = f" {len(fallen)} times a layer lost all of its bits, and was given them back." if fallen else ""
    return Section(
        name="training",
        title="Fine-tuning",
        content=joined(tag("p", told, lost), tag("div", plots, class_="pair")),
    )
