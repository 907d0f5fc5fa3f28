"""Small models with layers that have no fixed-point form, in every place of a graph.

Layers with a call of their own leave Keras, so that nobody can open them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import keras
import numpy as np

layers, ops = keras.layers, keras.ops


@keras.saving.register_keras_serializable("hgqify_tests")
class Wave(layers.Layer):
    """``sin(x w)``, after a dropout that only training sees."""

    def __init__(self, rate: float = 0.5, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.rate = rate
        self.dropout = layers.Dropout(rate)

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.w = self.add_weight(name="w", shape=(shape[-1],), initializer="random_normal")

    def call(self, x: object) -> object:
        return jnp.sin(self.dropout(x) * (self.w + 1.0))

    def get_config(self) -> dict[str, object]:
        return {**super().get_config(), "rate": self.rate}


@keras.saving.register_keras_serializable("hgqify_tests")
class Parts(layers.Layer):
    """Positive and negative part, of one or of two tensors."""

    def call(self, x: object, other: object = None) -> list[object]:
        y = x if other is None else x * jnp.tanh(other)
        return [jax.nn.softplus(y), jax.nn.softplus(-y)]


@keras.saving.register_keras_serializable("hgqify_tests")
class Steps(layers.Layer):
    """Rounds to whole numbers: no gradient gets through."""

    def call(self, x: object) -> object:
        return jnp.round(x)


@keras.saving.register_keras_serializable("hgqify_tests")
class Lookup(layers.Layer):
    """Rows of a table by integer keys."""

    def build(self, shape: object) -> None:
        self.rows = self.add_weight(name="rows", shape=(7, 3), initializer="random_normal")

    def call(self, keys: object) -> object:
        return jnp.take(ops.convert_to_tensor(self.rows), jnp.mod(keys, 7), axis=0)


def _dense(x: object, name: str, size: int = 5) -> object:
    return layers.Dense(size, name=name)(x)


def middle() -> keras.Model:
    x = keras.Input((4,), name="x")
    return keras.Model(x, _dense(Wave(name="wave")(_dense(x, "a")), "b", 3))


def in_a_row() -> keras.Model:
    x = keras.Input((4,), name="x")
    y = Wave(name="second")(Wave(name="first")(_dense(x, "a")))
    return keras.Model(x, _dense(y, "b", 3))


def in_a_row_with_moves() -> keras.Model:
    x = keras.Input((4,), name="x")
    y = Wave(name="first")(layers.Reshape((2, 2), name="r0")(x))
    y = Wave(name="second")(layers.Permute((2, 1), name="p")(layers.Reshape((1, 4), name="r1")(y)))
    return keras.Model(x, _dense(layers.Flatten(name="f")(y), "b", 3))


def branch() -> keras.Model:
    x = keras.Input((4,), name="x")
    a = _dense(x, "a")
    y = layers.Add(name="add")([_dense(Wave(name="wave")(a), "b"), a])
    return keras.Model(x, _dense(layers.ReLU(name="relu")(y), "c", 3))


def two_branches() -> keras.Model:
    x = keras.Input((4,), name="x")
    left = Wave(name="left")(_dense(x, "a"))
    right = Wave(name="right")(_dense(x, "b"))
    far = _dense(layers.ReLU(name="relu")(_dense(x, "c", 9)), "d")
    return keras.Model(x, layers.Add(name="add")([left, right, far]))


def read_within_and_without() -> keras.Model:
    x = keras.Input((4,), name="x")
    a = _dense(x, "a", 9)
    wave = layers.Dense(9, name="b")(Wave(name="wave")(a))
    return keras.Model(x, [layers.Add(name="add")([wave, a]), _dense(a, "c", 30)])


def start() -> keras.Model:
    x = keras.Input((4,), name="x")
    return keras.Model(x, _dense(Steps(name="steps")(x), "b", 3))


def start_beside_exact() -> keras.Model:
    x = keras.Input((4,), name="x")
    return keras.Model(x, layers.Add(name="add")([Wave(name="wave")(x), layers.Dense(4, name="a")(x)]))


def end() -> keras.Model:
    x = keras.Input((4,), name="x")
    return keras.Model(x, Wave(name="wave")(_dense(x, "a")))


def several_outputs() -> keras.Model:
    x = keras.Input((4,), name="x")
    a = _dense(x, "a")
    up, down = Parts(name="parts")(a, other=a)
    return keras.Model(x, {"sum": layers.Add(name="add")([_dense(up, "b"), _dense(down, "c")]), "up": up})


def shared() -> keras.Model:
    x, y = keras.Input((4,), name="x"), keras.Input((4,), name="y")
    wave = Wave(name="wave")
    return keras.Model([x, y], layers.Add(name="add")([wave(_dense(x, "a")), wave(_dense(y, "b"))]))


def attention() -> keras.Model:
    x = keras.Input((3, 4), name="x")
    a = _dense(x, "a", 4)
    mask = ops.greater(ops.sum(a, axis=-1, keepdims=True), -10.0)
    y = layers.MultiHeadAttention(2, 2, name="mha")(a, a, attention_mask=mask)
    return keras.Model(x, _dense(layers.Flatten(name="f")(y), "b", 3))


def long_attention() -> keras.Model:
    """Over so many places that the division stands behind the product, with float layers on both sides."""
    x = keras.Input((18, 3), name="x")
    y = layers.MultiHeadAttention(1, 2, name="mha")(Wave(name="wave")(x), x)
    return keras.Model(x, Wave(name="wave_2")(_dense(layers.LayerNormalization(name="n")(y), "b", 2)))


def operation() -> keras.Model:
    x = keras.Input((4,), name="x")
    return keras.Model(x, _dense(ops.cumsum(_dense(x, "a"), axis=1), "b", 3))


def integers() -> keras.Model:
    keys, x = keras.Input((2,), name="keys", dtype="int32"), keras.Input((4,), name="x")
    y = layers.Flatten(name="f")(Lookup(name="lookup")(keys))
    return keras.Model([keys, x], layers.Add(name="add")([_dense(y, "a"), _dense(x, "b")]))


def recurrent() -> keras.Model:
    x = keras.Input((17, 3, 2), name="x")  # too long to be unrolled
    y = layers.ConvLSTM1D(2, 2, name="lstm")(x)
    return keras.Model(x, _dense(layers.Flatten(name="f")(y), "b", 3))


def truth() -> keras.Model:
    x = keras.Input((4,), name="x")
    return keras.Model(x, _dense(ops.greater(_dense(x, "a"), 0.0), "b", 3))


MODELS: dict[str, Callable[[], keras.Model]] = {
    make.__name__: make
    for make in (
        middle, in_a_row, in_a_row_with_moves, branch, two_branches, read_within_and_without,
        start, start_beside_exact, end, several_outputs, shared, attention, long_attention, operation,
        integers, recurrent, truth,
    )
}  # fmt: skip


def data(model: keras.Model, count: int = 48) -> list[np.ndarray]:
    """An array per input; whole numbers for an integer input."""
    rng = np.random.default_rng(1)
    return [
        rng.integers(0, 7, (count, *t.shape[1:])).astype(np.float32)
        if keras.backend.is_int_dtype(t.dtype)
        else rng.normal(size=(count, *t.shape[1:])).astype(np.float32)
        for t in model.inputs
    ]
