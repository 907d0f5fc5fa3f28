"""What quantization refuses, and how formats and modes behave as data."""

import numpy as np
import pytest
import strategies
from hypothesis import given

from hgqify.errors import DataError, PrecisionError
from hgqify.fixed import (
    Format,
    Overflow,
    Rounding,
    align,
    as_overflow,
    as_rounding,
    code_bounds,
    deployed,
    quantize,
    requantize,
    to_codes,
    to_values,
)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(bad):
    with pytest.raises(DataError, match="finite; received: 1 NaN or infinite of 2"):
        to_codes(np.array([0.0, bad], np.float32), 1, 2, 3)


@pytest.mark.parametrize("bad", [1j, "1", np.longdouble(1)])
def test_values_that_are_no_floats_are_refused(bad):
    with pytest.raises(DataError, match="can be quantized"):
        to_codes(bad, 1, 2, 3)


@pytest.mark.parametrize("mode", [Rounding.S_RND, Rounding.S_RND_CONV])
def test_stochastic_modes_are_refused_and_have_a_deployed_mode(mode):
    with pytest.raises(PrecisionError, match=f"training only.*{deployed(mode)}"):
        to_codes(1.0, 1, 2, 3, mode, Overflow.SAT)
    with pytest.raises(PrecisionError, match="training only"):
        _ = mode.ap_name
    assert deployed(mode).value == mode.value.removeprefix("S_")


def test_other_modes_are_deployed_as_they_are():
    assert [deployed(mode) for mode in strategies.DETERMINISTIC] == list(strategies.DETERMINISTIC)


def test_mode_names_are_accepted_and_misspelt_ones_corrected():
    assert as_rounding("RND_CONV") is Rounding.RND_CONV
    assert as_overflow(Overflow.SAT) is Overflow.SAT
    assert (Rounding.RND_INF.ap_name, Overflow.WRAP_SM.ap_name) == ("AP_RND_INF", "AP_WRAP_SM")
    with pytest.raises(PrecisionError, match="the closest is SAT_SYM"):
        to_codes(1.0, 1, 2, 3, Rounding.RND, "SAT_SM")  # type: ignore[arg-type]
    with pytest.raises(PrecisionError, match="not a rounding mode; received: None"):
        as_rounding(None)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((1, 31, 31), "wider than 62 bits"),
        ((0, 60, 3), "wider than 62 bits"),
        ((2, 3, 3), "k must be 0 or 1"),
        ((-1, 3, 3), "k must be 0 or 1"),
        ((1, 2.0, 3), "i must hold integers; received: dtype float64"),
        ((1, 2, np.float32([3])), "f must hold integers; received: dtype float32"),
        ((1, 1 << 40, -(1 << 40)), "i lies beyond any float64 exponent"),
    ],
)
def test_impossible_formats_are_refused(parts, message):
    with pytest.raises(PrecisionError, match=message):
        code_bounds(*parts)
    with pytest.raises(PrecisionError, match=message):
        to_codes(0.5, *parts)


def test_codes_that_are_too_wide_are_refused():
    for code in (1 << 62, -(1 << 62), -(1 << 63)):
        with pytest.raises(PrecisionError, match=r"below 2\*\*62"):
            requantize(np.int64(code) if code < 1 << 62 else np.uint64(code), 0, 1, 2, 3)
    with pytest.raises(PrecisionError, match="codes must hold integers"):
        requantize(1.5, 0, 1, 2, 3)


def test_alignment_is_exact_or_refused():
    with pytest.raises(PrecisionError, match="no multiples of the coarser LSB"):
        align([4, 6], 2, 0)
    with pytest.raises(PrecisionError, match="more than 62 bits"):
        align([0, 1], 0, 62)
    np.testing.assert_array_equal(align([0, -1], 0, 61), [0, -(1 << 61)])
    np.testing.assert_array_equal(align([0], 0, 5000), [0])
    np.testing.assert_array_equal(align([0, 4], [9, 2], 0), [0, 1])


def test_values_that_float64_cannot_hold_are_refused():
    for code, f in [((1 << 53) + 1, 0), (1, 1075), (3, 1075), (1, -1024), (-5, 70000)]:
        with pytest.raises(PrecisionError, match="cannot hold these values exactly"):
            to_values(code, f)
    assert to_values(1, 1074) == 5e-324
    assert to_values(1, -1023) == 2.0**1023
    assert to_values(0, 70000) == 0
    with pytest.raises(PrecisionError, match="cannot hold"):
        quantize(1e300, 0, 60, 0, Rounding.TRN, Overflow.SAT)


def test_empty_arrays_and_scalars_keep_their_shape():
    assert to_codes(np.zeros((0, 3), np.float32), 1, np.ones(3, int), 4).shape == (0, 3)
    assert to_codes(1.0, 1, 2, 3).shape == ()
    assert code_bounds(1, [[1], [2]], [3, 4, 5])[0].shape == (2, 3)
    assert requantize([1, 2], 0, 1, np.array([[3]]), 1).shape == (1, 2)


@given(strategies.formats(min_width=-3))
def test_format_views_agree(fmt: Format):
    assert Format.from_WI(fmt.W, fmt.I, bool(fmt.k)) == fmt
    assert (fmt.W, fmt.I, fmt.b) == (fmt.k + fmt.i + fmt.f, fmt.k + fmt.i, fmt.i + fmt.f)
    assert fmt.is_zero == (fmt.W <= 0)


def test_formats_are_plain_data():
    assert str(Format(1, 4, 3)) == "fixed<8,5>"
    assert str(Format(0, -2, 5)) == "ufixed<3,-2>"
    assert Format(np.int8(1), np.int64(4), True) == Format(1, 4, 1)  # type: ignore[arg-type]
    with pytest.raises(PrecisionError, match=r"i of a format must be an integer; received: 1\.5"):
        Format(1, 1.5, 2)  # type: ignore[arg-type]
    with pytest.raises(PrecisionError, match="k of a format must be 0 or 1; received: 2"):
        Format(2, 1, 2)
