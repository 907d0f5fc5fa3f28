"""Ranges below what was seen: the percentile is NumPy's, 'mse' takes the format of least weighted loss."""

import json
import math
import tracemalloc
from fractions import Fraction
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiny_zoo import tiny_models

import hgqify
from hgqify import graph
from hgqify.calibrate import (
    CalibrateSettings,
    calibrate,
    choose_by_loss,
    collect_ranges,
    measure_sensitivity,
    percentile_ranges,
    sqnr,
)
from hgqify.calibrate.placement import ceil_log2
from hgqify.calibrate.range_choice import CLIPS, LEVELS, clippable
from hgqify.calling import predict
from hgqify.cli import main
from hgqify.convert import ConvertSettings, convert
from hgqify.data import open_source
from hgqify.errors import RuleError
from hgqify.export import random_inputs
from hgqify.layers import quantized_layers
from hgqify.progress import no_progress
from hgqify.reference import run

ROOT = Path(__file__).parents[2]
MNIST, KWS = ROOT / "fixtures/mnist", ROOT / "fixtures/kws"
quiet = partial(hgqify.convert, finetune_steps=0, progress=no_progress)


def one_dense(granularity, features=4):
    model = keras.Sequential([keras.Input((3, features), name="x"), keras.layers.Dense(2, name="d")])
    return convert(graph.read(model), ConvertSettings(activation_granularity=granularity))


CONVERSIONS = {name: one_dense(name) for name in ("tensor", "channel", "element")}


def wanted_bound(values, percentile):
    """The smallest power of two that holds a share of the values other than zero, from all of them at once."""
    magnitudes = np.abs(values[values != 0]).astype(np.float64)
    if not magnitudes.size:
        return None
    # 99.9 has no float: of 1,000 values NumPy would ask for all or for 999, as it happens to round.
    rank = math.ceil(Fraction(str(percentile)) * magnitudes.size / 100)
    exact = np.percentile(magnitudes, 100 * (rank - 0.5) / magnitudes.size, method="inverted_cdf")
    return 2.0 ** max(int(ceil_log2(exact)), int(ceil_log2(magnitudes.max())) - LEVELS)


VALUES = st.one_of(
    st.just(0.0),
    st.integers(-8, 12).map(lambda e: 2.0**e),  # on the edge of a format
    st.integers(-500, 500).map(lambda n: n / 256),
    st.integers(-(2**20), 2**20).map(lambda n: n / 256),
)


@settings(max_examples=15, deadline=None)
@given(
    x=st.sampled_from([3, 20]).flatmap(lambda n: hnp.arrays(np.float32, (n, 3, 4), elements=VALUES)),
    percentile=st.sampled_from([0.1, 30, 50, 75.0, 90, 95.5, 99, 99.9, 100]),
    granularity=st.sampled_from(list(CONVERSIONS)),
)
def test_percentile_is_that_of_the_whole_array(x, percentile, granularity):
    """Batches of 8, the last one padded: no value is forgotten and no copy counted."""
    conversion, source = CONVERSIONS[granularity], open_source(x, names=["x"])
    site = next(s for s in conversion.sites if s.layer == "d" and s.slot == 0)
    (position,) = site.tensors
    observed = collect_ranges(conversion.probe, source, batch_size=8)[position]
    # Not as a model input, whose grid might make clipping pointless: as a computed tensor.
    seen = type(observed)(low=observed.low, high=observed.high)
    ranges = {s.layer: {s.slot: seen} for s in conversion.sites if s.slot == 0}
    tensors = {(s.layer, s.slot): (position,) for s in conversion.sites if s.slot == 0}
    found = percentile_ranges(
        conversion.model, conversion.probe, tensors, source, ranges, percentile=percentile, batch_size=8
    )
    held = found["d"][0]
    elements = np.broadcast_to(np.arange(12).reshape(3, 4), x.shape)
    owner = {"tensor": elements * 0, "channel": elements % 4, "element": elements}[granularity]
    for group in np.unique(owner):
        bound = wanted_bound(x[owner == group], percentile)
        mine = owner[0] == group
        low, high = observed.low[mine], observed.high[mine]
        if bound is not None:
            low, high = np.maximum(low, -bound), np.minimum(high, bound)
        np.testing.assert_array_equal(held.low[mine], low)
        np.testing.assert_array_equal(held.high[mine], high)


def test_counting_takes_no_memory_for_the_data():
    """51 MB of data in batches; what Python and NumPy hold at a time stays far below."""

    class Batches:
        def __iter__(self):
            for n in range(50):
                yield np.random.default_rng(n).standard_t(2, size=(4000, 64)).astype("f4")

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((64,), name="x"), keras.layers.Dense(4)])
    conversion = convert(graph.read(model), ConvertSettings(activation_granularity="element"))
    peaks = []
    for chosen in (CalibrateSettings(), CalibrateSettings(percentile=99.0)):
        tracemalloc.start()
        calibrate(
            conversion.model,
            conversion.probe,
            conversion.sites,
            open_source(Batches(), names=["x"]),
            settings=chosen,
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 16e6, peaks


def test_data_on_a_grid_is_clipped_no_further_than_its_grid():
    """Whole numbers, all but one below 4: five bits hold them up to 31 as exactly as up to 3."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(2)])
    x = np.random.default_rng(0).integers(0, 4, (200, 4)).astype("f4")
    x[0] = 255
    for input_bits, ints in ((8, [8, 8]), (5, [5, 5])):
        result = quiet(model, x, percentile=90, input_bits=input_bits)
        site = result.report.to_dict()["calibration"]["sites"][0]
        assert (site["high"], site["ints"]) == (255, ints)
