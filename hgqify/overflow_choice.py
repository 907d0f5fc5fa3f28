"""Saturate, or have so many integer bits that nothing can overflow: for each quantizer whichever is cheaper.

A quantizer whose range holds all that can reach it needs no saturation logic, whatever its mode says. The
price model counts LUTs, for every element that a firmware without reuse computes:

    saturating    W + d: a multiplexer for each of W = k + i + f bits, and a look at the d bits dropped above
    d more bits   their EBOPs, as one LUT each (HGQ, arXiv 2405.00645: LUT + 55 DSP ~ EBOPs), at every
                  multiplier they reach, and one LUT a bit at adders and comparators on the way
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np

from hgqify.calibrate import clippable, excess_bits
from hgqify.fixed import span
from hgqify.layers import QBatchNormalization, QLayer, QLinear, QMerge, QReduction
from hgqify.precision import ops
from hgqify.precision.ebops import operand_bits
from hgqify.precision.forward import annotate, infer
from hgqify.precision.forward_linear import product_of
from hgqify.precision.lower import trace
from hgqify.precision.overflow import needed_bits
from hgqify.precision.program import Node, Program, TensorInfo
from hgqify.quantizers import Quantizer

MOST_BITS = 4
"""Bounds that need more bits than this say little: they would cost more further on."""


@dataclass(frozen=True, kw_only=True)
class OverflowChoice:
    """One quantizer inside the model that saturates.

    Attributes:
        name, layer: its node in the program, and its Keras layer.
        missing_bits: integer bits that the worst element lacked so that nothing could overflow it; 0 where
            bounds proved that as it was. None: it lacks a sign.
        saturating: price of saturating, LUTs; 0 where nothing can overflow.
        widening: price of the missing bits, LUTs; None where they cannot be had: a sign is missing.
        margin: price of wrapping with the margin that `CalibrateSettings` gives, LUTs, for comparison. It
            proves nothing, so it is never chosen.
        widened: whether it got the missing bits, so that it cannot overflow any more.
    """

    name: str
    layer: str
    missing_bits: int | None
    saturating: int
    widening: int | None
    margin: int
    widened: bool

    @property
    def price(self) -> int:
        """LUTs of what was chosen."""
        return self.widening if self.widened and self.widening is not None else self.saturating


def choose_overflow(
    model: keras.Model, layers: Collection[str] = (), *, margin: int = 1
) -> tuple[OverflowChoice, ...]:
    """Price saturation and its alternatives; give integer bits where they are cheaper.

    Fractional bits are never given up for integer bits: where float32 has no room for them, where more than
    `MOST_BITS` are missing, or where a quantizer is called several times, it saturates.

    Args:
        model: of quantized layers, settled. Quantizers of ``layers`` may get integer bits.
        layers: paths of layers.
        margin: integer bits to price wrapping with.

    Returns:
        An entry for each quantizer on data that saturates and is bounded by what precedes it; no tables, no
        model inputs and outputs.

    Raises:
        UnsupportedLayerError, PrecisionError: as `precision.lower`.
    """
    traced, quantizers = trace(model)
    program = annotate(traced)
    owners = {id(quantizer): layer for layer, _, quantizer in clippable(model)}
    calls = Counter(id(quantizer) for quantizer in quantizers.values())
    infos: dict[str, TensorInfo | None] = {}
    found = []
    # In the program's order: a range that grew passes its bounds on.
    for node in program.nodes:
        if isinstance(node.op, ops.Input):
            infos[node.name] = None
            continue
        sources = tuple(info for name in node.inputs if (info := infos[name]) is not None)
        quantizer, op = quantizers.get(node.name), node.op
        priced = quantizer is not None and id(quantizer) in owners and bool(sources)
        if isinstance(op, ops.Quantize) and op.digits is None and quantizer is not None and priced:
            site = _Site(program, node, op, quantizer, owners[id(quantizer)], sources[0])
            choice = site.choice(margin, node.layer in layers and calls[id(quantizer)] == 1)
            if choice.widened:
                op = replace(op, i=op.i + site.extra)
            found.append(choice)
        infos[node.name] = infer(op, sources, node.shape, where=node.layer)
    return tuple(found)


class _Site:
    """One quantizer with what reaches it."""

    def __init__(
        self,
        program: Program,
        node: Node,
        op: ops.Quantize,
        quantizer: Quantizer,
        layer: QLayer,
        source: TensorInfo,
    ) -> None:
        self._program, self._node, self._quantizer, self._layer = program, node, quantizer, layer
        k, i, f = (np.broadcast_to(part, node.shape) for part in (op.k, op.i, op.f))
        need_k, need_i = needed_bits(source, op.f, op.rounding)
        self._live = k + i + f > 0
        self._signless = bool(np.any(self._live & (need_k > k)))
        missing = np.where(self._live, np.maximum(need_i - i, 0), 0)
        shape = quantizer.state().f.shape
        shared = tuple(
            n for n, (own, size) in enumerate(zip(shape, missing.shape, strict=True)) if own != size
        )
        self.extra = missing.max(axis=shared, keepdims=True)
        self._each = np.where(self._live, self.extra, 0)
        self._clips = self._live & ((self._each > 0) | (need_k > k))
        self._bits = k + i + f

    def choice(self, margin: int, allowed: bool) -> OverflowChoice:
        """Prices, and the bits if they are the cheaper; the quantizer then has them."""
        missing = int(self.extra.max(initial=0))
        saturating = int(np.sum((self._bits + self._each)[self._clips]))
        widening = None if self._signless else self._price(self._each)
        widened = (
            allowed
            and widening is not None
            and 0 < missing <= MOST_BITS
            and widening < saturating
            and self._widen()
        )
        return OverflowChoice(
            name=self._node.name,
            layer=self._node.layer,
            missing_bits=None if self._signless else missing,
            saturating=saturating,
            widening=widening,
            margin=self._price(np.where(self._live, margin, 0)),
            widened=widened,
        )

    def _price(self, bits: np.ndarray) -> int:
        """LUTs of some more bits of every element."""
        return _luts(self._program, self._node.name, bits)

    def _widen(self) -> bool:
        """Add the missing bits, if the layer stays exact in float32 and its LSB where it is."""
        before = self._quantizer.state()
        self._quantizer.set_state(i=before.i + self.extra)
        if np.array_equal(self._quantizer.state().f, before.f) and _exact(self._layer):
            return True
        self._quantizer.set_state(k=before.k, i=before.i, f=before.f)
        return False


def _luts(program: Program, name: str, bits: np.ndarray) -> int:
    """LUTs that more bits of a tensor cost wherever it is used.

    A multiplier and a quantizer end it: products are counted with it, and the next quantizer has a price of
    its own. Adders and comparators pass the bits on.
    """
    total = 0
    for node in program.nodes:
        for operand in range(len(node.inputs)):
            if node.inputs[operand] != name or isinstance(node.op, ops.Quantize | ops.Table):
                continue
            products = _products(program, node, operand, bits)
            if products is not None:
                total += products
                continue
            if isinstance(node.op, _ADDERS):
                total += int(bits.sum())
            most = int(bits.max(initial=0))
            wider = bits.transpose(node.op.perm) if isinstance(node.op, ops.Transpose) else most
            total += _luts(program, node.name, np.broadcast_to(wider, node.shape))
    return total


_ADDERS = (ops.Add, ops.Subtract, ops.Maximum, ops.Minimum, ops.MaxPool, ops.SumPool)


def _products(program: Program, node: Node, operand: int, bits: np.ndarray) -> int | None:
    """EBOPs of some more bits of an operand; None where nothing is multiplied."""
    op = node.op
    if isinstance(op, ops.Dense | ops.Conv):
        product = product_of(op)
        return int(product(bits[None].astype(np.float64), span(op.kernel.codes).astype(np.float64)).sum())
    if isinstance(op, ops.ScaleShift):
        spans = span(op.scale.codes)
        return int(
            np.sum(np.broadcast_to(bits * np.where((spans == 1) & (op.shift is None), 0, spans), node.shape))
        )
    if isinstance(op, ops.Multiply):
        other = operand_bits(program, node.inputs[1 - operand])
        return int(np.sum(np.broadcast_to(bits * other, node.shape)))
    if isinstance(op, ops.Matmul):
        other = operand_bits(program, node.inputs[1 - operand])
        return int(np.sum(bits.sum(axis=1) * other.sum(axis=1)))
    return None


def _exact(layer: QLayer) -> bool:
    """Whether a layer's sums fit float32 with any input its formats hold."""
    kinds = QLinear | QBatchNormalization | QMerge | QReduction
    sums = (isinstance(layer, kinds) and layer.iqs) or hasattr(layer, "window_counts")
    return not sums or int(excess_bits(layer).max()) <= 0


def summary(choices: Sequence[OverflowChoice]) -> tuple[str, ...]:
    """A line for the terminal; none without choices."""
    if not choices:
        return ()
    spared = sum(c.saturating - c.price for c in choices)
    widened = [c.layer for c in choices if c.widened]
    return (
        f"overflow: {len(choices)} quantizers, {sum(c.saturating == 0 for c in choices)} cannot overflow, "
        f"{len(widened)} got bits so that they cannot: saturation logic of about "
        f"{sum(c.price for c in choices if not c.widened):,} LUTs is left, {spared:,} are spared",
    )
