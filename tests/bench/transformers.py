"""Transformers at default settings: what they lose, and whether every code agrees.

    python tests/bench/transformers.py FOLDER [NAME ...] [--finetune-steps N] [--target-ebops N]
        [--csim SAMPLES]

FOLDER holds the material the README names (mnist/, ecg_mitbih/). "ViT" is a vision transformer of two blocks
that is trained first, in about a minute; the others are one trained transformer in three files: with a layer
of its own, written in Keras' layers, and with EinsumDense. Prints a table: accuracy of the float model and of
the quantized one on data that calibration did not see; how many codes differ between Keras, the integer
reference and C simulation of the whole firmware; what hls4ml can print of it.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import layers
from real_models import accuracy, ecg

import hgqify
from hgqify.errors import ExportError
from hgqify.export import ProjectOptions, refuse_unprintable
from hgqify.graph import load_model
from hgqify.progress import no_progress

Data = tuple[np.ndarray, np.ndarray, np.ndarray]


class TransformerBlock(layers.Layer):
    """The layer that ecg_mitbih/transformer_model.keras was saved with: attention, then two dense layers."""

    def __init__(self, embed_dim: int, num_heads: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.att = layers.MultiHeadAttention(num_heads, embed_dim)
        self.ffn = keras.Sequential([layers.Dense(embed_dim, activation="relu"), layers.Dense(embed_dim)])
        self.layernorm1 = layers.LayerNormalization(epsilon=1e-6)
        self.layernorm2 = layers.LayerNormalization(epsilon=1e-6)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build the layers."""
        self.att.build(input_shape, input_shape)
        for layer in (self.ffn, self.layernorm1, self.layernorm2):
            layer.build(input_shape)
        self.built = True

    def call(self, x):
        """Normalized behind each sum."""
        y = self.layernorm1(x + self.att(x, x))
        return self.layernorm2(y + self.ffn(y))

    def get_config(self) -> dict[str, object]:
        """Both sizes."""
        return {**super().get_config(), "embed_dim": self.embed_dim, "num_heads": self.num_heads}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A float model, calibration data, and data to judge it by."""

    model: Callable[[Path], keras.Model]
    data: Callable[[Path], Data]


def images(folder: Path) -> Data:
    raw = np.load(folder / "mnist/mnist.npz")
    x, test = (raw[key].astype("f4") / 255 for key in ("x_train", "x_test"))
    return x[:1000], test[:4000], raw["y_test"][:4000]


def vision(folder: Path) -> keras.Model:
    """Patches of 4x4 pixels, 49 places of 16 features; two blocks that normalize before they add."""
    keras.utils.set_random_seed(0)
    given = keras.Input((28, 28))
    x = layers.Conv2D(16, 4, strides=4, name="patches")(layers.Reshape((28, 28, 1))(given))
    x = layers.Reshape((49, 16))(x)
    x = layers.LayerNormalization()(x)
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 8)(y, y)])
        y = layers.Dense(32, activation="relu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(16)(y)])
    x = layers.Flatten()(layers.LayerNormalization()(x))
    model = keras.Model(given, layers.Dense(10, activation="softmax")(x))
    raw = np.load(folder / "mnist/mnist.npz")
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(
        raw["x_train"][:20000].astype("f4") / 255, raw["y_train"][:20000], batch_size=128, epochs=4, verbose=0
    )
    return model


def saved(name: str) -> Callable[[Path], keras.Model]:
    def load(folder: Path) -> keras.Model:
        path = folder / f"ecg_mitbih/{name}.keras"
        return load_model(path, custom_objects={"TransformerBlock": TransformerBlock})

    return load


CASES = {
    "ViT": Case(model=vision, data=images),
    "ECG flat": Case(model=saved("transformer_flat"), data=ecg),
    "ECG custom": Case(model=saved("transformer_model"), data=ecg),
    "ECG einsum": Case(model=saved("transformer_flat_einsumdense"), data=ecg),
}
HEADER = (
    "model",
    "steps",
    "test samples",
    "float",
    "quantized",
    "difference (points)",
    "EBOPs",
    "float32 proved",
    "Keras",
    "C simulation",
    "prints",
    "convert",
    "check",
)


def printed(result: hgqify.Result) -> str:
    try:
        refuse_unprintable(result.program, ProjectOptions(io_type=result.project.io_type))
    except ExportError as error:
        return f"no: {error}"
    return f"all of it ({result.project.io_type})"


def run(
    name: str, case: Case, folder: Path, steps: int, budget: int | None, samples: int, csim: int
) -> tuple[str, ...]:
    model, (calib, test, labels) = case.model(folder), case.data(folder)
    start = time.monotonic()
    result = hgqify.convert(model, calib, finetune_steps=steps, target_ebops=budget, progress=no_progress)
    converted = time.monotonic()
    floats, fixed = (accuracy(m, test, labels) for m in (model, result.model))
    with tempfile.TemporaryDirectory() as scratch:
        written = result.save(Path(scratch) / "result")
        checked = time.monotonic()
        options = {"data": test, "progress": no_progress}
        reports = [hgqify.check(written, limit=samples, random=samples, csim=False, **options)]
        if csim:
            reports.append(hgqify.check(written, limit=csim, random=csim, csim=True, **options))
    end = time.monotonic()
    found = {}
    for report in reports:
        for comparison in report.comparisons:
            print(f"{name}: {comparison}", file=sys.stderr)
            differing, codes = found.get(comparison.what, (0, 0))
            found[comparison.what] = differing + comparison.differing, codes + comparison.codes
    cells = {what: f"{differing}/{codes}" for what, (differing, codes) in found.items()}
    return (
        name,
        str(steps),
        str(len(test)),
        f"{100 * floats:.2f}",
        f"{100 * fixed:.2f}",
        f"{100 * (fixed - floats):+.2f}",
        f"{result.report.ebops:,}",
        "yes" if result.report.float32_proved else "no",
        cells.get("Keras", "-"),
        cells.get("C simulation", "-"),
        printed(result),
        f"{converted - start:.0f} s",
        f"{end - checked:.0f} s",
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--finetune-steps", type=int, default=0, help="0: none")
    parser.add_argument("--target-ebops", type=int, help="none: no budget")
    parser.add_argument("--samples", type=int, default=100, help="compared with Keras, of each kind")
    parser.add_argument("--csim", type=int, default=10, help="compared with C simulation, of each kind")
    options = parser.parse_args()
    print("| " + " | ".join(HEADER) + " |\n|" + "---|" * len(HEADER), flush=True)
    exact = True
    for name in options.names or CASES:
        row = run(
            name,
            CASES[name],
            options.folder,
            options.finetune_steps,
            options.target_ebops,
            options.samples,
            options.csim,
        )
        exact &= all(cell.startswith("0/") or cell == "-" for cell in row[8:10])
        print("| " + " | ".join(row) + " |", flush=True)
    return 0 if exact else 1


if __name__ == "__main__":
    sys.exit(main())
