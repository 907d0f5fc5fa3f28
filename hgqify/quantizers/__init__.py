"""Trainable quantizers whose values equal :mod:`hgqify.fixed` bit for bit.

Layer
    Quantizer: the keras layer; its state() is a QuantizerState
    range_tracing: ranges from data without training
Settings
    QuantizerConfig, QuantizerConfigScope, resolve, QType, Place; limits MAX_BITS, EXPONENT_LIMIT
    MinMax and MonoL1: a constraint and a regularizer of trained widths
Helpers
    straight_through (one value, another's gradient), ste_round (rounding with the gradient of the
    identity), check_names (refuses unknown options), leading (how many samples are a part of a batch),
    int_bits and rounds_negative (NumPy: integer bits and sign a range needs), pow2 (exact 2.0**n),
    exponent (e with 2**(e-1) <= |x| < 2**e)
"""

from hgqify.quantizers.arithmetic import leading
from hgqify.quantizers.config import EXPONENT_LIMIT, MAX_BITS, QuantizerConfig, resolve
from hgqify.quantizers.float_bits import exponent, pow2
from hgqify.quantizers.kernel import ste_round, straight_through
from hgqify.quantizers.kinds import Place, QType, check_names
from hgqify.quantizers.quantizer import Quantizer
from hgqify.quantizers.ranges import int_bits, rounds_negative
from hgqify.quantizers.scope import QuantizerConfigScope
from hgqify.quantizers.state import QuantizerState
from hgqify.quantizers.tracing import range_tracing
from hgqify.quantizers.width_rules import MinMax, MonoL1

__all__ = [
    "EXPONENT_LIMIT",
    "MAX_BITS",
    "MinMax",
    "MonoL1",
    "Place",
    "QType",
    "Quantizer",
    "QuantizerConfig",
    "QuantizerConfigScope",
    "QuantizerState",
    "check_names",
    "exponent",
    "int_bits",
    "leading",
    "pow2",
    "range_tracing",
    "resolve",
    "rounds_negative",
    "ste_round",
    "straight_through",
]
