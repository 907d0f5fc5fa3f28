"""Streaming ranges equal the ranges of all data at once."""

import keras
import numpy as np
import pytest

from hgqify.calibrate.ranges import Range, collect_ranges, grid_frac
from hgqify.calibrate.widths import merged_range
from hgqify.data import open_source
from hgqify.errors import CalibrationError, DataError


@pytest.fixture(scope="module")
def probe():
    given = keras.Input((5,), name="x")
    hidden = keras.layers.Dense(4, activation="relu")(given)
    return keras.Model(given, [given, hidden, keras.layers.Dense(2)(hidden)])


def test_ranges_do_not_depend_on_the_batches(probe):
    x = np.random.default_rng(0).normal(size=(37, 5)).astype(np.float32)
    expected = [np.asarray(y) for y in probe.predict(x, verbose=0)]
    for batch_size in (1, 16, 64):
        ranges = collect_ranges(probe, open_source(x), batch_size=batch_size)
        for seen, y in zip(ranges, expected, strict=True):
            # One compiled batch size per run: sums may round differently from another one.
            np.testing.assert_allclose(seen.low, y.min(axis=0), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(seen.high, y.max(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(ranges[0].low, x.min(axis=0))


def test_only_inputs_know_their_grid(probe):
    x = np.random.default_rng(0).integers(-8, 8, (9, 5)).astype(np.float32) / 4
    ranges = collect_ranges(probe, open_source(x))
    assert [seen.frac for seen in ranges] == [2, None, None]


@pytest.mark.parametrize(
    ("values", "frac"),
    [([0, 0], None), ([0, 1, 255], 0), ([0.5, 3], 1), ([96, 32], -5), ([2.0**-30, 1], 30), ([1 / 3], 25)],
)
def test_grid_frac(values, frac):
    assert grid_frac(np.array(values, np.float32)) == frac


def test_limit_and_progress(probe):
    x = np.arange(100, dtype=np.float32).reshape(20, 5)
    seen = []
    ranges = collect_ranges(probe, open_source(x), batch_size=4, limit=10, progress=seen.append)
    assert seen == [4, 8, 10]
    np.testing.assert_array_equal(ranges[0].high, x[9])


def test_wrong_data_and_broken_models_are_refused(probe):
    with pytest.raises(DataError, match="shape"):
        collect_ranges(probe, open_source(np.zeros((3, 4), np.float32)))
    given = keras.Input((2,))
    broken = keras.Model(given, [keras.ops.log(given)])
    with pytest.raises(CalibrationError, match="NaN or infinity"):
        collect_ranges(broken, open_source(np.full((3, 2), -1, np.float32)))


def test_ranges_are_shared_along_axes_of_length_one():
    seen = Range(low=np.array([[1.0, 2], [3, 0]]), high=np.array([[5.0, 6], [7, 8]]))
    assert seen.reduce(()).low == 0
    assert seen.reduce((1, 2)).low.tolist() == [[1, 0]]
    assert seen.reduce((2, 2)).high.tolist() == [[5, 6], [7, 8]]
    other = Range(low=np.array([-1.0]), high=np.array([0.5]))
    assert (float(merged_range([seen, other]).low), float(merged_range([seen, other]).high)) == (-1, 8)
