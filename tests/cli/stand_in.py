"""A stand-in for the API: what a command passes on, prints and returns, without any work."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
from click.testing import CliRunner, Result

from hgqify.cli import main
from hgqify.export import CheckReport, Comparison, Limit
from hgqify.progress import Event, Progress
from hgqify.report import Fact, LayerReport

COMMANDS: dict[str, click.Command] = main.commands  # type: ignore[attr-defined]
STOOD_IN = ("convert", "check", "inspect", "sweep", "record_check", "render_report")
LAYER = LayerReport(
    layer="dense",
    kind="QDense",
    shape=(3,),
    input_bits=(12, 12),
    weight_bits=(3, 10),
    zeros=0.25,
    ebops=7000,
    sqnr_db=40.0,
    float32_proved=True,
)


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
    limits: tuple[Limit, ...] = ()

    @property
    def report(self) -> Any:
        return SimpleNamespace(
            finetune={"interrupted": self.interrupted},
            facts=lambda: (Fact(name="quality", text="good"),),
            layers=(LAYER,),
            ebops=7000,
            seconds={"calibrate": 1.5, "finetune": 2.5},
            to_dict=lambda: {"ebops": 7000},
        )

    def _called(self, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> "Api":
        self.calls.append((name, args, options))
        if self.error is not None:
            raise self.error
        return self

    def convert(self, *args: Any, progress: Progress, **options: Any) -> "Api":
        progress(Event(stage="calibrate", done=5, total=10, unit="samples"))
        return self._called("convert", args, options)

    def check(self, *args: Any, **options: Any) -> CheckReport:
        self._called("check", args, options)
        differing = 0 if self.exact else 3
        comparison = Comparison(what="Keras", inputs="x.npy", samples=5, codes=15, differing=differing)
        return CheckReport(comparisons=(comparison,), limits=self.limits)

    def record_check(self, *args: Any) -> None:
        self._called("record_check", args, {})

    def render_report(self, *args: Any) -> Path:
        self._called("render_report", args, {})
        return Path("report.html")

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

    def named(self, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return next((args, options) for called, args, options in self.calls if called == name)


def run(*args: str) -> Result:
    return CliRunner().invoke(main, args)
