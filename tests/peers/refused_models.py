"""What belongs to a later version: float models that are refused before any work, and by which words."""

from __future__ import annotations

from collections.abc import Callable

import keras

kl = keras.layers


def sequence(make: Callable[[keras.KerasTensor], keras.KerasTensor]) -> Callable[[], keras.Model]:
    """A model on sequences of 6 times and 4 features, a dense layer before and behind."""

    def build() -> keras.Model:
        x = keras.Input((6, 4))
        return keras.Model(x, kl.Dense(2)(make(kl.Dense(4)(x))))

    return build


def image(layer: Callable[[], kl.Layer]) -> Callable[[], keras.Model]:
    """A layer on images of 5 by 4 with 2 channels."""

    def build() -> keras.Model:
        x = keras.Input((5, 4, 2))
        return keras.Model(x, layer()(x))

    return build


def embedding() -> keras.Model:
    x = keras.Input((6,), dtype="int32")
    return keras.Model(x, kl.Dense(2)(kl.Embedding(10, 4)(x)))


def masked_softmax() -> keras.Model:
    x, mask = keras.Input((6,)), keras.Input((6,), dtype="bool")
    return keras.Model([x, mask], kl.Dense(2)(kl.Softmax()(kl.Dense(6)(x), mask=mask)))


ATTENTION = "attention is not supported yet; convert the layers before and after it separately"
SOFTMAX = "give a constant mask, or add a large negative number to what is masked yourself"
RECURRENT = "recurrent layers are not supported yet; convert the layers before and after it separately"
TRANSPOSED = "use UpSampling (nearest) followed by a convolution"

REFUSED: dict[str, tuple[Callable[[], keras.Model], str, str]] = {
    "D10 MultiHeadAttention": (
        sequence(lambda x: kl.MultiHeadAttention(2, 2)(x, x)), "MultiHeadAttention", ATTENTION
    ),
    "D10 MultiHeadAttention, causal mask": (
        sequence(lambda x: kl.MultiHeadAttention(2, 2)(x, x, use_causal_mask=True)),
        "MultiHeadAttention",
        ATTENTION,
    ),
    "D10 Attention": (sequence(lambda x: kl.Attention()([x, x])), "Attention", ATTENTION),
    "D10 softmax with a mask that is an input": (masked_softmax, "Softmax", SOFTMAX),
    "LSTM": (sequence(lambda x: kl.LSTM(3)(x)), "LSTM", RECURRENT),
    "GRU": (sequence(lambda x: kl.GRU(3, return_sequences=True)(x)), "GRU", RECURRENT),
    "SimpleRNN": (sequence(lambda x: kl.SimpleRNN(3)(x)), "SimpleRNN", RECURRENT),
    "Bidirectional": (sequence(lambda x: kl.Bidirectional(kl.LSTM(3))(x)), "Bidirectional", RECURRENT),
    "Embedding": (embedding, "Embedding", "look the vectors up before the firmware and feed them as input"),
    "PReLU": (sequence(lambda x: kl.PReLU()(x)), "PReLU", "use LeakyReLU with one slope for all channels"),
    "Conv1DTranspose": (
        sequence(lambda x: kl.Conv1DTranspose(3, 2, strides=2)(x)), "Conv1DTranspose", TRANSPOSED
    ),
    "Conv2DTranspose": (image(lambda: kl.Conv2DTranspose(3, 2)), "Conv2DTranspose", TRANSPOSED),
    "TimeDistributed(Sequential)": (
        sequence(lambda x: kl.TimeDistributed(keras.Sequential([keras.Input((4,)), kl.Dense(3)]))(x)),
        "TimeDistributed",
        "apply the inner layer to the whole tensor, or once for each time",
    ),
}  # fmt: skip
"""By line: the model, the layer that is refused, the remedy."""
