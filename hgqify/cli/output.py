"""What the commands print: tables and coloured lines, plain where nobody sees colours."""

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from hgqify.files import atomic_write

# Colours that can be read on light and dark ground.
_TONES = {
    "plain": {},
    "good": {"fg": "green"},
    "attention": {"fg": "yellow"},
    "bad": {"fg": "red", "bold": True},
}
_NAME_WIDTH = 10
_LEAST_ROOM = 30
STDOUT = "-"


def colours(environment: dict[str, str] | None = None) -> bool | None:
    """What `click.Context.color` should be: None (colours on terminals only), or False for no colours at all.

    NO_COLOR with any text (https://no-color.org), and terminals that know none, switch them off.
    """
    known = os.environ if environment is None else environment
    return False if known.get("NO_COLOR") or known.get("TERM") == "dumb" else None


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> str:
    """Columns as wide as their widest cell, the last one free.

    Args:
        header, rows: cells.
        right: columns of numbers, whose cells stand at the right.
    """
    widths = [max(len(row[n]) for row in (header, *rows)) for n in range(len(header))]
    numbers = set(right)
    return "\n".join(
        "  ".join(
            cell.rjust(width) if n in numbers else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (header, *rows)
    )


def show_fact(name: str, text: str, tone: str = "plain", details: Sequence[str] = ()) -> None:
    """One line of a summary: what it is about, what is so; further lines stand below the text.

    On a terminal long lines go on below their own text; elsewhere each fact is one line, for `grep`.
    """
    lines = [*text.splitlines(), *(f"  {line}" for line in details)]
    if sys.stdout.isatty():
        room = max(_LEAST_ROOM, shutil.get_terminal_size().columns - _NAME_WIDTH - 2)
        lines = [part for line in lines for part in _wrapped(line, room)]
    label = click.style(name.ljust(_NAME_WIDTH), bold=True)
    first, *more = lines
    click.echo(f"{label}  {click.style(first, **_TONES[tone])}")
    for line in more:
        click.echo(f"{'':{_NAME_WIDTH}}  {click.style(line, **_TONES[tone])}")


def _wrapped(line: str, room: int) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(
        line, room, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ) or [""]


def show_result(result: Any, target: Path, check: Any | None, notes: Sequence[str], *, verbose: bool) -> None:
    """The headline numbers, what was done otherwise than asked, the verdict, and where things are."""
    report = result.report
    if verbose:
        click.echo(layer_table(report.layers, report.ebops))
        click.echo()
    for fact in report.facts():
        show_fact(fact.name, fact.text, fact.tone, fact.details)
    if verbose:
        show_fact("stages", ", ".join(f"{name} {spent:.1f} s" for name, spent in report.seconds.items()))
    for note in notes:
        show_fact("note", note, "attention")
    if check is None:
        show_fact("exact", f"not checked (--no-check): run hgqify check {target}", "attention")
    else:
        show_check(check)
    show_fact("written", f"to {target}/: {files_in(target)}")


def files_in(target: Path) -> str:
    """The files of a result by name, as far as there are any."""
    names = ("model.keras", "report.html", "report.json", "config.toml", "part.npz", "hls")
    return ", ".join(f"{n}/" if (target / n).is_dir() else n for n in names if (target / n).exists())


def show_check(check: Any) -> None:
    """Every comparison, limits, notes, and the verdict as the last line."""
    for number, comparison in enumerate(check.comparisons):
        show_fact("" if number else "compared", str(comparison), "bad" if comparison.differing else "plain")
    for line in check.overflow.get("summary", ()):
        show_fact("", line)
    for note in check.notes:
        show_fact("note", note, "attention")
    if check.exact:
        show_fact("exact", "every code is equal", "good")
    else:
        show_fact("NOT EXACT", "the first difference is named above", "bad")
    for limit in check.limits:
        show_fact("limit", str(limit), "good" if limit.kept else "bad")


def layer_table(layers: Sequence[Any], total: int) -> str:
    """Widths, zeros, EBOPs and noise of every quantized layer."""
    header = ("layer", "kind", "output", "input bits", "weight bits", "zeros", "EBOPs", "share", "SQNR dB")
    rows = [
        (
            layer.layer,
            layer.kind,
            "x".join(map(str, layer.shape)),
            bits(layer.input_bits),
            bits(layer.weight_bits),
            "" if layer.zeros is None else f"{100 * layer.zeros:.0f} %",
            f"{layer.ebops:,}",
            f"{100 * layer.ebops / total:.1f} %" if total else "",
            "" if layer.sqnr_db is None else f"{layer.sqnr_db:.1f}",
        )
        for layer in layers
    ]
    return table(header, rows, right=range(2, len(header)))


def write_json(content: Any, target: str) -> None:
    """Plain values as JSON, to a file or as output."""
    text = json.dumps(content, indent=2, allow_nan=False)
    if target == STDOUT:
        click.echo(text)
    else:
        atomic_write(target, text + "\n")


def bits(widths: Sequence[int] | None) -> str:
    """Smallest and largest width, once if they are the same."""
    return "" if widths is None else "-".join(dict.fromkeys(map(str, widths)))
