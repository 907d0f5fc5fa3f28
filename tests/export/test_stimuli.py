"""Random inputs: reproducible, bounded in memory, and they reach what they say they reach."""

import itertools
import tracemalloc

import export_programs as programs
import keras
import numpy as np
import pytest

from hgqify.errors import DataError
from hgqify.export import compare, compile_project, compiler, random_batches, random_inputs
from hgqify.export.project import ProjectOptions, write_project
from hgqify.layers import Quantize
from hgqify.precision import lower
from hgqify.precision.ops import Input
from hgqify.quantizers import QuantizerConfig

F = np.array([5, 3, 0, -2])
I = np.array([2, 1, 4, 6])  # noqa: E741


def quantized(k=1, i=I, f=F, rounding="RND", overflow="SAT"):
    """One input, a format for each of its elements."""
    b = programs.Builder()
    b("x", Input(), "", (4,))
    b("q", programs.quantize(k, i, f, rounding, overflow), "x", (4,))
    return b.program("q")


def test_a_batch_depends_on_nothing_but_seed_and_number():
    program = programs.merging()
    long = list(random_batches(program, 100, batch=30, seed=5))
    assert [len(batch[0]) for batch in long] == [30, 30, 30, 10]
    short = list(random_batches(program, 50, batch=30, seed=5))
    np.testing.assert_array_equal(short[0][0], long[0][0])
    np.testing.assert_array_equal(short[1][0], long[1][0][:20])
    assert not np.array_equal(long[0][0], long[1][0])
    (other, *_) = random_batches(program, 30, batch=30, seed=6)
    assert not np.array_equal(long[0][0], other[0])
    (joined,) = random_inputs(program, 200, seed=5)
    np.testing.assert_array_equal(
        joined, np.concatenate([b[0] for b in random_batches(program, 200, seed=5)])
    )
    assert joined.dtype == np.float32
    assert random_inputs(program, 0)[0].shape == (0, 8, 8, 4)


def test_a_batch_holds_samples():
    with pytest.raises(DataError, match="at least one sample; received: batch=0"):
        next(random_batches(programs.merging(), 10, batch=0))


def test_memory_is_bounded_by_the_batch():
    program = programs.separable()

    def peak(samples):
        tracemalloc.start()
        for _ in random_batches(program, samples, batch=64):
            pass
        reached = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return reached

    first = peak(128)
    assert peak(1024) < first + 64 * 13 * 10 * 3 * 4  # not one batch more


def test_every_kind_is_drawn():
    (x,) = random_inputs(quantized(), 2000, seed=1)
    assert np.all(np.isfinite(x))
    x = x.astype(np.float64)
    codes = x * 2.0**F
    top = 2.0 ** (I + F)
    for element in range(4):
        own, c, high = x[:, element], codes[:, element], top[element]
        for end in (-high, high - 1):
            for beside in (-1, -0.5, 0, 0.5, 1):
                assert end + beside in c, (element, end, beside)
        inside = np.abs(c) < high
        assert np.any(inside & (c == np.floor(c)))
        assert np.any(inside & (c * 2 % 2 == 1))  # exact ties
        beside = np.abs(c * 2 - np.round(c * 2))
        assert np.any(inside & (beside > 0) & (beside < 1e-5))
        assert np.any((np.abs(c) > 2 * high) & (np.abs(c) < 4 * high))
        assert np.any(np.abs(own) > 2.0**50)
        assert np.max(own) == np.finfo(np.float32).max
        assert np.any((own != 0) & (np.abs(own) < 2.0**-126))
        assert np.any((own == 0) & np.signbit(own))
    assert sum(len(np.unique(row)) == 1 for row in x) > 100


def test_every_quantizer_on_an_input_is_served():
    b = programs.Builder()
    b("x", Input(), "", (1,))
    b("coarse", programs.quantize(1, 8, -4), "x", (1,))
    b("fine", programs.quantize(0, -3, 9), "x", (1,))
    (x,) = random_inputs(b.program("coarse", "fine"), 3000, seed=1)
    assert {-256.0, 240.0, 2.0**-9, 2.0**-3 - 2.0**-9} <= set(x.ravel().tolist())


def test_an_input_that_nobody_reads_gets_numbers_too():
    b = programs.Builder()
    b("x", Input(), "", (2,))
    b("y", Input(), "", (3,))
    b("q", programs.quantize(1, 2, 3), "x", (2,))
    x, y = random_inputs(b.program("q"), 50)
    assert (x.shape, y.shape) == ((50, 2), (50, 3))
    assert len(np.unique(y)) > 50


def quantizers_on_inputs():
    """A model of inputs with one quantizer or two: all modes an input may have, formats of all sorts."""
    formats = [(1, 2, 5), (0, 3, 6), (1, -3, 9), (1, 9, -4), (1, 20, 3), (1, 4, 20), (0, 0, 1), (1, I, F)]
    modes = itertools.cycle(itertools.product(("TRN", "RND"), ("WRAP", "SAT", "SAT_SYM")))
    alone = [[(*form, *mode)] for form, mode in zip(formats * 3, modes, strict=False)]
    together = [
        [(1, 2, 9, "TRN", "SAT"), (0, 7, -2, "RND", "SAT")],
        [(1, 2, 3, "RND", "WRAP"), (1, 5, 7, "TRN", "WRAP")],
        [(1, I, F, "RND", "SAT_SYM"), (1, 3, 3, "RND", "SAT")],
    ]
    inputs, outputs = [], []
    for position, quantizers in enumerate(alone + together):
        x = keras.Input((4,), name=f"x{position}")
        inputs.append(x)
        for k, i, f, rounding, overflow in quantizers:
            axes = {"heterogeneous_axis": (1,)} if np.ndim(i) else {"homogeneous_axis": (0, 1)}
            settings = QuantizerConfig(
                "kif", k0=k, i0=0, f0=0, round_mode=rounding, overflow_mode=overflow, trainable=False, **axes
            )
            layer = Quantize(iq_conf=settings)
            outputs.append(layer(x))
            set_widths(layer, i, f)
    return keras.Model(inputs, outputs)


def set_widths(layer, i, f):
    for name, value in (("i", i), ("f", f)):
        (weight,) = [w for w in layer.weights if w.path.split("/")[-1] == name]
        weight.assign(np.broadcast_to(np.asarray(value, np.float32), weight.shape))


@pytest.mark.skipif(compiler() is None, reason="C simulation needs g++")
def test_keras_and_c_simulation_follow_the_reference_everywhere(tmp_path):
    """Far outside too: beyond 64 bits, at float32's largest, among its subnormal numbers."""
    model = quantizers_on_inputs()
    program = lower(model)
    write_project(program, tmp_path / "hls", ProjectOptions(io_type="io_parallel"))
    with compile_project(tmp_path / "hls", optimization="-O0") as simulation:
        found = compare(
            program, random_batches(program, 700, seed=3), name="x", model=model, simulation=simulation
        )
    assert [(c.what, c.differing, c.place) for c in found] == [("Keras", 0, None), ("C simulation", 0, None)]
    assert found[0].codes == 700 * 30 * 4
