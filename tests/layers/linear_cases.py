"""Cases of the layers with weights: one per layer and per option that changes its arithmetic."""

from __future__ import annotations

import numpy as np
from contract import Case
from layer_oracles import conv

from hgqify import layers as L

KIF = {"q_type": "kif", "round_mode": "RND_CONV"}
OUT = {"q_type": "kif", "i0": 3, "f0": 2, "overflow_mode": "SAT"}
SHARED = {"heterogeneous_axis": ()}
PER_CHANNEL = {"heterogeneous_axis": (-1,)}


def weights(layer):
    """Kernel and bias (or 0) in float64."""
    w = {name: value.astype(np.float64) for name, value in layer.quantized_weights().items()}
    return w["kernel"], w.get("bias", 0.0)


def relu(y):
    return np.maximum(y, 0)


def same(y):
    return y


def dense(act=same):
    return lambda layer, x: act(x @ weights(layer)[0] + weights(layer)[1])


def convolution(act=same, **options):
    return lambda layer, x: act(conv(layer, x, weights(layer)[0], **options) + weights(layer)[1])


def dense_ebops(layer, bits, kernel, **_):
    return int(
        sum(
            b * s
            for row in bits.reshape(-1, bits.shape[-1])
            for b, spans in zip(row, kernel, strict=True)
            for s in spans
        )
    )


def conv_ebops(**options):
    return lambda layer, bits, kernel, **_: int(conv(layer, bits[None].astype(int), kernel, **options).sum())


def channels_first(oracle):
    """Run an oracle written for channels last."""
    return lambda layer, x: np.moveaxis(oracle(layer, np.moveaxis(x, 1, -1)), -1, 1)


def einsum(equation, act=same):
    return lambda layer, x: act(np.einsum(equation, x, weights(layer)[0]) + weights(layer)[1])


def einsum_ebops(equation):
    """One multiplication for every assignment of the labels, by loops."""
    x, kernel = equation.split("->")[0].replace("b", "", 1).split(",")
    labels = sorted({*x, *kernel})

    def count(layer, bits, **spans):
        size = dict(zip(x, bits.shape, strict=True)) | dict(zip(kernel, spans["kernel"].shape, strict=True))
        total = 0
        for index in np.ndindex(*(size[label] for label in labels)):
            at = dict(zip(labels, index, strict=True))
            total += bits[tuple(at[n] for n in x)] * spans["kernel"][tuple(at[n] for n in kernel)]
        return int(total)

    return count


LINEAR = [
    Case(
        name="einsumdense-heads",
        make=lambda: L.QEinsumDense("btc,chd->bthd", (None, 2, 3), bias_axes="hd", activation="relu"),
        shapes=[(3, 4)],
        oracle=einsum("btc,chd->bthd", relu),
        ebops=einsum_ebops("btc,chd->bthd"),
    ),
    Case(
        name="einsumdense-groups-turned",
        trains=False,
        make=lambda: L.QEinsumDense("btgc,gcd->bdgt", (3, 2, 5), bias_axes="t", oq_conf=OUT),
        shapes=[(5, 2, 4)],
        oracle=einsum("btgc,gcd->bdgt"),
        ebops=einsum_ebops("btgc,gcd->bdgt"),
    ),
    Case(
        name="einsumdense-ellipsis-two-summed",
        trains=False,
        make=lambda: L.QEinsumDense("...hd,dho->...o", 3, kq_conf=PER_CHANNEL),
        shapes=[(2, 3, 4)],
        oracle=einsum("bthd,dho->bto"),
        ebops=einsum_ebops("bthd,dho->bto"),
    ),
    Case(
        name="batchnormdense",
        make=lambda: L.QBatchNormDense(3, activation="relu", kq_conf=KIF),
        shapes=[(5,)],
        oracle=dense(relu),
        ebops=dense_ebops,
    ),
    Case(
        name="einsumdense-batchnorm",
        make=lambda: L.QEinsumDenseBatchnorm("btgc,gcd->btgd", (3, 2, 4)),
        shapes=[(3, 2, 4)],
        oracle=einsum("btgc,gcd->btgd"),
        ebops=einsum_ebops("btgc,gcd->btgd"),
    ),
    Case(name="dense", make=lambda: L.QDense(3), shapes=[(5,)], oracle=dense(), ebops=dense_ebops),
    Case(
        name="dense-3d-relu-kif",
        trains=False,
        make=lambda: L.QDense(3, activation="relu", kq_conf=KIF, bq_conf=KIF),
        shapes=[(2, 4)],
        oracle=dense(relu),
        ebops=dense_ebops,
    ),
    Case(
        name="dense-shared-oq-no-bias",
        make=lambda: L.QDense(4, use_bias=False, iq_conf=SHARED, kq_conf=SHARED, oq_conf=OUT),
        shapes=[(6,)],
        oracle=dense(),
        ebops=dense_ebops,
    ),
    Case(
        name="dense-leaky",
        trains=False,
        make=lambda: L.QDense(3, activation="leaky_relu", activation_params={"negative_slope": 0.125}),
        shapes=[(5,)],
        oracle=dense(lambda y: np.where(y < 0, y / 8, y)),
        ebops=dense_ebops,
    ),
    Case(
        name="conv1d-causal-dilated",
        make=lambda: L.QConv1D(3, 3, padding="causal", dilation_rate=2),
        shapes=[(7, 2)],
        oracle=convolution(),
        ebops=conv_ebops(),
    ),
    Case(
        name="conv1d-same-stride",
        trains=False,
        make=lambda: L.QConv1D(2, 4, padding="same", strides=3, activation="relu6"),
        shapes=[(8, 2)],
        oracle=convolution(lambda y: np.clip(y, 0, 6)),
        ebops=conv_ebops(),
    ),
    Case(
        name="conv2d-valid-relu",
        make=lambda: L.QConv2D(3, (3, 2), activation="relu"),
        shapes=[(5, 4, 2)],
        oracle=convolution(relu),
        ebops=conv_ebops(),
    ),
    Case(
        name="conv2d-same-groups",
        trains=False,
        make=lambda: L.QConv2D(
            4, 3, padding="same", strides=2, groups=2, kq_conf=PER_CHANNEL, iq_conf=PER_CHANNEL, oq_conf=OUT
        ),
        shapes=[(5, 4, 4)],
        oracle=convolution(),
        ebops=conv_ebops(),
    ),
    Case(
        name="conv2d-dilated-channels-first",
        trains=False,
        make=lambda: L.QConv2D(2, 2, dilation_rate=(2, 1), data_format="channels_first"),
        shapes=[(3, 5, 4)],
        oracle=channels_first(convolution()),
        ebops=lambda layer, bits, kernel, **_: conv_ebops()(layer, np.moveaxis(bits, 0, -1), kernel),
    ),
    Case(
        name="conv3d",
        make=lambda: L.QConv3D(2, 2, padding="same"),
        shapes=[(3, 2, 3, 2)],
        oracle=convolution(),
        ebops=conv_ebops(),
    ),
    Case(
        name="depthwise1d",
        make=lambda: L.QDepthwiseConv1D(3, depth_multiplier=2, padding="same"),
        shapes=[(5, 3)],
        oracle=convolution(depthwise=True),
        ebops=conv_ebops(depthwise=True),
    ),
    Case(
        name="depthwise2d-stride",
        make=lambda: L.QDepthwiseConv2D(
            (3, 2), strides=2, padding="same", depth_multiplier=2, activation="relu"
        ),
        shapes=[(5, 4, 2)],
        oracle=convolution(relu, depthwise=True),
        ebops=conv_ebops(depthwise=True),
    ),
]


def normalized(layer, x):
    w = {name: value.astype(np.float64) for name, value in layer.quantized_weights().items()}
    shape = [-1 if a == layer.axis % x.ndim else 1 for a in range(x.ndim)]
    return x * w["scale"].reshape(shape) + w["shift"].reshape(shape)


def normalized_ebops(layer, bits, scale, **_):
    last = np.moveaxis(bits, layer.axis % (bits.ndim + 1) - 1, -1)
    return int(np.sum(last * scale))


NORMALIZATION = [
    Case(
        name="batchnorm",
        make=lambda: L.QBatchNormalization(momentum=0.5),
        shapes=[(4, 3)],
        oracle=normalized,
        ebops=normalized_ebops,
    ),
    Case(
        name="batchnorm-axis1-oq",
        trains=False,
        make=lambda: L.QBatchNormalization(axis=1, oq_conf=OUT),
        shapes=[(3, 4)],
        oracle=normalized,
        ebops=normalized_ebops,
    ),
    Case(
        name="batchnorm-frozen-no-scale",
        make=lambda: L.QBatchNormalization(freeze_statistics=True, scale=False, kq_conf=KIF, bq_conf=KIF),
        shapes=[(5,)],
        oracle=normalized,
        ebops=normalized_ebops,
    ),
]
