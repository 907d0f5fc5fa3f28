"""From the variables of a minifloat quantizer to the format in use.

A minifloat (m, e, e0) is fixed point with significant bits (see :mod:`hgqify.fixed.minifloat`):

    i = 2^(e-1) + e0        f = m - 1 + 2^(e-1) - e0        digits = m + 1

The quantization kernel knows the gradients of i, f and digits, and the chain rule gives those of m, e, e0:
where a number is not saturated, that of m is ln 2 (x - q); where it is subnormal, finer steps come from a
lower e0 or a larger e; where it saturates, a larger bound from a higher e0 or a larger e.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from hgqify.quantizers.arithmetic import LN2
from hgqify.quantizers.config import MAX_EXPONENT_BITS, OFFSET_LIMIT, QuantizerConfig
from hgqify.quantizers.float_bits import pow2_like
from hgqify.quantizers.kernel import straight_through

ops: Any = keras.ops  # typed as if every operation could return None

IntArray = npt.NDArray[np.int64]


class Parts(NamedTuple):
    """m, e, e0: tensors or arrays of integers."""

    m: Any
    e: Any
    e0: Any


class MinifloatWidths(NamedTuple):
    """i, f and digits of the fixed-point format that holds every number of a minifloat."""

    i: Any
    f: Any
    digits: Any


def limits(config: QuantizerConfig) -> tuple[tuple[str, float, float], ...]:
    """Name, least and largest value in use of each part."""
    return (
        ("m", -1.0, config.max_bits - 1.0),
        ("e", 1.0, float(MAX_EXPONENT_BITS)),
        ("e0", -float(OFFSET_LIMIT), float(OFFSET_LIMIT)),
    )


def parts_in_use(config: QuantizerConfig, variables: Parts) -> Parts:
    """The variables rounded to integers and clipped, with the gradient of the identity."""
    found = []
    for variable, (_, low, high) in zip(variables, limits(config), strict=True):
        value = ops.convert_to_tensor(variable)
        found.append(straight_through(ops.clip(ops.round(value), low, high), value))
    return Parts(*found)


def known_parts(config: QuantizerConfig, variables: Parts) -> Parts:
    """What `parts_in_use` gives, without gradient, as NumPy integers."""
    arrays = [np.asarray(ops.convert_to_numpy(variable), np.float32) for variable in variables]
    bounds = limits(config)
    return Parts(
        *(
            np.clip(np.round(array), low, high).astype(np.int64)
            for array, (_, low, high) in zip(arrays, bounds, strict=True)
        )
    )


def widths(parts: Parts) -> MinifloatWidths:
    """i, f and digits as tensors, exact, with the gradient of the formulas in the module's page."""
    m, e, e0 = parts
    value = pow2_like(ops.stop_gradient(e) - 1.0, e)
    half = straight_through(value, LN2 * value * e)
    return MinifloatWidths(half + e0, m - 1.0 + half - e0, m + 1.0)


def known_widths(parts: Parts) -> MinifloatWidths:
    """The same in NumPy integers."""
    m, e, e0 = parts
    half = np.left_shift(np.int64(1), e - 1)
    return MinifloatWidths(half + e0, m - 1 + half - e0, m + 1)


def stored_bits(k: Any, parts: Parts) -> Any:
    """k + e + m, the bits a number is stored in, as a differentiable tensor; 0 for the constant 0."""
    return ops.where(parts.m >= 0, k + parts.e + parts.m, 0.0)
