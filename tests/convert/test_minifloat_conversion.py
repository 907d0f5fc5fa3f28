"""`q_type="float"`: formats from widths and data, exact integers, and no firmware."""

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import hgqify
from hgqify.calibrate.placement import place_minifloat
from hgqify.cli import main
from hgqify.errors import ExportError, RuleError
from hgqify.fixed import Minifloat
from hgqify.layers import quantized_layers
from hgqify.progress import no_progress
from hgqify.quantizers import QType


def placed(magnitude, m, e):
    found_m, e0 = place_minifloat(np.asarray(magnitude), np.asarray(m), np.asarray(e))
    return [Minifloat(int(a), int(e), int(b)) for a, b in zip(np.ravel(found_m), np.ravel(e0), strict=True)]


@given(st.floats(2.0**-40, 2.0**40), st.integers(0, 7), st.integers(1, 4))
def test_the_largest_magnitude_just_fits(magnitude, m, e):
    (form,) = placed([magnitude], m, e)
    assert form.m == m
    unbounded = float(Minifloat(m, 8, form.low_exponent + 127).quantize(magnitude))
    assert float(form.quantize(magnitude)) == unbounded
    lower = Minifloat(m, e, form.e0 - 1)
    assert lower.largest < unbounded


def test_formats_of_one_tensor_end_at_a_common_lsb():
    forms = placed([4.0, 0.7, 2.0**-20, 0.0, 2.0**-70], 3, 4)
    assert [form.m for form in forms] == [3, 3, 3, -1, -1]
    assert float(forms[0].quantize(4.0)) == 4.0
    assert forms[1].e0 == forms[0].e0 - 3
    assert max(form.format.f for form in forms[:3]) == 24 - forms[0].format.i
    # Alone, or with few exponents, small numbers keep their own.
    assert placed([2.0**-20], 3, 4)[0].e0 == forms[0].e0 - 22
    assert placed([4.0, 2.0**-12], 1, 2)[1].e0 == placed([2.0**-12], 1, 2)[0].e0


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(3)
    x = inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(3, 3, activation="relu", name="conv")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(6, activation="tanh", name="hidden")(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(x))


@pytest.fixture(scope="module")
def calib():
    return np.random.default_rng(0).normal(size=(64, 6, 6, 2)).astype(np.float32)


def convert(model, calib, **settings):
    return hgqify.convert(model, calib, finetune_steps=0, progress=no_progress, **settings)


@pytest.fixture(scope="module")
def result(network, calib):
    rules = [hgqify.Rule(path="head", q_type="kif")]
    return convert(network, calib, q_type="float", weight_bits=8, activation_bits=6, rules=rules)


def test_kernels_and_what_they_multiply_are_minifloats(result):
    conv, hidden, head = (result.model.get_layer(name) for name in ("conv", "hidden", "head"))
    forms = {
        name: {(int(m), int(e)) for m, e in zip(*(p.ravel() for p in q.minifloat()[:2]), strict=True)}
        for name, q in (("input", conv.iq), ("kernel", conv.kq), ("data", hidden.iq))
    }
    # e4m7 of 12 bits at the model's input, e4m3 of 8, e3m2 of 6.
    assert forms == {"input": {(7, 4)}, "kernel": {(3, 4)}, "data": {(2, 3)}}
    assert not head.kq.is_minifloat
    assert not head.iq.is_minifloat
    others = [conv.bq, hidden.bq, head.oq]
    others += [layer.iq for layer in quantized_layers(result.model) if "tanh" in layer.name]
    assert len(others) == 4
    assert all(quantizer.config.q_type in (QType.KIF, QType.KBI) for quantizer in others)


def test_nothing_saturates_that_calibration_saw(result, calib):
    quantizer = result.model.get_layer("conv").iq
    state = quantizer.state()
    largest = Minifloat(*(int(part.item()) for part in quantizer.minifloat())).largest
    assert np.abs(calib).max() < largest * (1 + 2.0**-8) < np.abs(calib).max() * 2.1
    assert state.width.item() == 12


def test_a_saved_result_is_exact_and_has_no_project(result, calib, tmp_path):
    written = result.save(tmp_path / "r")
    assert any("no type for minifloats (conv, hidden)" in note for note in written.notes)
    assert not (tmp_path / "r" / "hls").exists()
    assert not result.certificate.proved
    report = hgqify.check(tmp_path / "r", data=calib, progress=no_progress)
    assert report.exact
    assert {c.what for c in report.comparisons} == {"integers of model.keras", "Keras in float64"}
    assert "C simulation" in report.skipped
    assert any("float64" in note for note in report.notes)
    assert "minifloats of" in (tmp_path / "r" / "report.html").read_text()
    with pytest.raises(ExportError, match="no type for minifloats"):
        hgqify.check(tmp_path / "r", csim=True, progress=no_progress)
    with pytest.raises(ExportError, match="no type for minifloats"):
        hgqify.export_saved(tmp_path / "r", tmp_path / "hls")
    with pytest.raises(ExportError, match="no type for minifloats"):
        result.export(tmp_path / "hls")


def test_fine_tuning_trains_the_weights_within_their_formats(network, calib):
    tuned = hgqify.convert(
        network, calib, q_type="float", bits=5, finetune_steps=12, min_samples=8, progress=no_progress
    )
    start = convert(network, calib, q_type="float", bits=5)
    for name in ("conv", "head"):
        a, b = (r.model.get_layer(name) for r in (tuned, start))
        for part, other in zip(a.kq.minifloat(), b.kq.minifloat(), strict=True):
            np.testing.assert_array_equal(part, other)
    assert tuned.report.finetune["steps"] > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_ebops": 1000}, "under a budget"),
        ({"equalize": True}, "equalize"),
        ({"weight_granularity": "element"}, "channel"),
        ({"activation_bits": 1}, "2 to 24 bits"),
        ({"q_type": "flaot"}, "the closest is float"),
        ({"exportable": True}, "no type for minifloats"),
    ],
)
def test_what_minifloats_cannot_have_is_refused(network, calib, settings, message):
    with pytest.raises((RuleError, ExportError), match=message):
        convert(network, calib, **{"q_type": "float", **settings})


def test_the_command_line(network, calib, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network.save("m.keras")
    np.save("x.npy", calib)
    options = "m.keras --calib x.npy --q-type float --bits 6 --finetune-steps 0 --check-samples 20"
    done = CliRunner().invoke(main, options.split())
    assert done.exit_code == 0, done.output
    assert "no project was written: hls4ml has no type for minifloats" in done.output
    assert "every code is equal" in done.output
    refused = CliRunner().invoke(main, ["export", "m_hgq", "-o", "hls"])
    assert refused.exit_code == 2
    assert "q_type='kif'" in refused.output
