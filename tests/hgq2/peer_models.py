"""The stored HGQ2 models, and inputs for them."""

from pathlib import Path

import keras
import numpy as np

FOLDER = Path(__file__).parent / "models"
NAMES = sorted(path.stem for path in FOLDER.glob("*.keras"))
EXACT_BITS = 22
"""HGQ2 rounds with floor(x + 1/2) in float32, which loses the half of codes beyond so many bits."""


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.keras"


def inputs(model: keras.Model, count: int = 96, seed: int = 0) -> list[np.ndarray]:
    """Values within the ranges, on ties, at their ends, and up to 2**10 beyond."""
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
