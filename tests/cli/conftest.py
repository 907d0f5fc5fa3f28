"""The stand-in for the API in place of the API, and two small results for those that need real ones."""

from pathlib import Path

import keras
import numpy as np
import pytest
from stand_in import STOOD_IN, Api
from tiny_zoo import tiny_models

import hgqify
from hgqify.progress import no_progress


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Api:
    stand_in = Api()
    for name in STOOD_IN:
        monkeypatch.setattr(hgqify, name, getattr(stand_in, name), raising=False)
    monkeypatch.chdir(tmp_path)
    return stand_in


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.keras, holdout.npz (x and classes y), and two results of the model, a and b."""
    folder = tmp_path_factory.mktemp("results")
    keras.utils.clear_session()  # the tests know the layers by the names that Keras gives first
    model = tiny_models.build("mlp", seed=1)
    model.save(folder / "model.keras")
    x = tiny_models.inputs(model, 120, seed=2)
    np.savez(folder / "holdout.npz", x=x, y=np.asarray(model.predict(x, verbose=0)).argmax(axis=1))
    for name, bits in (("a", 10), ("b", 6)):
        result = hgqify.convert(
            folder / "model.keras", folder / "holdout.npz", bits=bits, finetune_steps=0, progress=no_progress
        )
        result.save(folder / name)
    return folder
