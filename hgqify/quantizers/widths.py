"""From the variables of a quantizer to the integer widths in use."""

from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from hgqify.errors import PrecisionError
from hgqify.fixed import Overflow, Rounding
from hgqify.quantizers.config import EXPONENT_LIMIT, MAX_BITS, QuantizerConfig
from hgqify.quantizers.kernel import active_kernel, straight_through
from hgqify.quantizers.kinds import QType
from hgqify.quantizers.ranges import integer_bits

ops: Any = keras.ops  # typed as if every operation could return None

_LEAST_BITS = -20  # of kbi: far below 0 nothing changes, and f = b - i stays within float32's exponents


class Widths(NamedTuple):
    """k, i, f in use: float32 tensors of integers, with the gradient of the variables behind them."""

    k: Any
    i: Any
    f: Any


def clipped(variable: Any, low: Any = -EXPONENT_LIMIT, high: Any = EXPONENT_LIMIT) -> Any:
    """The variable rounded to an integer and clipped, with the gradient of the identity."""
    value = ops.convert_to_tensor(variable)
    return straight_through(ops.clip(ops.round(value), low, high), value)


def bits_in_use(config: QuantizerConfig, b: Any) -> Any:
    """b of a kbi quantizer."""
    return clipped(b, _LEAST_BITS, config.max_bits)


def fraction_in_use(config: QuantizerConfig, width: Any, i: Any) -> Any:
    """f beside the integer bits ``i``; ``width`` is the variable b (kbi) or f (kif)."""
    if config.q_type is QType.KBI:
        return bits_in_use(config, width) - i
    return clipped(width, high=ops.minimum(float(EXPONENT_LIMIT), config.max_bits - ops.stop_gradient(i)))


def known_widths(
    config: QuantizerConfig, k: Any, i: Any, width: Any
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """k, i, f in use as `clipped` and `fraction_in_use` give them, without gradient: in NumPy.

    Formats are read a thousand times in a calibration, and each operation of a backend on three numbers
    costs a thousand times what it computes.
    """
    k, i, width = (np.asarray(ops.convert_to_numpy(variable), np.float32) for variable in (k, i, width))
    i = known(i)
    if config.q_type is QType.KBI:
        return k, i, known(width, _LEAST_BITS, config.max_bits) - i
    return k, i, known(width, high=np.minimum(np.float32(EXPONENT_LIMIT), config.max_bits - i))


def known(variable: Any, low: Any = -EXPONENT_LIMIT, high: Any = EXPONENT_LIMIT) -> npt.NDArray[np.float32]:
    """What `clipped` gives, without gradient."""
    value = np.asarray(ops.convert_to_numpy(variable), np.float32)
    return np.clip(np.round(value), low, high).astype(np.float32)


def magnitude_bits(rounded: Any, axes: tuple[int, ...]) -> Any:
    """Integer bits of the largest magnitude over the shared axes, float32, without gradient."""
    largest = ops.max(ops.abs(ops.stop_gradient(rounded)), axis=axes, keepdims=True)
    return ops.cast(integer_bits(ops.zeros_like(largest), largest, True), "float32")


def derived_bits(quantized: Any, f: Any, axes: tuple[int, ...]) -> Any:
    """max(i + f, 0) with the i of the largest magnitude over the shared axes; differentiable in f.

    A value that is not 0 is an LSB at least, so that i + f >= 1: the gradient asks for no exponent.
    """
    alive = ops.any(ops.not_equal(ops.stop_gradient(quantized), 0), axis=axes, keepdims=True)
    return ops.where(alive, magnitude_bits(quantized, axes) + f, 0.0)


def fraction_of_constant(
    config: QuantizerConfig, f: Any, x: Any, axes: tuple[int, ...], mode: Rounding, noise: Any
) -> Any:
    """f for a constant ``x`` whose integer bits are derived, such that both make at most ``max_bits``."""
    f = clipped(f)
    if config.max_bits >= MAX_BITS:
        return f  # a float32 has no more significant bits than that, whatever f is
    x = ops.stop_gradient(ops.convert_to_tensor(x))
    # Fewer fractional bits can round the largest value up to the next power of two, once.
    for _ in range(2):
        rounded = active_kernel()(x, None, None, f, mode, None, noise)
        f = straight_through(ops.minimum(f, config.max_bits - magnitude_bits(rounded, axes)), f)
    return f


def track(config: QuantizerConfig, k: Any, i: Any, width: Any, x: Any, axes: tuple[int, ...]) -> Widths:
    """The tracked range (k, i) widened to hold ``x`` after rounding, and the f beside it."""
    x = ops.stop_gradient(x)
    low, high = ops.min(x, axis=axes, keepdims=True), ops.max(x, axis=axes, keepdims=True)
    kernel, mode = active_kernel(), config.round_mode
    symmetric = config.overflow_mode is Overflow.SAT_SYM
    k, i = ops.convert_to_tensor(k), ops.round(ops.convert_to_tensor(i))
    # Growing i can lower f (kbi, or at max_bits), and coarser rounding can reach one power of two more.
    for _ in range(2):
        f = ops.stop_gradient(fraction_in_use(config, width, i))
        if mode.is_stochastic:  # the farthest it can go: down at the low end, up at the high end
            least = kernel(low, None, None, f, Rounding.TRN, None)
            most = -kernel(-high, None, None, f, Rounding.TRN, None)
        else:
            # Rounding is monotone: the ends of the range stay its ends.
            least = kernel(low, None, None, f, mode, None)
            most = kernel(high, None, None, f, mode, None)
        k = ops.maximum(k, ops.cast(least < 0, "float32"))
        i = ops.maximum(i, ops.cast(integer_bits(least, most, symmetric), "float32"))
    i = ops.clip(i, -EXPONENT_LIMIT, EXPONENT_LIMIT)
    return Widths(k, i, fraction_in_use(config, width, i))


def as_integers(width: Any) -> npt.NDArray[np.int64]:
    """A width tensor as NumPy integers."""
    return np.rint(ops.convert_to_numpy(width)).astype(np.int64)


def checked(
    name: str,
    value: npt.ArrayLike | None,
    shape: tuple[int, ...],
    where: str,
    low: float = -EXPONENT_LIMIT,
    high: float = EXPONENT_LIMIT,
) -> npt.NDArray[np.float32] | None:
    """``value`` (k, i, f or a part of a minifloat) broadcast to ``shape``; None stays None.

    Raises:
        PrecisionError: it does not broadcast, or is out of range.
    """
    if value is None:
        return None
    array = np.asarray(value, np.float32)
    try:
        array = np.broadcast_to(array, shape)
    except ValueError:
        raise PrecisionError(
            f"{name} does not fit the granularity of this quantizer",
            where=where,
            received=f"shape {np.shape(value)} for widths of shape {shape}",
            remedy="reduce it over the shared axes, or choose a finer granularity",
        ) from None
    valid = np.isin(array, (0, 1)) if name == "k" else (array >= low) & (array <= high)
    if not np.all(valid):
        raise PrecisionError(
            "k must be 0 or 1" if name == "k" else f"{name} must lie within {low:g} and {high:g}",
            where=where,
            received=f"{array[~valid].flat[0]}",
        )
    return array
