"""Both kernels against the definition of the arithmetic, bit for bit, and against the gradient's formula."""

import functools

import keras
import numpy as np
import pytest
from autodiff import compiled, numpy, value_and_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import float32s, quantizations

from hgqify import fixed
from hgqify.fixed import Overflow, Rounding
from hgqify.quantizers.kernel import active_kernel
from hgqify.quantizers.ops_kernel import ops_kernel

DETERMINISTIC = [mode for mode in Rounding if not mode.is_stochastic]
SIZE = 22 * 16
FUSED = active_kernel()
KERNELS = [pytest.param(FUSED, id="fused"), pytest.param(ops_kernel, id="ops")]


def tensor(x):
    return keras.ops.convert_to_tensor(np.asarray(x, np.float32))


def bits(x) -> np.ndarray:
    return np.asarray(x, np.float32).view(np.int32)


@functools.cache
def fixed_kernel(kernel, rounding, overflow):
    return compiled(lambda x, k, i, f: kernel(x, k, i, f, rounding, overflow))


def run(kernel, x, k, i, f, rounding, overflow) -> np.ndarray:
    args = [None if a is None else tensor(a) for a in (x, k, i, f)]
    return numpy(fixed_kernel(kernel, rounding, overflow)(*args))


def any_float32(rng: np.random.Generator, size: int) -> np.ndarray:
    """Every finite bit pattern alike: subnormals, zeros and the largest magnitudes included."""
    patterns = (
        rng.integers(0, 0x7F800000, size, dtype=np.uint32) | rng.integers(0, 2, size, dtype=np.uint32) << 31
    )
    return patterns.view(np.float32)


def near_the_grid(rng: np.random.Generator, f: np.ndarray, log_size: int) -> np.ndarray:
    """Multiples of a quarter LSB and their float32 neighbours: ties, bounds and what almost is one."""
    quarters = rng.integers(-(2**log_size), 2**log_size, f.shape)
    x = np.ldexp(quarters.astype(np.float64), -f - 2).astype(np.float32)
    return np.nextafter(x, x + rng.integers(-1, 2, f.shape).astype(np.float32) * np.abs(x))


def case(seed: int, overflow: Overflow | None) -> tuple[np.ndarray, ...]:
    """x, k, i, f of one shape; formats up to b = 24 anywhere in the exponent range, dead ones included."""
    rng = np.random.default_rng(seed)
    k = np.ones(SIZE, int) if overflow is Overflow.WRAP_SM else rng.integers(0, 2, SIZE)
    f = np.where(rng.random(SIZE) < 0.7, rng.integers(-4, 15, SIZE), rng.integers(-95, 96, SIZE))
    b = rng.integers(-3, 25, SIZE)
    f = np.clip(f, b - 100, 100)
    x = [any_float32(rng, SIZE)] + [near_the_grid(rng, f, n) for n in (3, 12, 26)]
    return rng.permuted(x, axis=0)[0].astype(np.float32), k, b - f, f


seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize("rounding", DETERMINISTIC)
@settings(max_examples=15)
@given(seed=seeds)
def test_values_equal_fixed_bit_for_bit(kernel, rounding, overflow, seed):
    x, k, i, f = case(seed, overflow)
    expected = fixed.quantize(x, k, i, f, rounding, overflow)
    got = run(kernel, x, k, i, f, rounding, overflow)
    np.testing.assert_array_equal(bits(got), bits(expected))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("rounding", DETERMINISTIC)
@settings(max_examples=15)
@given(seed=seeds)
def test_rounding_alone_equals_fixed_with_room(kernel, rounding, seed):
    x, _, _, f = case(seed, None)
    # A float32 from 2**24 LSB on is on the grid; below, 30 bits are room enough.
    small = np.abs(np.ldexp(x.astype(np.float64), f.astype(np.int32))) < 2.0**24
    expected = np.where(small, fixed.quantize(np.where(small, x, 0), 1, 30 - f, f, rounding, Overflow.SAT), x)
    np.testing.assert_array_equal(bits(run(kernel, x, None, None, f, rounding, None)), bits(expected))


@given(
    x=float32s(),
    quantization=quantizations(max_point=90),
    kernel=st.sampled_from([FUSED, ops_kernel]),
)
def test_one_value_equals_fixed(x, quantization, kernel):
    fmt, rounding, overflow = quantization
    x = np.full(SIZE, x, np.float32)
    k, i, f = (np.full(SIZE, part) for part in (fmt.k, fmt.i, fmt.f))
    expected = fixed.quantize(x, k, i, f, rounding, overflow)
    np.testing.assert_array_equal(bits(run(kernel, x, k, i, f, rounding, overflow)), bits(expected))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (SIZE // 8, 1), (SIZE // 8, 8)])
def test_granularities_broadcast(kernel, shape):
    x, k, i, f = case(5, Overflow.WRAP)
    x = x.reshape(-1, 8)
    k, i, f = (a.reshape(-1, 8)[: shape[0], : shape[1]] for a in (k, i, f))
    for overflow in (Overflow.WRAP, Overflow.SAT_SYM):
        expected = fixed.quantize(x, k, i, f, Rounding.RND, overflow)
        np.testing.assert_array_equal(bits(run(kernel, x, k, i, f, Rounding.RND, overflow)), bits(expected))


PITFALLS = [0.0, -0.0, 1e-45, -1e-45, -1e-40, 1.1754942e-38, -1.1754942e-38, 1e38, -1e38, 3.4028235e38]
PITFALLS += [
    0.5,
    -0.5,
    1.5,
    -1.5,
    2.5,
    0.49999997,
    -0.49999997,
    0.50000006,
    -0.50000006,
    8388607.5,
    -8388607.5,
]
PITFALLS += [
    -3.4028235e38,
    2.0**24 - 1,
    2.0**24,
    2.0**25 + 4,
    2.0**31,
    -(2.0**31),
    2.0**60,
    1.9999999 * 2.0**59,
]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize("rounding", DETERMINISTIC)
def test_pitfalls(kernel, rounding, overflow):
    k = np.array([1, 1] if overflow is Overflow.WRAP_SM else [0, 1]).repeat(8)
    i = np.tile([0, 4, 24, -1, 1, 0, 90, -80], 2)
    f = np.tile([0, 0, 0, 1, 23, 24, -90, 95], 2)
    # One shape with the test above, whose compiled kernels then serve here too.
    x, k, i, f = (a.ravel() for a in np.broadcast_arrays(np.array(PITFALLS, np.float32)[:, None], k, i, f))
    expected = fixed.quantize(x, k, i, f, rounding, overflow)
    np.testing.assert_array_equal(bits(run(kernel, x, k, i, f, rounding, overflow)), bits(expected))


def test_tiny_negative_values_truncate_to_minus_one_lsb():
    x = np.array([-1e-40, -1e-45, 1e-40, -0.0], np.float32)
    for kernel in (FUSED, ops_kernel):
        for f in (-8, 0, 8, 95):
            got = run(kernel, x, 1, 8 - f, f, Rounding.TRN, Overflow.WRAP)
            np.testing.assert_array_equal(got, np.array([-1, -1, 0, 0]) * 2.0**-f)


def expected_gradients(x, k, i, f, rounding, overflow, weight):
    """The table of ``width_gradients`` in NumPy float64, from rounded codes and the bounds of fixed."""
    x = x.astype(np.float64)
    rounded = fixed.quantize(x, 1, 40 - f, f, rounding, Overflow.SAT)
    ones = np.ones_like(x)
    dx, di, df = ones.copy(), np.zeros_like(x), np.log(2) * (x - rounded)
    if overflow is not None and overflow.saturates:
        low, high = (np.ldexp(code.astype(float), -f) for code in fixed.code_bounds(k, i, f, overflow))
        top, lsb = np.log(2) * 2.0**i * ones, np.log(2) * 2.0**-f * ones
        for outside, sign, moves in (
            (rounded > high, ones, True),
            (rounded < low, -k * ones, overflow is Overflow.SAT_SYM),
        ):
            dx[outside] = 0
            di[outside] = (sign * top)[outside]
            df[outside] = (sign * lsb * moves)[outside]
    grads = [weight * g for g in (dx, di, df)]
    return [grads[0]] + [
        g.sum(axis=tuple(a for a in range(2) if np.shape(w)[a] == 1), keepdims=True)
        for g, w in zip(grads[1:], (i, f), strict=True)
    ]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("overflow", [None, *Overflow])
@pytest.mark.parametrize("width_shape", [(1, 1), (1, 4), (64, 4)])
def test_gradients_follow_their_formula(kernel, overflow, width_shape):
    rng = np.random.default_rng(0)
    shape = (64, 4)
    x = rng.normal(0, 2, shape).astype(np.float32)
    k = np.ones(width_shape, int) if overflow is Overflow.WRAP_SM else rng.integers(0, 2, width_shape)
    i, f = rng.integers(-1, 3, width_shape), rng.integers(0, 5, width_shape)
    weight = rng.normal(size=shape).astype(np.float32)

    def quantized(x, i, f):
        return kernel(x, tensor(k), i, f, Rounding.RND, overflow)

    args = [np.asarray(a, np.float32) for a in (x, i, f)]
    _, got = value_and_gradients(quantized, *args, weight=weight)
    want = expected_gradients(x, k, i, f, Rounding.RND, overflow, weight)
    np.testing.assert_array_equal(got[0], want[0].astype(np.float32))
    for g, w in zip(got[1:], want[1:], strict=True):
        # Sums of float32 in another order: the formula is exact, its summation is not.
        np.testing.assert_allclose(g, w, rtol=2e-5, atol=2e-5)
    # In a fine-tuning whose formats stay, nobody asks for those of the widths.
    _, (alone,) = value_and_gradients(lambda x: quantized(x, tensor(i), tensor(f)), args[0], weight=weight)
    np.testing.assert_array_equal(alone, got[0])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("overflow", [None, *Overflow])
@pytest.mark.parametrize("width_shape", [(1, 1), (1, 4)])
@pytest.mark.parametrize(("part", "rows"), [(4, 17), (64, 2), (1000, 1)])
def test_gradients_of_widths_from_a_part_of_the_batch(kernel, overflow, width_shape, part, rows):
    rng = np.random.default_rng(0)
    x, weight = (rng.normal(0, 2, (65, 4)).astype(np.float32) for _ in range(2))
    k = np.ones(width_shape, int)
    i, f = rng.integers(-1, 3, width_shape), rng.integers(0, 5, width_shape)

    def quantized(x, i, f, part):
        return kernel(x, tensor(k), i, f, Rounding.RND, overflow, part=part)

    args = [np.asarray(a, np.float32) for a in (x, i, f)]
    value, got = value_and_gradients(functools.partial(quantized, part=part), *args, weight=weight)
    whole, (to_x, *_) = value_and_gradients(functools.partial(quantized, part=1), *args, weight=weight)
    np.testing.assert_array_equal(value, whole)
    np.testing.assert_array_equal(got[0], to_x)
    seen = weight * (np.arange(65) < rows)[:, None] * 65 / rows
    want = expected_gradients(x, k, i, f, Rounding.RND, overflow, seen)
    for g, w in zip(got[1:], want[1:], strict=True):
        np.testing.assert_allclose(g, w, rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize("overflow", [None, *Overflow])
def test_kernels_have_equal_gradients(overflow):
    rng = np.random.default_rng(1)
    x = rng.normal(0, 2, (8, 4)).astype(np.float32)
    i, f = (np.asarray(rng.integers(0, 4, (8, 4)) + low, np.float32) for low in (-1, 0))
    k = tensor(np.ones_like(i))
    (_, grads), (_, others) = (
        value_and_gradients(lambda x, i, f, kern=kern: kern(x, k, i, f, Rounding.RND_CONV, overflow), x, i, f)
        for kern in (FUSED, ops_kernel)
    )
    for a, b in zip(grads, others, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("mode", [Rounding.S_RND, Rounding.S_RND_CONV])
def test_stochastic_rounding_goes_up_with_the_probability_of_the_fraction(kernel, mode):
    x = tensor(np.full(1000, 1.25))
    noise = tensor((np.arange(1000) + 0.5) / 1000)
    got = numpy(kernel(x, None, None, tensor(np.zeros(1)), mode, None, noise))
    np.testing.assert_array_equal(np.unique(got), [1, 2])
    assert got.sum() == 1250
