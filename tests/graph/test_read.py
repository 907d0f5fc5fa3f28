"""What `read` makes of models, and which it refuses."""

import keras
import numpy as np
import pytest
from keras import layers
from tiny_zoo import tiny_models

from hgqify.errors import UnsupportedLayerError
from hgqify.graph import build, canonicalize, layer_name, read


def _refusal(model):
    with pytest.raises(UnsupportedLayerError) as caught:
        read(model)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    return str(caught.value)


def test_nested_models_are_inlined_with_paths():
    graph = read(tiny_models.build("nested"))
    names = [node.name for node in graph]
    assert "inner/block/first" in names
    assert "inner/block/second" in names
    assert all(node.shared is None for node in graph)
    assert graph["inner/block/first"].inputs == ("x",)


def test_calls_of_shared_layers_have_one_key():
    graph = read(tiny_models.build("shared"))
    assert graph["twin"].shared == graph["twin@2"].shared == "twin"
    towers = [node for node in graph if node.name.startswith("tower") and node.kind == "Dense"]
    assert len(towers) == 2
    assert len({node.shared for node in towers}) == 1
    model = build(graph)
    assert model.get_layer("twin") is not None
    assert len([layer for layer in model.layers if isinstance(layer, layers.Dense)]) == 3


def test_structures_are_kept():
    model = build(read(tiny_models.build("dictionaries")))
    assert set(model.input) == {"track", "calo"}
    assert set(model.output) == {"class", "aux"}
    assert set(model.output["aux"][1]) == {"flat"}


def test_output_that_is_consumed_given_or_repeated():
    x = keras.Input((3,), name="x")
    y = layers.ReLU(name="y")(x)
    model = keras.Model(x, [y, x, y, layers.ReLU(name="z")(y)])
    graph = read(model)
    assert graph.outputs == ("y", "x", "y", "z")
    data = np.array([[-1, 0, 2]], np.float32)
    for a, b in zip(build(graph)(data), model(data), strict=True):
        np.testing.assert_array_equal(a, b)


def test_calls_with_arguments_and_several_outputs():
    x = keras.Input((4, 6), name="x")
    attended = layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)
    sequence, state = layers.GRU(3, return_sequences=True, return_state=True, name="gru")(attended)
    first, second = keras.ops.split(sequence, 2, axis=1)
    both = layers.Bidirectional(layers.LSTM(2))(x)
    model = keras.Model(x, [first, second[:, ::2], state, both])
    tiny_models.randomize(model, 0)
    graph = read(model)
    assert graph["gru"].outputs == 2
    assert graph["gru/1"].kind == "SelectOutput"
    data = tiny_models.inputs(model)
    for a, b in zip(build(graph)(data), model(data), strict=True):
        np.testing.assert_array_equal(a, b)


def test_shapes_that_keras_leaves_open_are_found():
    x = keras.Input((4, 6))
    model = keras.Model(x, layers.EinsumDense("abc,cd->abd", output_shape=(None, 5))(x))
    assert read(model).nodes[-1].shape == (4, 5)


def test_subclass_of_functional_with_its_own_constructor():
    class Wrapped(keras.Model):
        def __init__(self):
            x = keras.Input((3,), name="x")
            super().__init__(x, layers.Dense(2, name="only")(x))

    assert [node.name for node in read(Wrapped())] == ["x", "only"]


def test_training_argument_is_no_part_of_the_graph():
    """A functional model overrides it by its own."""
    x = keras.Input((3,))
    model = keras.Model(x, layers.Dropout(0.5)(x, training=True))
    assert read(model).nodes[-1].call is None
    data = np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(model(data, training=False), data)


def test_kinds_of_foreign_classes_are_marked():
    class Dense(layers.Dense):
        def call(self, inputs):
            return super().call(inputs) + 1

    model = keras.Sequential([keras.Input((3,)), Dense(2)])
    graph = read(model, opened=False)
    assert graph.nodes[-1].kind == "custom.Dense"
    data = np.ones((1, 3), np.float32)
    np.testing.assert_array_equal(build(graph)(data), model(data))


def test_dynamic_shapes_are_refused():
    message = _refusal(keras.Sequential([keras.Input((None, 3), name="series"), layers.Dense(2)]))
    assert "received: (None, None, 3)" in message


def test_models_without_input_shape_are_refused():
    assert "input shape" in _refusal(keras.Sequential([layers.Dense(2)]))


def test_mixing_samples_is_refused():
    x = keras.Input((3,), name="x")
    message = _refusal(keras.Model(x, keras.ops.sum(x, axis=0, keepdims=True)))
    assert "batch dimension" in message


def test_layer_names_are_identifiers():
    x = keras.Input((3,), name="input")
    y = layers.Dense(2, name="1st-layer.a b")(x)
    z = layers.Dense(2, name="l_1st_layer_a_b")(y)
    graph = read(keras.Model(x, z, name="my model"))
    assert layer_name(graph.nodes[1]) == "l_1st_layer_a_b"
    model = build(graph)
    assert [layer.name for layer in model.layers] == ["input_1", "l_1st_layer_a_b", "l_1st_layer_a_b_2"]
    assert model.name == "my_model"


def test_reduced_precision_becomes_float32():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, dtype="float16")])
    graph = read(model)
    assert graph.nodes[1].weights["kernel"].dtype == np.float32
    assert build(graph).layers[-1].compute_dtype == "float32"


def test_an_adapted_normalization_keeps_what_it_computes_with():
    data = np.random.default_rng(0).normal(3, 5, (50, 4)).astype("float32")
    adapted = layers.Normalization()
    adapted.adapt(data)
    model = keras.Sequential([keras.Input((4,)), adapted, layers.Dense(2)])
    # `set_weights` does not reach the copies that the layer computes with.
    stale = keras.models.clone_model(model)
    stale.set_weights(model.get_weights())
    for each in (model, stale):
        for graph in (read(each), canonicalize(read(each))[0]):
            np.testing.assert_allclose(build(graph)(data), each(data), rtol=1e-5, atol=1e-5)
