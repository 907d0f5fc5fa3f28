"""Interval arithmetic against brute force over all codes."""

import itertools
import operator

import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from hgqify.errors import PrecisionError
from hgqify.fixed import (
    Format,
    Interval,
    Overflow,
    Rounding,
    bit_length,
    minimal_bits,
    minimal_format,
    requantize,
    span,
    trailing_zeros,
)

FRACS = st.integers(-3, 3)


@st.composite
def scalars(draw) -> Interval:
    low, high = draw(strategies.intervals(max_bits=4))
    return Interval(low, high, draw(FRACS))


def members(interval: Interval, frac: int) -> list[int]:
    """All codes of a one-element interval, on the LSB 2**-frac."""
    scale = 1 << (frac - interval.frac)
    return [code * scale for code in range(int(interval.low[0]), int(interval.high[0]) + 1)]


def assert_is(interval: Interval, codes: list[int], frac: int) -> None:
    assert interval.frac == frac
    assert (interval.low.tolist(), interval.high.tolist()) == ([min(codes)], [max(codes)])


@pytest.mark.parametrize(
    ("exact", "of_codes"),
    [
        (operator.add, operator.add),
        (operator.sub, operator.sub),
        (Interval.maximum, max),
        (Interval.minimum, min),
    ],
)
@given(a=scalars(), b=scalars())
def test_operations_on_a_common_lsb_are_exact(exact, of_codes, a, b):
    frac = max(a.frac, b.frac)
    codes = [of_codes(x, y) for x, y in itertools.product(members(a, frac), members(b, frac))]
    assert_is(exact(a, b), codes, frac)


@given(scalars(), scalars())
def test_products_are_exact(a, b):
    codes = [x * y for x, y in itertools.product(members(a, a.frac), members(b, b.frac))]
    assert_is(a * b, codes, a.frac + b.frac)


@given(scalars(), scalars())
def test_set_operations(a, b):
    frac = max(a.frac, b.frac)
    x, y = a.at(frac), b.at(frac)
    inside, other = (set(range(int(v.low[0]), int(v.high[0]) + 1)) for v in (x, y))
    assert_is(a.union(b), sorted(inside | other), frac)
    assert a.intersects(b).tolist() == [bool(inside & other)]
    assert a.contains(b).tolist() == [other <= inside]
    if inside & other:
        assert_is(a.intersection(b), sorted(inside & other), frac)
    else:
        with pytest.raises(PrecisionError, match="empty"):
            a.intersection(b)


@given(scalars(), st.integers(-5, 5))
def test_negation_and_shift(a, bits):
    assert_is(-a, [-code for code in members(a, a.frac)], a.frac)
    shifted = a.shift(bits)
    assert (shifted.low, shifted.high, shifted.frac) == (a.low, a.high, a.frac - bits)


@given(strategies.intervals(max_bits=6, max_size=5), FRACS)
def test_sums(bounds, frac):
    low, high = bounds
    total = Interval(low, high, frac).sum()
    assert (int(total.low), int(total.high), total.frac) == (low.sum(), high.sum(), frac)
    kept = Interval(low[:, None], high[:, None], frac).sum(axis=1)
    np.testing.assert_array_equal(kept.low, low)


@given(scalars(), strategies.quantizations(min_width=-2, max_width=6, max_point=5))
def test_requantized_intervals_hold_exactly_what_quantizing_gives(a, quantization):
    fmt, rounding, overflow = quantization
    codes = members(a, a.frac)
    images = requantize(codes, a.frac, fmt.k, fmt.i, fmt.f, rounding, overflow)
    result = a.requantized(fmt.k, fmt.i, fmt.f, rounding, overflow, frac=fmt.f)
    assert result.low[0] <= images.min()
    assert images.max() <= result.high[0]
    overflowing = bool(a.overflows(fmt.k, fmt.i, fmt.f, rounding, overflow)[0])
    if overflow.saturates or not overflowing or len(codes) == 1:
        assert_is(result, images.tolist(), fmt.f)
    else:
        assert (result.low[0], result.high[0]) == (fmt.low_code(overflow), fmt.high_code)


def test_formats_of_different_lsb_share_the_finest():
    interval = Interval.of_format(1, [2, 3, 0], [1, 0, 40], Overflow.SAT_SYM)
    assert interval.frac == 40
    alive = Interval.of_format(1, [2, 3, -41], [1, 0, 40], Overflow.SAT_SYM)
    # The third is the constant 0: its fine LSB does not count.
    assert alive.frac == 1
    np.testing.assert_array_equal(alive.low, [-7, -14, 0])
    np.testing.assert_array_equal(alive.high, [7, 14, 0])
    with pytest.raises(PrecisionError, match="no multiples"):
        Interval.of_format(1, 2, 1, frac=0)


def test_intervals_are_read_only_and_shapes_broadcast():
    source = np.zeros(3, np.int64)
    interval = Interval(source, [[1], [2]], 0)
    assert interval.shape == (2, 3)
    source[0] = 1
    assert interval.low.max() == 0
    with pytest.raises(ValueError, match="read-only"):
        interval.low[0] = 1
    assert Interval.constant(5, 2).shape == ()
    assert str(Interval([-1, 0], [2, 3], 4)) == "[-1, 3] * 2**-4, shape (2,)"


def test_intervals_refuse_what_they_cannot_hold():
    with pytest.raises(PrecisionError, match="an interval is empty"):
        Interval([1, 2], [1, 1], 0)
    with pytest.raises(PrecisionError, match=r"below 2\*\*62"):
        Interval(0, 1 << 62, 0)
    with pytest.raises(PrecisionError, match="low must hold integers"):
        Interval([0.5], [1.0], 0)  # type: ignore[list-item]
    big = Interval(-1, 1 << 40, 0)
    for operation in (lambda: big * big, lambda: big.at(22)):
        with pytest.raises(PrecisionError, match="more than 62 bits"):
            operation()
    huge = Interval([1 << 61] * 2, [1 << 61] * 2, 0)
    for operation in (huge.sum, lambda: huge + huge):
        with pytest.raises(PrecisionError, match="more than 62 bits; received: a code of 63 bits"):
            operation()
    # No bound of a single element is too large here, though the product of the largest would be.
    exact = Interval([1 << 40, 1], [1 << 40, 1], 0) * Interval([1, 1 << 40], [1, 1 << 40], 0)
    np.testing.assert_array_equal(exact.low, [1 << 40, 1 << 40])


@given(strategies.intervals(max_bits=40, max_size=4), st.integers(-60, 60))
def test_minimal_formats_hold_the_range_and_one_bit_less_does_not(bounds, frac):
    low, high = bounds
    fmt = minimal_format(low, high, frac)
    assert fmt == Interval(low, high, frac).format()
    assert fmt.low_code() <= low.min()
    assert high.max() <= fmt.high_code
    assert fmt.k == (low.min() < 0)
    if fmt.b > 0:
        less = Format(fmt.k, fmt.i - 1, fmt.f)
        assert low.min() < less.low_code() or high.max() > less.high_code
    k, i = minimal_bits(low, high, frac)
    each = [minimal_format(a, b, frac) for a, b in zip(low, high, strict=True)]
    assert list(zip(k, i, strict=True)) == [(f.k, f.i) for f in each]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 0, Format(0, -3, 3)),
        (-1, 0, Format(1, -3, 3)),
        (-1, -1, Format(1, -3, 3)),
        (-8, 7, Format(1, 0, 3)),
        (-8, 8, Format(1, 1, 3)),
        (0, 15, Format(0, 1, 3)),
        (1, 1, Format(0, -2, 3)),
    ],
)
def test_minimal_formats(low, high, expected):
    assert minimal_format(low, high, 3) == expected


def test_no_format_follows_from_nothing():
    with pytest.raises(PrecisionError, match="empty array"):
        minimal_format(np.zeros(0, int), np.zeros(0, int), 3)
    with pytest.raises(PrecisionError, match="an interval is empty"):
        minimal_bits(2, 1, 0)


@given(strategies.codes())
def test_bits_of_codes(code):
    digits = bin(abs(code))[2:]
    assert bit_length(code) == abs(code).bit_length()
    assert trailing_zeros(code) == (len(digits) - len(digits.rstrip("0")) if code else 0)
    assert span(code) == (len(digits.strip("0")) if code else 0)


def test_bits_of_codes_next_to_powers_of_two():
    powers = np.array([1 << n for n in range(62)])
    np.testing.assert_array_equal(bit_length(powers), np.arange(1, 63))
    np.testing.assert_array_equal(bit_length(powers - 1), np.arange(62))
    np.testing.assert_array_equal(trailing_zeros(-powers), np.arange(62))
    np.testing.assert_array_equal(span(powers), np.ones(62))
    for code in (1 << 62, np.iinfo(np.int64).min):
        with pytest.raises(PrecisionError, match=r"below 2\*\*62"):
            span(code)


@pytest.mark.parametrize("rounding", strategies.DETERMINISTIC)
def test_a_wrapping_constant_stays_a_constant(rounding: Rounding):
    result = Interval.constant([9, 3], 0).requantized(1, 3, 0, rounding, Overflow.WRAP)
    np.testing.assert_array_equal(result.low, [-7, 3])
    np.testing.assert_array_equal(result.high, [-7, 3])
