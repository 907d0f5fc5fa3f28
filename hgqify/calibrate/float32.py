"""Widths for which Keras' float32 arithmetic is exact.

A float32 holds every multiple of an LSB up to 2**24 LSBs. If the magnitudes of all terms of a sum, taken
together, stay within that, then every partial sum in any order is exact, and Keras, whatever its backend
does, computes the same numbers as the hardware.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from hgqify.calibrate import widths
from hgqify.calibrate.placement import ceil_log2
from hgqify.calibrate.tables import total_width
from hgqify.fixed import quantize
from hgqify.layers import (
    QAverage,
    QBatchNormalization,
    QBelowMaximum,
    QEinsum,
    QLayer,
    QLinear,
    QMean,
    QMerge,
    QMultiply,
    QMultiplyPow2,
    QReduction,
    quantized_layers,
)

SIGNIFICAND = 24
MIN_WEIGHT_BITS = 2
MIN_INPUT_BITS = 2


@dataclass(frozen=True, kw_only=True)
class Adjustment:
    """A width taken back so that float32 is exact.

    Attributes:
        layer: name of the layer.
        part: 'kernel' or 'input <n>'.
        formats: how many of the part's formats lost bits.
        bits: how many bits the worst of them lost.
        excess: bits beyond a float32 significand that remain (0: exact).
    """

    layer: str
    part: str
    formats: int
    bits: int
    excess: int = 0

    def __str__(self) -> str:
        text = f"{self.layer}: {self.part} narrowed by up to {self.bits} bits in {self.formats} format(s)"
        return text + (f"; {self.excess} bits too many remain" if self.excess else "")


def fit_float32(model: keras.Model, proved: Collection[str] = ()) -> tuple[Adjustment, ...]:
    """Take bits from inputs and weights until every layer's float32 arithmetic is exact.

    Of a layer's operands the wider ones give first; weights give only in those output channels that need
    it. Biases follow the LSB of the products. Formats that fit already are left alone, and so are layers
    with minifloats: few bits less would not make their sums fit, and the certificate says so.

    Args:
        model: a model of quantized layers whose formats are set.
        proved: names of layers whose inputs have integer bits that data hardly ever uses, so that their
            widths say nothing about their accuracy: input and weights give in turn.

    Returns:
        What was narrowed, in the model's order.
    """
    adjustments: list[Adjustment] = []
    for layer in quantized_layers(model):
        if any(q.is_dummy for q in layer.iqs) or not layer.iqs or _has_minifloats(layer):
            continue
        if isinstance(layer, QLinear | QBatchNormalization):
            adjustments += _fit_products(layer, in_turn=layer.name in proved)
        elif isinstance(layer, QMerge | QReduction) or hasattr(layer, "window_counts"):
            adjustments += _fit_inputs(layer)
    return tuple(adjustments)


def _has_minifloats(layer: QLayer) -> bool:
    return any(q is not None and q.is_minifloat for q in (*layer.iqs, layer.kq))


def excess_bits(layer: QLayer) -> np.ndarray:
    """Bits that the sums of a layer need beyond a float32 significand, per output channel; <= 0 is exact.

    For layers with weights: ``sum |w| * max|x| + |b|`` in units of the products' LSB.
    """
    if isinstance(layer, QLinear | QBatchNormalization):
        return _ceil_bits(_accumulated(layer), widths.product_frac(layer))
    return _excess_of_merge(layer)


def _ceil_bits(total: np.ndarray, frac: np.ndarray | int) -> np.ndarray:
    return np.where(total > 0, ceil_log2(total) + frac - SIGNIFICAND, -SIGNIFICAND)


def _accumulated(layer: QLayer) -> np.ndarray:
    """``sum |w| * max|x| + |b|`` per output channel, float64."""
    top = widths.channel_bound(layer)
    kernel, bias = (np.abs(constant) for constant in _constants(layer))
    if isinstance(layer, QBatchNormalization):
        return kernel * top + bias
    if hasattr(layer, "depth_multiplier"):
        total = (kernel.reshape(-1, *kernel.shape[-2:]).sum(axis=0) * top[:, None]).reshape(-1)
    else:
        # (inputs of one group, filters): filters are ordered group by group.
        per_input = kernel.reshape(-1, *kernel.shape[-2:]).sum(axis=0)
        groups = getattr(layer, "groups", 1)
        channels = np.broadcast_to(top, (per_input.shape[0] * groups,)).reshape(groups, -1).T
        total = (per_input * np.repeat(channels, per_input.shape[1] // groups, axis=1)).sum(axis=0)
    return total + bias


def _constants(layer: QLayer) -> tuple[np.ndarray, np.ndarray]:
    """Quantized kernel and bias (or scale and shift), float64; 0 for no bias.

    The definition in `fixed` gives what the layer computes, without compiling anything.
    """
    if isinstance(layer, QBatchNormalization):
        kernel, bias = layer.scale_shift()
    else:
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        bias = 0.0 if layer.bq is None else keras.ops.convert_to_numpy(layer.bias)
    return _quantized(layer.kq, kernel), _quantized(layer.bq, bias)


def _quantized(quantizer: widths.Quantizer | None, constant: Any) -> np.ndarray:
    values = np.asarray(constant, np.float64)
    if quantizer is None or quantizer.is_dummy:
        return values
    state = quantizer.state(constant)
    return quantize(values, state.k, state.i, state.f, state.rounding, state.overflow, state.digits)


def _fit_products(layer: QLayer, *, in_turn: bool) -> Iterable[Adjustment]:
    kernel, iq = layer.kq, layer.iqs[0]
    if kernel is None or kernel.is_dummy:
        return []
    lost_input = 0
    lost = np.zeros(kernel.width_shape, np.int64)
    excess = excess_bits(layer)
    while (excess > 0).any():
        input_width = int(total_width(iq.state()).max())
        state = kernel.state(widths.float_kernel(layer))
        weight_width = np.where(state.k + state.i + state.f > 0, state.k + state.i + state.f, 0)
        need = _to_kernel(layer, excess > 0, weight_width.shape)
        may = need & (weight_width > MIN_WEIGHT_BITS)
        wider = lost_input <= int(lost.max()) if in_turn else input_width > int(weight_width.max())
        if input_width > MIN_INPUT_BITS and (wider or not may.any()):
            _narrow(iq, finest=True)
            lost_input += 1
        elif may.any():
            kernel.set_state(f=state.f - may)
            lost += may
        else:
            break
        widths.apply_bias(layer)
        excess = excess_bits(layer)
    remaining = max(0, int(excess.max()))
    return _report(layer, lost_input, lost, remaining)


def _report(layer: QLayer, lost_input: int, lost: np.ndarray, excess: int) -> list[Adjustment]:
    found = []
    if lost_input:
        formats = int(layer.iqs[0].state().f.size)
        found.append(
            Adjustment(layer=layer.name, part="input 0", formats=formats, bits=lost_input, excess=excess)
        )
    if lost.any() or (excess and not lost_input):
        found.append(
            Adjustment(
                layer=layer.name,
                part="kernel",
                formats=int(np.count_nonzero(lost)),
                bits=int(lost.max()),
                excess=excess,
            )
        )
    return found


def _to_kernel(layer: QLayer, outputs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Which of a kernel's formats take part in the given output channels."""
    if isinstance(layer, QBatchNormalization):
        full = outputs
    elif hasattr(layer, "depth_multiplier"):
        full = np.broadcast_to(outputs.reshape(layer.kernel.shape[-2:]), tuple(layer.kernel.shape))
    else:
        full = np.broadcast_to(outputs, tuple(layer.kernel.shape))
    shared = tuple(n for n, (a, b) in enumerate(zip(shape, full.shape, strict=True)) if a != b)
    return np.asarray(full.any(axis=shared, keepdims=True))


def _narrow(quantizer: widths.Quantizer, *, finest: bool) -> None:
    """One fractional bit less where the LSB is finest, or where the format is widest."""
    state = quantizer.state()
    if finest:
        quantizer.set_state(f=np.minimum(state.f, widths.live_frac(state).max() - 1))
    else:
        width = state.k + state.i + state.f
        quantizer.set_state(f=state.f - (width == width.max()))


def _fit_inputs(layer: QLayer) -> Iterable[Adjustment]:
    product = isinstance(layer, QMultiply | QEinsum)
    lost = [0] * len(layer.iqs)
    excess = _excess_of_merge(layer)
    # Powers of two stay what they are.
    iqs = layer.iqs[:1] if isinstance(layer, QMultiplyPow2) else layer.iqs
    while (excess > 0).any() and max(map(_widest, iqs)) > MIN_INPUT_BITS:
        # The finest LSB decides for sums, the widest operand for products.
        sizes = [_widest(q) if product else int(widths.live_frac(q.state()).max()) for q in iqs]
        index = int(np.argmax(sizes))
        _narrow(layer.iqs[index], finest=not product)
        lost[index] += 1
        excess = _excess_of_merge(layer)
    remaining = max(0, int(excess.max()))
    return [
        Adjustment(
            layer=layer.name,
            part=f"input {index}",
            formats=int(layer.iqs[index].state().f.size),
            bits=bits,
            excess=remaining,
        )
        for index, bits in enumerate(lost)
        if bits or (remaining and index == 0)
    ]


def _widest(quantizer: widths.Quantizer) -> int:
    return int(total_width(quantizer.state()).max())


def _excess_of_merge(layer: QLayer) -> np.ndarray:
    """Excess bits of the sums, products or averages of a layer without weights, element by element."""
    if isinstance(layer, QReduction):
        return _excess_of_reduction(layer)
    if hasattr(layer, "window_counts"):
        # Windows do not cross channels.
        total = widths.channel_bound(layer) * int(np.max(layer.window_counts()))
        return _ceil_bits(total, widths.channel_frac(layer)) + _reciprocal_bits(layer)
    states = [quantizer.state() for quantizer in layer.iqs]
    if isinstance(layer, QMultiplyPow2):
        # A power of two moves what it multiplies, and adds no bits to a significand.
        states = states[:1]
    if isinstance(layer, QEinsum):
        return _excess_of_einsum(layer, states)
    tops = np.broadcast_arrays(*(widths.bound(state) for state in states))
    fracs = np.broadcast_arrays(*(widths.live_frac(state) for state in states))
    if isinstance(layer, QMultiply):
        return np.atleast_1d(_ceil_bits(np.prod(tops, axis=0), np.sum(fracs, axis=0)))
    excess = _ceil_bits(np.sum(tops, axis=0), np.max(fracs, axis=0))
    return np.atleast_1d(excess) + (_reciprocal_bits(layer) if isinstance(layer, QAverage) else 0)


def _excess_of_reduction(layer: QReduction) -> np.ndarray:
    """Excess bits of the sums over a layer's axes, or of the differences from a maximum."""
    state = layer.iqs[0].state()
    full = np.broadcast_shapes(state.f.shape, layer.input_sizes)
    tops, fracs = (np.broadcast_to(part, full) for part in (widths.bound(state), widths.live_frac(state)))
    frac = fracs.max(axis=layer.axes)
    if isinstance(layer, QBelowMaximum):
        return np.atleast_1d(_ceil_bits(2 * tops.max(axis=layer.axes), frac))
    excess = np.atleast_1d(_ceil_bits(tops.sum(axis=layer.axes), frac))
    return excess + (_reciprocal_bits(layer) if isinstance(layer, QMean) else 0)


def _excess_of_einsum(layer: QEinsum, states: list[widths.QuantizerState]) -> np.ndarray:
    """Of sums of products of two tensors; each one counts with the finest LSB of all products."""
    tops = [
        np.broadcast_to(widths.bound(state)[0] if np.ndim(state.k) else widths.bound(state), shape)
        for state, shape in zip(states, layer.input_shapes, strict=True)
    ]
    frac = sum(int(widths.live_frac(state).max()) for state in states)
    return np.atleast_1d(_ceil_bits(np.einsum(layer.sample_equation, *tops), frac))


def _reciprocal_bits(layer: Any) -> int:
    """Bits an average's constant adds to its sum; a power of two adds none."""
    factors = np.unique(np.asarray(layer.reciprocal_values(), np.float64))
    return max(_significant(float(factor)) for factor in factors)


def _significant(value: float) -> int:
    """Bits of an odd integer multiple: 0 for a power of two."""
    mantissa, _ = np.frexp(value)
    code = int(mantissa * 2.0**53)
    code //= code & -code
    return 0 if code == 1 else code.bit_length()
