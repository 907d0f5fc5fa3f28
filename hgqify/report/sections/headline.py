"""The figures at the top: what was lost, what it costs, and whether it is exact."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hgqify.report.markup import Html, joined, tag
from hgqify.report.numbers import NOTHING, decibel, fixed, percent, seconds, significant, whole
from hgqify.report.sections.section import Data


def verdict(data: Data) -> tuple[str, str, str]:
    """Whether every code is equal: a class ('good', 'bad', 'open'), a word, and a sentence."""
    check = data["check"]
    if check is None:
        return (
            "open",
            "not checked",
            "Keras, the integer reference and C simulation were not compared. Run: hgqify check RESULT",
        )
    codes, differing = (sum(c[name] for c in check["comparisons"]) for name in ("codes", "differing"))
    what = ", ".join(dict.fromkeys(c["what"] for c in check["comparisons"]))
    if check["exact"]:
        return "good", "exact", f"0 of {whole(codes)} codes differ ({what})"
    worst = next(c for c in check["comparisons"] if c["differing"]) if differing else None
    text = f"{whole(differing)} of {whole(codes)} codes differ"
    if worst is not None and worst.get("place"):
        text += f"; first: {worst['place'].get('text', '')}"
    return "bad", "not exact", text


def metric(data: Data) -> tuple[str, str, str, str]:
    """Name, value of the float model, of the quantized one, and what lies between."""
    quality = data["quality"]
    if quality["accuracy"] is not None:
        lost = 100 * (quality["float_accuracy"] - quality["accuracy"])
        between = f"{fixed(abs(lost))} points {'lost' if lost > 0 else 'gained'}" if lost else "nothing lost"
        return "Accuracy", percent(quality["float_accuracy"]), percent(quality["accuracy"]), between
    if quality["rms_error"] is not None:
        before, after = quality["float_rms_error"], quality["rms_error"]
        change = 100 * (after / before - 1) if before else 0.0
        between = f"{fixed(abs(change), 1)} % {'larger' if change > 0 else 'smaller'}"
        return "RMS error", significant(before, 4), significant(after, 4), between if before else ""
    if quality["agreement"] is not None:
        return "Same class as float", "", percent(quality["agreement"]), "no labels were given"
    return "Output SQNR", "", decibel(quality["output_sqnr_db"]), "no labels were given"


def headline(data: Data) -> Html:
    """Title, verdict, cards and notes."""
    kind, word, text = verdict(data)
    made = f"hgqify {data['version']}" + (f" · {_moment(data['created'])}" if data["created"] else "")
    return joined(
        tag(
            "header",
            tag("h1", data["model"]),
            tag("p", f"Fixed-point conversion report · {made}", class_="muted"),
        ),
        tag("p", tag("strong", word), f" {text}", class_=f"verdict {kind}"),
        tag("div", _cards(data), class_="cards"),
        tag("ul", (tag("li", note) for note in data["notes"]), class_="notes") if data["notes"] else None,
    )


def _moment(created: str) -> str:
    return created.replace("T", " ").replace("+00:00", " UTC")


def _card(title: str, value: Any, *lines: Any, kind: str = "") -> Html:
    return tag(
        "div",
        tag("h3", title),
        tag("p", value, class_="value"),
        (tag("p", line, class_="muted") for line in lines if line),
        class_=f"card {kind}".strip(),
    )


def _cards(data: Data) -> Iterator[Html]:
    quality = data["quality"]
    name, before, after, between = metric(data)
    value = joined(tag("span", f"{before} → ", class_="muted"), after) if before else after
    others = []
    if quality["agreement"] is not None and name != "Same class as float":
        others.append(f"same class as float: {percent(quality['agreement'])}")
    if name != "Output SQNR":
        others.append(f"output SQNR {decibel(quality['output_sqnr_db'])}")
    sample = f"{whole(quality['samples'])} samples of {quality['data']}"
    yield _card(f"{name}{', float → quantized' if before else ''}", value, between, *others, sample)
    yield _card("EBOPs", whole(data["ebops"]), *_budget(data))
    yield _float32(data)
    yield _overflow(data)
    stages = data["seconds"]
    slowest = max(stages, key=lambda stage: stages[stage], default=None)
    yield _card(
        "Time",
        seconds(sum(stages.values())),
        None if slowest is None else f"slowest: {slowest}, {seconds(stages[slowest])}",
        _training(data),
    )


def _budget(data: Data) -> list[str]:
    allocation = data["allocation"]
    if allocation is None:
        return ["bits × bits of all multiplications", "no budget was given"]
    lines = []
    if allocation["target_ebops"] is not None:
        share = data["ebops"] / allocation["target_ebops"]
        lines.append(f"{percent(share, 1)} of the budget of {whole(allocation['target_ebops'])}")
    else:
        lines.append(f"fewest that lose {fixed(allocation['max_drop'], 2)} points at most")
    part = data["ebops"] / allocation["limit_ebops"] if allocation["limit_ebops"] else 1.0
    return [*lines, f"{percent(part, 1)} of the widest formats' {whole(allocation['limit_ebops'])}"]


def _float32(data: Data) -> Html:
    if data["float32_proved"]:
        return _card("Keras in float32", "proved exact", "equal to the integers for every input", kind="good")
    missing = data["float32_open"]
    worst = max(missing, key=lambda layer: missing[layer], default=None)
    text = "" if worst is None else f"worst: {worst}, {missing[worst]} bits too many"
    more = "proved in float64" if data["float64_proved"] else ""
    return _card(
        "Keras in float32", "no proof", f"{len(missing)} layer(s); firmware is exact", text, more, kind="open"
    )


def _overflow(data: Data) -> Html:
    quantizers = data["overflow"]["quantizers"]
    wrapping = [q for q in quantizers if not str(q["overflow"]).startswith("SAT")]
    counts: dict[str, int] = {}
    for one in wrapping:
        counts[one["status"]] = counts.get(one["status"], 0) + 1
    rest = f"{len(quantizers) - len(wrapping)} of {len(quantizers)} quantizers saturate"
    if not wrapping:
        return _card("Overflow", "saturates", "nothing wraps around", rest, kind="good")
    told = ", ".join(f"{count} {status}" for status, count in counts.items())
    if counts.get("overflowing"):
        return _card("Overflow", "wraps on the data", f"{len(wrapping)} wrap: {told}", rest, kind="bad")
    if data["overflow"]["proved"]:
        return _card("Overflow", "proved never", f"{len(wrapping)} wrap: {told}", rest, kind="good")
    margins = [q["margin"] for q in wrapping if q["margin"] is not None]
    least = f"least margin {fixed(min(margins), 1)} bits" if margins else ""
    return _card("Overflow", "none seen", f"{len(wrapping)} wrap: {told}", least, rest, kind="open")


def _training(data: Data) -> str:
    training = data["finetune"]
    if not training.get("steps"):
        note = training.get("note")
        return f"no fine-tuning: {note}" if note and note != "no steps" else "no fine-tuning"
    return f"{whole(training['steps'])} steps of fine-tuning, step {whole(training['best_step'])} kept"


def small_table(data: Data) -> list[tuple[str, str]]:
    """The headline as a few pairs, for notebooks."""
    name, before, after, between = metric(data)
    word, told = verdict(data)[1:]
    stages = data["seconds"]
    return [
        (name, f"{before} → {after} ({between})" if before else after),
        ("EBOPs", "; ".join([whole(data["ebops"]), *_budget(data)[: 1 if data["allocation"] else 0]])),
        ("codes", f"{word}: {told}" if data["check"] is not None else word),
        (
            "float32",
            "proved exact" if data["float32_proved"] else f"no proof in {len(data['float32_open'])} layer(s)",
        ),
        ("time", seconds(sum(stages.values())) if stages else NOTHING),
    ]
