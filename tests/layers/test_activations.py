"""Activations as data: which are exact, which are refused, and what they compute."""

import keras
import numpy as np
import pytest
from autodiff import numpy

from hgqify.errors import UnsupportedLayerError
from hgqify.layers import ActivationKind, QDense, get_activation

X = np.linspace(-9, 9, 145, dtype=np.float32)


@keras.saving.register_keras_serializable("hgqify_tests")
def cubed(x):
    return x * x * x


@keras.saving.register_keras_serializable("hgqify_tests")
def centered(x):
    return x - keras.ops.mean(x)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("linear", {}),
        ("relu", {}),
        ("relu", {"max_value": 6.0}),
        ("relu", {"negative_slope": 0.25, "max_value": 2.5}),
        ("relu6", {}),
        ("leaky_relu", {"negative_slope": 0.125}),
        ("hard_tanh", {}),
    ],
)
def test_exact_kinds_equal_keras(name, params) -> None:
    activation = get_activation(name, params)
    assert activation.kind is ActivationKind.EXACT
    expected = numpy(getattr(keras.activations, name)(keras.ops.convert_to_tensor(X), **params))
    np.testing.assert_array_equal(numpy(activation(keras.ops.convert_to_tensor(X))), expected)
    np.testing.assert_array_equal(activation.piecewise.numpy(X), expected)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("leaky_relu", {}),
        ("relu", {"threshold": 1.0}),
        ("relu", {"max_value": 0.3}),
        ("hard_sigmoid", {}),
        ("gelu", {"approximate": True}),
        ("exp", {}),
        ("hgqify_tests>cubed", {}),
    ],
)
def test_others_are_tables_and_refused_in_linear_layers(name, params) -> None:
    activation = get_activation(name, params)
    assert activation.kind is ActivationKind.TABLE
    with pytest.raises(UnsupportedLayerError, match="QActivation"):
        QDense(2, activation=name, activation_params=params)


@pytest.mark.parametrize(
    ("layer", "kind", "name"),
    [
        (keras.layers.ReLU(max_value=6), ActivationKind.EXACT, "relu"),
        (keras.layers.LeakyReLU(0.25), ActivationKind.EXACT, "leaky_relu"),
        (keras.layers.ELU(0.5), ActivationKind.TABLE, "elu"),
        (keras.layers.Activation("tanh"), ActivationKind.TABLE, "tanh"),
    ],
)
def test_layers_become_activations(layer, kind, name) -> None:
    activation = get_activation(layer)
    assert (activation.kind, activation.name) == (kind, name)
    np.testing.assert_array_equal(numpy(activation(keras.ops.convert_to_tensor(X))), numpy(layer(X)))


def test_config_makes_an_equal_activation() -> None:
    activation = get_activation("celu", {"alpha": 0.5})
    config = activation.get_config()
    assert get_activation(config["activation"], config["activation_params"]) == activation


@pytest.mark.parametrize(
    ("identifier", "params", "message"),
    [
        ("softmax", {}, "logits"),
        ("rellu", {}, "relu"),
        ("relu", {"slope": 1}, "negative_slope"),
        ("threshold", {}, "does not fit"),
        (centered, {}, "not elementwise"),
        (lambda x: x, {}, "register"),
        (keras.layers.PReLU(), {}, "not a unary activation"),
    ],
)
def test_refused(identifier, params, message) -> None:
    with pytest.raises(UnsupportedLayerError, match=message):
        get_activation(identifier, params)
