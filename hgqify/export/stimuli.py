"""Random inputs that exercise a fixed program: in range, on codes and ties, at the ends, far outside.

They come as a stream of batches, each drawn from a seed of its own: batch n is the same however many
batches are drawn before or after it, and memory is bounded by the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hgqify.errors import DataError
from hgqify.precision import ops
from hgqify.precision.program import Program

BATCH = 128
REACH = 4.0

# Exponents of numbers far outside: beyond every format in use, where shifts by 64 bits and more begin.
_FAR_EXPONENT = 60
_LARGEST = float(np.finfo(np.float32).max)
_SUBNORMAL = float(np.finfo(np.float32).smallest_subnormal)
_SPECIAL = np.array(
    [0.0, -0.0, _LARGEST, -_LARGEST, _SUBNORMAL, -_SUBNORMAL, 2.0**-126, -(2.0**-126), 2.0**63, -(2.0**63)]
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Grid:
    """Codes of one quantizer on a model input, element by element; where it zeroes, -128..127 of 2**-7.

    Attributes:
        low, high: the smallest and the largest code.
        lsb: value of one code.
        reach: how far outside the range the values of one kind go, as a multiple of it.
    """

    low: np.ndarray
    high: np.ndarray
    lsb: np.ndarray
    reach: float


def random_batches(
    program: Program, samples: int, *, batch: int = BATCH, seed: int = 0, reach: float = REACH
) -> Iterator[tuple[np.ndarray, ...]]:
    """Random model inputs, batch by batch.

    Samples take turns among these kinds, each by the formats of one of the quantizers on the input,
    element by element:

    - uniform in the range;
    - codes, and the ties exactly between two codes;
    - the float32 numbers beside codes and ties;
    - the smallest and largest codes, and what lies half a code and one code beside them;
    - uniform in ``reach`` times the range;
    - far outside and far below: any sign and exponent up to 2**60, zeros of both signs, subnormal and
      the largest float32;
    - one value of any kind in all elements.

    Args:
        program: fixed program; its bounds are not needed.
        samples: how many in all.
        batch: samples per batch; only the last batch is smaller.
        seed: makes them reproducible: batch n depends on the seed, n and ``batch`` alone.
        reach: how far outside the range the samples of one kind go.

    Yields:
        One float32 array (samples, *shape) per model input.

    Raises:
        DataError: a batch size below 1.
    """
    if batch < 1:
        raise DataError("a batch needs at least one sample", received=f"batch={batch}")
    inputs = [(program.by_name[name].shape, _grids(program, name, reach)) for name in program.inputs]
    for number, start in enumerate(range(0, samples, batch)):
        rows = range(start, min(start + batch, samples))
        yield tuple(
            # A generator for each input: the first rows are the same, however many follow.
            _draw(np.random.default_rng((seed, number, position)), rows, shape, grids)
            for position, (shape, grids) in enumerate(inputs)
        )


def random_inputs(
    program: Program, samples: int, *, seed: int = 0, reach: float = REACH
) -> tuple[np.ndarray, ...]:
    """The batches of `random_batches` joined: one float32 array (samples, *shape) per model input."""
    parts = list(random_batches(program, samples, seed=seed, reach=reach))
    if not parts:
        return tuple(np.zeros((0, *program.by_name[name].shape), np.float32) for name in program.inputs)
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _grids(program: Program, name: str, reach: float) -> list[_Grid]:
    """The grids of all quantizers that read a model input."""
    shape = program.by_name[name].shape
    grids = []
    for consumer in program.consumers[name]:
        if not isinstance(op := consumer.op, ops.Quantize):
            continue
        k, i, f = (np.broadcast_to(np.asarray(a, np.int64), shape) for a in (op.k, op.i, op.f))
        alive = k + i + f > 0
        k, i, f = np.where(alive, k, 1), np.where(alive, i, 0), np.where(alive, f, 7)
        codes = np.ldexp(1.0, i + f)
        grids.append(_Grid(low=-codes * k, high=codes - 1, lsb=np.ldexp(1.0, -f), reach=reach))
    return grids


def _draw(rng: np.random.Generator, rows: range, shape: tuple[int, ...], grids: list[_Grid]) -> np.ndarray:
    values = np.empty((len(rows), *shape), np.float32)
    for n, row in enumerate(rows):
        grid = grids[int(rng.integers(len(grids)))]
        kind = row % (len(_KINDS) + 1)
        if kind < len(_KINDS):
            values[n] = _float32(_KINDS[kind](rng, grid))
        else:
            one = _float32(_KINDS[int(rng.integers(len(_KINDS)))](rng, grid)).ravel()
            values[n] = one[int(rng.integers(one.size))] if one.size else 0
    return values


def _float32(values: np.ndarray) -> np.ndarray:
    """Nearest finite float32."""
    return np.clip(values, -_LARGEST, _LARGEST).astype(np.float32)


def _inside(rng: np.random.Generator, grid: _Grid) -> np.ndarray:
    return grid.lsb * rng.uniform(grid.low, grid.high + 1)


def _on_codes(rng: np.random.Generator, grid: _Grid) -> np.ndarray:
    code = np.floor(rng.uniform(grid.low, grid.high + 1))
    return grid.lsb * (code + rng.integers(0, 2, code.shape) / 2)


def _beside_codes(rng: np.random.Generator, grid: _Grid) -> np.ndarray:
    values = _float32(_on_codes(rng, grid))
    return np.nextafter(values, np.where(rng.random(values.shape) < 0.5, -np.inf, np.inf).astype(np.float32))


def _at_ends(rng: np.random.Generator, grid: _Grid) -> np.ndarray:
    end = np.where(rng.random(grid.low.shape) < 0.5, grid.low, grid.high)
    return grid.lsb * (end + rng.integers(-2, 3, end.shape) / 2)


def _outside(rng: np.random.Generator, grid: _Grid) -> np.ndarray:
    centre, radius = (grid.low + grid.high) / 2, (grid.high - grid.low + 1) / 2
    return grid.lsb * (centre + radius * grid.reach * rng.uniform(-1, 1, centre.shape))


def _far(rng: np.random.Generator, grid: _Grid) -> np.ndarray:
    shape = grid.low.shape
    exponent = rng.integers(-_FAR_EXPONENT, _FAR_EXPONENT + 1, shape)
    values = np.ldexp(rng.uniform(-1, 1, shape), exponent)
    return np.where(rng.random(shape) < 0.25, rng.choice(_SPECIAL, shape), values)


_Kind = Callable[[np.random.Generator, _Grid], np.ndarray]
_KINDS: tuple[_Kind, ...] = (_inside, _on_codes, _beside_codes, _at_ends, _outside, _far)
