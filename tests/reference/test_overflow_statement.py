"""The overflow statement: what is proved, what data showed, and in how much memory."""

import json

import keras
import numpy as np
import pytest
from programs import Builder, constant, quantizer, random_program

import hgqify
from hgqify.fixed import Overflow, overflows
from hgqify.layers import QDense
from hgqify.precision import annotate
from hgqify.precision.ops import Input, Quantize, Reshape, ScaleShift
from hgqify.quantizers import QuantizerConfig
from hgqify.reference import Interpreter, OverflowStatus, overflow_statement, run

WRAP, SAT = Overflow.WRAP, Overflow.SAT


def program(bits=4, overflow=WRAP, k=0, f=0):
    """Unsigned 8-bit integers behind a quantizer of ``bits`` bits."""
    b = Builder()
    x = b.add(Input(), (), (3,), name="x")
    q = b.add(quantizer(0, 8, 0), (x,), (3,), name="q")
    y = b.add(quantizer(k, bits - f, f, overflow=overflow), (q,), (3,), name="y")
    b.add(ScaleShift(scale=constant(3), shift=None), (y,), (3,), name="z")
    return annotate(b.program("z"))


def entry(statement, name="y"):
    return next(q for q in statement.quantizers if q.name == name)


def batches(*rows):
    return [[np.asarray([row], np.float32)] for row in rows]


def test_without_data_there_are_proofs_only():
    statement = overflow_statement(program(8))
    assert entry(statement).status is OverflowStatus.PROVED
    assert entry(statement, "q").status is OverflowStatus.SATURATES
    assert statement.proved
    assert statement.samples == 0
    statement = overflow_statement(program(5))
    assert entry(statement).status is OverflowStatus.OPEN
    assert statement.summary() == (
        "overflow: 1 wrapping quantizers, 1 open", "  bits missing for a proof: y (3 bits)"
    )  # fmt: skip
    assert not statement.proved


@pytest.mark.parametrize(
    ("largest", "margin"), [(31, 0.0), (15, 1.0), (7, 2.0), (0, 5.0), (23, np.log2(32 / 24))]
)
def test_observed_with_the_smallest_margin(largest, margin):
    found = entry(overflow_statement(program(5), batches([0, 0, 0], [0, largest, 0], [0, 0, 0])))
    assert found.status is OverflowStatus.OBSERVED
    assert found.margin == margin
    assert (found.values, found.overflowing, found.fraction) == (9, 0, 0.0)
    if largest:
        assert found.element == (1,)


def test_overflowing_with_count_fraction_and_worst_element():
    statement = overflow_statement(program(5), batches([0, 40, 3], [32, 100, 31], [200, 0, 0], [1, 255, 0]))
    found = entry(statement)
    assert found.status is OverflowStatus.OVERFLOWING
    assert (found.values, found.overflowing, found.element) == (12, 5, (1,))
    assert found.fraction == 5 / 12
    assert found.margin == -3.0
    assert statement.overflowing == (found,)
    assert statement.samples == 4
    assert statement.summary()[1] == "  overflowing: y (5 of 12 values, worst element (1,))"
    (note,) = statement.notes()
    assert "values wrap in 1 quantizer(s), as y" in note
    assert "'proved'" in note


def test_rounding_up_to_the_next_power_of_two_overflows():
    found = entry(overflow_statement(program(3, f=-1), batches([14, 0, 0])))
    assert (found.status, found.margin) == (OverflowStatus.OBSERVED, 0.0)
    found = entry(overflow_statement(program(3, f=-1), batches([15, 0, 0])))
    assert found.status is OverflowStatus.OVERFLOWING  # 7.5 rounds to 8


def test_saturating_quantizers_are_not_looked_at():
    statement = overflow_statement(program(5, SAT), batches([255, 255, 255]))
    assert {q.status for q in statement.quantizers} == {OverflowStatus.SATURATES}
    assert statement.samples == 0
    assert statement.summary() == statement.notes() == ()
    free = entry(overflow_statement(program(8, SAT)))
    assert free.status is OverflowStatus.PROVED  # saturating it costs nothing and changes nothing


def test_wrapping_model_inputs_are_observed():
    b = Builder()
    x = b.add(Input(), (), (2,), name="x")
    b.add(quantizer(1, 2, 3, overflow=WRAP), (x,), (2,), name="q")
    p = annotate(b.program("q"))
    found = entry(overflow_statement(p, [[np.asarray([[1.9, -4.0]], np.float32)]]), "q")
    assert (found.status, found.margin, found.element) == (OverflowStatus.OBSERVED, 0.0, (1,))
    found = entry(overflow_statement(p, [[np.asarray([[3.9999, 1e30]], np.float32)]]), "q")
    assert (found.status, found.overflowing) == (OverflowStatus.OVERFLOWING, 2)
    assert found.spare_bits is None
    assert found.margin < -90
    assert str(entry(overflow_statement(p), "q")) == "q"


def test_a_negative_value_in_an_unsigned_format_overflows():
    b = Builder()
    x = b.add(Input(), (), (1,), name="x")
    q = b.add(quantizer(1, 4, 0), (x,), (1,), name="q")
    b.add(quantizer(0, 4, 0, overflow=WRAP), (q,), (1,), name="y")
    found = entry(overflow_statement(annotate(b.program("y")), [[np.asarray([[-1.0]], np.float32)]]))
    assert (found.status, found.overflowing) == (OverflowStatus.OVERFLOWING, 1)
    assert found.margin < 0


def test_counts_equal_the_definition_on_random_programs():
    rng = np.random.default_rng(3)
    status = dict.fromkeys(OverflowStatus, 0)
    for _ in range(100):
        p = annotate(random_program(rng))
        x = (rng.normal(size=(23, *p.nodes[0].shape)) * 2.0 ** rng.integers(-2, 5)).astype(np.float32)
        statement = overflow_statement(p, [[x[:5]], [x[5:]]])
        real = {n.name for n in p.nodes if isinstance(n.op, Input)}
        inner = [n.inputs[0] for n in p.nodes if isinstance(n.op, Quantize) and n.inputs[0] not in real]
        kept = run(p, x, keep=inner).kept
        for found in statement.wrapping:
            status[found.status] += 1
            node = p.by_name[found.name]
            op, source = node.op, node.inputs[0]
            codes, frac = (x, 0) if source in real else (kept[source].codes, kept[source].frac)
            beyond = overflows(codes, op.k, op.i, op.f, op.rounding, op.overflow, frac=frac)
            assert found.overflowing == np.count_nonzero(beyond)
            if found.status is OverflowStatus.PROVED:
                assert not beyond.any()
                assert found.spare_bits >= 0
            elif found.status is OverflowStatus.OBSERVED:
                assert found.margin >= 0
            else:
                assert found.margin < 0
                assert beyond[(slice(None), *found.element)].any()
    seen = (OverflowStatus.PROVED, OverflowStatus.OBSERVED, OverflowStatus.OVERFLOWING)
    assert min(status[s] for s in seen) > 9


def test_streams_in_bounded_memory():
    """Large tensors are looked at some samples at a time, whatever the size of a batch."""
    shape = (1 << 20,)
    b = Builder()
    x = b.add(Input(), (), shape, name="x")
    q = b.add(quantizer(0, 8, 0), (x,), shape, name="q")
    for n in range(4):
        q = b.add(Reshape(), (q,), shape, name=f"r{n}")
        b.add(quantizer(0, 4, 0, overflow=WRAP), (q,), shape, name=f"y{n}")
    p = annotate(b.program("y3"))
    sizes = []
    call = Interpreter.__call__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Interpreter, "__call__", lambda self, x: (sizes.append(len(x[0])), call(self, x))[1])
        statement = overflow_statement(p, [[np.zeros((3, *shape), np.float32)]])
    assert sizes == [1, 1, 1]
    assert statement.samples == 3


def test_plain_data():
    statement = overflow_statement(program(5), batches([0, 40, 3]))
    data = json.loads(json.dumps(statement.to_dict()))
    assert data["quantizers"][1] == {
        "name": "y", "layer": "layer/y", "overflow": "WRAP", "status": "overflowing", "spare_bits": -3,
        "margin": np.log2(32 / 41), "values": 3, "overflowing": 1, "element": [1], "fraction": 1 / 3,
    }  # fmt: skip
    assert data["summary"] == list(statement.summary())
    assert (data["samples"], data["proved"]) == (1, False)


def test_only_the_worst_are_named():
    b = Builder()
    x = b.add(Input(), (), (1,), name="x")
    q = b.add(quantizer(0, 8, 0), (x,), (1,), name="q")
    for n in range(2, 8):
        b.add(quantizer(0, n, 0, overflow=WRAP), (q,), (1,), name=f"y{n}")
    statement = overflow_statement(annotate(b.program("y2")), [[np.asarray([[3.0]], np.float32)]])
    assert statement.summary() == (
        "overflow: 6 wrapping quantizers, 6 observed (1 samples)",
        "  least margin: y2 (0.0 bits), y3 (1.0 bits), y4 (2.0 bits) and 3 more",
    )


def test_models_made_by_hand():
    conf = QuantizerConfig("kif", "datalane", k0=1, i0=1, f0=4, overflow_mode="WRAP")
    model = keras.Sequential([keras.Input((4,)), QDense(3, iq_conf=conf), QDense(2, iq_conf=conf)])
    x = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    assert {q.status for q in hgqify.overflow_statement(model).quantizers} == {OverflowStatus.OPEN}
    statement = hgqify.overflow_statement(model, x, limit=70)
    assert statement.samples == 70
    assert statement.quantizers[0].status is OverflowStatus.OVERFLOWING
