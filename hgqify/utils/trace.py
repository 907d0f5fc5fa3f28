"""Integer bits of wrapping quantizers from data."""

from __future__ import annotations

from typing import Any

import keras

from hgqify.layers import quantized_layers
from hgqify.opening import open_for
from hgqify.quantizers import Quantizer, QuantizerState, range_tracing


def trace_ranges(
    model: keras.Model, data: Any, *, reset: bool = True, margin_bits: int = 0, batch_size: int = 256
) -> dict[str, QuantizerState]:
    """Give every quantizer of data that wraps the integer bits and sign that hold what the data brings.

    A wrapping quantizer does not train its integer bits; it follows the data, in training and here: the model
    runs in inference mode (no dropout, no statistics moved), each such quantizer rounds, takes the smallest
    (k, i) that holds every value it saw and, for kbi, leaves b as it is, so that f = b - i. Saturating
    quantizers and those of weights are not touched.

    Args:
        model: a built model of quantized layers; its quantizers are changed.
        data: whatever `hgqify.convert` takes as ``calib``.
        reset: forget what training traced before; False widens it.
        margin_bits: added to i afterwards, for data that goes further; f stays, up to ``max_bits``.
        batch_size: samples at a time.

    Returns:
        The state of every quantizer that was traced, by its path.

    Raises:
        DataError: data that cannot be read or does not fit the model.
    """
    source = open_for(model, data)
    traced = _traced(model)
    if reset:
        for quantizer in traced:
            quantizer.reset_range()
    with range_tracing():
        for batch in source.batches(batch_size):
            inputs = list(batch.inputs)
            model(inputs if len(inputs) > 1 else inputs[0], training=False)
    if margin_bits:
        for quantizer in traced:
            state = quantizer.state()
            live = state.k + state.i + state.f > 0
            quantizer.set_state(i=(state.i + margin_bits * live)[None])
    return {str(quantizer.path): quantizer.state() for quantizer in traced}


def _traced(model: keras.Model) -> list[Quantizer]:
    """The quantizers of a model that track ranges."""
    found = (q for layer in quantized_layers(model) for q in (*layer.iqs, layer.oq))
    return [quantizer for quantizer in found if quantizer is not None and quantizer.tracks_range]
