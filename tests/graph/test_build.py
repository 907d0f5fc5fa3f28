"""Building gives layers the weights of the graph, and leaves their settings alone."""

import keras
import numpy as np
import pytest

from hgqify.graph import build, read


def test_layers_keep_their_initializers_though_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    initializer = keras.initializers.HeNormal(seed=7)
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(3, kernel_initializer=initializer, bias_initializer="ones")]
    )
    graph = read(model)

    def draw(*_: object, **__: object) -> None:
        raise AssertionError("drew random weights")

    monkeypatch.setattr(keras.initializers.HeNormal, "__call__", draw)
    (layer,) = build(graph).layers[1:]
    assert layer.get_config() == {**model.layers[0].get_config(), "name": layer.name}
    assert isinstance(layer.kernel_initializer, keras.initializers.HeNormal)
    for built, given in zip(layer.get_weights(), model.layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(built, given)
