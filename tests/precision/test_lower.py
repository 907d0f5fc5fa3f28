"""Lowering: what the integer reference computes is what Keras predicts, value for value."""

import keras
import numpy as np
import pytest
from autodiff import numpy

from hgqify import layers as q
from hgqify.errors import PrecisionError, RuleError, UnsupportedLayerError
from hgqify.layers import quantized_layers, refresh
from hgqify.precision import certify, count_ebops, default_registry, from_npz, lower, ops, to_npz
from hgqify.precision.lowering import identifier
from hgqify.quantizers import QuantizerConfigScope
from hgqify.reference import run

kl = keras.layers
SAT = {"overflow_mode": "SAT"}


def randomize(model, seed):
    """Random weights, biases, statistics and widths: nothing may sit at its default."""
    rng = np.random.default_rng(seed)
    for layer in quantized_layers(model):
        for variable in layer.weights:
            if variable.path.split("/")[-1] in ("kernel", "bias", "beta", "gamma", "moving_mean"):
                variable.assign(rng.normal(size=variable.shape) * 0.7)
        for quantizer in (layer.kq, layer.bq, *layer.iqs, layer.oq):
            if quantizer is None:
                continue
            shape = quantizer.width_shape
            table = isinstance(layer, q.QActivation)
            i = rng.integers(0, 3, shape)
            f = rng.integers(1, 4, shape) if table else rng.integers(-1, 6, shape)
            quantizer.set_state(k=np.ones(shape) if table else rng.integers(0, 2, shape), i=i, f=f)
            if not table and layer.kq is not quantizer:
                quantizer.set_state(k=1)
    refresh(model)


def assert_exact(model, seed=0, samples=12):
    """Keras and reference on inputs in range, at 4x and at 100x of it."""
    rng = np.random.default_rng(seed)
    program = lower(model)
    assert certify(program).proved
    x = [rng.normal(size=(samples, *t.shape[1:])).astype(np.float32) for t in model.inputs]
    scales = np.repeat([1, 4, 100], samples // 3).astype(np.float32)
    x = [a * scales.reshape(-1, *(1,) * (a.ndim - 1)) for a in x]
    predicted = keras.tree.flatten(model.predict(x if len(x) > 1 else x[0], verbose=0))
    result = run(program, x)
    assert len(predicted) == len(result.outputs)
    spread = 0
    for found, expected in zip(result.values, predicted, strict=True):
        np.testing.assert_array_equal(found, expected.astype(np.float64))
        spread += len(np.unique(found))
    assert spread > 10 * len(predicted)
    return program


def images():
    with QuantizerConfigScope(place="datalane", heterogeneous_axis=(-1,)):
        x = keras.Input((9, 8, 3), name="input")
        a = q.Quantize(iq_conf=SAT, name="1st-in")(x)
        b = q.QConv2D(6, 3, strides=2, padding="same", activation="relu", name="conv-a")(a)
        c = q.QConv2D(6, (2, 3), dilation_rate=2, groups=3, activation="relu6")(a)
        d = q.QDepthwiseConv2D(3, depth_multiplier=2, padding="same", oq_conf=SAT)(a)
        e = q.QBatchNormalization()(b)
        pooled = kl.MaxPooling2D(2, padding="same")(q.QActivation("tanh")(e))
        averaged = q.QAveragePooling2D(3, strides=2, padding="same")(d)
        outputs = [
            q.QGlobalAveragePooling2D(keepdims=True)(c),
            q.QGlobalMaxPooling2D()(kl.Cropping2D(((1, 0), (0, 2)))(d)),
            kl.UpSampling2D((2, 1))(kl.ZeroPadding2D(((1, 0), (2, 1)))(pooled)),
            q.QBatchNormalization(axis=1)(averaged),
            kl.Permute((3, 1, 2))(e),
            q.QDense(4, activation="leaky_relu", activation_params={"negative_slope": 0.125})(averaged),
            q.QDense(3, oq_conf=SAT)(kl.Flatten()(pooled)),
        ]
    return keras.Model(x, outputs)


def sequences():
    x, y = keras.Input((10, 4), name="int"), keras.Input((10, 4), name="a-b")
    a, b = q.Quantize(iq_conf=SAT)(x), q.Quantize(iq_conf=SAT)(y)
    shared = q.QDense(4, name="shared")
    c, d = shared(a), shared(b)
    e = q.QConv1D(4, 3, padding="causal", dilation_rate=2)(a)
    outputs = {
        "add": q.QAdd()([a, c, d, e, a]),
        "sub": q.QSubtract()([c, c]),
        "sub2": q.QSubtract()([a, e]),
        "mul": q.QMultiply()([a, b, a]),
        "max": q.QMaximum()([c, d, e]),
        "min": q.QMinimum(iq_conf=False)([c, d]),
        "mean3": q.QAverage()([a, b, e]),
        "mean4": q.QAverage()([a, b, e, d]),
        "join": kl.Concatenate(axis=1)([a, kl.Dropout(0.5)(e)]),
        "pool": q.QAveragePooling1D(4, 3)(c),
        "whole": q.QGlobalAveragePooling1D()(q.QDepthwiseConv1D(3)(e)),
        "top": q.QGlobalMaxPooling1D()(kl.ReLU(max_value=2.0)(d)),
        "row": kl.RepeatVector(3)(kl.Flatten()(q.QMaxPooling1D(2)(a))),
        "act": q.QActivation("sigmoid")(e),
        "steep": q.QActivation("relu", activation_params={"negative_slope": 0.25, "max_value": 3.0})(e),
        "leaky": kl.LeakyReLU(0.5)(d),
    }
    return keras.Model([x, y], outputs)


def volumes():
    x = keras.Input((5, 4, 4, 2))
    a = q.QConv3D(3, 2, padding="same", strides=(1, 2, 1))(q.Quantize(iq_conf=SAT)(x))
    return keras.Model(
        x,
        [
            q.QAveragePooling3D(2)(a),
            q.QGlobalAveragePooling3D()(kl.Cropping3D(1)(kl.ZeroPadding3D(1)(a))),
            kl.MaxPooling3D(2, padding="same")(a),
            q.QGlobalMaxPooling3D(keepdims=True)(a),
            kl.UpSampling3D(2)(q.QActivation("gelu")(a)),
            kl.Reshape((10, -1))(a),
        ],
    )


def channels_first():
    with QuantizerConfigScope(place="datalane", heterogeneous_axis=(1,)):
        x = keras.Input((3, 9, 8))
        first = {"data_format": "channels_first"}
        a = q.Quantize(iq_conf=SAT)(x)
        b = q.QConv2D(6, 3, strides=2, padding="same", activation="relu", **first, oq_conf=SAT)(a)
        c = q.QConv2D(6, (2, 3), dilation_rate=2, groups=3, **first)(a)
        d = q.QDepthwiseConv2D(3, depth_multiplier=2, padding="same", **first)(a)
        outputs = [
            q.QGlobalAveragePooling2D(keepdims=True, **first)(c),
            q.QGlobalMaxPooling2D(oq_conf=SAT, **first)(kl.Cropping2D(((1, 0), (0, 2)), **first)(d)),
            kl.UpSampling2D((2, 1), **first)(kl.ZeroPadding2D(((1, 0), (2, 1)), **first)(b)),
            q.QAveragePooling2D(3, strides=2, padding="same", oq_conf=SAT, **first)(d),
            q.QDense(3)(kl.Flatten(**first)(kl.MaxPooling2D(2, padding="same", **first)(b))),
            q.QGlobalAveragePooling1D(**first)(q.QConv1D(4, 2, **first)(kl.Reshape((6, 20))(b))),
        ]
    return keras.Model(x, outputs)


@pytest.mark.parametrize(
    ("make", "overflow"),
    [(images, "WRAP"), (sequences, "SAT"), (volumes, "WRAP"), (channels_first, "WRAP")],
)
def test_the_reference_equals_keras(make, overflow, tmp_path):
    keras.utils.set_random_seed(0)
    with QuantizerConfigScope(place="datalane", overflow_mode=overflow):
        model = make()
    randomize(model, 3)
    program = assert_exact(model)
    counted, layers = count_ebops(program), {layer.name: layer for layer in quantized_layers(model)}
    for name, ebops in counted.items():
        # The program knows exact bounds of each sum and of each partial product.
        if "average" in name or "multiply" in name:
            assert ebops <= layers[name].ebops()
        elif name == "shared":
            assert ebops == 2 * layers[name].ebops()
        elif layers[name].iqs:
            assert ebops == layers[name].ebops()
    to_npz(program, tmp_path / "p.npz")
    x = [np.ones((1, *t.shape[1:]), np.float32) for t in model.inputs]
    for a, b in zip(run(program, x).values, run(from_npz(tmp_path / "p.npz"), x).values, strict=True):
        np.testing.assert_array_equal(a, b)


def test_names_are_c_identifiers_and_layers_keep_their_paths():
    model = sequences()
    randomize(model, 0)
    program = lower(model)
    names = [node.name for node in program.nodes]
    assert len({name.lower() for name in names}) == len(names)
    assert all(name.isidentifier() and name.isascii() and "__" not in name for name in names)
    assert program.inputs == ("l_int", "a_b")
    assert [program.by_name[n].layer for n in ("shared", "shared_2", "a_b")] == ["shared", "shared", "a-b"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("input", "l_input"), ("Class", "l_Class"), ("2d.conv-x", "l_2d_conv_x"), ("Dense", "Dense_2"),
     ("a__b/c@2", "a_b_c_2"), ("_", "layer"), ("é", "layer"),
     ("activation", "l_activation"), ("Scale", "l_Scale")],
)  # fmt: skip
def test_identifiers(name, expected):
    assert identifier(name, {"dense"}) == expected


def test_nested_models_outputs_twice_and_consumed_outputs():
    inner_in = keras.Input((6,))
    inner = keras.Model(inner_in, q.QDense(5, name="deep")(inner_in), name="block")
    x = keras.Input((6,), name="x")
    a = q.Quantize(iq_conf=SAT, name="first")(x)
    b = inner(a)
    model = keras.Model(x, [b, b, a, q.QDense(5)(b), inner(a)])
    randomize(model, 1)
    program = assert_exact(model)
    assert program.outputs[0] == program.outputs[1]
    assert program.by_name[program.outputs[0]].layer == "block/deep"


def test_an_output_quantizer_straight_behind_the_input():
    x = keras.Input((40,))
    a = q.Quantize(iq_conf=SAT, oq_conf={"f0": 1, "overflow_mode": "SAT"})(x)
    assert_exact(keras.Model(x, [a, a]))


def dense_model(**kwargs):
    x = keras.Input((4,), name="x")
    return keras.Model(x, q.QDense(3, name="head", **kwargs)(x))


def test_real_inputs_where_codes_are_needed_are_refused():
    with pytest.raises(PrecisionError, match=r"head: a real model input.*Quantize layer"):
        lower(dense_model(iq_conf=False))
    x = keras.Input((4, 4, 1), name="x")
    with pytest.raises(PrecisionError, match=r"flat: a real model input"):
        lower(keras.Model(x, q.QDense(3)(kl.Flatten(name="flat")(x))))
    x = keras.Input((4,), name="x")
    with pytest.raises(PrecisionError, match=r"x: a model output is a model input"):
        lower(keras.Model(x, [x, q.QDense(3)(x)]))


def test_quantizers_that_are_off_are_refused():
    with pytest.raises(PrecisionError, match=r"head \(iq\): a dummy quantizer"):
        lower(dense_model(iq_conf={"q_type": "dummy"}))
    with pytest.raises(PrecisionError, match=r"dummy quantizer"):
        lower(dense_model(kq_conf={"q_type": "dummy"}))


def test_all_layers_without_integer_form_are_listed():
    x = keras.Input((8, 4), name="x")
    a = q.Quantize()(x)
    a = kl.LayerNormalization(name="norm")(a)
    a = kl.Dense(3, name="float")(a)
    a = keras.ops.sin(a)
    with pytest.raises(UnsupportedLayerError) as error:
        lower(keras.Model(x, a))
    assert all(text in str(error.value) for text in ("3 layers", "norm", "float", "ops.Sin"))


def test_inexact_plain_activations_and_interpolations_are_refused():
    x = keras.Input((4, 4, 2), name="x")
    with pytest.raises(UnsupportedLayerError, match=r"act: .*not exact.*QActivation"):
        lower(keras.Model(x, kl.Activation("tanh", name="act")(q.Quantize()(x))))
    with pytest.raises(UnsupportedLayerError, match=r"up: only nearest"):
        lower(keras.Model(x, kl.UpSampling2D(2, interpolation="bilinear", name="up")(q.Quantize()(x))))


def test_stored_constants_older_than_the_weights_are_refused():
    x = keras.Input((4, 2))
    norm = q.QBatchNormalization(name="norm")
    model = keras.Model(x, norm(x))
    refresh(model)
    lower(model)
    norm.moving_mean.assign(np.full(2, 3.0))
    with pytest.raises(PrecisionError, match=r"norm.*refresh"):
        lower(model)


class Negate(kl.Layer):
    """A user's layer."""

    def call(self, x):
        return -x


def test_the_registry_is_open():
    x = keras.Input((4,))
    model = keras.Model(x, Negate()(q.Quantize(iq_conf=SAT)(x)))
    with pytest.raises(UnsupportedLayerError):
        lower(model)
    registry = default_registry().copy()

    @registry.register(Negate)
    def negate(call):
        minus = ops.Constant(codes=np.array(-1), frac=0)
        return call.add(ops.ScaleShift(scale=minus, shift=None), *call.inputs, shape=call.shape)

    data = np.linspace(-9, 9, 40, dtype=np.float32).reshape(10, 4)
    np.testing.assert_array_equal(run(lower(model, registry), data).values[0], model.predict(data, verbose=0))
    with pytest.raises(RuleError, match="override"):
        registry.register(Negate)(negate)
    registry.override(Negate, negate)
    assert default_registry().find(Negate) is None


def test_shared_constants_of_the_accumulator_beyond_24_bits_stay_exact_in_the_reference():
    """Where float32 is not enough the certificate says so, and the reference does not care."""
    x = keras.Input((64,), name="x")
    wide = {"q_type": "kif", "i0": 2, "f0": 12, "overflow_mode": "SAT"}
    model = keras.Model(x, q.QDense(1, iq_conf=wide, kq_conf={"q_type": "kif", "f0": 14}, name="head")(x))
    program = lower(model)
    (entry,) = certify(program).open
    assert (entry.layer, entry.missing_bits > 0) == ("head", True)
    data = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    kernel = model.get_layer("head").quantized_weights()["kernel"].astype(np.float64)
    inputs = numpy(model.get_layer("head").iq(data)).astype(np.float64)
    np.testing.assert_array_equal(run(program, data).values[0], inputs @ kernel)
