"""What holds for every value, format and mode."""

from fractions import Fraction

import numpy as np
import pytest
import rational_oracle as rational
import strategies
from hypothesis import assume, example, given
from hypothesis import strategies as st

from hgqify.fixed import (
    Format,
    Overflow,
    Rounding,
    align,
    code_bounds,
    overflows,
    quantize,
    requantize,
    to_codes,
    to_values,
)

ANY_WIDTH = {"min_width": -3, "max_width": 62, "max_point": 80}


@st.composite
def cases(draw, **options):
    fmt, rounding, overflow = draw(strategies.quantizations(**options))
    return draw(strategies.floats_near(fmt)), fmt, rounding, overflow


@given(cases())
def test_codes_equal_rational_arithmetic(case):
    x, fmt, rounding, overflow = case
    code = to_codes(x, fmt.k, fmt.i, fmt.f, rounding, overflow)
    assert int(code) == rational.quantized(Fraction(x), fmt, rounding, overflow)


@given(strategies.float64s(), strategies.quantizations(**ANY_WIDTH))
@example(5e-324, (Format(1, 3, 4), Rounding.RND_INF, Overflow.SAT))
@example(-5e-324, (Format(1, 3, 4), Rounding.TRN, Overflow.WRAP))
@example(5e-324, (Format(0, -1073, 1075), Rounding.RND_CONV, Overflow.SAT))
@example(1.7976931348623157e308, (Format(1, 40, 21), Rounding.TRN, Overflow.WRAP_SM))
@example(-(2.0**61), (Format(1, 61, 0), Rounding.TRN, Overflow.SAT_SYM))
def test_codes_of_every_float64_equal_rational_arithmetic(x, quantization):
    fmt, rounding, overflow = quantization
    code = to_codes(x, fmt.k, fmt.i, fmt.f, rounding, overflow)
    assert int(code) == rational.quantized(Fraction(x), fmt, rounding, overflow)


@given(strategies.codes(), st.integers(-70, 70), strategies.quantizations(**ANY_WIDTH))
@example((1 << 62) - 1, 61, (Format(1, 3, -2), Rounding.RND_INF, Overflow.SAT))
@example(-(1 << 61), 62, (Format(1, 3, 0), Rounding.RND_CONV, Overflow.WRAP))
def test_requantized_codes_equal_rational_arithmetic(code, frac, quantization):
    fmt, rounding, overflow = quantization
    result = requantize(code, frac, fmt.k, fmt.i, fmt.f, rounding, overflow)
    assert int(result) == rational.quantized(Fraction(code) * Fraction(2) ** -frac, fmt, rounding, overflow)


@given(strategies.codes(max_bits=52), st.integers(-70, 70), strategies.quantizations(**ANY_WIDTH))
def test_requantizing_codes_equals_quantizing_their_values(code, frac, quantization):
    fmt, rounding, overflow = quantization
    np.testing.assert_array_equal(
        requantize(code, frac, fmt.k, fmt.i, fmt.f, rounding, overflow),
        to_codes(to_values(code, frac), fmt.k, fmt.i, fmt.f, rounding, overflow),
    )


@given(cases(min_width=-3))
def test_values_are_on_the_grid_and_in_range(case):
    x, fmt, rounding, overflow = case
    value = Fraction(float(quantize(x, fmt.k, fmt.i, fmt.f, rounding, overflow)))
    code = value * Fraction(2) ** fmt.f
    assert code.denominator == 1
    low, high = code_bounds(fmt.k, fmt.i, fmt.f, overflow)
    assert low <= code <= high


@given(cases(min_width=-3))
def test_quantizing_twice_changes_nothing(case):
    x, *quantization = case
    fmt, rounding, overflow = quantization
    once = quantize(x, fmt.k, fmt.i, fmt.f, rounding, overflow)
    np.testing.assert_array_equal(quantize(once, fmt.k, fmt.i, fmt.f, rounding, overflow), once)


@given(
    st.data(),
    strategies.formats(min_width=-3),
    strategies.deterministic_roundings,
    strategies.saturating,
)
def test_saturating_quantizers_are_monotone(data, fmt, rounding, overflow):
    x = np.sort(data.draw(st.lists(strategies.floats_near(fmt), min_size=2, max_size=12)))
    assert np.all(np.diff(to_codes(x, fmt.k, fmt.i, fmt.f, rounding, overflow)) >= 0)


@given(cases())
def test_in_range_all_overflow_modes_agree_and_the_error_is_below_one_lsb(case):
    x, fmt, rounding, _ = case
    assume(not overflows(x, fmt.k, fmt.i, fmt.f, rounding, Overflow.SAT_SYM))
    modes = [mode for mode in Overflow if fmt.k or mode is not Overflow.WRAP_SM]
    results = {int(to_codes(x, fmt.k, fmt.i, fmt.f, rounding, mode)) for mode in modes}
    assert len(results) == 1
    error = abs(Fraction(x) * Fraction(2) ** fmt.f - results.pop())
    truncates = rounding in (Rounding.TRN, Rounding.TRN_ZERO)
    assert error < 1 if truncates else error <= Fraction(1, 2)


@given(cases(min_width=-3))
def test_overflows_says_when_the_rounded_code_is_out_of_range(case):
    x, fmt, rounding, overflow = case
    low, high = rational.bounds(fmt, overflow)
    code = rational.rounded(Fraction(x) * Fraction(2) ** fmt.f, rounding)
    assert bool(overflows(x, fmt.k, fmt.i, fmt.f, rounding, overflow)) == (not low <= code <= high)


@given(strategies.formats(min_width=-3, max_width=62), strategies.all_overflows)
def test_bounds_agree_between_format_arrays_and_rationals(fmt, overflow):
    expected = rational.bounds(fmt, overflow)
    assert (fmt.low_code(overflow), fmt.high_code) == expected
    assert tuple(map(int, code_bounds(fmt.k, fmt.i, fmt.f, overflow))) == expected


@given(st.data(), strategies.deterministic_roundings)
def test_arrays_of_formats_equal_their_elements(data, rounding):
    fmts = data.draw(st.lists(strategies.formats(min_width=-3, max_width=40), min_size=1, max_size=5))
    signed = all(fmt.k or fmt.is_zero for fmt in fmts)
    overflow = data.draw(st.sampled_from([m for m in Overflow if signed or m is not Overflow.WRAP_SM]))
    x = np.array([[data.draw(strategies.floats_near(fmt)) for fmt in fmts] for _ in range(3)])
    k, i, f = (np.array([getattr(fmt, name) for fmt in fmts]) for name in "kif")
    codes = to_codes(x, k, i, f, rounding, overflow)
    assert codes.dtype == np.int64
    expected = [
        [int(to_codes(v, fmt.k, fmt.i, fmt.f, rounding, overflow)) for v, fmt in zip(row, fmts, strict=True)]
        for row in x
    ]
    np.testing.assert_array_equal(codes, expected)


@given(strategies.float32_arrays(), strategies.quantizations())
def test_float32_and_float64_agree(x, quantization):
    fmt, rounding, overflow = quantization
    np.testing.assert_array_equal(
        to_codes(x, fmt.k, fmt.i, fmt.f, rounding, overflow),
        to_codes(x.astype(np.float64), fmt.k, fmt.i, fmt.f, rounding, overflow),
    )


@given(cases(min_width=-3))
def test_zero_is_never_negative(case):
    x, fmt, rounding, overflow = case
    for v in (x, -x, 0.0, -0.0):
        value = quantize(v, fmt.k, fmt.i, fmt.f, rounding, overflow)
        assert not (value == 0 and np.signbit(value))


@given(strategies.codes(max_bits=30), st.integers(-20, 20), st.integers(0, 30))
def test_alignment_keeps_values_and_comes_back(code, frac, more):
    finer = align(code, frac, frac + more)
    assert Fraction(int(finer)) * Fraction(2) ** -(frac + more) == Fraction(code) * Fraction(2) ** -frac
    assert int(align(finer, frac + more, frac)) == code


@pytest.mark.parametrize("rounding", strategies.DETERMINISTIC)
def test_ties(rounding):
    expected = {
        Rounding.TRN: [-2, -1, 0, 1],
        Rounding.RND: [-1, 0, 1, 2],
        Rounding.RND_CONV: [-2, 0, 0, 2],
        Rounding.TRN_ZERO: [-1, 0, 0, 1],
        Rounding.RND_ZERO: [-1, 0, 0, 1],
        Rounding.RND_MIN_INF: [-2, -1, 0, 1],
        Rounding.RND_INF: [-2, -1, 1, 2],
    }[rounding]
    codes = to_codes(np.float32([-1.5, -0.5, 0.5, 1.5]), 1, 4, 0, rounding, Overflow.WRAP)
    np.testing.assert_array_equal(codes, expected)


def test_wrap_sm_is_a_triangle_wave():
    codes = to_codes(np.arange(-9, 10), 1, 2, 0, Rounding.TRN, Overflow.WRAP_SM)
    down = [0, -1, -2, -3, -4, -4, -3, -2, -1]
    up = [0, 1, 2, 3, 3, 2, 1, 0, -1, -2]
    np.testing.assert_array_equal(codes, [codes[0], *down[:0:-1], *up])
    assert codes[0] == 0
