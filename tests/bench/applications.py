"""Every architecture of `keras.applications`: read, converted, proved exact, as a table.

    python tests/bench/applications.py ROWS.json                    # those that are not in ROWS.json yet
    python tests/bench/applications.py ROWS.json --only MobileNet ConvNeXtTiny
    python tests/bench/applications.py ROWS.json --print            # the table of what is there

Random weights, ten classes, the smallest images an architecture takes. Each runs in a process of its own, so
that its memory is free again, and its row is stored before the next begins. Columns:

- layers: of the float model; parameters in millions;
- float equal: largest difference between the float model and the converted one with every quantizer off, as
  a part of the largest output; in brackets, where that is larger than 1e-4, what the float model itself makes
  of inputs that differ by a unit in the last place. Random weights that keep the size of what passes through
  can be chaotic; where that is so, kernels are smaller by the square root of two, which ends it;
- reference exact: codes of the quantized Keras model against the integer reference, on random inputs of every
  kind of `hgqify.export.random_batches` and on calibration data; in float64 where float32 has too few bits;
- io_parallel, io_stream: whether a project would be refused, before anything is written.
"""

from __future__ import annotations

import argparse
import inspect
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import numpy as np

from hgqify import float64
from hgqify.calibrate import calibrate
from hgqify.calling import predict
from hgqify.convert import convert
from hgqify.errors import ExportError, HgqifyError
from hgqify.export import ProjectOptions, random_inputs, refuse_unprintable
from hgqify.graph import read
from hgqify.opening import open_for
from hgqify.precision import Program, certify, lower
from hgqify.progress import no_progress
from hgqify.reference import run

CLASSES = 10
CALIBRATED = 8
RANDOM = 14
FLOAT_TOLERANCE = 1e-4
NOISES = 8
"""Roundings inside the model, each as large as one of its inputs, that the order of sums may change."""
IO_TYPES = ("io_parallel", "io_stream")
SMALLEST = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}
"""Side of the smallest images; 32 for the others."""


@dataclass
class Row:
    """What became of one architecture; an empty cell was not reached."""

    name: str
    side: int
    layers: int = 0
    parameters: int = 0
    read: bool = False
    converted: bool = False
    float_difference: float | None = None
    float_noise: float = 0.0
    codes: int = 0
    differing: int = 0
    differing_float32: int = 0
    moving: int = 0
    exports: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0
    gigabytes: float = 0.0

    @property
    def good(self) -> bool:
        """Converted, equal, and exact on outputs that move."""
        tolerance = max(FLOAT_TOLERANCE, NOISES * self.float_noise)
        equal = self.float_difference is not None and self.float_difference <= tolerance
        return self.converted and equal and self.codes > 0 and not self.differing and self.moving > 0

    def text(self) -> str:
        """One line of the table."""
        equal = "" if self.float_difference is None else f"{self.float_difference:.0e}"
        equal += f" ({self.float_noise:.0e})" if self.float_noise else ""
        exact = ""
        if self.codes:
            exact = f"{self.differing} of {self.codes} differ"
            exact += f" (float32: {self.differing_float32})" if self.differing_float32 else ""
        cells = (
            self.name,
            f"{self.side}x{self.side}",
            f"{self.layers}, {self.parameters / 1e6:.1f} M",
            "yes" if self.read else "",
            "yes" if self.converted else "",
            equal,
            exact,
            *("yes" if self.exports.get(io_type) == "" else "no" for io_type in IO_TYPES if self.codes),
            *("" for _ in IO_TYPES if not self.codes),
            self.reason or next((text for text in self.exports.values() if text), ""),
            f"{self.seconds:.0f} s, {self.gigabytes:.1f} GB",
        )
        return f"| {' | '.join(cells)} |"


HEADER = (
    "architecture",
    "input",
    "layers",
    "reads",
    "converts",
    "float equal",
    "reference exact",
    *IO_TYPES,
    "why not",
    "cost",
)


def architectures() -> list[str]:
    """Every public function of `keras.applications` that makes a model."""
    return sorted(name for name, value in vars(keras.applications).items() if inspect.isfunction(value))


def undrawn(make: Callable[[], keras.Model]) -> keras.Model:
    """The model with all weights zero: drawing random ones would compile a program for every shape."""
    with keras.StatelessScope(initialize_variables=False):
        config = keras.saving.serialize_keras_object(make())
    keras.utils.clear_session()
    return keras.saving.deserialize_keras_object(_with_zeros(config))


def _with_zeros(config: Any) -> Any:
    zeros = keras.saving.serialize_keras_object(keras.initializers.Zeros())
    if isinstance(config, dict):
        return {
            key: zeros if key.endswith("_initializer") and value else _with_zeros(value)
            for key, value in config.items()
        }
    return [_with_zeros(value) for value in config] if isinstance(config, list) else config


def randomize(model: keras.Model, seed: int = 0, gain: float = 2.0) -> None:
    """Normalizations near 1; kernels by their fan-in, with a gain of 2 so that relu keeps sizes."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        shape, name = tuple(variable.shape), variable.path.split("/")[-1]
        if not keras.backend.is_float_dtype(variable.dtype):
            continue
        if "kernel" in name:
            # A depthwise kernel ends in (channels, 1) and sums over its window only.
            fan_in = np.prod(shape[:-2] if shape[-1] == 1 else shape[:-1])
            value = rng.normal(size=shape) * np.sqrt(gain / max(1, fan_in))
        elif "variance" in name or "gamma" in name:
            value = rng.uniform(0.7, 1.4, shape)
        else:
            value = rng.normal(size=shape) * 0.1
        variable.assign(value.astype(np.float32))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def build(name: str, side: int) -> keras.Model:
    """The architecture with random weights. Logits: a softmax of random logits may hide differences."""
    make = getattr(keras.applications, name)
    model = undrawn(
        lambda: make(weights=None, classes=CLASSES, input_shape=(side, side, 3), classifier_activation=None)
    )
    randomize(model)
    return model


def images(model: keras.Model, count: int, seed: int = 0) -> np.ndarray:
    """Images of 0 to 255 where the model rescales them itself, else of -1 to 1."""
    own = any(
        isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization) for layer in model.layers
    )
    low, high = (0, 255) if own else (-1, 1)
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def examine(row: Row, model: keras.Model, data: np.ndarray) -> Iterator[Row]:
    """Fill the row, step by step; each state is yielded, so that what a crash leaves is known."""
    row.layers, row.parameters = len(model.layers), model.count_params()
    graph = read(model)
    row.read = True
    yield row
    conversion = convert(graph)
    row.converted = True
    yield row
    row.float_difference = _difference(model, conversion.clone, data, data)
    if row.float_difference > FLOAT_TOLERANCE:
        row.float_noise = _difference(model, model, data, _next_to(data))
    yield row
    source = open_for(model, data)
    calibrate(conversion.model, conversion.probe, conversion.sites, source, progress=no_progress)
    program = lower(conversion.model)
    _compare(row, conversion.model, program, data)
    yield row
    for io_type in IO_TYPES:
        row.exports[io_type] = _refusal(program, io_type)
    yield row


def _next_to(data: np.ndarray) -> np.ndarray:
    return np.nextafter(data, np.float32(np.inf))


def _difference(model: keras.Model, other: keras.Model, data: np.ndarray, others: np.ndarray) -> float:
    expected, found = predict(model, [data])[0], predict(other, [others])[0]
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _compare(row: Row, model: keras.Model, program: Program, data: np.ndarray) -> None:
    inputs = [np.concatenate([data, random_inputs(program, RANDOM)[0]])]
    (expected,) = run(program, inputs).values
    found = np.asarray(predict(model, inputs)[0], np.float64).reshape(expected.shape)
    row.codes, row.differing = expected.size, int(np.sum(found != expected))
    row.moving = sum(len(np.unique(column)) > 2 for column in expected.T)
    if row.differing and not certify(model).proved:
        row.differing_float32 = row.differing
        row.differing = int(np.sum(float64.predict(model, inputs)[0].reshape(expected.shape) != expected))


def _refusal(program: Program, io_type: str) -> str:
    try:
        refuse_unprintable(program, ProjectOptions(io_type=io_type))
    except ExportError as error:
        return _last_line(error)
    return ""


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip().replace("|", "\\|")[:200]


def one(name: str, side: int) -> Row:
    """The row of one architecture, in this process."""
    start, row = time.monotonic(), Row(name, side)
    try:
        model = build(name, side)
        data = images(model, CALIBRATED)
        if _difference(model, model, data, _next_to(data)) > FLOAT_TOLERANCE:
            randomize(model, gain=1.0)
        for _ in examine(row, model, data):
            print(f"{name}: {row.text()}", file=sys.stderr, flush=True)
    except HgqifyError as error:
        row.reason = _last_line(error)
    row.seconds = time.monotonic() - start
    row.gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return row


def apart(name: str, side: int, limit: float) -> Row:
    """The same in a process of its own, which may take so many seconds."""
    command = [sys.executable, __file__, "-", "--only", name, "--side", str(side), "--here"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return Row(name, side, reason=f"not finished in {limit:.0f} s", seconds=limit)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return Row(name, side, reason=f"crashed: {last[:200]}")
    return Row(**json.loads(done.stdout.splitlines()[-1]))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=Path, help="file the rows are stored in")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these architectures, again if stored")
    parser.add_argument("--side", type=int, help="of the images; default: the smallest")
    parser.add_argument("--limit", type=float, default=3600, help="seconds for one architecture")
    parser.add_argument("--print", action="store_true", help="run nothing")
    parser.add_argument("--here", action="store_true", help="in this process, the row as JSON on stdout")
    options = parser.parse_args()
    names = options.only or architectures()
    if options.here:
        print(json.dumps(asdict(one(names[0], options.side or SMALLEST.get(names[0], 32)))))
        return 0
    stored = json.loads(options.rows.read_text()) if options.rows.exists() else {}
    for name in names:
        if options.print or (name in stored and not options.only):
            continue
        row = apart(name, options.side or SMALLEST.get(name, 32), options.limit)
        stored[name] = asdict(row)
        options.rows.write_text(json.dumps(stored, indent=1))
        print(row.text(), file=sys.stderr, flush=True)
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
    rows = [Row(**stored[name]) for name in sorted(stored)]
    for row in rows:
        print(row.text())
    good = sum(row.good for row in rows)
    print(f"\n{good} of {len(architectures())} convert, equal the float model and are exact.")
    return 0 if good == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
