"""Train the HGQ2 models of the tests: ``python tests/hgq2/train_models.py [NAME ...]``, with HGQ2 installed.

They are stored in ``models/`` so that no test has to train. A few dozen steps on a random linear map, with a
price on EBOPs: afterwards widths differ from element to element, some are zero, and ranges were traced.
"""

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import hgq.layers as h
import keras
import numpy as np
from hgq.config import LayerConfigScope, QuantizerConfig, QuantizerConfigScope
from hgq.utils import trace_minmax

FOLDER = Path(__file__).parent / "models"
SAMPLES, BATCH, EPOCHS, RATE, PRICE = 64, 16, 10, 0.02, 1e-5


def residual() -> keras.Model:
    """A dense network as HGQ2 makes it by default: kif, wrapping, a width for every element."""
    x = keras.Input((8,))
    y = h.QDense(12, activation="relu")(x)
    y = h.QAdd()([y, h.QDense(12)(y)])
    y = h.QBatchNormalization()(y)
    return keras.Model(x, h.QDense(3, enable_oq=True)(y))


def images() -> keras.Model:
    """Convolutions and pooling; data saturates."""
    with QuantizerConfigScope(place="datalane", overflow_mode="SAT"):
        x = keras.Input((8, 8, 2))
        y = h.QConv2D(4, 3, activation="relu", padding="same")(x)
        y = h.QMaxPooling2D(2)(y)
        y = keras.layers.ReLU()(h.QConv2D(4, 2, strides=2)(y))
        y = h.QAveragePooling2D(2, enable_oq=True)(y)
        return keras.Model(x, h.QDense(3)(keras.layers.Flatten()(y)))


def sequences() -> keras.Model:
    """One dimension: causal and dilated, a width per channel, kbi, truncation; an inner model."""
    data = {"q_type": "kbi", "place": "datalane", "heterogeneous_axis": (-1,), "homogeneous_axis": None}
    with (
        QuantizerConfigScope(place="all", default_q_type="kbi"),
        QuantizerConfigScope(**data, overflow_mode="SAT_SYM", round_mode="TRN"),
    ):
        x = keras.Input((8, 2))
        y = h.QConv1D(4, 3, padding="causal", enable_ebops=False)(x)  # HGQ2 cannot count them
        y = h.QConv1D(4, 2, dilation_rate=2, activation="relu", parallelization_factor=6)(y)
        inside = keras.Input(y.shape[1:])
        inner = keras.Model(inside, h.QGlobalMaxPooling1D()(inside), name="inner")
        return keras.Model(x, h.QDense(3)(inner(y)))


def products() -> keras.Model:
    """Merges, sums and products of tensors, and both layers that hold a batch normalization."""
    x = keras.Input((4, 3))
    y = h.QEinsumDense("btc,cd->btd", (4, 5), bias_axes="d", activation="relu")(x)
    z = h.QEinsumDenseBatchnorm("btc,cd->btd", (4, 5), bias_axes="d")(x)
    both = [h.QMultiply()([y, z]), h.QSubtract()([y, z]), h.QMaximum()([y, z]), h.QMinimum()([y, z])]
    mean = h.QAveragePow2()(both)
    square = h.QEinsum("btc,bsc->bts")([mean, z])
    parts = [h.QMeanPow2(axes=1)(mean), h.QSum(axes=(2,))(square)]
    parts.append(keras.layers.Flatten()(h.QDot(axes=2)([y, z])))
    parts.append(h.QDot(axes=1)(parts[:1] * 2))
    y = h.QBatchNormDense(6, activation="relu")(keras.layers.Concatenate()(parts))
    return keras.Model(x, h.QDense(2)(y))


def tables() -> keras.Model:
    """Functions with one table, with different formats before and behind it, and a softmax at the end."""
    x = keras.Input((6,))
    y = h.QUnaryFunctionLUT("tanh")(h.QDense(5)(x))
    shaped = QuantizerConfig("kif", "datalane", overflow_mode="SAT")
    y = h.QUnaryFunctionLUT("sigmoid", oq_conf=shaped)(h.QDense(6)(y))
    y = h.QUnaryFunctionLUT("relu", oq_conf=shaped)(h.QDense(6)(y))
    return keras.Model(x, h.QSoftmax(enable_oq=True)(h.QDense(4)(y)))


def attention() -> keras.Model:
    """A block with attention to itself."""
    x = keras.Input((4, 3))
    y = h.QAdd()([x, h.QMultiHeadAttention(2, 3, fuse="qkv", name="mha")(x, x, x)])
    y = h.QEinsumDense("btc,cd->btd", (4, 4), bias_axes="d", activation="relu")(y)
    return keras.Model(x, h.QDense(3)(keras.layers.Flatten()(y)))


def decoder() -> keras.Model:
    """Attention of two tensors: causal, and with positions projected; a softmax that is not stable."""
    inputs = [keras.Input((4, 3), name="steps"), keras.Input((6, 2), name="memory")]
    narrow = QuantizerConfig("kif", "datalane", i0=2, f0=4, overflow_mode="SAT", fc=hgq_limit())
    y = h.QMultiHeadAttention(1, 2, qkvo_oq_conf=narrow, name="self")(
        inputs[0], inputs[0], use_causal_mask=True
    )
    y = h.QLinformerAttention(2, 3, 2, name="linformer")(y, inputs[1])
    y = h.QSoftmax(axis=-1, stable=False, enable_iq=True, iq_conf=narrow)(y)
    return keras.Model(inputs, h.QDense(3)(keras.layers.Flatten()(y)))


def hgq_limit() -> keras.constraints.Constraint:
    """Fractional bits that leave scores within a float32."""
    from hgq.constraints import MinMax

    return MinMax(-4, 5)


MODELS: dict[str, Callable[[], keras.Model]] = {
    f.__name__: f for f in (residual, images, sequences, products, tables, attention, decoder)
}


def train(model: keras.Model, seed: int) -> None:
    """Some steps, then ranges traced on what was learned from."""
    rng = np.random.default_rng(seed)
    x = [rng.normal(size=(SAMPLES, *t.shape[1:])).astype(np.float32) for t in model.inputs]
    flat = np.concatenate([v.reshape(SAMPLES, -1) for v in x], axis=1)
    y = flat @ rng.normal(size=(flat.shape[1], *model.output.shape[1:])).astype(np.float32)
    model.compile(keras.optimizers.Adam(RATE), "mse")
    given = x[0] if len(x) == 1 else x
    model.fit(given, y, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    trace_minmax(model, given, batch_size=BATCH, verbose=False)


def packed(path: Path) -> None:
    """Compress an archive: a model of a few kilobytes has many times that of HDF5 bookkeeping."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def main(names: list[str]) -> None:
    for name in names or MODELS:
        keras.utils.clear_session()
        keras.utils.set_random_seed(3)
        with LayerConfigScope(enable_ebops=True, beta0=PRICE):
            model = MODELS[name]()
        train(model, 3)
        path = FOLDER / f"{name}.keras"
        keras.saving.save_model(model, path, include_optimizer=False)
        packed(path)
        print(name, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
