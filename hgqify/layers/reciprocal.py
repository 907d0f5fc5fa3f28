"""The fixed-point constant an average multiplies its sum by.

A division is not a fixed-point operation; an average over n values is their exact sum times a constant
``code * 2**-frac`` close to 1/n. Layers, the lowering and the exporter all take it from here.
"""

from __future__ import annotations

import numpy as np

from hgqify.errors import RuleError

RECIPROCAL_BITS = 12
"""Default significant bits of a reciprocal: its relative error is below 2**-12."""


def reciprocal(count: int, bits: int = RECIPROCAL_BITS) -> tuple[int, int]:
    """1/count as ``code * 2**-frac``, rounded to ``bits`` significant bits (ties up), ``code`` odd.

    Exact (``code = 1``) where ``count`` is a power of two.

    Args:
        count: number of values averaged, at least 1.
        bits: significant bits, 1 to 24 (float32 must hold the constant).

    Returns:
        (code, frac): int, int with ``|code * 2**-frac * count - 1| <= 2**-bits``.

    Raises:
        RuleError: when an argument is out of range.
    """
    if count < 1:
        raise RuleError("an average needs at least one value", where="reciprocal", received=count)
    if not 1 <= bits <= 24:
        raise RuleError(
            "a reciprocal has 1 to 24 significant bits",
            where="reciprocal_bits",
            received=bits,
            remedy="12 bits keep the relative error below 0.025 %",
        )
    # 2**m <= count < 2**(m+1) puts 2**(bits+m)/count into (2**(bits-1), 2**bits].
    frac = bits + count.bit_length() - 1
    code = ((1 << (frac + 1)) + count) // (2 * count)
    zeros = (code & -code).bit_length() - 1
    return code >> zeros, frac - zeros


def reciprocal_values(counts: np.ndarray, bits: int = RECIPROCAL_BITS) -> np.ndarray:
    """`reciprocal` of every count as float32 (exact: at most 24 significant bits), same shape."""
    table = {
        int(n): np.ldexp(np.float32(code), -frac)
        for n in np.unique(counts)
        for code, frac in (reciprocal(int(n), bits),)
    }
    return np.vectorize(lambda n: table[int(n)], otypes=[np.float32])(counts)
