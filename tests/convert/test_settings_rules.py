"""Settings and rules: early, complete messages; first match wins."""

import keras
import pytest

from hgqify.convert import ConvertSettings, Granularity, IOType, OverflowPolicy, Rule
from hgqify.convert.interface import choose_io_type
from hgqify.convert.rules import resolve
from hgqify.errors import RuleError
from hgqify.fixed import Rounding
from hgqify.graph import read


@pytest.fixture(scope="module")
def nodes():
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(3, name="head_a"),
            layers.Dense(3, name="head_b"),
            layers.ReLU(name="act"),
        ]
    )
    return read(model).nodes


def test_texts_become_enum_members():
    settings = ConvertSettings(
        weight_granularity="tensor", activation_granularity="element", overflow="WRAP", rounding="TRN"
    )
    assert settings.weight_granularity is Granularity.TENSOR
    assert settings.activation_granularity is Granularity.ELEMENT
    assert settings.overflow is OverflowPolicy.WRAP
    assert settings.rounding is Rounding.TRN
    assert ConvertSettings(io_type="io_stream").io_type is IOType.STREAM


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"weight_bits": 0}, "weight_bits"),
        ({"weight_bits": 1}, "from 2"),
        ({"activation_bits": 30}, "to 24"),
        ({"activation_bits": 8.0}, "whole number"),
        ({"input_bits": True}, "whole number"),
        ({"weight_granularity": "chanel"}, "closest is channel"),
        ({"overflow": "SAT_SM"}, "closest is SAT_SYM"),
        ({"rounding": "round"}, "closest is"),
        ({"io_type": "stream"}, "io_stream"),
        ({"softmax": "keep"}, "logits"),
        ({"io_type": "io_stream", "activation_granularity": "channel"}, "one format per tensor"),
    ],
)
def test_wrong_settings_say_what_is_right(arguments, match):
    with pytest.raises(RuleError, match=match):
        ConvertSettings(**arguments)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"weight_bits": 4}, "what it matches"),
        ({"path": "a"}, "set something"),
        ({"path": "(", "weight_bits": 4}, "regular expression"),
        ({"path": "a", "weight_bits": 99}, "weight_bits"),
        ({"path": "a", "keep_float": True, "weight_bits": 4}, "weight_bits"),
        ({"path": "a", "weight_granularity": "all"}, "closest"),
        ({"path": "a", "overflow": "clip"}, "closest"),
    ],
)
def test_wrong_rules_say_what_is_wrong(arguments, match):
    with pytest.raises(RuleError, match=match):
        Rule(**arguments)


def test_first_match_wins(nodes):
    rules = [Rule(path="head_a", weight_bits=4), Rule(layer_type="Dense", weight_bits=6, activation_bits=5)]
    targets = resolve(nodes, rules, ConvertSettings())
    assert targets["head_a"].weight_bits == 4
    assert targets["head_a"].activation_bits == ConvertSettings().activation_bits
    assert targets["head_b"].weight_bits == 6
    assert targets["head_b"].merge_bits == targets["head_b"].input_bits == 5
    assert targets["act"].weight_bits == ConvertSettings().weight_bits


def test_predicates_see_nodes(nodes):
    rule = Rule(predicate=lambda node: node.kind == "ReLU", keep_float=True)
    targets = resolve(nodes, [rule], ConvertSettings())
    assert [name for name, target in targets.items() if target.keep_float] == ["act"]


@pytest.mark.parametrize(
    ("rules", "match"),
    [
        ([Rule(path="haed_a", weight_bits=4)], "'head_"),
        ([Rule(layer_type="Dence", weight_bits=4)], "'Dense'"),
        ([Rule(predicate=lambda _: False, weight_bits=4)], "false for every layer"),
        ([Rule(path="head_.", weight_bits=4), Rule(path="head_a", weight_bits=3)], "earlier rules"),
        ([Rule(path="head_a", activation_granularity="element")], "io_parallel"),
    ],
)
def test_rules_without_effect_are_errors(nodes, rules, match):
    with pytest.raises(RuleError, match=match):
        resolve(nodes, rules, ConvertSettings(io_type="io_stream"))


def test_large_models_are_streamed_unless_they_multiply_tensors():
    """hls4ml has no stream for the products of attention."""
    layers = keras.layers
    given = keras.Input((70, 64))
    plain = keras.Model(given, layers.Dense(64)(given))
    attentive = keras.Model(given, layers.MultiHeadAttention(2, 4)(given, given))
    assert choose_io_type(read(plain)) is IOType.STREAM
    assert choose_io_type(read(attentive)) is IOType.PARALLEL
