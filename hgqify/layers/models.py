"""What concerns all quantized layers of a model at once."""

from __future__ import annotations

import keras

from hgqify.layers.base import QLayer


def quantized_layers(model: keras.Model) -> list[QLayer]:
    """The quantized layers of a model, nested models included, each once, in the model's order."""
    found: dict[int, QLayer] = {}
    pending: list[keras.layers.Layer] = [model]
    while pending:
        layer = pending.pop(0)
        if isinstance(layer, QLayer):
            found.setdefault(id(layer), layer)
        elif isinstance(layer, keras.Model):
            pending = [*layer.layers, *pending]
    return list(found.values())


def total_ebops(model: keras.Model) -> int:
    """Sum of `QLayer.ebops` over the quantized layers of a model, each layer once.

    Raises:
        PrecisionError: a layer that is not built, or whose quantizers are off.
    """
    return sum(layer.ebops() for layer in quantized_layers(model))


def refresh(model: keras.Model) -> None:
    """Bring all stored constants (tables, scales and shifts) up to date with the weights and widths.

    Training leaves them one optimizer step behind; call this before lowering. Saving does it by itself.

    Raises:
        PrecisionError: a function that is not finite on the whole range of its input.
    """
    for layer in quantized_layers(model):
        layer.refresh()
