"""Building gives layers the weights of the graph, and leaves their settings alone."""

import keras
import numpy as np
import pytest

from hgqify.graph import Node, build, layer_name, read


def test_a_factory_s_layers_keep_their_initializers_though_nothing_is_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, bias_initializer="ones")])
    graph = read(model)

    def factory(node: Node) -> keras.layers.Layer:
        return keras.layers.Dense(3, kernel_initializer="he_normal", name=layer_name(node))

    def draw(*_: object, **__: object) -> None:
        raise AssertionError("drew random weights")

    monkeypatch.setattr(keras.initializers.HeNormal, "__call__", draw)
    layer = build(graph, factory).layers[1]
    assert layer.get_config()["kernel_initializer"]["class_name"] == "HeNormal"
    for built, given in zip(layer.get_weights(), model.layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(built, given)
