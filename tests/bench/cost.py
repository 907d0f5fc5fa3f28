"""What calibrating and allocating a model costs, against `predict` of the float model on the same samples.

    python tests/bench/cost.py FOLDER [--case ResNet-8] [--parts 1 4] [--rounds 5]

FOLDER holds the material of `pareto.py`. A row per budget: the EBOPs that uniform 8 bits take, and parts of
them. In every round the float model's `predict` runs before and after the work, and a ratio compares times of
the same round only; the row gives medians over the rounds, and the range of the ratio. Every round converts
anew, so that nothing is compiled before. Compilation (tracing, lowering, XLA) is the time in which JAX says
it was at it, overlaps counted once; it is not in the other columns nor in the ratio. Processor seconds, of
all threads, say how much of a ratio is due to other work on the machine, whose load average is printed:
`predict` keeps all cores busy, the work about one. Memory is the peak of the process since it started.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import keras
import numpy as np
from pareto_cases import CASES
from scale import peak_mib

from hgqify import graph
from hgqify.allocating import allocate
from hgqify.budget import Budget
from hgqify.calibrate import calibrate
from hgqify.convert import Conversion, ConvertSettings, convert
from hgqify.convert.interface import choose_io_type
from hgqify.opening import open_for
from hgqify.precision import lower, total_ebops
from hgqify.quality import scoring_outputs
from hgqify.settling import settle

UNIFORM = {"weight_bits": 8, "activation_bits": 8, "input_bits": 8}
COMPILING = ("/jax/core/compile/jaxpr_", "/jax/core/compile/backend_compile")


@dataclass(frozen=True)
class Seconds:
    """On the clock, and of processors."""

    clock: float = 0.0
    processor: float = 0.0

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.clock + other.clock, self.processor + other.processor)

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.clock - other.clock, self.processor - other.processor)

    @staticmethod
    def now() -> "Seconds":
        return Seconds(time.perf_counter(), time.process_time())


@dataclass
class Compilation:
    """Hears of every compilation; traces contain each other, and only the outermost counts."""

    depth: int = 0
    begun: Seconds = Seconds()
    total: Seconds = Seconds()

    def begin(self, name: str, *_: object, **__: object) -> None:
        if name.startswith(COMPILING):
            if self.depth == 0:
                self.begun = Seconds.now()
            self.depth += 1

    def end(self, name: str, *_: object, **__: object) -> None:
        if name.startswith(COMPILING):
            self.depth -= 1
            if self.depth == 0:
                self.total += Seconds.now() - self.begun


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round; work without compilation."""

    predict: Seconds
    calibrate: Seconds
    allocate: Seconds
    compile: Seconds

    @property
    def ratio(self) -> float:
        return (self.calibrate + self.allocate).clock / self.predict.clock

    @property
    def processor_ratio(self) -> float:
        return (self.calibrate + self.allocate).processor / self.predict.processor


def converted(model: keras.Model, **settings: object) -> Conversion:
    read = graph.read(model)
    return convert(read, ConvertSettings(io_type=choose_io_type(read, "tensor"), **settings))


def uniform_ebops(model: keras.Model, samples: np.ndarray) -> int:
    """What uniform 8 bits take."""
    made = converted(model, **UNIFORM)
    calibrate(made.model, made.probe, made.sites, open_for(model, samples), settle=settle)
    return total_ebops(lower(made.model))


def one_round(model: keras.Model, samples: np.ndarray, budget: int, compilation: Compilation) -> Round:
    """`predict`, the work, and `predict` once more."""

    def timed(work: Callable[[], object]) -> tuple[Seconds, Seconds]:
        start, compiled = Seconds.now(), compilation.total
        work()
        took, compiled = Seconds.now() - start, compilation.total - compiled
        return took - compiled, compiled

    made = converted(model, weight_granularity="element")
    source = open_for(model, samples)
    logits = scoring_outputs(made.logits, made.clone, source)
    before, _ = timed(lambda: model.predict(samples, verbose=0))
    calibrating, first = timed(lambda: calibrate(made.model, made.probe, made.sites, source, settle=settle))
    aim = Budget(target_ebops=budget)
    allocating, second = timed(lambda: allocate(made, source, aim, logits=logits, settle=settle))
    after, _ = timed(lambda: model.predict(samples, verbose=0))
    return Round(
        predict=Seconds((before.clock + after.clock) / 2, (before.processor + after.processor) / 2),
        calibrate=calibrating,
        allocate=allocating,
        compile=first + second,
    )


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def row(part: int, budget: int, rounds: list[Round]) -> str:
    seconds = [
        f"{statistics.median(getattr(found, name).clock for found in rounds):.2f}"
        for name in ("predict", "calibrate", "allocate", "compile")
    ]
    ratios = [spread([found.ratio for found in rounds]), spread([found.processor_ratio for found in rounds])]
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "-"
    share = f"1/{part}" if part > 1 else "the same"
    return "| " + " | ".join([share, f"{budget:,}", *seconds, *ratios, load, f"{peak_mib():.0f}"]) + " |"


def main() -> None:
    """Print the table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--case", default="ResNet-8", choices=[*CASES])
    parser.add_argument("--parts", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    compilation = Compilation()
    jax.monitoring.register_scalar_listener(compilation.begin)
    jax.monitoring.register_event_duration_secs_listener(compilation.end)
    case = CASES[options.case]
    data = case.data(options.folder)
    model = case.model(options.folder, data)
    samples = data.calib
    model.predict(samples, verbose=0)  # compiles
    full = uniform_ebops(model, samples)
    print(f"{options.case}, {len(samples):,} samples, {options.rounds} rounds, seconds")
    header = ["of uniform 8 bits", "EBOPs", "predict", "calibrate", "allocate", "compilation", "ratio"]
    print("| " + " | ".join([*header, "of processor seconds", "load", "peak MiB"]) + " |")
    print("|---" * 10 + "|", flush=True)
    for part in options.parts:
        budget = full // part
        found = [one_round(model, samples, budget, compilation) for _ in range(options.rounds)]
        print(row(part, budget, found), flush=True)


if __name__ == "__main__":
    main()
