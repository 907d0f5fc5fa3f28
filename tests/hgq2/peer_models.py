"""The stored HGQ2 models, and inputs for them."""

from pathlib import Path

import keras
import numpy as np

from hgqify.hgq2 import import_model, peer, to_hgq2
from hgqify.layers import QLayer

FOLDER = Path(__file__).parent / "models"
NAMES = sorted(path.stem for path in FOLDER.glob("*.keras"))


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.keras"


def inputs(model: keras.Model, count: int = 96, seed: int = 0) -> list[np.ndarray]:
    """Values within the ranges, on ties, and up to 2**10 times beyond.

    Not further: HGQ2 rounds with floor(x + 1/2) in float32, which loses the half of codes beyond 22 bits.
    """
    rng = np.random.default_rng(seed)
    found = []
    for tensor in model.inputs:
        x = rng.normal(size=(count, *tensor.shape[1:]))
        x *= np.exp2(rng.integers(-3, 11, size=(count,) + (1,) * (x.ndim - 1)))
        x[: count // 4] = np.round(x[: count // 4] * 32) / 32
        found.append(x.astype(np.float32))
    return found


def predicted(model: keras.Model, x: list[np.ndarray]) -> np.ndarray:
    return np.asarray(model.predict(x[0] if len(x) == 1 else x, batch_size=len(x[0]), verbose=0))


def assert_there_and_back(ours: keras.Model, x: list[np.ndarray], y: np.ndarray, folder: Path) -> None:
    """The codes of ours are those of HGQ2's, and of ours again after that was stored."""
    theirs = to_hgq2(ours)
    assert not [layer for layer in theirs.layers if isinstance(layer, QLayer)]
    assert any(peer.class_name(layer) for layer in theirs.layers)
    np.testing.assert_array_equal(predicted(theirs, x), y)
    theirs.save(folder / "theirs.keras")
    np.testing.assert_array_equal(predicted(import_model(folder / "theirs.keras"), x), y)
