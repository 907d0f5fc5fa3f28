"""Formats of lookup tables: of their index and of their entries."""

from __future__ import annotations

import keras
import numpy as np

from hgqify.calibrate.placement import ceil_log2, place_activation
from hgqify.calibrate.ranges import Range
from hgqify.errors import CalibrationError
from hgqify.layers import QActivation, inverse_sqrt, power_scale, scaled_epsilon
from hgqify.quantizers import Quantizer, QuantizerState

_TABLE_GRID = 2049  # points on which a tabulated function is examined


def apply_table(layer: QActivation, observed: Range) -> None:
    """Set the formats of a lookup table: of its index, of its entries.

    The index gets the fewest integer bits for which clipping the observed range changes no entry by more
    than one LSB: beyond them a saturating function (tanh, sigmoid) gives nothing new, and each bit saved
    halves the step of the index. A reciprocal root, which multiplies what follows, gets those of least
    relative error: below the range seen a coarse index costs most, above it saturation does. The powers of
    two that scale rows have formats of their own, which no data changes.
    """
    iq, oq = layer.iqs[0], layer.oq
    if oq is None or iq.is_dummy or oq.is_dummy:
        return
    if layer.activation.function in (power_scale, scaled_epsilon):
        _of_powers(layer, iq, oq)
        return
    low, high = float(observed.low.min()), float(observed.high.max())
    grid = np.linspace(low, high, _TABLE_GRID)
    values = _evaluate(layer, grid)
    if not np.isfinite(values).all():
        raise CalibrationError(
            f"{layer.activation.name} is not finite on the data's range",
            where=layer.name,
            received=f"[{low:.6g}, {high:.6g}]",
            remedy="bound its input",
        )
    width = int(total_width(oq.state(np.zeros(1))).max())
    out = place_activation(values.min(), values.max(), width, wraps=False)
    oq.set_state(*(np.reshape(part, ()) for part in out))
    width = int(total_width(iq.state()).max())
    if layer.activation.function is inverse_sqrt and width > 0 and high > 0:
        i = _octaves(layer, max(low, 0.0), high, width)
        iq.set_state(0, i, width - i)
        return
    bits = place_activation(np.asarray(low), np.asarray(high), width, wraps=False)
    tolerance = np.ldexp(1.0, -int(out.f))
    k, i = int(bits.k), int(bits.i)
    while width > 0 and i > -8:
        top = np.ldexp(1.0, i - 1)
        clipped = _evaluate(layer, np.clip(grid, -top * k, top - np.ldexp(1.0, k + i - 1 - width)))
        if np.max(np.abs(clipped - values)) > tolerance:
            break
        i -= 1
    iq.set_state(k, i, width - k - i if int(bits.k + bits.i + bits.f) > 0 else -i - k)


def _of_powers(layer: QActivation, iq: Quantizer, oq: Quantizer) -> None:
    """Every octave has an index, and every power of two an entry that is exact."""
    params = layer.activation.params
    lowest, highest = int(params["lowest"]), int(params["highest"])
    iq.set_state(0, highest + 1, -lowest)
    if layer.activation.function is power_scale:
        oq.set_state(0, 1 - lowest, highest)
        return
    i = int(ceil_log2(np.asarray(params["epsilon"]))) - 2 * lowest
    oq.set_state(0, i, int(total_width(oq.state(np.zeros(1))).max()) - i)


def _octaves(layer: QActivation, low: float, high: float, width: int) -> int:
    """Integer bits of an unsigned index, of least mean squared relative error of the function.

    Every octave of the range seen counts the same. At one format for all, what lies ``width - 1`` octaves
    below the largest value has one significant bit, and what lies deeper is lost.
    """
    values = np.geomspace(max(low, high * 2.0**-width), high, _TABLE_GRID)
    exact = _evaluate(layer, values)
    top = int(ceil_log2(np.asarray(high)))

    def error(i: int) -> float:
        codes = np.clip(np.floor(np.ldexp(values, width - i) + 0.5), 0, 2.0**width - 1)
        # The entry of 0 saturates at the largest that the data needs.
        found = np.minimum(_evaluate(layer, np.ldexp(codes, i - width)), exact.max())
        return float(np.mean((found / exact - 1) ** 2))

    return min(range(top, top - width, -1), key=error)


def total_width(state: QuantizerState) -> np.ndarray:
    """k + i + f; an element switched off (no bits) counts with the widest of its tensor."""
    width = state.k + state.i + state.f
    return np.where(width > 0, width, np.max(width, initial=0))


def _evaluate(layer: QActivation, x: np.ndarray) -> np.ndarray:
    tensor = keras.ops.convert_to_tensor(x.astype(np.float32))
    return np.asarray(keras.ops.convert_to_numpy(layer.evaluate(tensor)), np.float64)
