"""The files in fixtures/ are what their README says."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest

from hgqify.data import check_against, collect, open_source

FOLDER = Path(__file__).parents[2] / "fixtures"


@dataclass(frozen=True)
class Fixture:
    folder: str
    shape: tuple[int, ...]
    classes: int
    parameters: int
    calibration: int
    holdout: int
    accuracy: float


FIXTURES = (
    Fixture("mnist", (28, 28, 1), 10, 34_826, 512, 1000, 0.992),
    Fixture("kws", (49, 10, 1), 12, 24_908, 500, 494, 0.913),
)


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.folder)
def test_fixture(fixture: Fixture) -> None:
    folder = FOLDER / fixture.folder
    model = keras.saving.load_model(folder / "model.keras", compile=False)
    assert model.count_params() == fixture.parameters
    sources = {
        "calib": open_source(folder / "calib.npy", labels=folder / "calib_labels.npy"),
        "holdout": open_source(folder / "holdout.npz"),
    }
    assert [len(source) for source in sources.values()] == [fixture.calibration, fixture.holdout]
    batches = {}
    for name, source in sources.items():
        check_against(source, [fixture.shape])
        batches[name] = collect(source)
        assert set(np.unique(batches[name].labels)) == set(range(fixture.classes))
    seen = {sample.tobytes() for sample in batches["calib"].inputs[0]}
    assert not any(sample.tobytes() in seen for sample in batches["holdout"].inputs[0])
    logits = model.predict(batches["holdout"].inputs[0], batch_size=fixture.holdout, verbose=0)
    hits = int((logits.argmax(axis=1) == batches["holdout"].labels).sum())
    # Rounding in float32 may decide a tie between two classes in another way elsewhere.
    assert abs(hits - fixture.accuracy * fixture.holdout) <= 1
