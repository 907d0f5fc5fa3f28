"""Exact fixed-point arithmetic on NumPy: formats, modes, quantization, intervals. Nothing else defines it.

Formats and modes
    Format, Rounding, Overflow, as_rounding, as_overflow, deployed
Values and codes
    to_codes, requantize, to_values, quantize, code_bounds, MAX_BITS
"""

from hgqify.fixed.format import Format
from hgqify.fixed.modes import Overflow, Rounding, as_overflow, as_rounding, deployed
from hgqify.fixed.quantize import MAX_BITS, code_bounds, quantize, requantize, to_codes, to_values

__all__ = [
    "MAX_BITS",
    "Format",
    "Overflow",
    "Rounding",
    "as_overflow",
    "as_rounding",
    "code_bounds",
    "deployed",
    "quantize",
    "requantize",
    "to_codes",
    "to_values",
]
