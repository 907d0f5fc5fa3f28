"""The strategy itself: what it reaches, how it prints and shrinks."""

import sys
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

import description
import keras
import numpy as np
import pytest
from build import build
from check import drawn
from coverage_models import MODELS
from drawing import MERGES
from float_networks import FAMILIES, float_network
from hypothesis import find, settings
from networks import networks

from hgqify import layers as q
from hgqify.convert import plan
from hgqify.graph import read

PLAIN = {"Flatten", "Reshape", "Permute", "RepeatVector", "Concatenate", "ReLU", "LeakyReLU"}
PLAIN |= set(MERGES) - {"Average"}
PLAIN |= {
    f"{name}{rank}D" for rank in (1, 2) for name in ("MaxPooling", "ZeroPadding", "Cropping", "UpSampling")
}


@pytest.fixture(scope="module")
def many():
    """From several seeds: what follows one of them repeats itself."""
    return [network for number in range(12) for network in drawn(networks(), 50, number)]


def quantized_classes() -> set[str]:
    """Names of all quantized layers, aliases once."""
    classes = {getattr(q, name) for name in q.__all__}
    found = {c for c in classes if isinstance(c, type) and issubclass(c, q.QLayer)}
    return {c.__name__ for c in found if keras.saving.get_registered_name(c).startswith("hgqify>")}


def test_every_layer_is_drawn():
    missing = quantized_classes() | PLAIN
    for number in range(60):
        missing -= {step.layer for network in drawn(networks(), 100, number) for step in network.steps}
        if not missing:
            break
    assert not missing


def test_every_kind_of_format_is_drawn(many):
    formats = [form for network in many for step in network.steps for form in step.iq]
    assert {form.kind for form in formats} == {"kif", "kbi", "float"}
    assert "float" in {step.kq.kind for network in many for step in network.steps if step.kq}
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


NOT_DRAWN = {
    "Lambda": "Python code, opened with safe_mode=False: tests/graph/test_trace.py",
    **dict.fromkeys(("CategoryEncoding", "RandomCrop", "MelSpectrogram", "STFTSpectrogram"), "refused"),
    **dict.fromkeys(("AutoContrast", "Solarization"), "refused"),
    "ContrastLimitedAdaptiveHistogramEqualization": "refused",
    "Equalization": "Keras cannot build a model with it",
}


def test_every_float_layer_has_a_family():
    names = set(MODELS) - NOT_DRAWN.keys()
    assert names <= FAMILIES.keys()
    for name in NOT_DRAWN:
        if NOT_DRAWN[name] == "refused":
            model = keras.Model(*MODELS[name]())
            assert plan(read(model)).refused, name


def test_a_number_names_a_float_network():
    a, b = (float_network(3, ["LSTM", "ops.Einsum"]) for _ in range(2))
    assert repr(a) == repr(b)
    assert {"LSTM", "ops.Einsum"} <= set(a.drawn)
    for x, y in zip(a.model.weights, b.model.weights, strict=True):
        np.testing.assert_array_equal(x, y)
