"""Both kernels with significant bits against `hgqify.fixed`, bit for bit, and the table of gradients."""

import functools

import numpy as np
import pytest
from autodiff import compiled, numpy, value_and_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from hgqify import fixed
from hgqify.fixed import Overflow, Rounding
from hgqify.quantizers.kernel import active_kernel
from hgqify.quantizers.ops_kernel import ops_kernel

DETERMINISTIC = [mode for mode in Rounding if not mode.is_stochastic]
SIZE = 512
FUSED = active_kernel()
KERNELS = [pytest.param(FUSED, id="fused"), pytest.param(ops_kernel, id="ops")]


def tensor(x):
    return ops.convert_to_tensor(np.asarray(x, np.float32))


def bits(x) -> np.ndarray:
    return np.asarray(x, np.float32).view(np.int32)


@functools.cache
def fixed_kernel(kernel, rounding):
    return compiled(lambda x, k, i, f, digits: kernel(x, k, i, f, rounding, Overflow.SAT_SYM, None, digits))


def run(kernel, x, k, i, f, digits, rounding) -> np.ndarray:
    return numpy(fixed_kernel(kernel, rounding)(*map(tensor, (x, k, i, f, digits))))


def formats(rng: np.random.Generator, shape) -> tuple[np.ndarray, ...]:
    """k, i, f, digits of minifloats of up to five exponent bits, anywhere; the constant 0 among them."""
    m, e, e0 = rng.integers(-1, 12, shape), rng.integers(1, 6, shape), rng.integers(-60, 61, shape)
    e0 = np.where(rng.random(shape) < 0.7, e0 // 10, e0)
    half = 1 << (e - 1)
    return rng.integers(0, 2, shape), half + e0, m - 1 + half - e0, m + 1


def case(seed: int) -> tuple[np.ndarray, ...]:
    """Any float32, or numbers near the ties and ends of their format."""
    rng = np.random.default_rng(seed)
    k, i, f, digits = formats(rng, SIZE)
    anything = rng.integers(0, 0x7F800000, SIZE, dtype=np.uint32) | rng.integers(0, 2, SIZE, np.uint32) << 31
    codes = rng.integers(-(2 << 12), 2 << 12, SIZE).astype(np.float64)
    at = rng.integers(-f - 2, np.maximum(i + 2, -f - 1), SIZE)
    near = np.ldexp(codes, at - np.minimum(digits + 1, 12)).astype(np.float32)
    near = np.nextafter(near, near + rng.integers(-1, 2, SIZE).astype(np.float32) * np.abs(near))
    return np.where(rng.random(SIZE) < 0.3, anything.view(np.float32), near), k, i, f, digits


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("rounding", DETERMINISTIC)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_values_equal_fixed_bit_for_bit(kernel, rounding, seed):
    x, k, i, f, digits = case(seed)
    expected = fixed.quantize(x, k, i, f, rounding, Overflow.SAT_SYM, digits)
    np.testing.assert_array_equal(bits(run(kernel, x, k, i, f, digits, rounding)), bits(expected))


PITFALLS = [0.0, -0.0, 1e-45, -1e-45, 1.1754942e-38, -1e-40, 1e38, -3.4028235e38, 3.4028235e38, 0.49999997]
PITFALLS += [
    2.0**24,
    -(2.0**60),
    1.9999999,
    1.75,
    -1.875,
    240.0,
    248.0,
    247.99998,
    -256.0,
    0.5,
    2.0**-10,
    1e-9,
]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("rounding", DETERMINISTIC)
def test_pitfalls(kernel, rounding):
    i = np.array([8, 16, 1, 2, 76, -44, 8, 3])
    f = np.array([10, 18, 1, 2, -45, 76, 6, 9])
    digits = np.array([4, 3, 2, 1, 3, 24, 0, 4])
    x, i, f, digits = (
        a.ravel() for a in np.broadcast_arrays(np.array(PITFALLS, np.float32)[:, None], i, f, digits)
    )
    expected = fixed.quantize(x, 1, i, f, rounding, Overflow.SAT_SYM, digits)
    np.testing.assert_array_equal(bits(run(kernel, x, 1, i, f, digits, rounding)), bits(expected))


def table(x, k, i, f, digits, rounding) -> list[np.ndarray]:
    """The table of ``width_gradients``, element by element."""
    factors = np.zeros((4, *x.shape))
    for at in np.ndindex(*x.shape):
        value, k_, i_, f_, d = float(x[at]), k[at], int(i[at]), int(f[at]), int(digits[at])
        top = 2.0**i_ - 2.0 ** (i_ - d)
        binade = np.frexp(value)[1]
        own = min(f_, d - min(binade, i_ + 1))
        rounded = float(fixed.quantize(value, 1, 40 - own, own, rounding, Overflow.SAT)) if d else 0.0
        ln2 = np.log(2)
        if d and rounded > top:
            factors[:, *at] = 0, ln2 * top, 0, ln2 * 2.0 ** (i_ - d)
        elif d and rounded < -k_ * top:
            factors[:, *at] = 0, -k_ * ln2 * top, 0, -k_ * ln2 * 2.0 ** (i_ - d)
        elif value == 0 or binade < d - f_:
            factors[:, *at] = 1, 0, ln2 * (value - rounded), 0
        else:
            factors[:, *at] = 1, 0, 0, ln2 * (value - rounded)
    return list(factors)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("width_shape", "part"), [((1, 1), 1), ((1, 4), 1), ((1, 4), 4), ((32, 4), 1)])
def test_gradients_follow_their_table(kernel, width_shape, part):
    rng = np.random.default_rng(3)
    x = (rng.normal(0, 1, (32, 4)) * np.exp2(rng.integers(-6, 4, (32, 4)))).astype(np.float32)
    k = np.ones(width_shape)
    parts = (1, 4), (-1, 3), (3, 6)
    digits, i, f = (rng.integers(*part, width_shape) for part in parts)
    digits.flat[-1] *= digits.size == 1  # one that is always 0
    weight = rng.normal(size=x.shape).astype(np.float32)

    def quantized(x, i, f, digits):
        return kernel(x, tensor(k), i, f, Rounding.RND, Overflow.SAT_SYM, None, digits, part=part)

    widths = [np.asarray(a, np.float32) for a in (i, f, digits)]
    _, got = value_and_gradients(quantized, x, *widths, weight=weight)
    want = table(x, *(np.broadcast_to(a, x.shape) for a in (k, i, f, digits)), Rounding.RND)
    np.testing.assert_array_equal(got[0], (want[0] * weight).astype(np.float32))
    weight = weight * (np.arange(32) < 32 // part)[:, None] * part
    shared = tuple(a for a in range(2) if width_shape[a] == 1)
    for g, w in zip(got[1:], want[1:], strict=True):
        # Sums of float32 in another order: the table is exact, its summation is not.
        np.testing.assert_allclose(g, (w * weight).sum(axis=shared, keepdims=True), rtol=2e-5, atol=2e-5)
    assert all(np.any(w) for w in want)
