"""A stand-in for the API: what a command passes on, prints and returns, without any work."""

import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from click.testing import CliRunner, Result

from hgqify.cli import main
from hgqify.cli.check import check
from hgqify.cli.convert import convert
from hgqify.cli.inspect import inspect
from hgqify.cli.sweep import sweep
from hgqify.progress import Event, Progress

COMMANDS = {"convert": convert, "check": check, "inspect": inspect, "sweep": sweep}


@dataclass(frozen=True)
class Entry:
    layer: str = "conv"
    kind: str = "Conv2D"
    status: str = "converted"
    reason: str = ""
    remedy: str = ""
    target: str = "conv"


@dataclass
class Api:
    """Records calls; `error` is raised by the next one."""

    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    error: BaseException | None = None
    exact: bool = True
    notes: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = (Entry(),)
    files: tuple[str, ...] = ("sweep.json",)
    interrupted: bool = False

    @property
    def report(self) -> Any:
        return SimpleNamespace(finetune={"interrupted": self.interrupted})

    def _called(self, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> "Api":
        self.calls.append((name, args, options))
        if self.error is not None:
            raise self.error
        return self

    def convert(self, *args: Any, progress: Progress, **options: Any) -> "Api":
        progress(Event(stage="calibrate", done=5, total=10, unit="samples"))
        return self._called("convert", args, options)

    def check(self, *args: Any, **options: Any) -> "Api":
        return self._called("check", args, options)

    def inspect(self, *args: Any, **options: Any) -> "Api":
        return self._called("inspect", args, options)

    def sweep(self, *args: Any, **options: Any) -> "Api":
        return self._called("sweep", args, options)

    def result(self) -> "Api":
        return self._called("result", (), {})

    def table(self) -> str:
        return "the table"

    def save(self, *args: Any, **options: Any) -> "Api":
        return self._called("save", args, options)

    def summary(self) -> str:
        return "the summary"

    def to_json(self) -> str:
        return json.dumps({"exact": self.exact})

    def named(self, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return next((args, options) for called, args, options in self.calls if called == name)


def run(*args: str) -> Result:
    return CliRunner().invoke(main, args)
