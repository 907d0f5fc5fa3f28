"""How much faster the integer reference is than C simulation, end to end, in one run.

    python tests/bench/check_speed.py [--models kws mnist] [--samples 200 494 2000]

Converts the fixtures without fine-tuning and compiles the project once, as `hgqify check` does. Then it
measures in turn, for each number of samples:

- reference: read program.npz, find the bounds, prepare, run;
- C simulation: run, to which the compilation is added;
- Keras: load model.keras, compile for the batch, run.

All run the same random samples in the same batches, and their outputs must be equal. Figures are
wall-clock seconds of this run: only their ratios mean anything. Exit status 1 if a ratio of C simulation
to reference is below 10.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

import hgqify
from hgqify.export import CSimulation, compile_project, random_inputs
from hgqify.export.check import KerasRun
from hgqify.precision import from_npz
from hgqify.progress import no_progress
from hgqify.reference import Interpreter

ROOT = Path(__file__).parents[2]
BATCH = 128
HEADER = (
    "model",
    "samples",
    "reference",
    "C sim: compile",
    "C sim: run",
    "Keras",
    "C sim / reference",
    "C sim / (reference + Keras)",
)

Batches = list[list[np.ndarray]]


def batches(inputs: tuple[np.ndarray, ...]) -> Batches:
    return [[x[n : n + BATCH] for x in inputs] for n in range(0, len(inputs[0]), BATCH)]


def timed(compute: Callable[[], list[np.ndarray]]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    parts = compute()
    return time.perf_counter() - start, np.concatenate(parts)


def reference(saved: Path, inputs: Batches) -> list[np.ndarray]:
    interpreter = Interpreter(from_npz(saved / "program.npz"))
    return [interpreter(batch).values[0] for batch in inputs]


def keras_outputs(saved: Path, inputs: Batches) -> list[np.ndarray]:
    run = KerasRun(keras.saving.load_model(saved / "model.keras"))
    return [run(batch)[0] for batch in inputs]


def measure(
    name: str, saved: Path, samples: int, compiling: float, simulation: CSimulation
) -> tuple[str, ...]:
    inputs = batches(random_inputs(from_npz(saved / "program.npz"), samples))
    first, expected = timed(lambda: reference(saved, inputs))
    running, found = timed(lambda: [simulation.run(batch)[0] for batch in inputs])
    again, _ = timed(lambda: reference(saved, inputs))
    in_keras, by_keras = timed(lambda: keras_outputs(saved, inputs))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(by_keras, expected)
    # The machine may be busier at one time than at another: the slower of before and after counts.
    quick, slow = max(first, again), compiling + running
    return (
        name,
        f"{samples}",
        f"{quick:.2f} s",
        f"{compiling:.1f} s",
        f"{running:.1f} s",
        f"{in_keras:.2f} s",
        f"{slow / quick:.0f}",
        f"{slow / (quick + in_keras):.0f}",
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["kws", "mnist"], help="folders of fixtures/")
    parser.add_argument("--samples", nargs="+", type=int, default=[200, 494, 2000])
    options = parser.parse_args()
    print("| " + " | ".join(HEADER) + " |\n|" + "---|" * len(HEADER), flush=True)
    worst = float("inf")
    for name in options.models:
        with tempfile.TemporaryDirectory() as scratch:
            folder = ROOT / "fixtures" / name
            result = hgqify.convert(
                folder / "model.keras", folder / "calib.npy", finetune_steps=0, progress=no_progress
            )
            saved = result.save(Path(scratch) / "result")
            start = time.perf_counter()
            with compile_project(saved / "hls") as simulation:
                compiling = time.perf_counter() - start
                for samples in options.samples:
                    row = measure(name, saved, samples, compiling, simulation)
                    worst = min(worst, float(row[-2]))
                    print("| " + " | ".join(row) + " |", flush=True)
    return 0 if worst >= 10 else 1


if __name__ == "__main__":
    sys.exit(main())
