"""Overflow proved on converted models: at calibration, after fine-tuning, at any granularity."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from tiny_zoo import tiny_models

import hgqify
from hgqify import Rule
from hgqify.calibrate import settle as settle_float32
from hgqify.errors import RuleError
from hgqify.export import random_inputs
from hgqify.fixed import Overflow, overflows
from hgqify.layers import QDense, quantized_layers
from hgqify.precision import annotate, certify, lower, prove_overflow
from hgqify.precision.ops import Quantize
from hgqify.progress import no_progress
from hgqify.reference import overflow_statement, run
from hgqify.settling import settle


def converted(name, **settings):
    model = tiny_models.build(name, seed=1)
    options = {"finetune_steps": 0, "progress": no_progress} | settings
    return hgqify.convert(model, tiny_models.inputs(model, 160, seed=1), **options)


def wrapping(program):
    return [p for p in prove_overflow(program) if not p.overflow.saturates]


@pytest.mark.parametrize("name", ["residual", "shared", "merges", "cnn2d", "nested", "mlp_batchnorm"])
def test_every_wrapping_quantizer_is_proved(name):
    result = converted(name, overflow="proved")
    proofs = wrapping(result.program)
    assert len(proofs) > 1
    assert all(p.proved for p in proofs)
    assert certify(result.program).proved
    assert result.report.overflow["proved"]
    assert f"{len(proofs)} proved" in result.summary()
    # Far beyond all that was ever seen nothing overflows either.
    inputs = list(random_inputs(result.program, 64, seed=0, reach=40))
    sources = {p.name: result.program.by_name[p.name].inputs[0] for p in proofs}
    kept = run(result.program, inputs, keep=list(sources.values())).kept
    for p in proofs:
        op, seen = result.program.by_name[p.name].op, kept[sources[p.name]]
        assert not overflows(seen.codes, op.k, op.i, op.f, op.rounding, op.overflow, frac=seen.frac).any()


@pytest.mark.parametrize(
    "settings",
    [
        {"finetune_steps": 60},
        {"finetune_steps": 30, "activation_granularity": "element", "weight_granularity": "element"},
        {"finetune_steps": 30, "weight_bits": 4, "activation_bits": 4, "rounding": "TRN"},
    ],
    ids=["defaults", "elements", "narrow"],
)
def test_it_holds_after_fine_tuning(settings):
    result = converted("residual", overflow="proved", **settings)
    assert result.report.finetune["steps"] > 0
    assert all(p.proved for p in wrapping(result.program))
    assert certify(result.program).proved
    inputs = random_inputs(result.program, 100, seed=1)
    (expected,) = run(result.program, inputs).values
    np.testing.assert_array_equal(result.model.predict(inputs[0], verbose=0), expected)


def test_fractional_bits_are_those_of_saturation_where_float32_allows():
    """The price of the proof is integer bits: the LSBs are the same."""
    for name in ("depthwise", "cnn1d", "mlp"):
        proved, saturated = (converted(name, overflow=mode) for mode in ("proved", "sat"))
        narrowed = {a["layer"] for a in proved.report.calibration["adjustments"]}
        pairs = zip(quantized_layers(proved.model), quantized_layers(saturated.model), strict=True)
        same = 0
        for a, b in pairs:
            for mine, theirs in zip(a.iqs, b.iqs, strict=True):
                if a.name not in narrowed:
                    np.testing.assert_array_equal(mine.state().f, theirs.state().f)
                    same += 1
        assert same


def test_where_nothing_overflows_saturating_and_wrapping_are_the_same():
    """Formats that hold everything: the mode changes no code."""
    result = converted("residual", overflow="proved")
    nodes = []
    for node in result.program.nodes:
        op = node.op
        if isinstance(op, Quantize) and op.overflow is Overflow.WRAP:
            node = replace(node, op=replace(op, overflow=Overflow.SAT))
        nodes.append(node)
    saturating = annotate(replace(result.program, nodes=tuple(nodes)))
    inputs = random_inputs(result.program, 200, seed=2)
    for a, b in zip(run(result.program, inputs).outputs, run(saturating, inputs).outputs, strict=True):
        np.testing.assert_array_equal(a.codes, b.codes)
    free = [q for q in overflow_statement(saturating).quantizers if q.status == "proved"]
    assert len(free) >= len(wrapping(result.program))


def test_a_rule_proves_single_layers():
    result = converted("mlp", overflow="wrap", rules=[Rule(layer_type="Dense", overflow="Proved")])
    assert all(p.proved for p in wrapping(result.program))
    model = tiny_models.build("mlp", seed=1)
    *_, last = (layer.name for layer in model.layers if isinstance(layer, keras.layers.Dense))
    x = tiny_models.inputs(model, 64)
    rules = [Rule(path=last, overflow="proved")]
    result = hgqify.convert(model, x, rules=rules, finetune_steps=0, progress=no_progress)
    (proof,) = wrapping(result.program)
    assert (proof.layer, proof.proved) == (last, True)


def test_what_the_proof_took_is_told():
    note = "note: overflow 'proved' took fractional bits from"
    result = converted("residual", overflow="proved")
    assert result.report.calibration["adjustments"]
    assert note in result.summary()
    assert note not in converted("residual").summary()


@pytest.mark.parametrize("text", ["proved", "PROVED", "Proved"])
def test_the_name_in_any_case(text):
    assert hgqify.ConvertSettings(overflow=text).overflow == "PROVED"


def test_a_wrong_name_says_what_is_right():
    with pytest.raises(RuleError, match="closest is PROVED"):
        hgqify.ConvertSettings(overflow="prove")
    with pytest.raises(RuleError, match="margin must be a whole number"):
        converted("mlp", margin=0.5)


def test_settling_again_changes_nothing():
    result = converted("residual", overflow="proved", finetune_steps=20)
    names = {layer.name for layer in quantized_layers(result.model)}
    before = [np.array(v) for v in result.model.get_weights()]
    assert settle(result.model, names) == ()
    for a, b in zip(before, result.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_settling_follows_weights_that_grow():
    result = converted("mlp", overflow="proved")
    names = {layer.name for layer in quantized_layers(result.model)}
    first = next(layer for layer in quantized_layers(result.model) if isinstance(layer, QDense))
    width = first.kq.state(first.kernel)
    first.kq.set_state(i=width.i + 3)
    first.kernel.assign(8 * first.kernel)
    settle_float32(result.model)
    assert not all(p.proved for p in wrapping(lower(result.model)))
    settle(result.model, names)
    program = lower(result.model)
    assert all(p.proved for p in wrapping(program))
    assert certify(program).proved
