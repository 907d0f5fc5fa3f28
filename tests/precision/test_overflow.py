"""Proofs that a quantizer cannot overflow, and integer bits that make them hold."""

import keras
import numpy as np
import pytest
from programs import Builder, constant, quantizer, random_program

from hgqify.errors import PrecisionError
from hgqify.fixed import Overflow, Rounding, overflows
from hgqify.layers import QAdd, QDense, Quantize, refresh
from hgqify.precision import annotate, lower, prove_overflow, widen
from hgqify.precision.ops import Add, Clip, Dense, Input, ScaleShift
from hgqify.precision.ops import Quantize as QuantizeOp
from hgqify.quantizers import QuantizerConfig
from hgqify.reference import run


def after_integers(op, bits=4, shape=(2,)):
    """A quantizer behind unsigned ``bits``-bit integers."""
    b = Builder()
    x = b.add(Input(), (), shape, name="x")
    q = b.add(quantizer(0, bits, 0), (x,), shape, name="q")
    b.add(op, (q,), shape, name="y")
    return annotate(b.program("y"))


def proof(program, name="y"):
    return next(p for p in prove_overflow(program) if p.name == name)


@pytest.mark.parametrize(("k", "i", "f", "rounding", "spare"), [
    (0, 4, 0, "TRN", 0),  # 0..15
    (0, 3, 0, "TRN", -1),
    (0, 6, 2, "TRN", 2),
    (1, 4, 0, "TRN", 0),  # the sign is not needed, four bits are
    (1, 3, 5, "TRN", -1),
    (0, 4, -1, "TRN", 0),  # floor(15 / 2) = 7 codes
    (0, 4, -1, "RND", -1),  # 7.5 rounds to 8: 4 codes bits
    (0, 5, -1, "RND", 0),
    (0, 4, -1, "RND_CONV", -1),
    (0, 4, -1, "RND_ZERO", 0),
    (0, -5, 5, "TRN", -9),  # the constant 0, of no bits: 9 are missing
])  # fmt: skip
@pytest.mark.parametrize("overflow", [Overflow.WRAP, Overflow.SAT])
def test_spare_bits_follow_from_rounded_bounds(k, i, f, rounding, spare, overflow):
    found = proof(after_integers(quantizer(k, i, f, Rounding(rounding), overflow)))
    assert found.spare_bits == spare
    assert found.proved == (spare >= 0)
    assert found.layer == "layer/y"


def test_a_missing_sign_is_a_missing_bit():
    b = Builder()
    x = b.add(Input(), (), (1,), name="x")
    q = b.add(quantizer(1, 3, 0), (x,), (1,), name="q")
    for i, spare in ((3, -1), (9, -1), (2, -2)):
        b.add(quantizer(0, i, 0, overflow=Overflow.WRAP), (q,), (1,), name=f"y{i}")
        found = proof(annotate(b.program(f"y{i}")), f"y{i}")
        assert (found.spare_bits, found.proved) == (spare, False)


@pytest.mark.parametrize(
    ("overflow", "proved"), [(Overflow.SAT, True), (Overflow.SAT_SYM, False), (Overflow.WRAP, True)]
)
def test_symmetric_saturation_is_not_free_at_the_low_end(overflow, proved):
    b = Builder()
    x = b.add(Input(), (), (1,), name="x")
    q = b.add(quantizer(1, 3, 0), (x,), (1,), name="q")
    b.add(quantizer(1, 3, 0, overflow=overflow), (q,), (1,), name="y")
    assert proof(annotate(b.program("y"))).proved == proved


def test_elements_are_judged_one_by_one():
    op = quantizer(0, [4, 3], 0, overflow=Overflow.WRAP)
    found = proof(after_integers(op))
    np.testing.assert_array_equal(found.spare, [0, -1])


def test_nothing_bounds_a_model_input():
    found = proof(after_integers(quantizer(0, 4, 0)), "q")
    assert not found.proved
    assert found.spare_bits is None


def test_bounds_are_needed():
    b = Builder()
    x = b.add(Input(), (), (1,), name="x")
    b.add(quantizer(), (x,), (1,), name="q")
    with pytest.raises(PrecisionError, match="annotate"):
        prove_overflow(b.program("q"))


def test_proved_quantizers_never_overflow_in_random_programs():
    rng = np.random.default_rng(7)
    proved = missed = 0
    for _ in range(80):
        program = annotate(random_program(rng))
        nodes = program.by_name
        inner = [n for n in program.nodes if isinstance(n.op, QuantizeOp) and nodes[n.inputs[0]].info]
        x = (rng.normal(size=(40, *program.nodes[0].shape)) * 2.0 ** rng.integers(0, 8)).astype(np.float32)
        kept = run(program, x, keep=[n.inputs[0] for n in inner]).kept
        proofs = {p.name: p for p in prove_overflow(program)}
        for node in inner:
            source, op = kept[node.inputs[0]], node.op
            happened = overflows(
                source.codes, op.k, op.i, op.f, op.rounding, op.overflow, frac=source.frac
            ).any()
            assert not (proofs[node.name].proved and happened)
            assert (proofs[node.name].spare_bits >= 0) or not proofs[node.name].proved
            proved += proofs[node.name].proved
            missed += happened
    assert proved > 20
    assert missed > 20


def wrapping(bits, i, **options):
    return QuantizerConfig("kif", "datalane", k0=1, i0=i, f0=bits - i - 1, overflow_mode="WRAP", **options)


def chain(depth=4, width=6, **options):
    """Dense layers behind narrow wrapping quantizers, one of the layers called twice, and a sum."""
    x = keras.Input((width,))
    conf = QuantizerConfig("kif", "datalane", k0=1, i0=2, f0=5, overflow_mode="SAT")
    h = Quantize(iq_conf=conf)(x)
    shared = QDense(width, name="shared", activation="relu", iq_conf=wrapping(8, 1, **options))
    outputs = []
    for n in range(depth):
        h = QDense(width, name=f"dense_{n}", iq_conf=wrapping(8, 1, **options))(h)
        h = shared(h)
        outputs.append(h)
    model = keras.Model(x, QAdd(name="sum", iq_conf=wrapping(10, 1, **options))(outputs))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, QDense):
            layer.kernel.assign(rng.normal(size=layer.kernel.shape) / 2)
            layer.bias.assign(rng.normal(size=layer.bias.shape))
    refresh(model)
    return model


def names(model):
    return {layer.name for layer in model.layers}


@pytest.mark.parametrize("options", [{}, {"homogeneous_axis": (0,)}], ids=["tensor", "element"])
def test_widening_proves_every_quantizer_with_no_bit_to_spare(options):
    model = chain(**options)
    before = [p.proved for p in prove_overflow(lower(model)) if not p.overflow.saturates]
    assert not all(before)
    fracs = [layer.iqs[0].state().f for layer in model.layers[1:]]
    assert widen(model, names(model))
    program = lower(model)
    proofs = [p for p in prove_overflow(program) if not p.overflow.saturates]
    assert all(p.proved for p in proofs)
    by_layer = {}
    for p in proofs:
        by_layer[p.layer] = min(by_layer.get(p.layer, 99), p.spare_bits)
    assert set(by_layer.values()) == {0}  # also of the layer that is called again and again
    for layer, frac in zip(model.layers[1:], fracs, strict=True):
        np.testing.assert_array_equal(layer.iqs[0].state().f, frac)
    assert not widen(model, names(model))
    # Nothing overflows, far beyond any calibrated range either.
    x = np.random.default_rng(1).normal(size=(500, 6)).astype(np.float32) * 50
    sources = [program.by_name[p.name].inputs[0] for p in proofs]
    kept = run(program, x, keep=sources).kept
    for p, source in zip(proofs, sources, strict=True):
        op = program.by_name[p.name].op
        codes = kept[source]
        assert not overflows(codes.codes, op.k, op.i, op.f, op.rounding, op.overflow, frac=codes.frac).any()


def test_widening_touches_only_the_layers_named():
    model = chain()
    state = model.get_layer("dense_0").iqs[0].state()
    widen(model, {"dense_1"})
    after = model.get_layer("dense_0").iqs[0].state()
    for part in "kif":
        np.testing.assert_array_equal(getattr(state, part), getattr(after, part))
    proofs = {p.layer: p.proved for p in prove_overflow(lower(model))}
    assert proofs["dense_1"]


def test_widening_narrows_what_is_too_wide():
    model = chain(depth=2)
    model.get_layer("dense_0").iqs[0].set_state(i=12)
    widen(model, names(model))
    assert int(model.get_layer("dense_0").iqs[0].state().i.max()) == 2


def test_fractional_bits_give_way_at_the_widest_format():
    model = chain(depth=2, max_bits=7)
    widen(model, names(model))
    proofs = [p for p in prove_overflow(lower(model)) if not p.overflow.saturates]
    assert all(p.proved for p in proofs)
    state = model.get_layer("shared").iqs[0].state()
    assert int((state.i + state.f).max()) <= 7
    assert int(state.f.max()) < 6


def test_unsigned_sources_need_no_sign():
    b = Builder()
    x = b.add(Input(), (), (1,), name="x")
    q = b.add(quantizer(1, 3, 2), (x,), (1,), name="q")
    r = b.add(Clip(low=constant(0), high=None), (q,), (1,), name="r")
    s = b.add(ScaleShift(scale=constant(3), shift=constant(1)), (r,), (1,), name="s")
    d = b.add(Dense(kernel=constant([[2]]), bias=None), (s,), (1,), name="d")
    a = b.add(Add(), (d, r), (1,), name="a")
    b.add(quantizer(0, 6, 2, overflow=Overflow.WRAP), (a,), (1,), name="y")
    assert proof(annotate(b.program("y"))).spare_bits == 0
