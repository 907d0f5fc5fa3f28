"""The strategy itself: what it reaches, how it prints and shrinks."""

from random import Random

import description
import numpy as np
import pytest
from build import build
from check import drawn
from drawing import MERGES
from hypothesis import find, settings
from networks import networks

from hgqify import layers as q

EXPECTED = {"QDense", "QActivation", "QBatchNormalization", "Quantize", "Flatten", "Reshape", "Permute",
            "RepeatVector", "Concatenate", "ReLU", "LeakyReLU", "QDenseT"}  # fmt: skip
EXPECTED |= {f"Q{name}" for name in MERGES} | set(MERGES) - {"Average"}
EXPECTED |= {
    f"{name}{rank}D"
    for rank in (1, 2)
    for name in ("QConv", "QDepthwiseConv", "QMaxPooling", "MaxPooling", "QAveragePooling", "ZeroPadding",
                 "QGlobalMaxPooling", "QGlobalAveragePooling", "Cropping", "UpSampling")
}  # fmt: skip


@pytest.fixture(scope="module")
def many():
    return drawn(networks(), 200, 0)


def test_every_layer_is_drawn():
    missing = set(EXPECTED)
    for number in range(20):
        missing -= {step.layer for network in drawn(networks(), 100, number) for step in network.steps}
        if not missing:
            break
    assert not missing


def test_every_kind_of_format_is_drawn(many):
    formats = [form for network in many for step in network.steps for form in step.iq]
    assert {form.grain for form in formats} == {"tensor", "channel", "element"}
    assert len({form.rounding for form in formats}) == 9
    assert len({form.overflow for form in formats}) == 4
    assert any(form.k + form.i + form.f <= 0 for form in formats)
    assert any(form.i < 0 for form in formats)
    assert any(form.f < 0 for form in formats)


def test_tensors_meet_in_every_way(many):
    steps = [step for network in many for step in network.steps]
    assert any(step.again is not None for step in steps)
    assert any(len(set(step.inputs)) < len(step.inputs) for step in steps)
    assert {len(network.inputs) for network in many} == {1, 2, 3}
    consumed = [{n for step in network.steps for n in step.inputs} & set(network.outputs) for network in many]
    assert any(consumed)
    assert any(len(set(network.outputs)) < len(network.outputs) for network in many)


def test_a_network_prints_as_what_makes_it(many):
    names = {name: getattr(description, name) for name in ("Network", "Step", "Format")}
    for network in many:
        assert eval(repr(network), names) == network


def test_it_shrinks_to_a_few_layers():
    network = find(networks(), lambda n: len(n.steps) > 1, settings=settings(database=None), random=Random(0))
    assert len(network.steps) <= 4


def test_the_model_has_the_formats_of_the_description():
    step, form = description.Step, description.Format
    network = description.Network(
        inputs=((5,),),
        steps=(
            step("Quantize", (0,), iq=(form(i=3, f=-1, k=0),)),
            step("QDense", (1,), {"units": 2}, kq=form(f=2), bq=form(f=1), weights="constant"),
            step(inputs=(1,), again=1),
        ),
        outputs=(2, 3),
    )
    model = build(network)
    first, dense = q.quantized_layers(model)
    state = first.iq.state()
    assert [int(v.item()) for v in (state.k, state.i, state.f)] == [0, 3, -1]
    np.testing.assert_array_equal(dense.quantized_weights()["kernel"], np.full((5, 2), 2.0))
    assert len(model.outputs) == 2
