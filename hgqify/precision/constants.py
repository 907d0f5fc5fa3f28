"""Integer constants from floats: codes through a quantizer's own formats, or the exact value itself."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from hgqify.errors import PrecisionError
from hgqify.fixed import align, to_codes, trailing_zeros
from hgqify.precision.info import NO_STEP
from hgqify.precision.ops import Constant
from hgqify.quantizers import Quantizer


def on_common_lsb(codes: np.ndarray, f: np.ndarray) -> Constant:
    """Codes at each element's own ``f`` on the coarsest LSB that holds them all.

    Raises:
        PrecisionError: the constants span more than 62 bits.
    """
    codes, f = np.broadcast_arrays(np.asarray(codes, np.int64), np.asarray(f, np.int64))
    zeros = trailing_zeros(codes)
    own = np.where(codes == 0, NO_STEP, f - zeros)
    finest = int(own.max(initial=NO_STEP))
    frac = 0 if finest == NO_STEP else finest
    own = np.where(codes == 0, frac, own)
    return Constant(codes=align(codes >> zeros, own, frac), frac=frac)


def exact_constant(values: Any) -> Constant:
    """Floats as they are.

    Raises:
        PrecisionError: the constants span more than 62 bits.
    """
    fraction, exponent = np.frexp(np.asarray(values, np.float64))
    return on_common_lsb(np.ldexp(fraction, 53).astype(np.int64), 53 - exponent.astype(np.int64))


def quantized_constant(weights: Any, quantizer: Quantizer | None, where: str) -> Constant:
    """The codes that a quantizer gives a weight tensor: what the layer's forward pass multiplies with.

    Raises:
        PrecisionError: no quantizer, or one that is off.
    """
    if quantizer is None:
        raise PrecisionError(
            "a weight has no quantizer", where=where, remedy="give the layer kq_conf and bq_conf"
        )
    values = np.asarray(keras.ops.convert_to_numpy(weights), np.float32)
    state = quantizer.state(weights)
    parts = state.k, state.i, state.f, state.rounding, state.overflow, state.digits
    codes = to_codes(values, *parts)
    return on_common_lsb(codes, state.f)


def reshaped(constant: Constant, shape: tuple[int, ...]) -> Constant:
    """The same constants in another shape."""
    return Constant(codes=constant.codes.reshape(shape), frac=constant.frac)
