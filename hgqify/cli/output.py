"""What the commands print."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, the last one free."""
    widths = [max(len(row[n]) for row in (header, *rows)) for n in range(len(header))]
    lines = [header, *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def show_result(result: Any, target: Path, check: Any | None, notes: Sequence[str]) -> None:
    """The headline numbers, what was done otherwise than asked, the verdict, and where things are."""
    click.echo(result.summary())
    for note in notes:
        click.echo(f"note: {note}")
    click.echo(check.summary() if check is not None else "not checked (--no-check)")
    click.echo(f"written to {target}/: {files_in(target)}")


def files_in(target: Path) -> str:
    """The files of a result by name, as far as there are any."""
    names = ("model.keras", "report.html", "report.json", "part.npz", "hls")
    return ", ".join(f"{n}/" if (target / n).is_dir() else n for n in names if (target / n).exists())
