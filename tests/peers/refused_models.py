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
    return keras.Model(x, kl.GlobalAveragePooling1D()(kl.Embedding(10, 4, mask_zero=True)(x)))


def masked_softmax() -> keras.Model:
    x, mask = keras.Input((6,)), keras.Input((6,), dtype="bool")
    return keras.Model([x, mask], kl.Dense(2)(kl.Softmax()(kl.Dense(6)(x), mask=mask)))


def masked_attention() -> keras.Model:
    x, mask = keras.Input((6, 4)), keras.Input((6, 6), dtype="bool")
    return keras.Model([x, mask], kl.Dense(2)(kl.MultiHeadAttention(2, 2)(x, x, attention_mask=mask)))


def masked_scores() -> keras.Model:
    x, mask = keras.Input((6, 4)), keras.Input((6,), dtype="bool")
    return keras.Model([x, mask], kl.Dense(2)(kl.Attention()([x, x], mask=[mask, mask])))


def long_lstm() -> keras.Model:
    x = keras.Input((65, 2))
    return keras.Model(x, kl.LSTM(3)(x))


ATTENTION = "use masks that are the same for every sample (use_causal_mask, a constant)"
SOFTMAX = "give a constant mask, or add a large negative number to what is masked yourself"
RECURRENT = "shorten the sequence to 64 steps"

REFUSED: dict[str, tuple[Callable[[], keras.Model], str, str]] = {
    "D10 MultiHeadAttention with a mask as input": (masked_attention, "MultiHeadAttention", ATTENTION),
    "D10 Attention with masks that are inputs": (masked_scores, "Attention", ATTENTION),
    "Dot, normalized": (
        sequence(lambda x: kl.Dot(axes=1, normalize=True)([x, x])),
        "Dot",
        "use normalize=False, and scale the inputs yourself",
    ),
    "D10 softmax with a mask that is an input": (masked_softmax, "Softmax", SOFTMAX),
    "LSTM of too many steps": (long_lstm, "LSTM", RECURRENT),
    "Embedding with a mask": (embedding, "Embedding", "train it with mask_zero=False"),
    "TimeDistributed(Sequential)": (
        sequence(lambda x: kl.TimeDistributed(keras.Sequential([keras.Input((4,)), kl.Dense(3)]))(x)),
        "TimeDistributed",
        "apply the inner layer to the whole tensor, or once for each time",
    ),
}  # fmt: skip
"""By line: the model, the layer that is refused, the remedy."""
