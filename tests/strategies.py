"""Hypothesis strategies shared by all tests: formats, modes, floats over their whole range, codes.

They are tested themselves in tests/fixed/test_strategies.py.
"""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hgqify.fixed import Format, Overflow, Rounding

DETERMINISTIC = tuple(mode for mode in Rounding if not mode.is_stochastic)

deterministic_roundings = st.sampled_from(DETERMINISTIC)
all_overflows = st.sampled_from(tuple(Overflow))
saturating = st.sampled_from([mode for mode in Overflow if mode.saturates])


@st.composite
def formats(
    draw: st.DrawFn,
    *,
    signed: bool | None = None,
    min_width: int = 1,
    max_width: int = 24,
    max_point: int = 30,
) -> Format:
    """Formats with min_width <= W <= max_width (W <= 0: the constant 0) and |f| <= max_point, about.

    Small widths and a point near the bits come first when hypothesis shrinks.
    """
    k = draw(st.integers(0, 1)) if signed is None else int(signed)
    width = draw(st.integers(min_width, max_width))
    f = draw(st.one_of(st.integers(-4, width + 4), st.integers(-max_point, max_point)))
    return Format(k, width - k - f, f)


@st.composite
def modes(draw: st.DrawFn, fmt: Format | None = None) -> tuple[Rounding, Overflow]:
    """A deterministic rounding and an overflow mode; WRAP_SM only for signed formats (or ``fmt`` None)."""
    overflows = [mode for mode in Overflow if fmt is None or fmt.k or mode is not Overflow.WRAP_SM]
    return draw(deterministic_roundings), draw(st.sampled_from(overflows))


@st.composite
def quantizations(draw: st.DrawFn, **options: int | bool | None) -> tuple[Format, Rounding, Overflow]:
    """A format with modes it supports; options as for `formats`."""
    fmt = draw(formats(**options))  # type: ignore[arg-type]
    return fmt, *draw(modes(fmt))


def float32s() -> st.SearchStrategy[float]:
    """Every finite float32: subnormals, both zeros and the largest magnitudes included."""
    return st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=True)


def float64s() -> st.SearchStrategy[float]:
    """Every finite float64."""
    return st.floats(width=64, allow_nan=False, allow_infinity=False, allow_subnormal=True)


def float32_arrays(max_size: int = 32) -> st.SearchStrategy[np.ndarray]:
    """1-D float32 arrays over the whole finite range."""
    return hnp.arrays(np.float32, st.integers(1, max_size), elements=float32s())


@st.composite
def floats_near(draw: st.DrawFn, fmt: Format) -> float:
    """Values where a quantizer to ``fmt`` decides: ties, ends of its range and of neighbouring periods.

    All are float64 multiples of an eighth of an LSB within four times the range, or any float32.
    """
    if draw(st.booleans()):
        return draw(float32s())
    width = min(max(fmt.W, 1), 40)
    eighths = draw(
        st.one_of(
            st.integers(-(8 << (width + 2)), 8 << (width + 2)),
            # Close to a multiple of half the range.
            st.builds(lambda n, d: n * (4 << width) + d, st.integers(-4, 4), st.integers(-12, 12)),
        )
    )
    return float(np.ldexp(float(eighths), -fmt.f - 3))


def codes(max_bits: int = 61) -> st.SearchStrategy[int]:
    """Integer codes below 2**max_bits in magnitude, small ones likelier."""
    limit = (1 << max_bits) - 1
    return st.one_of(st.integers(-64, 64), st.integers(-limit, limit))


@st.composite
def intervals(draw: st.DrawFn, max_bits: int = 5, max_size: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Bounds ``(low, high)`` of small intervals, int64 arrays of one shape, fit for brute force."""
    limit = (1 << max_bits) - 1
    size = draw(st.integers(1, max_size))
    ends = draw(hnp.arrays(np.int64, (2, size), elements=st.integers(-limit, limit)))
    return ends.min(axis=0), ends.max(axis=0)
