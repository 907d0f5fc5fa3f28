"""A model built by hand of one layer of each kind of arithmetic, alike under every backend."""

from __future__ import annotations

import keras
import numpy as np

from hgqify import layers as q
from hgqify.layers import LayerConfigScope, softmax
from hgqify.quantizers import QuantizerConfigScope

SAMPLES = 96


def model(*, minifloats: bool = True) -> keras.Model:
    """As the page builds them: nested scopes, quantized and plain Keras layers mixed; weights from NumPy.

    Without minifloats it can be built as firmware.
    """
    with (
        QuantizerConfigScope(place="all", default_q_type="kbi", overflow_mode="SAT_SYM"),
        QuantizerConfigScope(place="datalane", default_q_type="kif", overflow_mode="WRAP", i0=3, f0=4),
        LayerConfigScope(enable_ebops=True, beta0=1e-6),
    ):
        image, words = keras.Input((8, 8, 2), name="image"), keras.Input((4,), name="words")
        x = q.QConv2D(4, 3, padding="same", activation="relu", name="conv")(image)
        x = q.QBatchNormalization(name="norm")(x)
        x = keras.layers.MaxPooling2D(2, name="plain_pool")(x)
        x = q.QDepthwiseConv2D(3, padding="same", name="depthwise")(x)
        x = q.QAveragePooling2D(3, strides=1, padding="same", name="mean")(x)
        x = keras.layers.Reshape((16, 4), name="rows")(x)
        scores = q.QEinsum("bij,bkj->bik", name="scores")([x, x])
        p = softmax(scores, iq_conf={"overflow_mode": "SAT", "i0": 4, "f0": 4}, name="attention")
        x = q.QAdd(name="sum")([q.QEinsum("bik,bkj->bij", name="mixed")([p, x]), x])
        x = q.QActivation("tanh", iq_conf={"overflow_mode": "SAT"}, name="tanh")(x)
        x = keras.layers.Flatten(name="flat")(x)
        rows = q.QEmbedding(9, 4, oq_conf={"overflow_mode": "SAT"}, name="words_to_rows")(words)
        x = keras.layers.Concatenate(name="joined")([x, keras.layers.Flatten(name="flat_words")(rows)])
        x = q.QDense(12, kq_conf={"q_type": "kif", "f0": 5}, activation="relu6", name="hidden")(x)
        mini = {"q_type": "float", "m0": 2, "e0": 2}
        if minifloats:
            x = q.QDense(8, iq_conf={**mini, "e00": 2}, kq_conf=mini, activation="relu", name="minifloats")(x)
        built = keras.Model([image, words], q.QDense(5, name="scores_out")(x), name="hand_built")
    rng = np.random.default_rng(0)
    for layer in q.quantized_layers(built):
        for name in ("kernel", "embeddings", "bias", "beta"):
            weight = getattr(layer, name, None)
            if weight is not None:
                weight.assign(rng.normal(0, 0.4, weight.shape))
    q.refresh(built)
    return built


def inputs(seed: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        rng.normal(0, 1.5, (SAMPLES, 8, 8, 2)).astype(np.float32),
        rng.integers(0, 9, (SAMPLES, 4)).astype(np.float32),
    ]


def labels() -> np.ndarray:
    return np.arange(SAMPLES) % 5


def loss(built: keras.Model, arrays: list[np.ndarray]) -> object:
    """Cross entropy and the price of EBOPs of one training call."""
    logits = built([keras.ops.convert_to_tensor(a) for a in arrays], training=True)
    cross_entropy = keras.losses.sparse_categorical_crossentropy(
        keras.ops.convert_to_tensor(labels()), logits, from_logits=True
    )
    return keras.ops.mean(cross_entropy) + sum(built.losses)
