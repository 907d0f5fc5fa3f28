"""Layers with a `call` of their own, converted and exact, and architectures of keras.applications."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
sys.path.insert(0, str(Path(__file__).parents[1] / "peers"))

import applications
from branches import convert_joined
from tiny_zoo import tiny_models

import hgqify
from hgqify.convert import plan
from hgqify.errors import UnsupportedLayerError
from hgqify.graph import read
from hgqify.progress import no_progress


class Gate(layers.Layer):
    """A kernel, a bias and a scale of its own, squeeze and excite."""

    def build(self, shape):
        size = shape[-1]
        self.kernel = self.add_weight(shape=(size, size), name="kernel")
        self.bias = self.add_weight(shape=(size,), name="bias")
        self.scale = self.add_weight(shape=(size,), name="gamma")

    def call(self, x):
        y = ops.sigmoid(ops.matmul(ops.mean(x, axis=(1, 2)), self.kernel) + self.bias)
        return x + x * self.scale * ops.expand_dims(ops.expand_dims(y, 1), 1)


class Standardized(layers.Layer):
    """A convolution whose kernel is computed from its weight."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(2, 2, shape[-1], 3), name="kernel")

    def call(self, x):
        centered = self.kernel - ops.mean(self.kernel, axis=(0, 1, 2))
        return ops.relu(ops.conv(x, centered, padding="same"))


class Tokens(keras.Model):
    """Patches, heads by hand."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embed = layers.Dense(4)
        self.mixed = layers.Dense(4, activation="relu")

    def call(self, x, training=None):
        batch = ops.shape(x)[0]
        x = self.embed(ops.reshape(x, (batch, -1, 4)))
        q = ops.transpose(ops.reshape(x, (batch, -1, 2, 2)), (0, 2, 1, 3))
        attended = ops.matmul(ops.softmax(ops.matmul(q, ops.swapaxes(q, 2, 3))), q)
        return self.mixed(ops.reshape(ops.transpose(attended, (0, 2, 1, 3)), (batch, -1, 4)))


class Token(layers.Layer):
    """A class token before the others, and positions."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), name="token")
        self.positions = self.add_weight(shape=(1, shape[1] + 1, shape[-1]), name="positions")

    def call(self, x):
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([token, x], axis=1) + self.positions


def _one(layer, shape):
    x = keras.Input(shape)
    return [x], [layer(x)]


BRANCHES = {
    "gate": lambda: _one(Gate(), (3, 3, 2)),
    "standardized": lambda: _one(Standardized(), (4, 3, 2)),
    "token": lambda: _one(Token(), (3, 4)),
    "tokens": lambda: _one(Tokens(), (3, 2, 2)),
}


def test_opened_layers_are_exact():
    joined = convert_joined(BRANCHES)
    for name, outcome in joined.keras().items():
        assert outcome.exact, (name, str(outcome))


def test_a_subclassed_model_is_converted_and_its_layers_are_named(tmp_path):
    model = Tokens(name="tokens")
    data = np.random.default_rng(0).normal(size=(16, 3, 2, 2)).astype("f4")
    model(data)
    tiny_models.randomize(model, 0)
    assert not hgqify.inspect(model).refused
    rules = [hgqify.Rule(path=model.mixed.name, weight_bits=5)]
    result = hgqify.convert(model, data, rules=rules, finetune_steps=0, progress=no_progress)
    result.save(tmp_path / "tokens")
    hgqify.check(tmp_path / "tokens", csim=False, random=28, progress=no_progress).raise_if_different()


def test_code_that_stays_closed_is_refused_with_the_reason():
    class Odd(layers.Layer):
        def call(self, x):
            return x if ops.sum(x) > 0 else -x

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape, x.dtype)

    x = keras.Input((3,))
    (entry,) = plan(read(keras.Model(x, Odd(name="odd")(x)))).refused
    assert entry.layer == "odd"
    assert "decides by the values" in entry.reason
    assert "keras.ops" in entry.remedy
    model = keras.Model(x, layers.Lambda(lambda v: v * 2, name="code")(x))
    with pytest.raises(UnsupportedLayerError, match="safe_mode=False"):
        hgqify.convert(model, np.ones((4, 3), "f4"), progress=no_progress)
    assert not hgqify.inspect(model, safe_mode=False).refused


@pytest.mark.parametrize("name", ["ConvNeXtTiny", "InceptionResNetV2"])
def test_no_layer_of_an_architecture_is_refused(name):
    model = applications.build(name, applications.SMALLEST.get(name, 32))
    assert plan(read(model)).refused == ()


@pytest.mark.parametrize(
    ("name", "until"),
    [("MobileNetV3Small", "expanded_conv_project_bn"), ("ConvNeXtTiny", "stage_0_block_0_identity")],
)
def test_the_first_block_of_an_architecture_is_exact(name, until):
    """Squeeze and excite with hard_silu; LayerNormalization, gelu and a scale of its own."""
    whole = applications.build(name, 32)
    last = next(layer for layer in whole.layers if layer.name.endswith(until))
    model = keras.Model(whole.input, keras.layers.GlobalAveragePooling2D()(last.output))
    row = applications.Row(name, 32)
    for _ in applications.examine(row, model, applications.images(model, 4)):
        pass
    assert row.good, row.text()
