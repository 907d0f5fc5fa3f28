"""Models made under one backend, run under the others: the same codes, and gradients within a tolerance.

Each run leaves what it made in the folder of its backend under HGQIFY_EXCHANGE (a temporary folder without
it), and reads what other backends left there. `.ci/run` runs this file once per backend, and says in
HGQIFY_EXCHANGE_WITH which backends must have been there before.
"""

from __future__ import annotations

import os
from pathlib import Path

import hand_built
import keras
import numpy as np
import pytest
from autodiff import BACKEND, variable_gradients

import hgqify
from hgqify.calling import predict
from hgqify.graph import load_model
from hgqify.layers import refresh
from hgqify.precision import from_npz, lower, to_npz
from hgqify.progress import no_progress
from hgqify.reference import run

# Two backends sum gradients in different orders: relative to the largest gradient of the same variable.
GRADIENT_TOLERANCE = 1e-4
# The same for a batch normalization in training and what stands before it: a variance is computed in another
# order too, and an error x - q or the gradient of a bias that the mean takes away is a small difference.
STATISTICS_TOLERANCE = 1e-2

BACKENDS = ("jax", "tensorflow", "torch")


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("HGQIFY_EXCHANGE")
    return Path(given) if given else tmp_path_factory.mktemp("exchange")


@pytest.fixture(scope="module")
def own(exchange: Path) -> Path:
    """What this backend makes: codes and gradients before training, and a trained model with its codes."""
    folder = exchange / BACKEND
    folder.mkdir(parents=True, exist_ok=True)
    model, arrays = hand_built.model(), hand_built.inputs()
    (before,) = predict(model, arrays)
    eager = keras.ops.convert_to_numpy(model([keras.ops.convert_to_tensor(a) for a in arrays]))
    np.testing.assert_array_equal(before, eager)
    np.testing.assert_array_equal(before, run(lower(model), arrays).values[0])
    variables = model.trainable_variables
    gradients = variable_gradients(lambda: hand_built.loss(model, arrays), variables)
    names = [f"{n:03d} {v.path}" for n, v in enumerate(variables)]

    fitted = hand_built.model()
    start = [keras.ops.convert_to_numpy(v).copy() for v in fitted.trainable_variables]
    fitted.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = fitted.fit(arrays, hand_built.labels(), batch_size=32, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    moved = [
        np.any(keras.ops.convert_to_numpy(v) != old)
        for v, old in zip(fitted.trainable_variables, start, strict=True)
    ]
    assert np.mean(moved) > 0.8
    refresh(fitted)
    fitted.save(folder / "model.keras")
    to_npz(lower(fitted), folder / "program.npz")
    (after,) = predict(fitted, arrays)
    np.savez(folder / "codes.npz", before=before, after=after)
    np.savez(folder / "gradients.npz", **dict(zip(names, gradients, strict=True)))
    return folder


@pytest.fixture(scope="module")
def folders(exchange: Path, own: Path) -> list[Path]:
    """Of all backends that have been here, this one included."""
    found = [exchange / name for name in BACKENDS if (exchange / name / "codes.npz").is_file()]
    asked = os.environ.get("HGQIFY_EXCHANGE_WITH", BACKEND).split()
    assert own in found
    assert set(asked) <= {folder.name for folder in found}
    return found


def test_codes_before_training_are_the_same_everywhere(own: Path, folders: list[Path]) -> None:
    mine = np.load(own / "codes.npz")["before"]
    assert len(np.unique(mine)) > 50
    for folder in folders:
        np.testing.assert_array_equal(np.load(folder / "codes.npz")["before"], mine, err_msg=folder.name)


def test_gradients_agree(own: Path, folders: list[Path]) -> None:
    mine = np.load(own / "gradients.npz")
    assert sum(bool(np.any(mine[name])) for name in mine.files) > 0.8 * len(mine.files)
    for folder in folders:
        theirs = np.load(folder / "gradients.npz")
        assert theirs.files == mine.files
        for name in mine.files:
            scale = float(np.abs(mine[name]).max())
            behind = name.split()[1].startswith(("conv/", "norm/"))
            tolerance = (STATISTICS_TOLERANCE if behind else GRADIENT_TOLERANCE) * scale
            np.testing.assert_allclose(
                theirs[name], mine[name], rtol=0, atol=tolerance, err_msg=f"{folder.name}: {name}"
            )


def test_a_saved_model_gives_the_same_codes_everywhere(folders: list[Path]) -> None:
    arrays = hand_built.inputs()
    for folder in folders:
        model = load_model(folder / "model.keras")
        codes = np.load(folder / "codes.npz")["after"]
        np.testing.assert_array_equal(predict(model, arrays)[0], codes, err_msg=folder.name)
        np.testing.assert_array_equal(run(from_npz(folder / "program.npz"), arrays).values[0], codes)


def test_check_accepts_what_every_backend_saved(folders: list[Path]) -> None:
    for folder in folders:
        report = hgqify.check(folder, csim=False, random=100, progress=no_progress)
        assert report.exact, folder.name
