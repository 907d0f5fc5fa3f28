"""Layers and models with a `call` of their own: opened, with what they share, or refused for a reason."""

import re

import keras
import numpy as np
import pytest
from keras import layers, ops
from tiny_zoo import tiny_models

from hgqify.errors import UnsupportedLayerError
from hgqify.graph import build, canonicalize, read


class Scale(layers.Layer):
    """A weight of its own."""

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")

    def call(self, x):
        return x * self.gamma


class Block(layers.Layer):
    """What a transformer's block usually is: no get_config(), dropout, layers in layers."""

    def __init__(self, heads, size, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.MultiHeadAttention(heads, size)
        self.norms = [layers.LayerNormalization() for _ in range(2)]
        self.feed = keras.Sequential([layers.Dense(8, activation="relu"), layers.Dense(size)])
        self.drop = layers.Dropout(0.5)
        self.scale = Scale()

    def call(self, x, training=None):
        y = self.drop(self.attention(x, x), training=training)
        x = self.norms[0](x + y)
        return self.norms[1](x + self.scale(self.feed(x)))


class Heads(layers.Layer):
    """Asks for the size of the batch, as much code of TensorFlow's days does."""

    def call(self, x):
        batch, length, size = ops.shape(x)
        x = ops.reshape(x, (batch, -1, 2, size // 2))
        return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (batch, 2 * length, -1))


class Net(keras.Model):
    """Branches on attributes and on `training`; takes and returns dicts."""

    def __init__(self, deep=True):
        super().__init__()
        self.deep = deep
        self.stem = layers.Dense(6, activation="relu")
        self.bn = layers.BatchNormalization()
        self.blocks = [layers.Dense(6, activation="tanh") for _ in range(3)]
        self.head = layers.Dense(2)

    def call(self, inputs, training=False):
        x = self.bn(self.stem(inputs["a"]), training=training)
        if training:
            x = x + keras.random.normal(ops.shape(x))
        for block in self.blocks if self.deep else ():
            x = x + block(x)
        return {"y": self.head(x), "z": ops.maximum(inputs["b"], 0.5)}


def _functional(layer, shape, calls=1):
    x = y = keras.Input(shape, name="x")
    for _ in range(calls):
        y = layer(y)
    model = keras.Model(x, y)
    tiny_models.randomize(model, 0)
    return model


def _assert_read(model, graph, data):
    expected = model(data, training=False)
    for again in (build(graph), build(canonicalize(graph)[0])):
        found = again(data, training=False)
        keras.tree.assert_same_structure(found, expected)
        for a, b in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_block_is_opened_into_its_layers():
    model = _functional(Block(2, 4, name="block"), (5, 4))
    graph = read(model)
    names = {re.sub(r"_\d+", "", node.name) for node in graph}  # Keras numbers names over the whole process
    assert {"block/multi_head_attention", "block/dropout", "block/sequential/dense"} <= names
    assert not [node.kind for node in graph if node.kind.startswith("custom.")]
    _assert_read(model, graph, tiny_models.inputs(model))


def test_a_subclassed_model_is_opened():
    model = Net()
    data = {name: np.random.default_rng(0).normal(size=(4, 3)).astype("f4") for name in ("a", "b")}
    model(data)
    tiny_models.randomize(model, 0)
    graph = read(model)
    assert graph.input_structure == {"a": "a", "b": "b"}
    assert graph.inputs == ("a", "b")
    _assert_read(model, graph, data)


def test_reading_changes_nothing():
    class Counter(layers.Layer):
        def build(self, shape):
            self.calls = self.add_weight(shape=(), dtype="int32", trainable=False, name="calls")

        def call(self, x):
            self.calls.assign(self.calls + 1)
            return 2 * x

    model = _functional(Counter(name="counter"), (3,))
    before = int(model.layers[-1].calls.value)
    assert [node.kind for node in read(model)] == ["InputLayer", "ops.Multiply"]
    assert int(model.layers[-1].calls.value) == before


def test_the_size_of_a_batch_is_open():
    model = _functional(Heads(name="heads"), (3, 4))
    graph = read(model)
    assert [node.config["newshape"] for node in graph if node.kind == "ops.Reshape"] == [
        (-1, 3, 2, 2),
        (-1, 6, 2),
    ]
    _assert_read(model, graph, tiny_models.inputs(model, count=61))
    _assert_read(model, graph, tiny_models.inputs(model, count=5))


def test_layers_of_one_opened_layer_stay_shared():
    class Twice(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = layers.Dense(3)

        def call(self, x):
            return self.inner(self.inner(x))

    model = _functional(Twice(name="twice"), (3,), calls=2)
    graph = read(model)
    assert len([node for node in graph if node.kind == "Dense"]) == 4
    assert len({node.shared for node in graph if node.kind == "Dense"}) == 1
    again = build(graph)
    assert len([layer for layer in again.layers if isinstance(layer, layers.Dense)]) == 1
    _assert_read(model, graph, tiny_models.inputs(model))


def test_a_subclass_that_adds_no_code_is_what_it_inherits_from():
    class Small(layers.Dense):
        def __init__(self, **kwargs):
            super().__init__(3, **kwargs)

    model = _functional(Small(name="small"), (4,))
    graph = read(model)
    assert graph["small"].kind == "Dense"
    assert graph["small"].config["units"] == 3
    _assert_read(model, graph, tiny_models.inputs(model))


def test_lambdas_are_opened_outside_safe_mode_only():
    model = _functional(layers.Lambda(lambda x: ops.relu(x) + 1, name="code"), (3,))
    assert "safe_mode=False" in read(model)["code"].closed
    graph = read(model, safe_mode=False)
    assert [node.kind for node in graph] == ["InputLayer", "ops.Relu", "ops.Add"]
    _assert_read(model, graph, tiny_models.inputs(model))


@pytest.mark.parametrize(
    ("shape", "kernel", "function", "kind"),
    [
        ((3, 4), (4, 2), lambda x, w: x @ w, "Dense"),
        ((3, 4), (2, 4), lambda x, w: ops.matmul(x, ops.transpose(w)), "Dense"),
        ((3, 4), (4, 2, 3), lambda x, w: ops.einsum("btd,dhk->bhtk", x, w), "Dense"),
        ((6, 4), (2, 4, 3), lambda x, w: ops.conv(x, w, 2, "same"), "Conv1D"),
        ((6, 5, 2), (2, 3, 2, 3), lambda x, w: ops.conv(x, w - ops.mean(w), (2, 1)), "Conv2D"),
        ((6, 5, 2), (2, 3, 2, 2), lambda x, w: ops.depthwise_conv(x, w), "DepthwiseConv2D"),
    ],
)
def test_kernels_of_a_layers_own(shape, kernel, function, kind):
    class Own(layers.Layer):
        def build(self, given):
            self.w = self.add_weight(shape=kernel, name="kernel")

        def call(self, x):
            return function(x, self.w)

    model = _functional(Own(name="own"), shape)
    graph = read(model)
    assert [node.kind for node in canonicalize(graph)[0] if node.weights] == [kind]
    _assert_read(model, graph, tiny_models.inputs(model))


def _joined(x, token):
    return ops.concatenate([token, x, token], axis=1)


@pytest.mark.parametrize(
    ("size", "function"),
    [
        (1, lambda x, w: _joined(x, ops.broadcast_to(w, (ops.shape(x)[0], 1, 4)))),
        (1, lambda x, w: _joined(x, ops.tile(w, [ops.shape(x)[0], 1, 1]))),
        (1, lambda x, w: _joined(x, ops.repeat(w, ops.shape(x)[0], axis=0))),
        (1, lambda x, w: _joined(x, ops.zeros_like(x[:, :1]) + w)),
        (5, lambda x, w: _joined(x, ops.tile(w, [ops.shape(x)[0], 1, 1]))),  # more than x has
    ],
)
def test_a_token_of_a_layers_own(size, function):
    class Token(layers.Layer):
        def build(self, given):
            self.w = self.add_weight(shape=(1, size, 4), name="token")

        def call(self, x):
            return function(x, self.w)

    model = _functional(Token(name="own"), (3, 4))
    graph = read(model)
    assert not [node.kind for node in graph if node.kind.startswith("custom.")]
    assert {node.kind for node in canonicalize(graph)[0]} >= {"Concatenate", "BatchNormalization"}
    for count in (1, 5, 61):
        _assert_read(model, graph, tiny_models.inputs(model, count=count))


def test_a_table_of_a_layers_own():
    class Table(layers.Layer):
        def build(self, given):
            self.w = self.add_weight(shape=(7, 4), name="table")

        def call(self, x):
            return ops.take(self.w, x, axis=0)

    x = keras.Input((3,), dtype="int32")
    model = keras.Model(x, Table()(x))
    tiny_models.randomize(model, 0)
    graph = read(model)
    assert [node.kind for node in canonicalize(graph)[0] if node.weights] == ["Embedding"]
    _assert_read(model, graph, np.array([[0, 6, 3], [1, 1, 5]], "int32"))


def test_operations_are_named_alike_each_time():
    model = _functional(_code(lambda x: ops.relu(x + 1) + 2), (3,))
    names = [node.name for node in read(model)]
    assert names == ["x", "code/add", "code/relu", "code/add@2"]
    assert [node.name for node in read(model)] == names


def _code(function, name="code"):
    class Code(layers.Layer):
        def call(self, x):
            return function(x)

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape, x.dtype)

    return Code(name=name)


def _noise(x):
    return x + keras.random.normal(x.shape[1:])


class OwnNoise(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed = keras.random.SeedGenerator(1)

    def call(self, x):
        return x + keras.random.normal(x.shape[1:], seed=self.seed)


def _by_value(x):
    return x if ops.sum(x) > 0 else -x


def _numpy(x):
    return ops.convert_to_tensor(np.sort(ops.convert_to_numpy(x), axis=-1))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (_noise, "another result each time"),
        (_by_value, "decides by the values"),
        (_numpy, "leaves keras.ops"),
        (lambda x: ops.ones((2, 3)), "does not depend on its inputs"),
        (lambda x: x - ops.mean(x, axis=0), "batch dimension"),
        (lambda x: x.upper(), "leaves keras.ops"),
        (lambda x: x + undefined, "NameError"),  # noqa: F821
    ],
)
def test_what_cannot_be_opened_stays_and_says_why(function, reason):
    x = keras.Input((3,), name="x")
    graph = read(keras.Model(x, _code(function)(x)))
    assert graph["code"].kind == "custom.Code"
    assert reason in graph["code"].closed


def test_noise_from_a_generator_of_the_layer_is_noticed():
    assert "another result each time" in read(_functional(OwnNoise(name="code"), (3,)))["code"].closed


def test_models_that_cannot_be_opened_are_refused():
    class Own(keras.Model):
        def call(self, x):
            return _by_value(x)

    class Several(keras.Model):
        def call(self, a, b):
            return a + b

    model = Own(name="own")
    with pytest.raises(UnsupportedLayerError, match=r"^own: the model has no input shape"):
        read(model)
    model(np.ones((1, 3), "f4"))
    with pytest.raises(UnsupportedLayerError, match=r"^own: .*decides by the values.*received: Own"):
        read(model)
    several = Several()
    several(np.ones((1, 3), "f4"), np.ones((1, 3), "f4"))
    with pytest.raises(UnsupportedLayerError, match=r"several tensors.*received: a, b"):
        read(several)


def test_casts_between_float_types_are_dropped():
    model = _functional(_code(lambda x: ops.cast(ops.cast(x, "float16"), "float32") * 2), (3,))
    assert [node.kind for node in canonicalize(read(model))[0]] == ["InputLayer", "BatchNormalization"]
    model = _functional(_code(lambda x: ops.cast(ops.cast(x, "int32"), "float32")), (3,))
    assert any(node.config.get("dtype") == "int32" for node in canonicalize(read(model))[0])


def test_a_functional_model_with_code_of_its_own_is_opened():
    class Doubled(keras.Model):
        def call(self, x):
            return super().call(x) * 2

    class DoubledSequence(keras.Sequential):
        def call(self, inputs, training=None, mask=None):
            return super().call(inputs) * 2

    x = keras.Input((3,), name="x")
    for model in (
        Doubled(x, layers.Dense(2, name="inner")(x)),
        DoubledSequence([keras.Input((3,)), layers.Dense(2, name="inner")]),
    ):
        outer = keras.Model(x, model(x))
        tiny_models.randomize(outer, 0)
        for each in (model, outer):
            graph = read(each)
            assert [node.kind for node in graph if node.weights] == ["Dense"]
            assert graph.nodes[-1].kind == "ops.Multiply"
            _assert_read(each, graph, tiny_models.inputs(outer))
