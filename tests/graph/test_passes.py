"""Each pass: what it rewrites, what it leaves, and that it keeps what the model computes."""

import keras
import numpy as np
import pytest
from keras import layers
from tiny_zoo import tiny_models

from hgqify.errors import UnsupportedLayerError
from hgqify.graph import Graph, Node, build, canonicalize, default_passes, passes, read
from hgqify.graph.passes.affine import batchnorm_scale_shift
from hgqify.graph.passes.linear_algebra import scale_inputs, scale_outputs


def _sequential(*stack, seed=0):
    model = keras.Sequential(stack)
    tiny_models.randomize(model, seed)
    return model


def _kinds(graph):
    return [node.kind for node in graph]


def _check(model, graph):
    x = tiny_models.inputs(model)
    for a, b in zip(
        keras.tree.flatten(build(graph)(x)), keras.tree.flatten(model(x, training=False)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5)


def test_names_of_passes_agree_with_class_and_file():
    for step in default_passes(strip_softmax=True):
        cls = type(step)
        assert cls.__name__ == "".join(word.capitalize() for word in step.name.split("-"))
        assert cls.__module__.rpartition(".")[2] == step.name.replace("-", "_")
        assert cls.__doc__


@pytest.mark.parametrize(
    "layer",
    [
        layers.Dense(4),
        layers.Conv2D(4, 3, padding="same", use_bias=False),
        layers.Conv2D(4, 3, groups=2),
        layers.DepthwiseConv2D(2, depth_multiplier=3),
        layers.Conv2DTranspose(3, 2, strides=2),
    ],
    ids=lambda layer: layer.name,
)
def test_batchnorm_after_a_linear_layer_folds(layer):
    model = _sequential(keras.Input((5, 5, 2)), layer, layers.BatchNormalization())
    result = passes.FoldBatchnorm()(read(model))
    assert _kinds(result.graph) == ["InputLayer", type(layer).__name__]
    assert result.graph.nodes[1].origin == (layer.name, model.layers[1].name)
    assert [event.action for event in result.events] == ["folded"]
    _check(model, result.graph)


@pytest.mark.parametrize(
    ("layer", "center", "folds"),
    [
        (layers.Dense(4), True, True),
        (layers.Conv2D(4, 3, use_bias=False), True, True),
        (layers.Conv2D(4, 3, groups=2), True, True),
        (layers.DepthwiseConv2D(2, depth_multiplier=3), True, True),
        (layers.Conv2D(4, 3, padding="same"), True, False),
        (layers.DepthwiseConv2D(2, padding="same"), True, False),
        (layers.Conv2DTranspose(3, 2), True, False),
        (layers.Conv2D(4, 3, padding="same", use_bias=False), False, True),
        (layers.Conv2DTranspose(3, 2), False, True),
    ],
)
def test_batchnorm_before_a_linear_layer_folds_where_exact(layer, center, folds):
    normalization = layers.BatchNormalization(center=center)
    model = _sequential(keras.Input((5, 5, 2)), normalization, layer.from_config(layer.get_config()))
    if not center:
        normalization.moving_mean.assign(np.zeros(2))
    result = passes.FoldBatchnorm()(read(model))
    assert ("BatchNormalization" not in _kinds(result.graph)) == folds
    assert [event.action for event in result.events] == ["folded" if folds else "kept"]
    if not folds:
        assert "after it" in result.events[0].reason
    if not center:  # scaling alone creates no bias
        assert ("bias" in result.graph.nodes[-1].weights) == layer.use_bias
    _check(model, result.graph)


def test_batchnorm_stays_between_shared_read_twice_or_on_another_axis():
    x = keras.Input((4, 4), name="x")
    shared = layers.Dense(4, name="shared")
    once = layers.BatchNormalization(name="of_shared")(shared(x))
    twice = layers.Dense(4, name="twice")(shared(once))
    normalized = layers.BatchNormalization(name="of_twice")(twice)
    other = layers.BatchNormalization(axis=1, name="other_axis")(layers.Dense(4)(x))
    given = layers.BatchNormalization(name="output")(layers.ReLU()(x))
    model = keras.Model(x, [layers.Add()([twice, normalized]), other, given, layers.Dense(2)(given)])
    tiny_models.randomize(model, 0)
    result = passes.FoldBatchnorm()(read(model))
    assert not result.modified
    assert {event.layer for event in result.events} == {"of_shared", "of_twice", "other_axis", "output"}
    assert {event.action for event in result.events} == {"kept"}


def test_folding_sums_in_double_and_rounds_once():
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(50, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)
    node = Node(name="d", kind="Dense", weights={"kernel": kernel, "bias": bias}, inputs=("x",), shape=(3,))
    scale, shift = rng.normal(size=50), rng.normal(size=50)
    folded = scale_inputs(node, scale, shift)
    assert folded is not None
    wide = kernel.astype(np.float64)
    np.testing.assert_array_equal(folded["kernel"], (wide * scale[:, None]).astype(np.float32))
    exact = bias + (wide * shift[:, None]).sum(axis=0)
    np.testing.assert_array_equal(folded["bias"], exact.astype(np.float32))
    folded = scale_outputs(node, scale[:3], shift[:3])
    np.testing.assert_array_equal(folded["kernel"], (wide * scale[:3]).astype(np.float32))
    np.testing.assert_array_equal(folded["bias"], (bias * scale[:3] + shift[:3]).astype(np.float32))


def test_folds_that_overflow_float32_are_left():
    model = _sequential(
        keras.Input((2,)), layers.Dense(2), layers.BatchNormalization(epsilon=1e-30), layers.ReLU()
    )
    model.layers[1].moving_variance.assign([0.0, 1.0])
    model.layers[1].gamma.assign([1e30, 1.0])
    assert not passes.FoldBatchnorm()(read(model)).modified


def test_affine_moves_behind_reshapes_and_poolings():
    graph, events = canonicalize(read(tiny_models.build("sinking", seed=5)))
    assert "BatchNormalization" not in _kinds(graph)
    assert [event.action for event in events if event.pass_name == "sink-affine"] == ["moved"] * 3


def test_affine_with_a_negative_scale_stays_before_a_maximum():
    model = _sequential(
        keras.Input((8, 2)), layers.BatchNormalization(), layers.MaxPooling1D(), layers.Conv1D(2, 1)
    )
    model.layers[0].gamma.assign([1.0, -1.0])
    assert not passes.SinkAffine()(read(model)).modified
    model.layers[0].gamma.assign([1.0, 0.0])
    result = passes.SinkAffine()(read(model))
    assert _kinds(result.graph) == ["InputLayer", "MaxPooling1D", "BatchNormalization", "Conv1D"]
    _check(model, result.graph)


def test_rescaling_reaches_a_dense_layer_through_flatten():
    model = _sequential(
        keras.Input((4, 4), dtype="uint8"), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(3)
    )
    graph, events = canonicalize(read(model))
    assert _kinds(graph) == ["InputLayer", "Flatten", "Dense"]
    assert graph.nodes[0].config["dtype"] == "float32"
    assert [event.action for event in events] == ["retyped", "lowered", "moved", "folded"]
    x = np.random.default_rng(0).integers(0, 256, (5, 4, 4))
    np.testing.assert_allclose(build(graph)(x.astype(np.float32)), model(x.astype(np.uint8)), atol=1e-5)


def test_integer_keys_stay_integers():
    model = keras.Sequential([keras.Input((4,), dtype="int32"), layers.CategoryEncoding(10)])
    assert canonicalize(read(model))[0].nodes[0].config["dtype"] == "int32"


def test_an_index_is_a_number():
    model = keras.Sequential([keras.Input((4,), dtype="int32"), layers.Embedding(10, 3)])
    assert canonicalize(read(model))[0].nodes[0].config["dtype"] == "float32"


def test_scale_shift_is_spelled_as_batchnorm():
    model = _sequential(keras.Input((3,)), layers.Rescaling([1.0, 2.0, 3.0], offset=-1.0))
    node = passes.AbsorbAffinePreprocessing()(read(model)).graph.nodes[-1]
    scale, shift = batchnorm_scale_shift(node)
    np.testing.assert_array_equal(scale, [1, 2, 3])
    np.testing.assert_array_equal(shift, [-1, -1, -1])


def test_normalization_of_every_form():
    x = keras.Input((3, 4), name="x")
    adapted = layers.Normalization(name="adapted")
    adapted.adapt(np.random.default_rng(0).normal(2, 3, (50, 3, 4)))
    outputs = [
        adapted(x),
        layers.Normalization(axis=1, mean=[1.0, 2, 3], variance=[1.0, 2, 0])(x),
        layers.Normalization(axis=(1, 2), mean=1.5, variance=2.5)(x),
        layers.Normalization(axis=(1, 2), mean=np.eye(3, 4), variance=np.eye(3, 4) + 1)(x),
        layers.Normalization(axis=-1, mean=[1.0, 2, 3, 4], variance=[4.0, 3, 2, 1], invert=True)(x),
    ]
    model = keras.Model(x, outputs)
    graph, _ = canonicalize(read(model))
    assert set(_kinds(graph)) == {"InputLayer", "BatchNormalization", "Reshape"}
    data = tiny_models.inputs(model)
    for a, b in zip(build(graph)(data), model(data), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_activations_split_once_also_when_shared():
    graph = passes.SplitActivations()(read(tiny_models.build("shared"))).graph
    assert graph["twin/relu"].shared == graph["twin@2/relu"].shared == "twin/relu"
    assert graph["twin/relu"].inputs == ("twin",)
    assert graph["twin"].config["activation"] == "linear"


def test_activation_layers_keep_their_weights():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, activation=layers.PReLU())])
    model(np.zeros((1, 3), np.float32))  # Keras builds such an inner layer at its first call
    tiny_models.randomize(model, 0)
    graph = passes.SplitActivations()(read(model)).graph
    assert _kinds(graph) == ["InputLayer", "Dense", "PReLU"]
    assert set(graph.nodes[1].weights) == {"kernel", "bias"}
    assert set(graph.nodes[2].weights) == {"alpha"}
    _check(model, graph)


def test_one_spelling_per_activation():
    stack = [
        layers.ReLU(),
        layers.ReLU(max_value=6),
        layers.ReLU(max_value=2),
        layers.ELU(),
        layers.ELU(alpha=0.5),
        layers.Activation("leaky_relu"),
        layers.Activation("softmax"),
        layers.Activation("tanh"),
    ]
    model = _sequential(keras.Input((3,)), *stack)
    result = passes.NormalizeActivations()(read(model))
    expected = ["Activation", "Activation", "ReLU", "Activation", "ELU", "LeakyReLU", "Softmax", "Activation"]
    assert _kinds(result.graph)[1:] == expected
    assert [node.config["activation"] for node in result.graph if node.kind == "Activation"] == [
        "relu",
        "relu6",
        "elu",
        "tanh",
    ]
    _check(model, result.graph)
    assert not passes.NormalizeActivations()(result.graph).modified


def test_output_softmax_is_stripped_only_on_request_and_only_at_the_output():
    x = keras.Input((4,))
    y = layers.Dense(3, activation="softmax", name="inner")(x)
    z = layers.Dense(3, activation="softmax", name="last")(y)
    w = layers.Softmax(axis=1, name="over_last")(layers.Dense(2)(y))
    model = keras.Model(x, [z, w, y])
    assert _kinds(canonicalize(read(model))[0]).count("Softmax") == 3
    graph, events = canonicalize(read(model), strip_softmax=True)
    assert _kinds(graph).count("Softmax") == 1
    removed = [event for event in events if event.action == "removed"]
    assert [event.layer for event in removed] == ["last", "over_last"]
    assert "moved to the host" in removed[0].reason
    data = tiny_models.inputs(model)
    probabilities = keras.ops.softmax(build(graph)(data)[0])
    np.testing.assert_allclose(probabilities, model(data)[0], rtol=1e-5)


def test_softmax_over_another_axis_stays():
    model = _sequential(keras.Input((4, 3)), layers.Softmax(axis=1))
    assert not passes.StripOutputSoftmax()(read(model)).modified


def test_operations_without_a_layer_stay():
    x, y = keras.Input((4, 3)), keras.Input((4, 3))
    ops = keras.ops
    outputs = [x / y, 1 / y, ops.gelu(x), ops.sort(x), ops.cumsum(x, axis=1), x**7, x**0.5]
    outputs += [ops.reshape(x, (-1, 6)), ops.max(x, axis=1, initial=0.5), ops.where(x > 0, x, y)]
    model = keras.Model([x, y], outputs)
    result = passes.LowerOperations()(read(model))
    assert not result.modified
    data = tiny_models.inputs(model)
    for a, b in zip(build(result.graph)(data), model(data), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_failing_pass_is_named():
    class Broken(passes.Pass):
        """Fails."""

        name = "broken"

        def run(self, graph):
            raise KeyError("axis")

    with pytest.raises(UnsupportedLayerError, match="pass 'broken' failed"):
        canonicalize(read(tiny_models.build("mlp")), [Broken()])


def _chain(*nodes):
    return Graph(nodes=nodes, input_structure="x", output_structure=nodes[-1].name)


def test_graphs_are_validated():
    given = Node(name="x", kind="InputLayer", shape=(2,))
    relu = Node(name="r", kind="ReLU", inputs=("x",), shape=(2,))
    _chain(given, relu).validate()
    with pytest.raises(ValueError, match="no earlier node"):
        _chain(relu, given).validate()
    with pytest.raises(ValueError, match="two nodes"):
        _chain(given, relu, relu).validate()
    with pytest.raises(ValueError, match="has inputs"):
        _chain(given, relu.with_(inputs=())).validate()
    with pytest.raises(ValueError, match="share a layer but differ"):
        _chain(
            given, relu.with_(shared="r"), relu.with_(name="q", kind="ELU", inputs=("r",), shared="r")
        ).validate()
    with pytest.raises(ValueError, match="does not exist"):
        Graph(nodes=(given,), input_structure="x", output_structure="y").validate()


def test_nodes_cannot_be_changed():
    weights = {"kernel": np.ones((2, 2), np.float32)}
    node = Node(name="d", kind="Dense", weights=weights)
    weights["kernel"][0, 0] = 5
    assert node.weights["kernel"][0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        node.weights["kernel"][0, 0] = 2
    with pytest.raises(TypeError):
        node.config["units"] = 2


@pytest.mark.parametrize(
    ("shape", "inner", "kind"),
    [
        ((4,), layers.Dense(3, activation="relu"), "Dense"),
        ((4, 3), layers.BatchNormalization(axis=1), "BatchNormalization"),
        ((4, 3), layers.BatchNormalization(), "BatchNormalization"),
        ((4, 3), layers.Permute((2, 1)), "Permute"),
        ((4, 3), layers.Flatten(), "Reshape"),
        ((8, 4), layers.Conv1D(6, 3, strides=2, groups=2, padding="same"), "Conv2D"),
        ((8, 4), layers.Conv1D(3, 3, dilation_rate=2, use_bias=False), "Conv2D"),
        ((8, 4), layers.MaxPooling1D(3, strides=2), "MaxPooling2D"),
        ((8, 4), layers.ZeroPadding1D((2, 1)), "ZeroPadding2D"),
        ((8, 4), layers.Cropping1D(1), "Cropping2D"),
        ((8, 4), layers.UpSampling1D(2), "UpSampling2D"),
        ((6, 5, 2), layers.Conv2D(3, (3, 2), strides=(2, 1)), "Conv3D"),
        ((6, 5, 2), layers.AveragePooling2D(2), "AveragePooling3D"),
        ((8, 4), layers.GlobalAveragePooling1D(), "AveragePooling2D"),
        ((6, 5, 2), layers.GlobalMaxPooling2D(keepdims=True), "MaxPooling3D"),
        ((6, 5, 2), layers.GlobalMaxPooling2D(), "MaxPooling3D"),
    ],
    ids=lambda value: value.name if isinstance(value, keras.Layer) else None,
)
def test_time_distributed_becomes_its_inner_layer_over_all_times(shape, inner, kind):
    model = _sequential(keras.Input((3, *shape)), layers.TimeDistributed(inner))
    result = passes.LowerTimeDistributed()(read(model))
    assert result.graph.nodes[1].kind == kind
    assert [event.action for event in result.events] == ["lowered"]
    _check(model, result.graph)


def test_time_distributed_stays_where_no_layer_does_the_same():
    stack = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    for shape, inner in (
        ((4,), stack),
        ((8, 2), layers.Conv1D(3, 3, padding="causal")),
        ((8,), layers.PReLU()),
    ):
        model = _sequential(keras.Input((3, *shape)), layers.TimeDistributed(inner))
        assert not passes.LowerTimeDistributed()(read(model)).modified
