"""Exact fixed-point arithmetic on NumPy: formats, modes, quantization, intervals. Nothing else defines it.

Formats and modes
    Format, Minifloat, Rounding, Overflow, as_rounding, as_overflow, deployed, stochastic
Values and codes
    to_codes, requantize, align, to_values, quantize, overflows, beyond
Ranges
    MAX_BITS, code_bounds, Interval, minimal_format, minimal_bits
Bits of codes
    bit_length, trailing_zeros, span, operand_bits
"""

from hgqify.fixed.bits import bit_length, minimal_bits, minimal_format, span, trailing_zeros
from hgqify.fixed.bounds import MAX_BITS, code_bounds
from hgqify.fixed.format import Format
from hgqify.fixed.interval import Interval
from hgqify.fixed.minifloat import Minifloat, operand_bits
from hgqify.fixed.modes import Overflow, Rounding, as_overflow, as_rounding, deployed, stochastic
from hgqify.fixed.quantize import align, beyond, overflows, quantize, requantize, to_codes, to_values

__all__ = [
    "MAX_BITS",
    "Format",
    "Interval",
    "Minifloat",
    "Overflow",
    "Rounding",
    "align",
    "as_overflow",
    "as_rounding",
    "beyond",
    "bit_length",
    "code_bounds",
    "deployed",
    "minimal_bits",
    "minimal_format",
    "operand_bits",
    "overflows",
    "quantize",
    "requantize",
    "span",
    "stochastic",
    "to_codes",
    "to_values",
    "trailing_zeros",
]
