"""What the commands print."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click


class Console:
    """Progress on standard error, so that results on standard output can be piped.

    On a terminal an event with `transient` set is overwritten by the next; elsewhere it is left out.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._width = 0

    def event(self, event: object) -> None:
        """Show one event of a conversion; `str(event)` is its line."""
        if getattr(event, "transient", False):
            self._overwrite(str(event))
        else:
            self.line(str(event))

    def line(self, text: str) -> None:
        if self._quiet:
            return
        self._clear()
        click.echo(text, err=True)

    def _overwrite(self, text: str) -> None:
        if self._quiet or not sys.stderr.isatty():
            return
        click.echo("\r" + text.ljust(self._width), err=True, nl=False)
        self._width = len(text)

    def _clear(self) -> None:
        if self._width:
            click.echo("\r" + " " * self._width + "\r", err=True, nl=False)
            self._width = 0


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, the last one free."""
    widths = [max(len(row[n]) for row in (header, *rows)) for n in range(len(header))]
    lines = [header, *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def show_result(result: Any, target: Path, check: Any | None) -> None:
    """The headline numbers, the verdict, and where things are."""
    click.echo(result.summary())
    click.echo(check.summary() if check is not None else "not checked (--no-check)")
    click.echo(f"written to {target}/: model.keras, report.json, hls/")
