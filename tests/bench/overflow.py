"""What it costs to wrap, to saturate, to be proved free of overflow: EBOPs, accumulators, accuracy.

    python tests/bench/overflow.py [--material FOLDER] [NAME ...]

Converts models with each `overflow` and prints a table: EBOPs, the widest accumulator (bits of the widest
exact sum), the mean width of what enters the layers, quality on the calibration data, what the overflow
statement says on that data and on twice its range. FOLDER is the material of `real_models.py`, for the jet
taggers; without it the fixtures and models of the zoo are converted.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

import hgqify
from hgqify.graph import load_model
from hgqify.precision import ops
from hgqify.progress import no_progress
from hgqify.reference import OverflowStatus

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "fixtures"))

import tiny_models  # noqa: E402

MODES = ("wrap", "sat", "proved")
Case = Callable[[Path | None], tuple[keras.Model, np.ndarray]]


def fixture(name: str) -> Case:
    def load(_: Path | None) -> tuple[keras.Model, np.ndarray]:
        folder = ROOT / "fixtures" / name
        return load_model(folder / "model.keras"), np.load(folder / "calib.npy").astype(np.float32)

    return load


def zoo(name: str) -> Case:
    def load(_: Path | None) -> tuple[keras.Model, np.ndarray]:
        model = tiny_models.build(name)
        return model, tiny_models.inputs(model, 400)

    return load


def jets(name: str) -> Case:
    def load(folder: Path | None) -> tuple[keras.Model, np.ndarray]:
        if folder is None:
            raise SystemExit(f"{name} needs --material")
        return load_model(folder / "jets_mlp" / name), np.load(folder / "jets_mlp" / "jets100.npz")["x"]

    return load


CASES: dict[str, Case] = {
    "MNIST CNN": fixture("mnist"),
    "DS-CNN": fixture("kws"),
    "zoo residual": zoo("residual"),
    "zoo depthwise": zoo("depthwise"),
    "jets BN": jets("keras_3layer_batch_norm.h5"),
    "jets 70 % pruned": jets("keras_3layer_70pruned_retrained.h5"),
}
HEADER = (
    "model", "overflow", "EBOPs", "to sat", "widest sum (bits)", "mean input width", "output SQNR (dB)",
    "same class", "wrapping", "proved", "overflowing, data", "overflowing, 2x data", "float32",
)  # fmt: skip


def accumulator(program) -> int:
    """Bits of the widest exact sum of products, sign included."""
    widest = 0
    for node in program.nodes:
        if isinstance(node.op, (ops.Dense, ops.Conv, ops.SumPool)):
            low, high = int(node.info.low.min()), int(node.info.high.max())
            widest = max(widest, max((~low if low < 0 else 0).bit_length(), high.bit_length()) + (low < 0))
    return widest


def row(name: str, mode: str, model: keras.Model, x: np.ndarray, steps: int) -> tuple[int, tuple[str, ...]]:
    result = hgqify.convert(model, x, overflow=mode, finetune_steps=steps, progress=no_progress)
    report = result.report
    widths = [layer.input_bits[1] for layer in report.layers if layer.input_bits]
    seen, beyond = (hgqify.overflow_statement(result.model, scale * x, limit=400) for scale in (1, 2))
    proved = sum(q.status is OverflowStatus.PROVED for q in seen.wrapping)
    agreement = report.quality.agreement
    return report.ebops, (
        name,
        mode,
        f"{report.ebops:,}",
        "",
        f"{accumulator(result.program)}",
        f"{np.mean(widths):.1f}",
        f"{report.quality.output_sqnr_db:.1f}",
        "-" if agreement is None else f"{100 * agreement:.1f} %",
        f"{len(seen.wrapping)}",
        f"{proved}",
        f"{len(seen.overflowing)}",
        f"{len(beyond.overflowing)}",
        "proved" if report.float32_proved else "open",
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CASES)}; default: all that can be had")
    parser.add_argument("--material", type=Path)
    parser.add_argument("--steps", type=int, default=0, help="of fine-tuning; default: 0")
    options = parser.parse_args()
    names = options.names or [n for n in CASES if options.material or not n.startswith("jets")]
    print("| " + " | ".join(HEADER) + " |\n|" + "---|" * len(HEADER), flush=True)
    for name in names:
        model, x = CASES[name](options.material)
        rows = {mode: row(name, mode, model, x, options.steps) for mode in MODES}
        for ebops, cells in rows.values():
            cells = (*cells[:3], f"{ebops / rows['sat'][0]:.2f}", *cells[4:])
            print("| " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
