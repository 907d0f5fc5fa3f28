"""Lowering of plain Keras layers that move values, and of those that do nothing at inference."""

from __future__ import annotations

import keras

from hgqify.errors import UnsupportedLayerError
from hgqify.precision.lowering import LayerLowering, Registry
from hgqify.precision.ops import Crop, Op, Pad, Repeat, Reshape, Transpose


def register(registry: Registry) -> None:
    """Enters this family."""
    kl = keras.layers
    registry.register(kl.Reshape, kl.Flatten)(reshape)
    registry.register(kl.Permute)(permute)
    registry.register(kl.RepeatVector)(repeat_vector)
    registry.register(kl.ZeroPadding1D, kl.ZeroPadding2D, kl.ZeroPadding3D)(zero_padding)
    registry.register(kl.Cropping1D, kl.Cropping2D, kl.Cropping3D)(cropping)
    registry.register(kl.UpSampling1D, kl.UpSampling2D, kl.UpSampling3D)(upsampling)
    registry.register(
        kl.Identity, kl.Dropout, kl.SpatialDropout1D, kl.SpatialDropout2D, kl.SpatialDropout3D,
        kl.GaussianNoise, kl.GaussianDropout, kl.AlphaDropout, kl.ActivityRegularization,
    )(identity)  # fmt: skip


def identity(call: LayerLowering) -> str:
    """Nothing happens at inference."""
    return call.inputs[0]


def reshape(call: LayerLowering) -> str:
    """``Reshape``, ``Flatten``: row-major, after ``Flatten`` has moved the channels last."""
    return call.add(Reshape(), call.to_last(call.inputs[0]), shape=call.shape)


def permute(call: LayerLowering) -> str:
    """``Permute``; Keras counts axes from 1."""
    perm = tuple(int(axis) - 1 for axis in call.layer.dims)
    return call.add(Transpose(perm=perm), call.inputs[0], shape=call.shape)


def repeat_vector(call: LayerLowering) -> str:
    """``RepeatVector``: a new axis, repeated."""
    row = call.add(Reshape(), call.inputs[0], shape=(1, call.shape[-1]), role="row")
    return call.add(Repeat(repeats=(call.shape[0], 1)), row, shape=call.shape)


def _pairs(value: tuple) -> tuple[tuple[int, int], ...]:
    """(before, after) per spatial axis; 1D layers hold one flat pair."""
    flat = isinstance(value[0], int)
    return ((int(value[0]), int(value[1])),) if flat else tuple((int(a), int(b)) for a, b in value)


def _spatial(call: LayerLowering, op: Op) -> str:
    """An operation that is written for channels last."""
    return call.from_last(call.add(op, call.to_last(call.inputs[0]), shape=call.shape_last))


def zero_padding(call: LayerLowering) -> str:
    """``ZeroPadding1D/2D/3D``."""
    return _spatial(call, Pad(padding=(*_pairs(call.layer.padding), (0, 0))))


def cropping(call: LayerLowering) -> str:
    """``Cropping1D/2D/3D``."""
    return _spatial(call, Crop(cropping=(*_pairs(call.layer.cropping), (0, 0))))


def upsampling(call: LayerLowering) -> str:
    """``UpSampling1D/2D/3D``, nearest only.

    Raises:
        UnsupportedLayerError: another interpolation.
    """
    mode = getattr(call.layer, "interpolation", "nearest")
    if mode != "nearest":
        raise UnsupportedLayerError(
            "only nearest upsampling moves values without computing",
            where=call.path,
            received=f"interpolation={mode!r}",
            remedy="use interpolation='nearest'",
        )
    size = call.layer.size
    repeats = (int(size),) if isinstance(size, int) else tuple(int(s) for s in size)
    return _spatial(call, Repeat(repeats=(*repeats, 1)))
