"""Bounds: attained where they must be, tight for every operation, refused where they do not fit."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import Builder, constant, quantizer

from hgqify.errors import PrecisionError
from hgqify.fixed import Overflow, Rounding
from hgqify.precision import TensorInfo, annotate, infer
from hgqify.precision.ops import (
    Add,
    Clip,
    Concatenate,
    Conv,
    Dense,
    Input,
    LeakyRelu,
    Maximum,
    MaxPool,
    Minimum,
    Multiply,
    Pad,
    ScaleShift,
    Subtract,
    SumPool,
    Table,
)
from hgqify.reference.steps import prepare


def box(rng, shape, spread=3, frac=2):
    """A tensor of small independent intervals, some of them constant or coarse."""
    low = rng.integers(-spread, spread, shape)
    high = low + rng.integers(0, spread + 1, shape)
    zeros = rng.integers(0, 2, shape)
    return TensorInfo(shape=shape, frac=frac, low=low << zeros, high=high << zeros, step=frac - zeros)


def all_points(infos):
    """Every combination of codes of small tensors: arrays (points, *shape), one per tensor."""
    axes = []
    for info in infos:
        gap = 1 << (info.frac - info.step)
        for low, high, step in zip(info.low.ravel(), info.high.ravel(), gap.ravel(), strict=True):
            axes.append(range(int(low), int(high) + 1, int(step)))
    points = np.array(list(itertools.product(*axes)), dtype=np.int64)
    sizes = np.cumsum([info.low.size for info in infos])[:-1]
    return [
        p.reshape(-1, *info.shape) for p, info in zip(np.split(points, sizes, axis=1), infos, strict=True)
    ]


def results(op, infos, shape):
    b = Builder()
    info = infer(op, infos, shape)
    name = b.add(op, (), shape)
    node = b.program(name).by_name[name]
    object.__setattr__(node, "info", info)
    return info, prepare(node, infos)(*all_points(infos))


def check(op, infos, shape, *, steps=True):
    """Bounds are the smallest and largest result; steps are the finest bit that any result has."""
    info, codes = results(op, infos, shape)
    np.testing.assert_array_equal(codes.min(axis=0), info.low)
    np.testing.assert_array_equal(codes.max(axis=0), info.high)
    if steps:
        bits = np.bitwise_or.reduce(codes, axis=0)
        own = np.where(bits == 0, info.step, info.frac - np.log2((bits & -bits).clip(1)).astype(int))
        np.testing.assert_array_equal(own, info.step)


seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=40)
@given(seeds)
def test_linear_operations_attain_their_bounds(seed):
    rng = np.random.default_rng(seed)
    x = box(rng, (3,))
    kernel, bias = rng.integers(-5, 6, (3, 2)), rng.integers(-9, 9, 2)
    check(Dense(kernel=constant(kernel, 1), bias=constant(bias, 4)), (x,), (2,), steps=False)
    x = box(rng, (3, 1), spread=2)
    conv = Conv(kernel=constant(rng.integers(-5, 6, (2, 1, 2))), bias=None, strides=(1,), dilation=(1,),
                padding=((1, 0),))  # fmt: skip
    check(conv, (x,), (3, 2), steps=False)
    check(SumPool(window=(2,), strides=(1,), padding=((1, 1),)), (x,), (4, 1), steps=False)


@settings(max_examples=60)
@given(seeds)
def test_elementwise_operations_attain_their_bounds(seed):
    rng = np.random.default_rng(seed)
    a, b = box(rng, (2,)), box(rng, (2,), frac=3)
    for op in (Add(), Subtract(), Maximum(), Minimum()):
        check(op, (a, b), (2,), steps=False)
    check(Multiply(), (a, b), (2,), steps=False)
    check(ScaleShift(scale=constant(rng.integers(-5, 6, 2), 1), shift=constant(rng.integers(-5, 6, 2), 5)),
          (a,), (2,), steps=False)  # fmt: skip
    check(Clip(low=constant(rng.integers(-3, 1)), high=constant(rng.integers(1, 3))), (a,), (2,), steps=False)
    check(LeakyRelu(slope=constant(rng.integers(-3, 4), 2)), (a,), (2,), steps=False)
    check(MaxPool(window=(2,), strides=(1,), padding=((1, 0),)), (box(rng, (3, 1)),), (3, 1), steps=False)
    check(Table(in_frac=2, first=-8, entries=constant(rng.integers(-50, 50, 24), 3)), (a,), (2,))
    check(Concatenate(axis=0), (a, b), (4,))
    check(Pad(padding=((1, 0),)), (a,), (3,))


@settings(max_examples=100)
@given(seeds, st.sampled_from([mode for mode in Rounding if not mode.is_stochastic]),
       st.sampled_from([Overflow.WRAP, Overflow.SAT, Overflow.SAT_SYM]))  # fmt: skip
def test_quantizers_are_tight_unless_they_wrap(seed, rounding, overflow):
    rng = np.random.default_rng(seed)
    x = box(rng, (2,), spread=5)
    f = rng.integers(-1, 4, 2)
    op = quantizer(rng.integers(0, 2, 2), rng.integers(-1, 4, 2), f, rounding, overflow)
    info, codes = results(op, (x,), (2,))
    low, high = codes.min(axis=0), codes.max(axis=0)
    if overflow.saturates:
        np.testing.assert_array_equal(low, info.low)
        np.testing.assert_array_equal(high, info.high)
    assert (low >= info.low).all()
    assert (high <= info.high).all()


def test_a_quantizer_of_real_numbers_has_the_range_of_its_format():
    info = infer(quantizer([1, 0, 1, 1], [2, 3, -1, -9], [1, 0, 4, 5], overflow=Overflow.SAT_SYM), (), (4,))
    assert info.frac == 4
    np.testing.assert_array_equal(info.low, [-7 << 3, 0, -7, 0])
    np.testing.assert_array_equal(info.high, [7 << 3, 7 << 4, 7, 0])
    np.testing.assert_array_equal(info.step[:3], [1, 0, 4])


def test_trailing_zeros_of_weights_and_cancelled_inputs_are_known():
    """y0 = 4 x0, y1 = x1 / 8 with x1 always zero, y2 = 3 x0: no bits are kept for what cannot be."""
    x = TensorInfo(shape=(2,), frac=2, low=np.array([-4, 0]), high=np.array([3, 0]), step=np.array([2, 2]))
    kernel = constant([[32, 0, 24], [0, 1, 0]], 3)
    info = infer(Dense(kernel=kernel, bias=None), (x,), (3,))
    assert info.frac == 2
    np.testing.assert_array_equal(info.step, [0, 0, 2])
    np.testing.assert_array_equal(info.low, [-16, 0, -12])
    np.testing.assert_array_equal(info.high, [12, 0, 9])


def test_steps_of_dot_products_equal_a_loop_over_the_terms():
    rng = np.random.default_rng(0)
    x = TensorInfo(shape=(40,), frac=20, low=np.full(40, -(1 << 24)), high=np.full(40, 1 << 24),
                   step=rng.integers(-4, 20, 40))  # fmt: skip
    kernel = rng.integers(-64, 64, (40, 9)) * (rng.random((40, 9)) < 0.2) << rng.integers(0, 12, (40, 9))
    info = infer(Dense(kernel=constant(kernel, 6), bias=None), (x,), (9,))
    for out in range(9):
        finest = max(
            int(x.step[c]) + 6 - (int(w) & -int(w)).bit_length() + 1
            for c, w in enumerate(kernel[:, out])
            if w
        )
        assert info.step[out] == finest


def test_codes_beyond_62_bits_name_the_layer():
    b = Builder()
    x = b.add(Input(), (), (64,), name="x")
    q = b.add(quantizer(1, 0, 40), (x,), (64,))
    b.add(Dense(kernel=constant(np.full((64, 1), 1 << 20)), bias=None), (q,), (1,), name="head")
    with pytest.raises(PrecisionError, match=r"layer/head: the accumulator needs integers beyond 62 bits"):
        annotate(b.program("head"))
    b = Builder()
    x = b.add(Input(), (), (2,), name="x")
    wide = b.add(quantizer(1, 30, 0), (x,), (2,))
    fine = b.add(quantizer(1, -38, 40), (x,), (2,))
    b.add(Add(), (wide, fine), (2,), name="sum")
    with pytest.raises(PrecisionError, match=r"layer/sum: alignment"):
        annotate(b.program("sum"))


def test_a_table_must_cover_what_reaches_it():
    x = TensorInfo(shape=(1,), frac=0, low=np.array([-3]), high=np.array([3]), step=np.array([0]))
    with pytest.raises(PrecisionError, match="no entry"):
        infer(Table(in_frac=0, first=-2, entries=constant(np.arange(6))), (x,), (1,))
    with pytest.raises(PrecisionError, match="no entry"):
        infer(Table(in_frac=-1, first=-4, entries=constant(np.arange(8))), (x,), (1,))
