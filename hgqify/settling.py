"""Make a quantized model ready to deploy, after its weights or formats moved."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import keras

from hgqify import calibrate
from hgqify.calibrate import Adjustment
from hgqify.layers import refresh
from hgqify.precision import widen


def settle(model: keras.Model, proved: Collection[str] = ()) -> tuple[Adjustment, ...]:
    """Bring a model into the state it is deployed in: tables fresh, exact in float32, overflow proved.

    Args:
        model: a calibrated model of quantized layers.
        proved: names of layers whose wrapping quantizers must not overflow for any input. They get the
            integer bits for it; where a sum then exceeds float32, fractional bits give way.

    Returns:
        What had to be narrowed for float32, at most one entry for each part of a layer.
    """
    adjustments: list[Adjustment] = []
    if proved:
        refresh(model)  # what is lowered to be looked at must be fresh
        widen(model, proved)
    adjustments += calibrate.settle(model, proved)
    # A coarser LSB moves bounds; only fractional bits are ever taken, so this comes to an end.
    while proved and widen(model, proved):
        adjustments += calibrate.settle(model, proved)
    return merged(adjustments)


def merged(adjustments: Sequence[Adjustment]) -> tuple[Adjustment, ...]:
    """Several rounds on one part as one: bits add up, and what remains is what the last round left."""
    found: dict[tuple[str, str], Adjustment] = {}
    for new in adjustments:
        key = (new.layer, new.part)
        if (old := found.pop(key, None)) is not None:
            new = Adjustment(
                layer=new.layer,
                part=new.part,
                formats=max(old.formats, new.formats),
                bits=old.bits + new.bits,
                excess=new.excess,
            )
        found[key] = new
    return tuple(found.values())
