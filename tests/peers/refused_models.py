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


def embedding() -> keras.Model:
    x = keras.Input((6,), dtype="int32")
    return keras.Model(x, kl.Dense(2)(kl.Embedding(10, 4, mask_zero=True)(x)))


def masked_softmax() -> keras.Model:
    x, mask = keras.Input((6,)), keras.Input((6,), dtype="bool")
    return keras.Model([x, mask], kl.Dense(2)(kl.Softmax()(kl.Dense(6)(x), mask=mask)))


def long_lstm() -> keras.Model:
    x = keras.Input((65, 2))
    return keras.Model(x, kl.LSTM(3)(x))


ATTENTION = "attention is not supported yet; convert the layers before and after it separately"
SOFTMAX = "a softmax in the middle of a model is not supported; end the model at the logits before it"
RECURRENT = "shorten the sequence to 64 steps"
NORM = "use BatchNormalization, which becomes a constant scale and shift"

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
    "D10 softmax with a mask": (masked_softmax, "Softmax", SOFTMAX),
    "softmax as activation, inside": (
        sequence(lambda x: kl.Dense(4, activation="softmax")(x)), "softmax", SOFTMAX
    ),
    "LSTM of too many steps": (long_lstm, "LSTM", RECURRENT),
    "Embedding with a mask": (embedding, "Embedding", "train it with mask_zero=False"),
    "LayerNormalization": (sequence(lambda x: kl.LayerNormalization()(x)), "LayerNormalization", NORM),
    "TimeDistributed(Sequential)": (
        sequence(lambda x: kl.TimeDistributed(keras.Sequential([keras.Input((4,)), kl.Dense(3)]))(x)),
        "TimeDistributed",
        "apply the inner layer to the whole tensor, or once for each time",
    ),
}  # fmt: skip
"""By line: the model, the layer that is refused, the remedy."""
