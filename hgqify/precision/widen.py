"""Integer bits with which a quantizer cannot overflow, set in the Keras model.

One pass in the program's order does it: a format that holds all that reaches it passes the bounds on as they
are, so that each quantizer is given what it needs before the next one is looked at.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import keras
import numpy as np

from hgqify.precision.forward import infer
from hgqify.precision.lower import trace
from hgqify.precision.ops import Input, Quantize
from hgqify.precision.overflow import needed_bits
from hgqify.precision.program import TensorInfo
from hgqify.quantizers import Quantizer


def widen(model: keras.Model, layers: Collection[str]) -> bool:
    """Give wrapping quantizers the sign and the integer bits that nothing can overflow, and no more.

    f stays, so that the width follows from the bounds; only where k + i + f would exceed what a
    quantizer can have (`QuantizerConfig.max_bits`) f gives way.

    Args:
        model: of quantized layers, its stored constants fresh.
        layers: paths of the layers whose wrapping quantizers on data are to be set. Quantizers on a model
            input are left alone: nothing bounds what they see.

    Returns:
        Whether anything changed.

    Raises:
        UnsupportedLayerError, PrecisionError: as `lower`.
    """
    changed = False
    # Where f gave way, coarser rounding may reach one code further: look again.
    while _pass(model, layers):
        changed = True
    return changed


def _pass(model: keras.Model, layers: Collection[str]) -> bool:
    program, quantizers = trace(model)
    infos: dict[str, TensorInfo | None] = {}
    needs: dict[int, tuple[Quantizer, np.ndarray, np.ndarray]] = {}
    for node in program.nodes:
        if isinstance(node.op, Input):
            infos[node.name] = None
            continue
        sources = tuple(info for name in node.inputs if (info := infos[name]) is not None)
        op = node.op
        if isinstance(op, Quantize) and sources and node.layer in layers and not op.overflow.saturates:
            k, i = needed_bits(sources[0], op.f, op.rounding)
            quantizer = quantizers[node.name]
            _need(needs, quantizer, k, i)
            op = replace(op, k=k, i=i)
        infos[node.name] = infer(op, sources, node.shape, where=node.layer)
    moved = [_set(quantizer, k, i) for quantizer, k, i in needs.values()]
    return any(moved)


def _need(
    needs: dict[int, tuple[Quantizer, np.ndarray, np.ndarray]],
    quantizer: Quantizer,
    k: np.ndarray,
    i: np.ndarray,
) -> None:
    """Enter what one call of a quantizer needs, in the shape of its widths."""
    shape = quantizer.state().f.shape
    shared = tuple(n for n, (own, size) in enumerate(zip(shape, k.shape, strict=True)) if own != size)
    k, i = k.max(axis=shared, keepdims=True), i.max(axis=shared, keepdims=True)
    if id(quantizer) in needs:
        _, other_k, other_i = needs[id(quantizer)]
        k, i = np.maximum(k, other_k), np.maximum(i, other_i)
    needs[id(quantizer)] = quantizer, k, i


def _set(quantizer: Quantizer, k: np.ndarray, i: np.ndarray) -> bool:
    before = quantizer.state()
    quantizer.set_state(k=k, i=i)
    after = quantizer.state()
    # What max_bits cut off stays off: f must not come back when i falls.
    quantizer.set_state(f=after.f)
    return any(not np.array_equal(getattr(before, part), getattr(after, part)) for part in "kif")
