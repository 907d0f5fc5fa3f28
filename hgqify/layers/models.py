"""What concerns all quantized layers of a model at once."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True)
class LayerEbops:
    """EBOPs of one layer.

    Attributes:
        layer: its name.
        kind: its class.
        ebops: exact, of one inference, in bits times bits.
        share: of the whole model's, from 0 to 1.
    """

    layer: str
    kind: str
    ebops: int
    share: float


def ebops_breakdown(model: keras.Model) -> tuple[LayerEbops, ...]:
    """EBOPs of every quantized layer of a model in its order, layers that count none included.

    The sum is `total_ebops`; a layer that is called several times counts once.

    Raises:
        PrecisionError: a layer that is not built, or whose quantizers are off.
    """
    found = [(layer, layer.ebops()) for layer in quantized_layers(model)]
    total = sum(ebops for _, ebops in found)
    return tuple(
        LayerEbops(layer=layer.name, kind=type(layer).__name__, ebops=n, share=n / total if total else 0.0)
        for layer, n in found
    )


def refresh(model: keras.Model) -> None:
    """Bring all stored constants (tables, scales and shifts) up to date with the weights and widths.

    Training leaves them one optimizer step behind; call this before lowering. Saving does it by itself.

    Raises:
        PrecisionError: a function that is not finite on the whole range of its input.
    """
    for layer in quantized_layers(model):
        layer.refresh()
