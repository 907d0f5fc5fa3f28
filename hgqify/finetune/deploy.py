"""From a training twin back to formats and codes, at the EBOPs that are allowed.

Widths in training are real numbers. Moving all of them by the same small amount before they are rounded moves
EBOPs nearly continuously: so every moment of a training can be deployed within a budget and close to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
import numpy as np

from hgqify.calibrate import assign_weights, nearest_codes
from hgqify.finetune.twin import Limits, copy_variables, shared_axes_of
from hgqify.layers import QLinear, quantized_layers, refresh, span

_SHIFTS = 14  # bisections of the common shift
_FARTHEST = 1.0  # of the common shift, in bits
_ATTEMPTS = 4
_LEAST, _MOST = 0.98, 0.995  # of the budget; what is trained further may come to cost a little more


def deploy_within(
    twin: keras.Model,
    model: keras.Model,
    limits: Mapping[str, Limits],
    target: int,
    settled_ebops: Callable[[], int],
) -> int:
    """Give a model what its twin learned, its weights' widths moved together to meet a budget.

    Args:
        twin: of the model.
        model: will be changed.
        limits: of the layers whose widths move.
        target: EBOPs, at most.
        settled_ebops: settles the model and counts it exactly.

    Returns:
        The exact EBOPs; above the target if no common shift meets it.
    """
    refresh(twin)  # EBOPs of scales are counted from what is stored
    aim, ebops, met = _MOST * target, 0, None
    for _ in range(_ATTEMPTS):
        shift = _largest_shift(twin, limits, aim)
        deploy(twin, model, limits, shift)
        ebops = settled_ebops()
        if ebops <= target:
            met = shift
            if ebops >= _LEAST * target:
                return ebops
        # Settling and lowering take bits or add some, by a factor that hardly changes.
        aim *= _MOST * target / max(ebops, 1)
    if ebops > target and met is not None:
        deploy(twin, model, limits, met)
        ebops = settled_ebops()
    return ebops


def deploy(twin: keras.Model, model: keras.Model, limits: Mapping[str, Limits], shift: float = 0.0) -> None:
    """Give a model what its twin learned: codes, formats, biases. Settle it afterwards.

    Args:
        twin: of the model.
        model: will be changed.
        limits: of the layers whose widths move.
        shift: added to the fractional bits of all weights before they are rounded.
    """
    for layer in quantized_layers(model):
        other = twin.get_layer(layer.name)
        if layer.name not in limits:
            copy_variables(other.variables, layer.variables)
            continue
        k, i, f = data_format(other, limits[layer.name])
        parts = (np.where(k + i + f > 0, part, 0) for part in (k, i, f))
        layer.iqs[0].set_state(*(part.reshape(layer.iqs[0].width_shape) for part in parts))
        f, codes = fitted(other, limits[layer.name], shift)
        layer.kernel.assign(np.ldexp(codes.astype(np.float64), -f))
        if layer.use_bias:
            copy_variables([other.bias], [layer.bias])
        assign_weights(layer, f, codes, shared_axes_of(layer))


def data_format(layer: QLinear, limits: Limits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """k, i and f of the input of a twin's layer, no wider than allowed; no batch axis.

    Integer bits that were trained stay: what saturates is clipped for a reason. Fractional ones give way.

    Args:
        layer: of a twin.
        limits: of the layer.
    """
    state = layer.iqs[0].state()
    most, bits = (part.reshape(state.f.shape) for part in (limits.data_f, limits.data_bits))
    return state.k, state.i, np.minimum(state.f, np.minimum(most, bits - state.i))


def fitted(layer: QLinear, limits: Limits, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Fractional bits and codes of every weight of a twin's layer, no wider than allowed.

    Args:
        layer: of a twin.
        limits: of the layer.
        shift: added to the fractional bits before they are rounded.
    """
    kernel, shared = np.asarray(layer.kernel, np.float64), shared_axes_of(layer)
    f = np.rint(np.asarray(layer.kq.f, np.float64) + shift).astype(np.int64)
    f = np.minimum(np.broadcast_to(f, kernel.shape), limits.kernel_f)
    if shared:
        f = np.broadcast_to(np.min(f, axis=shared, keepdims=True), kernel.shape)
    top = 2.0**limits.kernel_bits - 1
    while True:
        codes = nearest_codes(kernel, f, np.asarray(np.inf))
        over = np.abs(codes) > top
        if not over.any():
            return f, codes
        f = f - (over.any(axis=shared, keepdims=True) if shared else over)


def _largest_shift(twin: keras.Model, limits: Mapping[str, Limits], aim: float) -> float:
    """The largest shift in range with EBOPs of at most ``aim``; the smallest in range if none has."""
    layers = [layer for layer in quantized_layers(twin) if layer.name in limits]
    fixed = sum(layer.ebops() for layer in quantized_layers(twin) if layer.name not in limits)
    bits = {layer.name: _input_bits(layer, limits[layer.name]) for layer in layers}

    def counted(shift: float) -> int:
        found = fixed
        for layer in layers:
            codes = fitted(layer, limits[layer.name], shift)[1]
            found += layer.count_ebops(bits[layer.name], span(codes.astype(np.float64)))
        return found

    low, high = -_FARTHEST, _FARTHEST
    for _ in range(_SHIFTS):
        middle = (low + high) / 2
        if counted(middle) <= aim:
            low = middle
        else:
            high = middle
    return low


def _input_bits(layer: QLinear, limits: Limits) -> np.ndarray:
    """As `QLinear.input_bits`, of what would be deployed."""
    _, i, f = data_format(layer, limits)
    return np.broadcast_to(np.maximum(i + f, 0), layer.data_shape).astype(np.int64)
