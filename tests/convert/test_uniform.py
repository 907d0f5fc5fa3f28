"""``bits=N``: one width for all that is multiplied."""

import keras
import numpy as np
import pytest
from tiny_zoo import tiny_models

import hgqify
from hgqify.convert import ConvertSettings, with_uniform_bits
from hgqify.errors import RuleError
from hgqify.layers import QActivation, QLinear, QMerge, quantized_layers
from hgqify.progress import no_progress


def widths(quantizer, *tensor):
    state = quantizer.state(*tensor)
    return np.unique(state.k + state.i + state.f).tolist()


def converted(name, **settings):
    model = tiny_models.build(name, seed=1)
    return hgqify.convert(model, tiny_models.inputs(model, 160, seed=1), progress=no_progress, **settings)


@pytest.mark.parametrize("bits", [4, 7])
def test_every_operand_of_a_multiplication_has_the_width(bits):
    model = converted("residual", bits=bits, finetune_steps=0).model
    found = [layer for layer in quantized_layers(model) if isinstance(layer, QLinear)]
    assert found
    for layer in found:
        assert widths(layer.iqs[0]) == [bits]
        assert set(widths(layer.kq, layer.kernel)) <= {0, bits}
    merges = [q for layer in quantized_layers(model) if isinstance(layer, QMerge) for q in layer.iqs]
    assert merges
    assert {width for q in merges for width in widths(q)} == {12}


def test_bits_is_the_same_as_its_widths():
    explicit = converted("mlp", weight_bits=5, activation_bits=5, input_bits=5, finetune_steps=0)
    uniform = converted("mlp", bits=5, finetune_steps=0)
    for mine, theirs in zip(uniform.report.layers, explicit.report.layers, strict=True):
        for part in ("input_bits", "weight_bits", "ebops", "sqnr_db"):
            assert getattr(mine, part) == getattr(theirs, part)


def test_what_it_stands_for():
    every = dict.fromkeys(("weight_bits", "activation_bits", "input_bits", "table_out_bits"), 14)
    # Adders are cheap: they never get fewer bits than multipliers, and keep what they have.
    assert with_uniform_bits({"bits": 14}) == every | {"merge_bits": 14}
    assert with_uniform_bits({"bits": 6})["merge_bits"] == ConvertSettings().merge_bits
    assert with_uniform_bits({"bits": 6, "merge_bits": 8})["merge_bits"] == 8
    assert with_uniform_bits({"weight_bits": 3, "bits": None}) == {"weight_bits": 3}


def test_entries_of_tables():
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense
    model = keras.Sequential([keras.Input((6,)), dense(5, "tanh"), dense(2)])
    x = np.random.default_rng(0).normal(size=(64, 6)).astype("f4")
    result = hgqify.convert(model, x, bits=5, finetune_steps=0, progress=no_progress)
    (table,) = [layer for layer in quantized_layers(result.model) if isinstance(layer, QActivation)]
    assert widths(table.oq, np.zeros(1)) == [5]
    assert widths(table.iqs[0]) == [10]


def test_rules_win():
    result = converted("mlp", bits=5, finetune_steps=0, rules=[hgqify.Rule(path="dense.*", weight_bits=8)])
    for layer in quantized_layers(result.model):
        if isinstance(layer, QLinear):
            assert widths(layer.iqs[0]) == [5]
            assert max(widths(layer.kq, layer.kernel)) == 8


def test_it_limits_an_allocation():
    result = converted("mlp", bits=5, target_ebops=500, finetune_steps=0)
    assert result.report.ebops <= 500
    for layer in quantized_layers(result.model):
        if isinstance(layer, QLinear):
            assert max(widths(layer.iqs[0])) <= 5
            assert max(widths(layer.kq, layer.kernel)) <= 5


@pytest.mark.parametrize("name", ["weight_bits", "activation_bits", "input_bits", "table_out_bits"])
def test_a_width_given_twice(name):
    with pytest.raises(RuleError, match=rf"bits and {name} set the same width.*bits=6, {name}=8"):
        converted("mlp", **{"bits": 6, name: 8})
    with pytest.raises(RuleError, match=name):
        hgqify.inspect(tiny_models.build("mlp", seed=1), **{"bits": 6, name: 8})


@pytest.mark.parametrize("bits", [1, 25, 6.0, True, "6"])
def test_impossible_widths(bits):
    with pytest.raises(RuleError, match="bits must be a whole number of bits from 2 to 24"):
        converted("mlp", bits=bits)
