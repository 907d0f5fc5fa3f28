"""Trainable quantizers whose values equal :mod:`hgqify.fixed` bit for bit.

Layer
    Quantizer: the keras layer; its state() is a QuantizerState
Settings
    QuantizerConfig, QuantizerConfigScope, resolve, QType, Place; limits MAX_BITS, EXPONENT_LIMIT
Helpers
    straight_through (one value, another's gradient), ste_round (rounding with the gradient of the
    identity), int_bits and rounds_negative (NumPy: integer bits and sign a range needs), pow2 (exact 2.0**n)
"""

from hgqify.quantizers.config import EXPONENT_LIMIT, MAX_BITS, QuantizerConfig, resolve
from hgqify.quantizers.float_bits import pow2
from hgqify.quantizers.kernel import ste_round, straight_through
from hgqify.quantizers.kinds import Place, QType
from hgqify.quantizers.quantizer import Quantizer
from hgqify.quantizers.ranges import int_bits, rounds_negative
from hgqify.quantizers.scope import QuantizerConfigScope
from hgqify.quantizers.state import QuantizerState

__all__ = [
    "EXPONENT_LIMIT",
    "MAX_BITS",
    "Place",
    "QType",
    "Quantizer",
    "QuantizerConfig",
    "QuantizerConfigScope",
    "QuantizerState",
    "int_bits",
    "pow2",
    "resolve",
    "rounds_negative",
    "ste_round",
    "straight_through",
]
