"""Weights that several layers have in common: copies after conversion, and said to be."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from tiny_zoo import tiny_models

import hgqify
from hgqify.convert import convert, plan
from hgqify.graph import read
from hgqify.progress import no_progress


class Tied(keras.Model):
    """An autoencoder whose decoder is its encoder, transposed."""

    def __init__(self):
        super().__init__()
        self.encoder = layers.Dense(3, activation="tanh", name="encoder")
        self.head = layers.Dense(2, name="head")

    def call(self, x):
        hidden = self.encoder(x)
        return ops.matmul(hidden, ops.transpose(self.encoder.kernel)), self.head(hidden)


class Borrower(layers.Layer):
    """Takes the first rows of another layer's kernel."""

    def __init__(self, other, **kwargs):
        super().__init__(**kwargs)
        self.other = other

    def call(self, x):
        return ops.matmul(x, self.other.kernel[:3])

    def get_config(self):
        return {**super().get_config(), "other": self.other}


def tied():
    model = Tied()
    model(np.zeros((2, 5), "f4"))
    return model


def two_layers():
    """One variable in two layers."""
    a, b = layers.Dense(4, name="a"), layers.Dense(4, name="b", use_bias=False)
    x = keras.Input((4,))
    y = a(x)
    b._kernel, b.bias, b.built = a.kernel, None, True
    return keras.Model(x, [layers.Dense(2, name="c")(ops.relu(b(layers.ReLU()(y))))])


def sliced():
    x = keras.Input((5,))
    dense = layers.Dense(3, name="dense")
    return keras.Model(x, Borrower(dense, name="borrower")(dense(x)))


MODELS = {
    "tied": (tied, {"encoder": ("kernel", "matmul"), "matmul": ("weight", "encoder")}),
    "two layers": (two_layers, {"a": ("kernel", "b"), "b": ("kernel", "a")}),
    "sliced": (
        sliced,
        {"dense": ("kernel", "borrower/matmul"), "borrower/matmul": ("weight", "dense")},
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_copy_names_the_other(name):
    make, expected = MODELS[name]
    model = make()
    tiny_models.randomize(model, 0)
    graph = read(model)
    assert {one.layer: (one.weight, *one.others) for one in graph.borrowed} == expected
    for report in (plan(graph), convert(graph).report):
        told = {entry.layer: entry.reason for entry in report.entries if "is also that of" in entry.reason}
        assert told.keys() == expected.keys()
        for layer, (weight, other) in expected.items():
            assert f"its {weight} is also that of {other} in the float model" in told[layer]
        assert len(report.notes) == 2


@pytest.mark.parametrize("name", MODELS)
def test_the_clone_has_the_values(name):
    model = MODELS[name][0]()
    tiny_models.randomize(model, 0)
    x = np.random.default_rng(0).normal(size=(4, *read(model)["input_layer"].shape)).astype("f4")
    found, wanted = convert(read(model)).clone(x), model(x)
    for a, b in zip(keras.tree.flatten(found), keras.tree.flatten(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_the_report_and_the_summary_say_it():
    model = tied()
    tiny_models.randomize(model, 0)
    x = np.random.default_rng(0).normal(size=(32, 5)).astype("f4")
    result = hgqify.convert(model, x, finetune_steps=0, exportable=False, progress=no_progress)
    entries = {entry["layer"]: entry["reason"] for entry in result.report.to_dict()["conversion"]}
    assert "its kernel is also that of matmul in the float model" in entries["encoder"]
    assert "encoder: its kernel is also that of matmul" in result.summary()
    assert [note for note in result.report.notes if "is also that of" in note]


def test_a_variable_set_into_a_built_layer_is_the_one_it_uses():
    """Keras keeps the old one among the layer's weights, under the same name."""
    a, b = layers.Dense(4, name="a"), layers.Dense(4, name="b")
    x = keras.Input((4,))
    model = keras.Model(x, b(layers.ReLU()(a(x))))
    b._tracker.unlock()
    b._kernel = a.kernel
    b._tracker.lock()
    tiny_models.randomize(model, 0)
    graph = read(model)
    np.testing.assert_array_equal(graph["b"].weights["kernel"], graph["a"].weights["kernel"])
    assert graph["b"].weights.keys() == {"kernel", "bias"}
    assert {one.layer for one in graph.borrowed} == {"a", "b"}
    data = np.random.default_rng(0).normal(size=(4, 4)).astype("f4")
    np.testing.assert_allclose(convert(graph).clone(data), model(data), rtol=1e-5, atol=1e-5)


def test_shared_layers_and_equal_values_borrow_nothing():
    x = keras.Input((4,))
    dense = layers.Dense(4)
    y = layers.BatchNormalization()(dense(dense(x)))
    model = keras.Model(x, layers.BatchNormalization()(y) * np.float32(0.5))
    assert read(model).borrowed == ()


def test_a_layer_that_holds_another_keeps_both_weights():
    """Of one name, but not one in place of the other."""

    class Outer(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = layers.Dense(4)

        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel")

        def call(self, x):
            return ops.cond(ops.sum(x) > 1e9, lambda: ops.matmul(x, self.kernel), lambda: self.inner(x))

    x = keras.Input((4,))
    model = keras.Model(x, Outer(name="outer")(x))
    graph = read(model, opened=False)
    assert list(graph["outer"].weights) == ["kernel", "kernel@2", "bias"]
