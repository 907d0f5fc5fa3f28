"""Ranges below what was seen: the percentile is NumPy's, 'mse' takes the format of least weighted loss."""

import json
import math
import tracemalloc
from fractions import Fraction
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiny_zoo import tiny_models

import hgqify
from hgqify import graph
from hgqify.calibrate import (
    CalibrateSettings,
    calibrate,
    choose_by_loss,
    collect_ranges,
    measure_sensitivity,
    percentile_ranges,
    sqnr,
)
from hgqify.calibrate.placement import ceil_log2
from hgqify.calibrate.range_choice import CLIPS, LEVELS, clippable
from hgqify.calling import predict
from hgqify.cli import main
from hgqify.convert import ConvertSettings, convert
from hgqify.data import open_source
from hgqify.errors import RuleError
from hgqify.export import random_inputs
from hgqify.progress import no_progress
from hgqify.reference import run

ROOT = Path(__file__).parents[2]
MNIST, KWS = ROOT / "fixtures/mnist", ROOT / "fixtures/kws"
quiet = partial(hgqify.convert, finetune_steps=0, progress=no_progress)


def one_dense(granularity, features=4):
    model = keras.Sequential([keras.Input((3, features), name="x"), keras.layers.Dense(2, name="d")])
    return convert(graph.read(model), ConvertSettings(activation_granularity=granularity))


CONVERSIONS = {name: one_dense(name) for name in ("tensor", "channel", "element")}


def wanted_bound(values, percentile):
    """The smallest power of two that holds a share of the values other than zero, from all at once."""
    magnitudes = np.abs(values[values != 0]).astype(np.float64)
    if not magnitudes.size:
        return None
    # 99.9 has no float: of 1,000 values NumPy would ask for all or for 999, as it happens to round.
    rank = math.ceil(Fraction(str(percentile)) * magnitudes.size / 100)
    exact = np.percentile(magnitudes, 100 * (rank - 0.5) / magnitudes.size, method="inverted_cdf")
    return 2.0 ** max(int(ceil_log2(exact)), int(ceil_log2(magnitudes.max())) - LEVELS)


VALUES = st.one_of(
    st.just(0.0),
    st.integers(-8, 12).map(lambda e: 2.0**e),  # on the edge of a format
    st.integers(-500, 500).map(lambda n: n / 256),
    st.integers(-(2**20), 2**20).map(lambda n: n / 256),
)


# The last batch of 8 holds one sample and seven copies of it, which are not to be counted.
ONE_LARGE = np.ones((9, 3, 4), np.float32) * np.where(np.arange(9) == 8, 100, 1)[:, None, None].astype("f4")


@settings(max_examples=15, deadline=None)
@example(x=ONE_LARGE, percentile=85.0, granularity="tensor")
@example(x=ONE_LARGE, percentile=85.0, granularity="element")
@given(
    x=st.sampled_from([3, 20]).flatmap(lambda n: hnp.arrays(np.float32, (n, 3, 4), elements=VALUES)),
    percentile=st.sampled_from([0.1, 30, 50, 75.0, 90, 95.5, 99, 99.9, 100]),
    granularity=st.sampled_from(list(CONVERSIONS)),
)
def test_percentile_is_that_of_the_whole_array(x, percentile, granularity):
    """Batches of 8, the last one padded: no value is forgotten and no copy counted."""
    conversion, source = CONVERSIONS[granularity], open_source(x, names=["x"])
    site = next(s for s in conversion.sites if s.layer == "d" and s.slot == 0)
    (position,) = site.tensors
    observed = collect_ranges(conversion.probe, source, batch_size=8)[position]
    # Not as a model input, whose grid might make clipping pointless: as a computed tensor.
    seen = type(observed)(low=observed.low, high=observed.high)
    ranges = {s.layer: {s.slot: seen} for s in conversion.sites if s.slot == 0}
    tensors = {(s.layer, s.slot): (position,) for s in conversion.sites if s.slot == 0}
    found = percentile_ranges(
        conversion.model, conversion.probe, tensors, source, ranges, percentile=percentile, batch_size=8
    )
    held = found["d"][0]
    elements = np.broadcast_to(np.arange(12).reshape(3, 4), x.shape)
    owner = {"tensor": elements * 0, "channel": elements % 4, "element": elements}[granularity]
    for group in np.unique(owner):
        bound = wanted_bound(x[owner == group], percentile)
        mine = owner[0] == group
        low, high = observed.low[mine], observed.high[mine]
        if bound is not None:
            low, high = np.maximum(low, -bound), np.minimum(high, bound)
        np.testing.assert_array_equal(held.low[mine], low)
        np.testing.assert_array_equal(held.high[mine], high)


def test_counting_takes_no_memory_for_the_data():
    """20 MB of data in batches; what Python and NumPy hold at a time stays far below."""

    class Batches:
        def __iter__(self):
            for n in range(20):
                yield np.random.default_rng(n).standard_t(2, size=(4000, 64)).astype("f4")

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((64,), name="x"), keras.layers.Dense(4)])
    conversion = convert(graph.read(model), ConvertSettings(activation_granularity="element"))
    peaks = []
    for chosen in (CalibrateSettings(), CalibrateSettings(percentile=99.0)):
        tracemalloc.start()
        calibrate(
            conversion.model,
            conversion.probe,
            conversion.sites,
            open_source(Batches(), names=["x"]),
            settings=chosen,
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 8e6, peaks


def test_data_on_a_grid_is_clipped_no_further_than_its_grid():
    """Whole numbers, all but one below 4: five bits hold them up to 31 as exactly as up to 3."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(2)])
    x = np.random.default_rng(0).integers(0, 4, (200, 4)).astype("f4")
    x[0] = 255
    for input_bits, ints in ((8, [8, 8]), (5, [5, 5])):
        result = quiet(model, x, percentile=90, input_bits=input_bits)
        site = result.report.to_dict()["calibration"]["sites"][0]
        assert (site["high"], site["ints"]) == (255, ints)


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_mse_takes_the_integer_bits_of_least_weighted_error(granularity):
    """y = w x: an error e of an input costs w^2 e^2, so that an input that hardly counts may be clipped."""
    # A little above a power of two: one bit less clips that by 5 % and halves the error of all others.
    x = np.random.default_rng(3).uniform(-1, 1, (32, 6))
    x[0] = 1.05
    x[1, 4] = -900  # no squared error could ignore this
    x = (x * [1, 0.5, 0.25, 1, 1, 2]).astype("f4")
    model = keras.Sequential([keras.Input((6,), name="x"), keras.layers.Dense(1, use_bias=False, name="d")])
    w = np.array([1, 0.5, 2, 1, 1, 1], np.float32)
    model.layers[0].set_weights([w[:, None]])
    conversion = convert(
        graph.read(model),
        ConvertSettings(activation_bits=5, input_bits=5, activation_granularity=granularity),
    )
    source = open_source(x, names=["x"])
    sensitivity = partial(measure_sensitivity, conversion.clone, source, logits=(False,))
    before, clipped = {}, {}

    def choose(model):
        before.update({layer.name: q.state() for layer, _, q in clippable(model)})
        choose_by_loss(model, sensitivity)
        for layer, _, quantizer in clippable(model):
            old, new = before[layer.name], quantizer.state()
            i, f = np.broadcast_to(old.i, (6,)), np.broadcast_to(old.f, (6,))
            errors = []
            for clip in range(CLIPS):
                top = np.ldexp(1.0, i - clip)
                step = np.ldexp(1.0, -(f + clip))
                q = np.clip(np.floor(x / step + 0.5) * step, -top * old.k, top - step)
                errors.append(np.sum(w**2 * (x - q) ** 2, axis=0))
            totals = np.stack(errors) if granularity == "channel" else np.sum(errors, axis=1, keepdims=True)
            best = np.argmin(totals, axis=0)
            np.testing.assert_array_equal(np.ravel(new.i), np.ravel(old.i) - best)
            np.testing.assert_array_equal(new.k + new.i + new.f, old.k + old.i + old.f)
            clipped[layer.name] = int(best.sum())

    calibrate(conversion.model, conversion.probe, conversion.sites, source, choose=choose)
    # The model's input, and the layer's; where the large value shares its format, nothing is clipped.
    assert clipped == dict.fromkeys(("x_quantize", "d"), 5 if granularity == "channel" else 0)


def test_which_quantizers_may_be_clipped():
    keras.utils.set_random_seed(0)
    given = keras.Input((6,), name="x")
    dense = keras.layers.Dense
    y = dense(5, "tanh", name="a")(given)
    y = dense(5, "relu", name="b")(y)
    model = keras.Model(given, [dense(3, name="c")(y), y])
    conversion = convert(graph.read(model), ConvertSettings(overflow="SAT"))
    names = [(layer.name, slot) for layer, slot, _ in clippable(conversion.model)]
    # No table (the tanh), no output of a layer's own (c) or in a layer of its own (b's).
    assert names == [("x_quantize", 0), ("a", 0), ("b", 0), ("c", 0)]
    wrapping = convert(graph.read(model), ConvertSettings(overflow="WRAP"))
    assert [layer.name for layer, _, _ in clippable(wrapping.model)] == ["x_quantize"]


def test_layers_that_wrap_by_a_rule_hold_all_that_was_seen():
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense
    model = keras.Sequential([keras.Input((6,)), dense(5, "relu", name="a"), dense(5, name="b"), dense(2)])
    x = np.random.default_rng(0).standard_t(1.5, size=(500, 6)).astype("f4")
    sites = {}
    for ranges in ("minmax", "percentile"):
        rules = [hgqify.Rule(path="b", overflow="wrap")]
        result = quiet(
            model, x, ranges=ranges, percentile=95 if ranges == "percentile" else None, rules=rules
        )
        sites[ranges] = {s["layer"]: s["ints"] for s in result.report.to_dict()["calibration"]["sites"]}
    assert sites["percentile"]["b"] == sites["minmax"]["b"]
    assert sites["percentile"]["a"][0] < sites["minmax"]["a"][0]


@pytest.fixture(scope="module")
def kws_at_six_bits():
    """The DS-CNN with six bits for all that is multiplied: accuracy and SQNR on the hold-out."""
    holdout = np.load(KWS / "holdout.npz")
    source = open_source(np.load(KWS / "calib.npy"), names=["input_1"])
    found = {}
    for name, chosen in (
        ("minmax", CalibrateSettings()),
        ("percentile", CalibrateSettings(percentile=99.9)),
        ("mse", CalibrateSettings(ranges="mse")),
    ):
        conversion = convert(
            graph.read(graph.load_model(KWS / "model.keras")),
            ConvertSettings(weight_bits=6, activation_bits=6, input_bits=6),
        )
        sensitivity = partial(measure_sensitivity, conversion.clone, source, logits=conversion.logits)
        calibrate(
            conversion.model,
            conversion.probe,
            conversion.sites,
            source,
            settings=chosen,
            choose=partial(choose_by_loss, sensitivity=sensitivity) if name == "mse" else None,
        )
        parts = np.array_split(holdout["x"], 2)
        y, q = (
            np.concatenate([predict(m, [p])[0] for p in parts]) for m in (conversion.clone, conversion.model)
        )
        found[name] = float(np.mean(q.argmax(axis=1) == holdout["y"])), sqnr(y, q)
    return found


def test_percentile_and_mse_save_a_real_model(kws_at_six_bits):
    """Nothing trained, the same EBOPs, data not calibrated with: 64 % by min-max, 80 % and 91 % by choice."""
    accuracy = {name: figures[0] for name, figures in kws_at_six_bits.items()}
    noise = {name: figures[1] for name, figures in kws_at_six_bits.items()}
    assert accuracy["percentile"] > accuracy["minmax"] + 0.1, kws_at_six_bits
    assert accuracy["mse"] > accuracy["minmax"] + 0.2, kws_at_six_bits
    assert accuracy["mse"] > 0.88
    assert noise["percentile"] > noise["minmax"] + 2
    assert noise["mse"] > noise["minmax"] + 8


@pytest.mark.parametrize(
    ("name", "chosen"),
    [("residual", {"ranges": "mse"}), ("mlp_batchnorm", {"percentile": 90}), ("shared", {"ranges": "mse"})],
)
def test_every_kind_of_graph_stays_exact(name, chosen):
    model = tiny_models.build(name, seed=1)
    x = tiny_models.inputs(model, 160, seed=1)
    result = quiet(model, x, bits=5, **chosen)
    assert result.report.float32_proved
    inputs = random_inputs(result.program, 200, seed=0)
    for keras_output, expected in zip(
        predict(result.model, inputs), run(result.program, inputs).values, strict=True
    ):
        np.testing.assert_array_equal(keras_output, expected)


def test_under_a_budget_the_percentile_is_the_widest_range():
    model = tiny_models.build("mlp", seed=1)
    x = tiny_models.inputs(model, 300, seed=1)
    conversion = convert(graph.read(model), ConvertSettings())
    free = calibrate(
        conversion.model,
        conversion.probe,
        conversion.sites,
        open_source(x),
        settings=CalibrateSettings(percentile=80),
    ).sites
    result = hgqify.convert(
        model, x, percentile=80, target_ebops=700, finetune_steps=0, compensate=False, progress=no_progress
    )
    assert result.report.ebops <= 700
    for site, limit in zip(result.report.to_dict()["calibration"]["sites"], free, strict=True):
        assert site["ints"][1] <= max(limit.ints[1], 0)  # without any bits, i is 0


class TestRefusals:
    @pytest.mark.parametrize("value", [0, -1, 100.5, float("nan"), True, "99"])
    def test_impossible_percentiles(self, value):
        with pytest.raises(RuleError, match="percentile must be a number above 0, at most 100"):
            CalibrateSettings(percentile=value)

    def test_an_unknown_choice(self):
        with pytest.raises(RuleError, match=r"minmax, percentile, mse; the closest is minmax"):
            CalibrateSettings(ranges="min-max")

    @pytest.mark.parametrize("ranges", ["minmax", "mse"])
    def test_a_percentile_that_nothing_would_use(self, ranges):
        with pytest.raises(RuleError, match=rf"ranges='{ranges}' has no use for a percentile.*percentile=99"):
            CalibrateSettings(ranges=ranges, percentile=99)

    @pytest.mark.parametrize("overflow", ["WRAP", "WRAP_SM", "PROVED"])
    @pytest.mark.parametrize("chosen", [{"ranges": "mse"}, {"percentile": 99.9}])
    def test_clipping_what_would_wrap(self, overflow, chosen):
        model = tiny_models.build("mlp", seed=1)
        with pytest.raises(RuleError, match=rf"leaves values out, and overflow='{overflow}' would wrap"):
            quiet(model, tiny_models.inputs(model, 64, seed=1), overflow=overflow, **chosen)


def test_a_percentile_alone_says_which_ranges():
    assert CalibrateSettings().ranges == "minmax"
    assert CalibrateSettings(percentile=99).ranges == "percentile"
    assert CalibrateSettings(ranges="PERCENTILE").percentile == 99.9


def test_command_line_and_settings_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = tiny_models.build("mlp", seed=1)
    model.save("model.keras")
    np.save("calib.npy", tiny_models.inputs(model, 160, seed=1))
    Path("s.toml").write_text("[convert]\nbits = 6\nranges = 'percentile'\npercentile = 99\n")
    start = ["model.keras", "--calib", "calib.npy", "--no-check", "-q", "--finetune-steps", "0"]
    found = {}
    for name, options in (
        ("file", ["--config", "s.toml"]),
        ("line", ["--bits", "6", "--ranges", "percentile", "--percentile", "99"]),
        ("both", ["--config", "s.toml", "--percentile", "80"]),
        ("mse", ["--bits", "6", "--ranges", "mse"]),
    ):
        result = CliRunner().invoke(main, [*start, *options, "-o", name], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        found[name] = json.loads(Path(name, "report.json").read_text())
    settings = {name: report["settings"] for name, report in found.items()}
    assert settings["file"] == settings["line"]
    assert found["file"]["calibration"] == found["line"]["calibration"]
    wanted = {"ranges": "percentile", "percentile": 99.0, "weight_bits": 6, "activation_bits": 6}
    assert wanted.items() <= settings["file"].items()
    assert settings["both"]["percentile"] == 80
    assert (settings["mse"]["ranges"], settings["mse"]["percentile"]) == ("mse", None)
    for options, message in (
        (["--config", "s.toml", "--weight-bits", "8"], "bits and weight_bits set the same width"),
        (["--config", "s.toml", "--ranges", "mse"], "has no use for a percentile"),
        (["--ranges", "mse", "--overflow", "wrap"], "would wrap them around"),
        (["--percentile", "0"], "--percentile"),
    ):
        result = CliRunner().invoke(main, [*start, *options, "-o", "refused"])
        assert (result.exit_code, result.exception.__class__) == (2, SystemExit)
        assert message in result.output
    for text, message in (
        ("bits = 6\nweight_bits = 8", "convert: bits and weight_bits"),
        ("ranges = 'mse'\npercentile = 99", "convert: ranges='mse' has no use"),
        ("bits = 1", "convert: bits must be"),
    ):
        Path("wrong.toml").write_text(f"[convert]\n{text}\n")
        with pytest.raises(RuleError, match=message):
            hgqify.load_settings("wrong.toml")
