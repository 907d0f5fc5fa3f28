"""Conversion: reports, edges of the model, refusals, rules, sharing."""

import keras
import numpy as np
import pytest

from hgqify.convert import ConvertSettings, Rule, Status, convert, default_registry, plan
from hgqify.errors import UnsupportedLayerError
from hgqify.fixed import Overflow
from hgqify.graph import read
from hgqify.layers import KeptFloat, QActivation, QDense, Quantize, quantized_layers

layers = keras.layers


def _inputs(model, count=5):
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(count, *t.shape[1:])).astype(np.float32) for t in model.inputs]
    return x[0] if len(x) == 1 else x


def _two_layers():
    given = keras.Input((4,), name="x")
    return keras.Model(given, layers.Dense(2, name="b")(layers.Dense(3, name="a")(given)))


def _assert_clone_equals(model, conversion):
    x = _inputs(model)
    expected = keras.tree.flatten(model.predict_on_batch(x))
    actual = keras.tree.flatten(conversion.clone.predict_on_batch(x))
    for a, e in zip(actual, expected, strict=True):
        # Folding re-associates float sums: equality to float precision is what can hold.
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5)


def test_report_has_every_layer_once_and_in_order():
    model = keras.Sequential(
        [
            keras.Input((6,), name="x"),
            layers.Dense(5, use_bias=False, name="a"),
            layers.BatchNormalization(name="bn"),
            layers.Dropout(0.5, name="drop"),
            layers.Reshape((5,), name="shape"),
            layers.Dense(3, activation="softmax", name="out"),
        ]
    )
    conversion = convert(read(model))
    status = {entry.layer: entry.status for entry in conversion.report.entries}
    assert status == {
        "x": Status.CONVERTED,
        "a": Status.CONVERTED,
        "bn": Status.FOLDED,
        "drop": Status.REMOVED,
        "shape": Status.KEPT,
        "out": Status.CONVERTED,
    }
    assert list(status) == ["x", "a", "bn", "drop", "shape", "out"]
    out = conversion.report.entries[-1]
    assert "moved to the host" in out.reason
    assert conversion.logits == (True,)
    assert plan(read(model)) == conversion.report
    assert "moved to the host" in conversion.report.table()
    assert conversion.report.to_dict()[2]["status"] == "folded"


def test_all_refusals_come_at_once_with_remedies():
    x = given = keras.Input((3, 4, 3))
    x = layers.Masking(2.0, name="mask")(layers.Lambda(lambda v: v + 1, name="code")(x))
    x = layers.Dense(3, name="fine")(layers.RandomCrop(2, 2, name="inner")(x))
    model = keras.Model(given, x)
    report = plan(read(model))
    assert [entry.layer for entry in report.refused] == ["code", "mask", "inner"]
    assert all(entry.reason and entry.remedy for entry in report.refused)
    with pytest.raises(UnsupportedLayerError) as caught:
        convert(read(model))
    for text in ("3 layers", "mask (Masking)", "code (Lambda)", "supported layers", "use CenterCrop"):
        assert text in str(caught.value)


def test_bilinear_upsampling_is_two_dense_layers():
    given = keras.Input((4, 4, 2))
    model = keras.Model(given, layers.UpSampling2D(2, interpolation="bilinear", name="up")(given))
    conversion = convert(read(model))
    assert sum(isinstance(layer, QDense) for layer in conversion.model.layers) == 2
    _assert_clone_equals(model, conversion)


def test_softmax_at_the_end_can_be_refused():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax", name="out")])
    report = plan(read(model), ConvertSettings(softmax="refuse"))
    assert [entry.layer for entry in report.refused] == ["out"]


@pytest.mark.parametrize("axis", [-1, 1, [1, 2], [2]])
def test_a_softmax_inside_becomes_layers_that_equal_it(axis):
    given = keras.Input((5, 4), name="x")
    y = layers.Softmax(axis=axis, name="inner")(layers.Dense(4, name="a")(given))
    model = keras.Model(given, layers.Dense(2, name="b")(y))
    conversion = convert(read(model))
    _assert_clone_equals(model, conversion)
    (entry,) = (e for e in conversion.report.entries if e.layer == "inner")
    assert entry.status is Status.CONVERTED
    assert entry.target == "inner_below, inner_exp, inner_sum, inner_reciprocal, inner"


@pytest.mark.parametrize(
    "mask",
    [np.tril(np.ones((5, 4), bool)), np.tril(np.ones((5, 4), bool), -1), np.array([[[1.0, 0.0, 1.0, 0.0]]])],
    ids=["causal", "a row without any", "numbers"],
)
def test_a_constant_mask_of_a_softmax_is_kept(mask):
    given = keras.Input((5, 4), name="x")
    y = layers.Softmax(name="inner")(layers.Dense(4, name="a")(given), mask=mask)
    model = keras.Model(given, layers.Dense(2, name="b")(y))
    _assert_clone_equals(model, convert(read(model)))


@pytest.mark.parametrize(
    "layer",
    [
        layers.LayerNormalization(),
        layers.LayerNormalization(axis=1, center=False),
        layers.LayerNormalization(axis=[1, 2], scale=False, epsilon=0.1),
        layers.RMSNormalization(),
        layers.RMSNormalization(axis=[1, 2]),
        layers.UnitNormalization(),
        layers.UnitNormalization(axis=[1]),
        layers.GroupNormalization(2),
        layers.GroupNormalization(-1, scale=False, center=False),
        layers.GroupNormalization(5, axis=1),
    ],
)
def test_normalizations_become_layers_that_equal_them(layer):
    given = keras.Input((5, 4), name="x")
    model = keras.Model(given, layers.Dense(2, name="b")(layer(layers.Dense(4, name="a")(given))))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(0.5, 1, weight.shape))
    conversion = convert(read(model))
    _assert_clone_equals(model, conversion)
    (entry,) = (e for e in conversion.report.entries if e.layer == layer.name)
    assert entry.status is Status.CONVERTED


@pytest.mark.parametrize(
    "layer",
    [layers.LayerNormalization(axis=[1, 3]), layers.GroupNormalization(2, axis=1)],
)
def test_parameters_of_axes_that_are_not_the_last(layer):
    given = keras.Input((4, 5, 3), name="x")
    model = keras.Model(given, layers.Dense(2)(layer(given)))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(0.5, 1, weight.shape))
    _assert_clone_equals(model, convert(read(model)))


@pytest.mark.parametrize(("mode", "words"), [("int", ""), ("one_hot", "output_mode='int'")])
def test_bins_are_a_table(mode, words):
    given = keras.Input((4,), name="x")
    bins = layers.Discretization([-0.5, 0.0, 0.7], output_mode=mode, name="bins")
    model = keras.Model(given, bins(given))
    refused = plan(read(model)).refused
    if words:
        assert words in refused[0].remedy
        return
    x = _inputs(model)
    conversion = convert(read(model))
    np.testing.assert_array_equal(conversion.clone(x), bins(x))
    assert conversion.report.entries[-1].status is Status.CONVERTED


def test_a_computed_mask_of_a_softmax_is_refused():
    given, mask = keras.Input((4,), name="x"), keras.Input((4,), name="mask", dtype="bool")
    inner = layers.Softmax(name="inner")(layers.Dense(4)(given), mask=mask)
    (entry,) = plan(read(keras.Model([given, mask], layers.Dense(2)(inner)))).refused
    assert entry.layer == "inner"
    assert "constant mask" in entry.remedy


def test_a_shared_softmax_is_one():
    given = keras.Input((4,), name="x")
    shared = layers.Softmax(name="shared")
    y = layers.Add(name="add")([shared(layers.Dense(4, name=name)(given)) for name in "ab"])
    model = keras.Model(given, layers.Dense(2, name="c")(y))
    conversion = convert(read(model))
    _assert_clone_equals(model, conversion)
    assert sum(isinstance(layer, QActivation) for layer in quantized_layers(conversion.model)) == 2


def test_softmax_at_the_end_can_be_converted():
    given = keras.Input((4,), name="x")
    model = keras.Model(given, layers.Dense(3, activation="softmax", name="out")(given))
    conversion = convert(read(model), ConvertSettings(softmax="convert"))
    _assert_clone_equals(model, conversion)
    assert conversion.logits == (False,)
    last = conversion.model.layers[-1]
    assert last.oq is not None
    assert last.oq.config.overflow_mode is Overflow.SAT


def test_inputs_and_outputs_saturate_whatever_happens_inside():
    model = keras.Sequential(
        [keras.Input((4,), name="x"), layers.Dense(3, name="a"), layers.Dense(2, name="b")]
    )
    conversion = convert(read(model), ConvertSettings(overflow="WRAP"))
    quantize, a, b = (conversion.model.get_layer(name) for name in ("x_quantize", "a", "b"))
    assert isinstance(quantize, Quantize)
    assert quantize.iq.config.overflow_mode is Overflow.SAT
    assert a.iq.config.overflow_mode is Overflow.WRAP
    assert a.oq is None
    assert b.oq.config.overflow_mode is Overflow.SAT


def test_consumed_and_moved_outputs_get_quantizers_of_their_own():
    given = keras.Input((4,), name="x")
    a = layers.Dense(4, name="a")(given)
    b = layers.Dense(4, name="b")(a)
    model = keras.Model(given, {"a": a, "twice": a, "flat": layers.Reshape((2, 2), name="r")(b), "in": given})
    conversion = convert(read(model))
    built = conversion.model
    assert built.get_layer("a").oq is None
    own = [layer for layer in built.layers if isinstance(layer, Quantize)]
    assert len(own) == 5  # one behind the input, one before each output
    assert set(built.output) == {"a", "twice", "flat", "in"}
    _assert_clone_equals(model, conversion)
    slots = {(site.layer, site.slot) for site in conversion.sites}
    assert slots == {(layer.name, n) for layer in quantized_layers(built) for n in range(len(layer.iqs))}


def test_shared_layers_stay_one_layer_and_see_all_their_inputs():
    a, b = keras.Input((4,), name="p"), keras.Input((4,), name="q")
    shared = layers.Dense(3, name="shared")
    model = keras.Model([a, b], layers.Add(name="sum")([shared(a), shared(b)]))
    conversion = convert(read(model))
    assert sum(isinstance(layer, QDense) for layer in conversion.model.layers) == 1
    (site,) = (site for site in conversion.sites if site.layer == "shared")
    seen = [conversion.probe.outputs[n] for n in site.tensors]
    assert all(a is b for a, b in zip(seen, conversion.probe.inputs, strict=True))
    _assert_clone_equals(model, conversion)


def test_rules_reach_quantizers():
    model = keras.Sequential(
        [keras.Input((4,), name="x"), layers.Dense(3, name="a", activation="tanh"), layers.Dense(2, name="b")]
    )
    rules = [
        Rule(path="a", weight_bits=5, weight_granularity="tensor", table_bits=6, activation_bits=7),
        Rule(layer_type="Dense", output_bits=12, activation_granularity="element", keep_float=False),
    ]
    conversion = convert(read(model), rules=rules)
    a, act, b = (conversion.model.get_layer(name) for name in ("a", "a_tanh", "b"))
    assert a.kq.width_shape == (1, 1)
    assert a.kq.config.b0 + a.kq.config.k0 == 5
    assert isinstance(act, QActivation)
    assert (act.oq.config.b0 + 1, act.iq.config.f0 + 1) == (6, 7)
    assert b.oq.config.f0 + b.oq.config.k0 == 12
    assert b.iq.width_shape == (1, 3)


def test_a_rule_keeps_layers_float_between_quantizers():
    model = keras.Sequential(
        [keras.Input((4,), name="x"), layers.Dense(3, name="a"), layers.Dense(2, name="b")]
    )
    conversion = convert(read(model), rules=[Rule(path="a", keep_float=True)])
    kept = conversion.model.get_layer("a")
    assert isinstance(kept, KeptFloat)
    assert isinstance(kept.layer, layers.Dense)
    assert [layer.name for layer in conversion.model.layers] == ["x", "a", "a_quantize", "b"]
    (entry,) = conversion.report.with_status(Status.FLOAT)
    assert (entry.layer, entry.reason) == ("a", "a rule says so")
    _assert_clone_equals(model, conversion)


def test_a_registry_copy_can_be_extended():
    def as_relu(node, slots):
        return QActivation("relu", **slots.common, iq_conf=False, oq_conf=slots.output())

    model = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Lambda(lambda x: x, name="p")])
    registry = default_registry()
    extended = registry.copy()
    extended.register("Lambda")(as_relu)
    assert not plan(read(model), registry=extended).refused
    assert [entry.layer for entry in plan(read(model), registry=registry).refused] == ["p"]


def test_averages_fit_float32():
    model = keras.Sequential([keras.Input((15, 15, 2)), layers.GlobalAveragePooling2D(name="mean")])
    conversion = convert(read(model), ConvertSettings(input_bits=12))
    assert conversion.model.get_layer("mean").reciprocal_bits == 4
    assert conversion.clone.get_layer("mean").reciprocal_bits == 24
