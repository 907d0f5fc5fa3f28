"""Progress of long stages: what a stage tells, and a bar that shows it.

A stage calls a `Progress` with `Event`s and knows nothing of terminals; `no_progress` ignores them.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TextIO

_BAR, _SHORT_BAR = 24, 10
_STAGE = 9  # so that the bars of most stages stand below each other
_REDRAW_SECONDS = 0.1
_LINE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Event:
    """Where a stage is.

    Attributes:
        stage: its name, such as 'finetune'.
        done: units of work done.
        total: units in all; None where only the end will tell.
        unit: what is counted, such as 'steps'.
        values: figures of the moment by name, such as the loss.
        milestone: worth a line of its own, however short ago the last event was.
    """

    stage: str
    done: int
    total: int | None
    unit: str = "steps"
    values: Mapping[str, float] = field(default_factory=dict)
    milestone: bool = False


class Progress(Protocol):
    """Whatever wants to hear of progress."""

    def __call__(self, event: Event, /) -> None: ...


def no_progress(_event: Event, /) -> None:
    """Ignore progress."""


class TextProgress:
    """A bar with figures and the remaining time on a terminal or in a notebook; elsewhere lines now and then.

    On a terminal a stage has one line, drawn anew in its place; it never grows wider than the terminal, which
    would leave a copy behind with every redraw. Figures give way first, the last ones before the others.

    Args:
        stream: where to write; None for stderr as it is at each call.
        clock: seconds, increasing.
        columns: width of the terminal; None to ask it, at every line.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        columns: int | None = None,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._columns = columns
        self._stage = ""
        self._started = 0.0
        self._first = 0
        self._shown = 0.0
        self._width = 0

    def __call__(self, event: Event, /) -> None:
        """Show an event, unless one was shown just before."""
        stream = sys.stderr if self._stream is None else self._stream
        now = self._clock()
        new = event.stage != self._stage
        if new:
            self._stage, self._started, self._first = event.stage, now, event.done
        last = event.total is not None and event.done >= event.total
        terminal = stream.isatty() or _is_notebook(stream)
        pause = _REDRAW_SECONDS if terminal else _LINE_SECONDS
        if not (new or last or event.milestone) and now - self._shown < pause:
            return
        self._shown = now
        if terminal:
            columns = self._columns or shutil.get_terminal_size().columns
            text = self._text(event, now, bar=not event.milestone, columns=columns - 1)
        else:
            text = self._text(event, now, bar=False)
        if terminal:
            ends = last or event.milestone
            # Spaces wipe what a longer line before left behind.
            stream.write("\r" + text.ljust(self._width) + ("\n" if ends else ""))
            self._width = 0 if ends else len(text)
        else:
            stream.write(text + "\n")
        stream.flush()
        if last:
            self._stage = ""

    def _text(self, event: Event, now: float, *, bar: bool, columns: int | None = None) -> str:
        """The line: a shorter bar, fewer figures and no bar, one after another, until it has room."""
        values = [f"{name} {_number(value)}" for name, value in event.values.items()]
        bars = [_BAR, _SHORT_BAR] if bar else [0]
        tries = [(bars[0], len(values)), *((bars[-1], count) for count in range(len(values), -1, -1)), (0, 0)]
        lines = [self._line(event, now, values[:count], bar=width) for width, count in tries]
        if columns is None:
            return lines[0]
        return next((line for line in lines if len(line) <= columns), lines[-1][:columns])

    def _line(self, event: Event, now: float, values: Sequence[str], *, bar: int) -> str:
        parts = [event.stage.ljust(_STAGE) if bar else event.stage]
        if event.total is None:
            parts.append(f"{event.done} {event.unit}")
        else:
            fraction = min(1.0, event.done / max(1, event.total))
            if bar:
                filled = round(bar * fraction)
                parts.append(f"[{'#' * filled}{'.' * (bar - filled)}]")
            parts.append(f"{event.done}/{event.total} {event.unit}")
        parts += values
        elapsed, worked = now - self._started, event.done - self._first
        if event.total is not None and worked > 0 and event.done < event.total:
            parts.append(f"ETA {_duration(elapsed * (event.total - event.done) / worked)}")
        else:
            parts.append(_duration(elapsed))
        return "  ".join(parts)


def _is_notebook(stream: TextIO) -> bool:
    """Whether this is a notebook's output, which draws a line anew as a terminal does, but is none."""
    return type(stream).__module__.startswith("ipykernel.")


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 1000 else f"{value:.4g}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    minutes = f"{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{whole // 3600}:{minutes}" if whole >= 3600 else minutes
