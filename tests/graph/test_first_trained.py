"""Which layers nothing trained stands before."""

import keras
import pytest

from hgqify.graph import first_trained

layers = keras.layers


def names(model: keras.Model) -> list[str]:
    return sorted(layer.name for layer in first_trained(model))


def test_what_has_no_weights_is_looked_through() -> None:
    model = keras.Sequential(
        [keras.Input((4, 4, 1)), layers.ZeroPadding2D(), layers.Conv2D(2, 3, name="a"), layers.Conv2D(2, 3)]
    )
    assert names(model) == ["a"]
    model.get_layer("a").trainable = False
    assert names(model) == [model.layers[-1].name]


def test_every_branch_has_its_first() -> None:
    x, other = keras.Input((4,)), keras.Input((3,))
    a, b = layers.Dense(4, name="a")(x + 1.0), layers.Dense(4, name="b")(other)
    c = layers.Dense(4, name="c")(layers.Concatenate()([a, x]))
    assert names(keras.Model([x, other], [layers.Add()([b, c]), x])) == ["a", "b"]


@pytest.mark.parametrize("again", [False, True])
def test_a_layer_called_again_behind_another_is_no_first(again) -> None:
    x = keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    y = layers.Dense(4, name="later")(shared(x))
    assert names(keras.Model(x, shared(y) if again else y)) == ([] if again else ["shared"])
