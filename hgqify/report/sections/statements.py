"""What became of every layer, what was compared, what can overflow, and how to do it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hgqify.report.markup import Html, joined, tag
from hgqify.report.numbers import NOTHING, fixed, percent, seconds, significant, whole
from hgqify.report.sections.section import Cell, Column, Data, Section, table

_STATUS = {
    "converted": "good",
    "kept": "plain",
    "kept float": "plain",
    "removed": "plain",
    "folded": "plain",
    "refused": "bad",
}


def conversion(data: Data) -> Section | None:
    """Every layer of the float model, with reasons."""
    entries = data["conversion"]
    if not entries:
        return None
    counts: dict[str, int] = {}
    for entry in entries:
        counts[entry["status"]] = counts.get(entry["status"], 0) + 1
    rows = [
        [
            tag("code", entry["layer"]),
            entry["kind"],
            tag("span", entry["status"], class_=f"pill {_STATUS.get(entry['status'], 'plain')}"),
            tag("code", entry["target"]) if entry["target"] and entry["target"] != entry["layer"] else "",
            "; ".join(text for text in (entry["reason"], entry["remedy"]) if text),
        ]
        for entry in entries
    ]
    columns = [
        Column(title=title) for title in ("Layer of the float model", "Kind", "Status", "Becomes", "Reason")
    ]
    told = ", ".join(f"{count} {status}" for status, count in counts.items())
    return Section(
        name="conversion", title="Conversion", content=joined(tag("p", f"{told}."), table(columns, rows))
    )


def exactness(data: Data) -> Section:
    """The comparisons, and operations without proof."""
    parts: list[Html] = []
    check = data["check"]
    if check is None:
        text = "Not compared yet. hgqify check RESULT compares Keras, the integer reference and C simulation."
        parts.append(tag("p", text))
    else:
        parts.append(_comparisons(check))
    open_ = [entry for entry in data["certificate"] if not entry["proved"]]
    if open_:
        columns = [
            Column(title="Layer"),
            Column(title="Operation"),
            Column(title="Bits needed", number=True),
            Column(title="Missing", number=True),
            Column(title="Remedy"),
        ]
        rows = [
            [tag("code", e["layer"]), e["operation"], e["bits"], e["missing_bits"], e["remedy"]]
            for e in open_
        ]
        parts += [tag("h3", "Operations without proof in float32"), table(columns, rows)]
    else:
        count = len(data["certificate"])
        parts.append(
            tag(
                "p",
                f"For each of the {count} operations every partial sum, in any order, is proved to fit the "
                "24 bits of a float32 significand: Keras gives the integers for every input.",
            )
        )
    parts.append(_overflow(data))
    return Section(name="exactness", title="Exactness and overflow", content=joined(parts))


def _comparisons(check: Mapping[str, Any]) -> Html:
    columns = [
        Column(title="Compared"),
        Column(title="On"),
        Column(title="Samples", number=True),
        Column(title="Codes", number=True),
        Column(title="Differing", number=True),
    ]
    rows = []
    for one in check["comparisons"]:
        samples = whole(one["samples"]) + ("" if one["unit"] == "samples" else f" {one['unit']}")
        differing = tag("strong", whole(one["differing"]), class_="bad" if one["differing"] else "good")
        rows.append(
            [
                f"{one['what']} = {one['reference']}",
                one["inputs"] or NOTHING,
                samples,
                whole(one["codes"]),
                differing,
            ]
        )
    notes = tag("ul", (tag("li", note) for note in check["notes"])) if check["notes"] else None
    return joined(table(columns, rows), notes)


def _overflow(data: Data) -> Html:
    quantizers = data["overflow"]["quantizers"]
    wrapping = [q for q in quantizers if not str(q["overflow"]).startswith("SAT")]
    if not wrapping:
        return tag("p", f"All {len(quantizers)} quantizers saturate: nothing wraps around.")
    columns = [
        Column(title="Quantizer"),
        Column(title="Overflow"),
        Column(title="Status"),
        Column(
            title="Spare bits",
            note="integer bits more than the bounds need; − missing for a proof",
            number=True,
        ),
        Column(
            title="Margin", note="bits between the largest value seen and the end of the range", number=True
        ),
        Column(title="Beyond the range", number=True),
    ]
    kinds = {"proved": "good", "observed": "plain", "overflowing": "bad", "open": "plain"}
    rows = []
    for q in wrapping:
        seen = f"{whole(q['overflowing'])} of {whole(q['values'])}" if q["values"] else NOTHING
        rows.append(
            [
                tag("code", q["name"]),
                q["overflow"],
                tag("span", q["status"], class_=f"pill {kinds.get(q['status'], 'plain')}"),
                Cell(content=fixed(q["spare_bits"], 0), order=q["spare_bits"]),
                Cell(content=fixed(q["margin"], 1), order=q["margin"]),
                Cell(content=seen, order=q["overflowing"]),
            ]
        )
    told = f"{len(wrapping)} of {len(quantizers)} quantizers wrap around; the others saturate."
    return joined(tag("h3", "Overflow"), tag("p", told), table(columns, rows))


def reproduction(data: Data) -> Section:
    """Command, seed, versions, settings and times."""
    command = data["command"]
    settings = data["settings"]
    parts: list[Any] = []
    if command:
        parts.append(tag("pre", command))
    else:
        parts.append(tag("p", "This result was made in Python; its settings are below."))
    again = "hgqify MODEL --config config.toml -o AGAIN"
    parts.append(
        tag("p", "All settings are in config.toml beside this page: ", tag("code", again), " makes it again.")
    )
    facts = [("seed", settings.get("seed")), *data["versions"].items()]
    parts.append(
        tag(
            "dl",
            (tag("div", tag("dt", name), tag("dd", str(value))) for name, value in facts),
            class_="facts",
        )
    )
    parts.append(_times(data["seconds"]))
    parts.append(tag("details", tag("summary", "All settings"), _settings(settings)))
    return Section(name="reproduction", title="Reproduction", content=joined(parts))


def _times(stages: Mapping[str, float]) -> Html | None:
    total = sum(stages.values())
    if not total:
        return None
    rows = [
        [
            stage,
            Cell(content=seconds(time), order=time),
            Cell(
                content=joined(
                    tag("span", tag("i", style=f"width:{100 * time / total:.1f}%"), class_="share"),
                    percent(time / total, 1),
                ),
                order=time,
            ),
        ]
        for stage, time in stages.items()
    ]
    columns = [Column(title="Stage"), Column(title="Time", number=True), Column(title="Share", number=True)]
    return joined(tag("h3", "Time"), table(columns, rows))


def _settings(settings: Mapping[str, Any]) -> Html:
    rows: list[list[Any]] = []
    for name, value in settings.items():
        inner = value.items() if isinstance(value, Mapping) else ()
        if inner:
            rows += [[tag("code", f"{name}.{key}"), tag("code", _value(v))] for key, v in inner]
        else:
            rows.append([tag("code", name), tag("code", _value(value))])
    return table([Column(title="Setting"), Column(title="Value")], rows)


def _value(value: Any) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return significant(value, 6)
    return str(value)
