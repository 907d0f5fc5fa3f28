"""Random float models that hold given families of layers, and settings to convert them with."""

from collections.abc import Sequence
from typing import Any

import float_layers
import float_operations
import float_sequences
import numpy as np
from float_drawing import Drawing, FloatNetwork

from hgqify.convert import OverflowPolicy
from hgqify.fixed import Rounding

FAMILIES = {**float_layers.FAMILIES, **{f"ops.{name}": f for name, f in float_operations.FAMILIES.items()}}
"""What a network is drawn of, by name."""

ALONE: dict[str, float_layers.Family] = {
    "masks made by hand": float_sequences.masks_by_hand,
    "images repeated": lambda d: d.call("UpSampling2D", d.tensor(3), size=(1, 2)),
}
"""What little else would reach: one network of each round holds all of it, and no other any."""

NAMES = tuple(FAMILIES)


def float_network(number: int, wanted: Sequence[str] = (), more: int = 2) -> FloatNetwork:
    """A model that holds the wanted families and up to so many others, in any order."""
    rng = np.random.default_rng(number)
    names = [*wanted, *rng.choice(NAMES, size=int(rng.integers(0 if wanted else 1, more + 1)))]
    names = [str(name) for name in rng.permutation(names)]
    d = Drawing(rng)
    d.input(d.one_of([(4,), (6,), (4, 3), (3, 2), (5, 4, 2)]))
    for name in names:
        (FAMILIES.get(name) or ALONE[name])(d)
    return d.finished(number, names)


def float_settings(number: int) -> dict[str, Any]:
    """Settings of `hgqify.convert` for the network of that number: any that may go together."""
    rng = np.random.default_rng((number, 1))

    def one_of(*options: Any) -> Any:
        return options[int(rng.integers(len(options)))]

    minifloat = rng.random() < 0.15
    low, high = (3, 8) if minifloat else (2, 12)
    found: dict[str, Any] = {
        f"{name}_bits": int(rng.integers(low, high + 1))
        for name in ("weight", "activation", "merge", "input")
    }
    found |= {f"{name}_bits": int(rng.integers(3, 11)) for name in ("output", "table_in", "table_out")}
    if rng.random() < 0.3:  # the defaults
        found = {}
    found |= {
        "weight_granularity": one_of("tensor", "channel", *(() if minifloat else ("element",))),
        "activation_granularity": one_of("tensor", "tensor", "channel", "element"),
        "overflow": str(one_of(*OverflowPolicy)),
        "rounding": str(one_of("RND", *(m for m in Rounding if not str(m).startswith("S_")))),
        "softmax": one_of("logits", "convert"),
        "correct_bias": bool(rng.random() < 0.3),
        "equalize": bool(rng.random() < 0.2 and not minifloat),
        "margin": int(rng.integers(0, 3)),
    }
    if rng.random() < 0.4 and not str(found["overflow"]).startswith(("WRAP", "PROVED")):
        found["ranges"] = one_of("percentile", "mse")
    if minifloat:
        found["q_type"] = "float"
    return found
