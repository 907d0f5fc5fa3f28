"""Where the significant bits of a number end: what makes a fixed-point format a floating one."""

import numpy as np

from hgqify.fixed.bits import bit_length
from hgqify.fixed.bounds import IntArray, IntLike, integers


def own_frac(m: IntArray, e: IntArray, i: IntLike, f: IntLike, digits: IntLike) -> IntArray:
    """Fractional bits that each number m * 2**e has to be rounded to: f, or fewer.

    A number in [2**(p - 1), 2**p) keeps its bits down to 2**(p - digits). Below p = digits - f that is finer
    than the LSB 2**-f, which rules there (subnormal numbers); above p = i every number saturates, so they
    are all rounded as those just below 2**i are.

    Args:
        m, e: |m| < 2**62.
        i, f: of the fixed-point format that holds every number.
        digits: significant bits.
    """
    top, finest, digits = integers(i, "i"), integers(f, "f"), integers(digits, "digits")
    exponent = np.minimum(bit_length(m) + e, top)
    return np.where(np.equal(m, 0), finest, np.minimum(finest, digits - exponent))
