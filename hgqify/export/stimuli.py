"""Random inputs that exercise a fixed program: in range, on codes and ties, at the ends, far outside.

They come as a stream of batches, each drawn from a seed of its own: batch n is the same however many
batches are drawn before or after it, and memory is bounded by the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from hgqify.errors import DataError
from hgqify.precision import ops
from hgqify.precision.program import Program

BATCH = 128
REACH = 4.0

# So many exponents of a minifloat are looked at, its highest and the subnormal numbers among them.
_EXPONENTS = 6
# Exponents of numbers far outside: beyond every format in use, where shifts by 64 bits and more begin.
_FAR_EXPONENT = 60
_LARGEST = float(np.finfo(np.float32).max)
_SUBNORMAL = float(np.finfo(np.float32).smallest_subnormal)
_SPECIAL = np.array(
    [0.0, -0.0, _LARGEST, -_LARGEST, _SUBNORMAL, -_SUBNORMAL, 2.0**-126, -(2.0**-126), 2.0**63, -(2.0**63)]
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Grids:
    """Codes of the quantizers on a model input; where they zero, -128..127 of 2**-7.

    Attributes:
        low, high: the smallest and the largest code, (quantizers, *shape).
        lsb: value of one code.
        reach: how far outside the range the values of one kind go, as a multiple of it.
    """

    low: np.ndarray
    high: np.ndarray
    lsb: np.ndarray
    reach: float

    def of(self, rng: np.random.Generator, samples: int) -> _Grids:
        """One of the quantizers at random for each sample: (samples, *shape)."""
        chosen = rng.integers(len(self.low), size=samples)
        return replace(self, low=self.low[chosen], high=self.high[chosen], lsb=self.lsb[chosen])

    def at_one(self, rng: np.random.Generator) -> _Grids:
        """One element at random of each sample: (samples,)."""
        samples = len(self.low)
        low, high, lsb = (a.reshape(samples, -1) for a in (self.low, self.high, self.lsb))
        place = np.arange(samples), rng.integers(low.shape[1], size=samples)
        return replace(self, low=low[place], high=high[place], lsb=lsb[place])


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
    inputs = [_grids(program, name, reach) for name in program.inputs]
    for number, start in enumerate(range(0, samples, batch)):
        yield tuple(
            # Drawn whole: the last batch begins as it would if more samples followed.
            _draw(np.random.default_rng((seed, number, position)), start, batch, grids)[: samples - start]
            for position, grids in enumerate(inputs)
        )


def random_inputs(
    program: Program, samples: int, *, seed: int = 0, reach: float = REACH
) -> tuple[np.ndarray, ...]:
    """The batches of `random_batches` joined: one float32 array (samples, *shape) per model input."""
    parts = list(random_batches(program, samples, seed=seed, reach=reach))
    if not parts:
        return tuple(np.zeros((0, *program.by_name[name].shape), np.float32) for name in program.inputs)
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _grids(program: Program, name: str, reach: float) -> _Grids:
    """The grids of all quantizers that read a model input; the substitute for zero bits if none does."""
    shape = program.by_name[name].shape
    readers = [c.op for c in program.consumers[name] if isinstance(c.op, ops.Quantize)]
    formats = [parts for op in readers for parts in _formats(op)]
    k, i, f = (
        np.stack([np.broadcast_to(np.asarray(a, np.int64), shape) for a in column])
        for column in zip(*(formats or [(0, 0, 0)]), strict=True)
    )
    alive = k + i + f > 0
    k, i, f = np.where(alive, k, 1), np.where(alive, i, 0), np.where(alive, f, 7)
    codes = np.ldexp(1.0, i + f)
    return _Grids(low=-codes * k, high=codes - 1, lsb=np.ldexp(1.0, -f), reach=reach)


def _formats(op: ops.Quantize) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """k, i, f of a quantizer; of a minifloat those of several exponents, each with its own LSB."""
    if op.digits is None:
        return [(op.k, op.i, op.f)]
    exponents = op.i + op.f - op.digits
    tops = [op.i - exponents * n // (_EXPONENTS - 1) for n in range(_EXPONENTS)]
    return [(op.k, top, op.digits - top) for top in tops]


def _draw(rng: np.random.Generator, start: int, samples: int, grids: _Grids) -> np.ndarray:
    """Samples number ``start`` and on: each of the next kind."""
    values = np.empty((samples, *grids.low.shape[1:]), np.float32)
    kinds = np.arange(start, start + samples) % (len(_KINDS) + 1)
    for number, draw in enumerate(_KINDS):
        rows = np.flatnonzero(kinds == number)
        values[rows] = _float32(draw(rng, grids.of(rng, len(rows))))
    rows = np.flatnonzero(kinds == len(_KINDS))
    if values.size:
        one = grids.of(rng, len(rows)).at_one(rng)
        columns = np.stack([_float32(draw(rng, one)) for draw in _KINDS])
        chosen = columns[rng.integers(len(_KINDS), size=len(rows)), np.arange(len(rows))]
        values[rows] = chosen.reshape(-1, *(1,) * (values.ndim - 1))
    return values


def _float32(values: np.ndarray) -> np.ndarray:
    """Nearest finite float32."""
    return np.clip(values, -_LARGEST, _LARGEST).astype(np.float32)


def _inside(rng: np.random.Generator, grid: _Grids) -> np.ndarray:
    return grid.lsb * rng.uniform(grid.low, grid.high + 1)


def _on_codes(rng: np.random.Generator, grid: _Grids) -> np.ndarray:
    code = np.floor(rng.uniform(grid.low, grid.high + 1))
    return grid.lsb * (code + rng.integers(0, 2, code.shape) / 2)


def _beside_codes(rng: np.random.Generator, grid: _Grids) -> np.ndarray:
    values = _float32(_on_codes(rng, grid))
    return np.nextafter(values, np.where(rng.random(values.shape) < 0.5, -np.inf, np.inf).astype(np.float32))


def _at_ends(rng: np.random.Generator, grid: _Grids) -> np.ndarray:
    end = np.where(rng.random(grid.low.shape) < 0.5, grid.low, grid.high)
    return grid.lsb * (end + rng.integers(-2, 3, end.shape) / 2)


def _outside(rng: np.random.Generator, grid: _Grids) -> np.ndarray:
    centre, radius = (grid.low + grid.high) / 2, (grid.high - grid.low + 1) / 2
    return grid.lsb * (centre + radius * grid.reach * rng.uniform(-1, 1, centre.shape))


def _far(rng: np.random.Generator, grid: _Grids) -> np.ndarray:
    shape = grid.low.shape
    exponent = rng.integers(-_FAR_EXPONENT, _FAR_EXPONENT + 1, shape)
    values = np.ldexp(rng.uniform(-1, 1, shape), exponent)
    return np.where(rng.random(shape) < 0.25, rng.choice(_SPECIAL, shape), values)


_Kind = Callable[[np.random.Generator, _Grids], np.ndarray]
_KINDS: tuple[_Kind, ...] = (_inside, _on_codes, _beside_codes, _at_ends, _outside, _far)
