"""Minifloats against ml_dtypes, and against the list of their numbers in rational arithmetic."""

from fractions import Fraction

import minifloat_oracle as oracle
import ml_dtypes
import numpy as np
import pytest
import strategies
from hypothesis import example, given
from hypothesis import strategies as st

from hgqify.errors import DataError, PrecisionError
from hgqify.fixed import (
    Interval,
    Minifloat,
    Overflow,
    Rounding,
    beyond,
    code_bounds,
    overflows,
    quantize,
    requantize,
    to_codes,
)

NAMES = [
    "bfloat16",
    "float8_e3m4",
    "float8_e4m3",
    "float8_e4m3b11fnuz",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float6_e2m3fn",
    "float6_e3m2fn",
    "float4_e2m1fn",
]


def theirs(name):
    return np.dtype(getattr(ml_dtypes, name))


@st.composite
def minifloats(draw, max_e=4, max_m=4):
    return Minifloat(draw(st.integers(0, max_m)), draw(st.integers(1, max_e)), draw(st.integers(-6, 6)))


@st.composite
def near(draw, form):
    """Numbers, ties and neighbours of ties within and a little beyond the range."""
    code = draw(st.integers(0, (1 << (form.m + form.e)) + (1 << form.m)))
    value = float(oracle.magnitudes(form.m, form.e, form.e0, code + 1)[-1])
    step = float(np.ldexp(1.0, form.low_exponent - form.m))
    moved = value + step * draw(st.integers(-9, 9)) / 8
    return draw(st.sampled_from([moved, -moved, np.nextafter(moved, np.inf), np.nextafter(moved, -np.inf)]))


@pytest.mark.parametrize("name", NAMES)
class TestNamed:
    def test_every_code_has_the_value_that_ml_dtypes_gives_it(self, name):
        form, dtype = Minifloat.named(name), theirs(name)
        count = (1 << (form.e + form.m)) - form.reserved
        bits = np.arange(count).astype(np.uint16 if dtype.itemsize == 2 else np.uint8)
        expected = bits.view(dtype).astype(np.float64)
        values = [form.value(code) for code in range(count)]
        np.testing.assert_array_equal(values, expected)
        assert form.largest == float(ml_dtypes.finfo(dtype).max)
        assert form.smallest == float(ml_dtypes.finfo(dtype).smallest_subnormal)
        np.testing.assert_array_equal(form.quantize(values), expected)

    @given(x=st.one_of(strategies.float32s(), st.floats(-600, 600, width=32), st.floats(-9, 9, width=32)))
    def test_float32_round_as_in_ml_dtypes(self, name, x):
        form, dtype = Minifloat.named(name), theirs(name)
        expected = float(np.float32(x).astype(dtype).astype(np.float64))
        if np.isfinite(expected) and abs(x) <= form.largest:
            assert float(form.quantize(np.float32(x))) == expected
        else:
            assert float(form.quantize(np.float32(x))) == np.copysign(form.largest, x)

    @given(data=st.data())
    def test_ties_round_as_in_ml_dtypes(self, name, data):
        form, dtype = Minifloat.named(name), theirs(name)
        code = data.draw(st.integers(0, (1 << (form.e + form.m)) - 2 - form.reserved))
        # As float32: from float64, ml_dtypes rounds twice on the way to bfloat16.
        tie = np.float32((form.value(code) + form.value(code + 1)) / 2)
        for x in (tie, np.nextafter(tie, np.float32(0)), np.nextafter(tie, np.float32(np.inf))):
            assert float(form.quantize(x)) == float(x.astype(dtype).astype(np.float64))
            assert float(form.quantize(-x)) == -float(form.quantize(x))


@given(st.data())
def test_values_are_those_of_the_list(data):
    form = data.draw(minifloats())
    x, rounding = data.draw(near(form)), data.draw(strategies.deterministic_roundings)
    expected = oracle.nearest(Fraction(x), form.m, form.e, form.e0, rounding)
    value = float(form.quantize(x, rounding))
    assert Fraction(value) == expected
    assert not (value == 0 and np.signbit(value))
    assert float(form.quantize(value, rounding)) == value


@given(st.data())
def test_codes_of_the_fixed_point_format_are_the_same_numbers(data):
    form, rounding = data.draw(minifloats()), data.draw(strategies.deterministic_roundings)
    x = data.draw(st.one_of(near(form), strategies.float64s()))
    fixed = form.format
    parts = fixed.k, fixed.i, fixed.f, rounding, Overflow.SAT_SYM, form.digits
    assert float(quantize(x, *parts)) == float(form.quantize(x, rounding))
    low, high = code_bounds(fixed.k, fixed.i, fixed.f, Overflow.SAT_SYM, form.digits)
    assert float(high) * 2.0**-fixed.f == form.largest == -float(low) * 2.0**-fixed.f
    under, over = beyond(x, *parts)
    # The same subnormal numbers, with exponents up to where the oracle's list is still short.
    e0 = form.e0 + (1 << form.e) - (1 << (form.e - 1))
    unbounded = oracle.nearest(Fraction(x), form.m, form.e + 1, e0, rounding)
    assert bool(over) == (unbounded > Fraction(form.largest))
    assert bool(under) == (unbounded < -Fraction(form.largest))
    assert bool(overflows(x, *parts)) == bool(under or over)


@given(st.data())
def test_codes_of_codes_are_those_of_their_values(data):
    form, rounding = data.draw(minifloats(max_e=5)), data.draw(strategies.deterministic_roundings)
    code, frac = data.draw(strategies.codes(52)), data.draw(st.integers(-20, 60))
    fixed = form.format
    parts = fixed.k, fixed.i, fixed.f, rounding, Overflow.SAT_SYM, form.digits
    expected = to_codes(np.ldexp(float(code), -frac), *parts)
    assert int(requantize(code, frac, *parts)) == int(expected)


@given(minifloats(), strategies.intervals(max_bits=7), st.integers(-4, 6))
def test_an_interval_goes_where_its_ends_go(form, bounds, frac):
    low, high = bounds
    fixed = form.format
    parts = fixed.k, fixed.i, fixed.f, Rounding.RND_CONV, Overflow.SAT_SYM
    image = Interval(low, high, frac).requantized(*parts, frac=fixed.f, digits=form.digits)
    for a, b, x, y in zip(low, high, image.low, image.high, strict=True):
        inside = requantize(np.arange(a, b + 1), frac, *parts, form.digits)
        assert (inside.min(), inside.max()) == (x, y)


@given(strategies.float64s(), st.integers(1, 8), st.integers(-6, 6))
def test_no_mantissa_is_the_constant_zero(x, e, e0):
    form = Minifloat(-1, e, e0)
    assert form.largest == form.smallest == form.W == 0
    value = float(form.quantize(x))
    assert value == 0
    assert not np.signbit(value)
    if e <= 5:
        fixed = form.format
        assert int(to_codes(x, 1, fixed.i, fixed.f, Rounding.RND_CONV, Overflow.SAT_SYM, 0)) == 0


@given(strategies.float32s(), st.integers(0, 6), st.integers(-6, 6))
@example(0.75, 0, 1)
def test_one_exponent_bit_is_fixed_point(x, m, e0):
    form = Minifloat(m, 1, e0)
    fixed = form.format
    assert fixed.b == form.digits
    plain = quantize(x, 1, fixed.i, fixed.f, Rounding.RND_CONV, Overflow.SAT_SYM)
    expected = np.clip(plain, -form.largest, form.largest)  # one bit alone keeps -1 under SAT_SYM
    assert float(form.quantize(x)) == float(expected)


def test_many_formats_at_once_are_each_their_own():
    forms = [Minifloat(3, 4), Minifloat(2, 5, -3), Minifloat(0, 2, 2), Minifloat(-1, 3)]
    x = np.array([300.0, 1e-4, -9.0, 5.0])
    fixed = [form.format for form in forms]
    k, i, f = (np.array([getattr(form, part) for form in fixed]) for part in "kif")
    digits = np.array([form.digits for form in forms])
    values = quantize(x, k, i, f, Rounding.RND_CONV, Overflow.SAT_SYM, digits)
    np.testing.assert_array_equal(values, [float(form.quantize(v)) for form, v in zip(forms, x, strict=True)])


def test_what_cannot_be_is_refused_with_what_to_do():
    with pytest.raises(PrecisionError, match="Names are bfloat16"):
        Minifloat.named("float8")
    with pytest.raises(PrecisionError, match="1 to 8 exponent bits"):
        Minifloat(3, 0)
    with pytest.raises(PrecisionError, match="must be an integer"):
        Minifloat(2.5, 3)  # type: ignore[arg-type]
    with pytest.raises(PrecisionError, match="reserves some"):
        Minifloat(1, 1, reserved=4)
    with pytest.raises(PrecisionError, match="no number"):
        Minifloat.named("float8_e4m3fn").value(127)
    with pytest.raises(PrecisionError, match="SAT_SYM"):
        to_codes(1.0, 1, 3, 3, Rounding.RND, Overflow.WRAP, 2)
    with pytest.raises(DataError, match="finite"):
        Minifloat(3, 4).quantize([np.nan])
    assert str(Minifloat(3, 4, -2)) == "e4m3-2"
    assert str(Minifloat(2, 5)) == "e5m2"
