"""The shared strategies give what they promise and reach the corners."""

import numpy as np
import pytest
import strategies
from hypothesis import find, given, settings

from hgqify.fixed import Overflow

SEARCH = settings(max_examples=5000, database=None, derandomize=True)


@given(strategies.formats(min_width=-2, max_width=9, max_point=7))
def test_formats_keep_their_limits(fmt):
    assert -2 <= fmt.W <= 9
    assert -7 <= fmt.f <= 13


@given(strategies.quantizations())
def test_quantizations_are_supported(quantization):
    fmt, rounding, overflow = quantization
    assert not rounding.is_stochastic
    assert fmt.k or overflow is not Overflow.WRAP_SM


@given(strategies.float32_arrays(max_size=5))
def test_float32_arrays_are_finite(x):
    assert x.dtype == np.float32
    assert 1 <= x.size <= 5
    assert np.isfinite(x).all()


@given(strategies.intervals(max_bits=3, max_size=4))
def test_intervals_are_ordered(bounds):
    low, high = bounds
    assert (np.abs(low) <= 7).all()
    assert (low <= high).all()


@pytest.mark.parametrize(
    "corner",
    [
        lambda x: 0 < abs(x) < np.finfo(np.float32).tiny,
        lambda x: x == 0 and np.signbit(x),
        lambda x: abs(x) > 1e30,
    ],
)
def test_float32s_reach_corners(corner):
    find(strategies.float32s(), corner, settings=SEARCH)


@pytest.mark.parametrize(
    "corner",
    [
        lambda fmt: fmt.W == 1 and fmt.k,
        lambda fmt: fmt.i < 0,
        lambda fmt: fmt.f < 0,
        lambda fmt: fmt.W > 16 and not fmt.k,
    ],
)
def test_formats_reach_corners(corner):
    find(strategies.formats(), corner, settings=SEARCH)
