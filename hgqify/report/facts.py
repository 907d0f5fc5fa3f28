"""The headline of a report: what it says, fact by fact, for whoever shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from hgqify.report.report import Report

_NAMED = 3  # how many layers a line names; the others are counted

Tone = Literal["plain", "good", "attention"]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One line of the headline.

    Attributes:
        name: what it is about, in a word or two.
        text: what is so.
        tone: 'good' for a promise that is kept, 'attention' for what the user should look at; its text then
            says what to do.
        details: further lines that belong to it.
    """

    name: str
    text: str
    tone: Tone = "plain"
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n  ".join([f"{self.name}: {self.text}", *self.details])


def facts(report: Report) -> tuple[Fact, ...]:
    """The headline facts of a report, the most important first; notes and times last."""
    counts: dict[str, int] = {}
    for entry in report.conversion:
        counts[entry["status"]] = counts.get(entry["status"], 0) + 1
    layers = ", ".join(f"{n} layers {status}" for status, n in counts.items())
    return (
        Fact(name="model", text=f"{report.model}: {layers}"),
        Fact(name="quality", text=str(report.quality)),
        Fact(
            name="EBOPs",
            text=f"{report.ebops:,}" + (", layers kept in float not counted" if report.kept else ""),
        ),
        *_kept(report),
        *_allocation(report),
        *_corrections(report),
        *_training(report),
        *_softmax(report),
        _float32(report),
        *_overflow(report),
        *(Fact(name="note", text=note, tone="attention") for note in report.notes),
        *_time(report),
    )


def _kept(report: Report) -> Iterator[Fact]:
    """The layers that are not fixed point."""
    for entry in report.kept:
        text = f"kept in float: {entry['layer']} ({entry['kind']}): {entry['reason']}"
        yield Fact(name="float", text=text, tone="attention")


def _allocation(report: Report) -> Iterator[Fact]:
    """The budget, and where the next bits would help most."""
    if report.allocation is None:
        return
    target, drop = report.allocation["target_ebops"], report.allocation["max_drop"]
    if target is not None:
        text = f"{100 * report.ebops / target:.1f} % of the budget of {target:,} EBOPs"
    else:
        lost = report.allocation["drop"]
        text = f"fewest EBOPs found that lose {drop:g} points at most (lost: {lost:.2f})"
    yield Fact(name="budget", text=f"{text}; widest formats {report.allocation['limit_ebops']:,}")
    worst = ", ".join(f"{s['layer']} ({s['part']})" for s in report.allocation["shares"][:_NAMED])
    yield Fact(name="sensitive", text=f"most sensitive now: {worst}")


def _corrections(report: Report) -> Iterator[Fact]:
    """What equalisation and bias correction did."""
    if report.equalize is not None:
        done, left = report.equalize["layers"], report.equalize["left"]
        text = f"channels of {len(done)} layer(s)"
        if done:
            low, high = min(e["shifts"][0] for e in done), max(e["shifts"][1] for e in done)
            text += f" scaled by 2**{low} to 2**{high}"
        yield Fact(name="equalized", text=f"{text}; {len(left)} left as they are" if left else text)
    if report.correct_bias is not None:
        found, left = report.correct_bias["layers"], report.correct_bias["left"]
        text = f"biases of {len(found)} layer(s) corrected"
        if found:
            worst = max(found, key=lambda name: found[name])
            text += f", most {worst} (by {100 * found[worst]:.1f} % of its outputs' root mean square)"
        yield Fact(name="biases", text=f"{text}; {len(left)} left as they are" if left else text)


def _training(report: Report) -> Iterator[Fact]:
    """A fine-tuning that was cut short, or for which there was too little data."""
    if report.finetune.get("interrupted"):
        yield Fact(
            name="finetune",
            text=f"fine-tuning was interrupted at step {report.finetune['steps']}; its best weights are kept",
            tone="attention",
        )
    elif "too few" in report.finetune.get("note", ""):
        yield Fact(
            name="finetune",
            text=f"not fine-tuned: {report.finetune['note']}. Give more data, or ask for none with "
            "finetune_steps 0",
            tone="attention",
        )


def _softmax(report: Report) -> Iterator[Fact]:
    moved = [e["layer"] for e in report.conversion if "moved to the host" in e["reason"]]
    if moved:
        yield Fact(name="softmax", text=f"{', '.join(moved)} is left to the host: the model gives logits")


def _float32(report: Report) -> Fact:
    """The certificate: the layers without proof, the worst first, and what would give it."""
    if report.float32_proved:
        where = " of the exact parts" if report.kept else ""
        text = f"Keras is proved equal to the integers for every input{where}"
        return Fact(name="float32", text=text, tone="good")
    worst = sorted(report.float32_open.items(), key=lambda item: -item[1])
    named = ", ".join(f"{layer} ({bits} bits too many)" for layer, bits in worst[:_NAMED])
    if len(worst) > _NAMED:
        named += f" and {len(worst) - _NAMED} more"
    details = []
    for layer, bits in worst[:_NAMED]:
        details += [
            f"{layer}: {entry['remedy']}"
            for entry in report.certificate
            if entry["layer"] == layer and entry["missing_bits"] == bits
        ][:1]
    if report.float64_proved:
        details.append("in float64 all of it is proved: hgqify.float64.predict(model, inputs)")
    return Fact(
        name="float32",
        text=f"no proof that Keras equals the integers in {named}; the integers are exact",
        tone="attention",
        details=tuple(details),
    )


def _overflow(report: Report) -> Iterator[Fact]:
    """The statement's lines; indented ones belong to the line before."""
    name, text, details = "overflow", "", []
    for line in report.overflow["summary"]:
        if line.startswith(" "):
            details.append(line.strip())
            continue
        if text:
            yield Fact(name=name, text=text, details=tuple(details))
        text, details = line.removeprefix(f"{name}: "), []
    if text:
        yield Fact(name=name, text=text, details=tuple(details))


def _time(report: Report) -> Iterator[Fact]:
    slowest = max(report.seconds, key=lambda name: report.seconds[name], default=None)
    if slowest is not None:
        total = sum(report.seconds.values())
        yield Fact(name="time", text=f"{total:.0f} s, of which {slowest} {report.seconds[slowest]:.0f} s")
