"""Formats from ranges: fit, minimality, and the exceptions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hgqify.calibrate.placement import ceil_log2, place_activation, place_bias, place_weight
from hgqify.fixed import Overflow, Rounding, code_bounds, quantize, to_codes

finite = st.floats(-(2.0**20), 2.0**20, width=32).filter(lambda x: x == 0 or abs(x) > 2.0**-20)


@given(st.integers(-60, 60))
def test_ceil_log2_is_exact_at_powers_of_two(e):
    x = 2.0**e
    assert ceil_log2(np.array([x, np.nextafter(x, np.inf), np.nextafter(x, 0)])).tolist() == [e, e + 1, e]


@settings(deadline=None)
@given(st.lists(finite, min_size=1, max_size=8), st.integers(3, 16), st.integers(0, 2))
def test_wrapping_formats_hold_the_range_after_rounding(values, width, margin):
    x = np.array(values)
    bits = place_activation(x.min(), x.max(), width, wraps=True, margin=margin)
    if not x.any():
        assert int(bits.k + bits.i + bits.f) == 0
        return
    assert int(bits.k + bits.i + bits.f) == width
    low, high = code_bounds(*bits, Overflow.WRAP)
    rounded = np.floor(np.ldexp(x, int(bits.f)) + 0.5)
    assert (rounded >= low).all()
    assert (rounded <= high).all()


@settings(deadline=None)
@given(st.lists(finite, min_size=1, max_size=8), st.integers(3, 16))
def test_saturating_formats_are_minimal_and_clip_one_lsb_at_most(values, width):
    x = np.array(values)
    bits = place_activation(x.min(), x.max(), width, wraps=False)
    error = np.abs(quantize(x, *bits, Rounding.RND, Overflow.SAT) - x)
    assert (error <= 2.0 ** -int(bits.f)).all() or not x.any()
    if x.any():
        assert 2.0 ** (int(bits.i) - 1) < max(x.max(), -x.min())


def test_signs_and_powers_of_two():
    low, high = np.array([0.0, -1.0, -0.5, 0.0]), np.array([1.0, 0.5, 1.0, 0.0])
    bits = place_activation(low, high, 8, wraps=False)
    assert bits.k.tolist() == [0, 1, 1, 0]
    assert bits.i.tolist() == [0, 0, 0, 0]
    assert bits.f.tolist() == [8, 7, 7, 0]
    signed = place_activation(low, high, 8, wraps=True, signed=True)
    assert signed.k.tolist() == [1, 1, 1, 0]
    wrapping = place_activation(low, high, 8, wraps=True)
    assert wrapping.i.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("low", "high", "frac", "expected"),
    [
        (0, 255, 0, (0, 8, 0)),
        (0, 256, 0, (0, 9, 0)),
        (0, 1, 0, (0, 1, 0)),
        (-128, 127, 0, (1, 7, 0)),
        (0, 1, 2, (0, 1, 2)),
        (0, 255, 20, (0, 8, 2)),
    ],
)
@pytest.mark.parametrize("wraps", [False, True])
def test_data_on_a_grid_takes_no_more_bits_than_the_grid(low, high, frac, expected, wraps):
    bits = place_activation(np.float32(low), np.float32(high), 10, wraps=wraps, frac=frac)
    assert tuple(int(b) for b in bits) == expected


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 10), st.sampled_from([(0,), (0, 1), ()]))
def test_no_weight_slice_rounds_to_zero(seed, width, axes):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(5, 4)) * 2.0 ** rng.integers(-3, 3, (1, 4))
    bits = place_weight(weight, axes, width)
    codes = to_codes(weight, *bits, Rounding.RND, Overflow.SAT_SYM)
    assert (np.abs(codes).max(axis=axes, keepdims=True) > 0).all()
    assert (np.abs(codes) <= 2 ** (width - 1) - 1).all()


def test_weights_choose_the_better_of_two_ranges():
    weight = np.array([[1.01], *[[0.1]] * 200])
    clipped = place_weight(weight, (0,), 4)
    assert clipped.i.item() == 0
    assert place_weight(np.array([[1.9], [1.7], [-1.8]]), (0,), 8).i.item() == 1


def test_a_dead_channel_takes_no_bits():
    weight = np.array([[0.5, 0.0], [0.25, 0.0]])
    bits = place_weight(weight, (0,), 8)
    assert (bits.k + bits.i + bits.f).tolist() == [[8, 0]]


def test_values_below_float_noise_are_dropped():
    bits = place_activation(np.array([0.0, 0.0]), np.array([1.0, 2.0**-30]), 8, wraps=False)
    assert (bits.k + bits.i + bits.f).tolist() == [8, 0]


@settings(deadline=None)
@given(st.lists(finite, min_size=1, max_size=6), st.integers(-4, 12))
def test_biases_lie_on_the_product_grid(values, frac):
    bias = np.array(values)
    bits = place_bias(bias, np.array(frac), 20)
    got = quantize(bias, *bits, Rounding.RND, Overflow.SAT_SYM)
    lsb = np.maximum(2.0**-frac, np.abs(bias) * 2.0**-18)
    assert (np.abs(got - bias) <= lsb).all()
    assert ((bits.f <= frac) | (bits.k + bits.i + bits.f == 0)).all()
