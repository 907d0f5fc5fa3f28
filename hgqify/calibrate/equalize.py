"""Channels of equal size: powers of two between layers with weights, so that one format suits all channels.

An activation tensor with one format gives its smallest channel the LSB that its largest needs. Scaling
channel c of the producer's output by 2**s[c] and the consumers' weights for it by 2**-s[c] changes no result,
and the channel then has the LSB of a format of 2**-s[c] the size. In return the consumers' weights, which
share a format in every output channel, spread: where one grows beyond the others, all get its LSB.

The shifts minimise the sum of both losses, as the allocation of bits counts them (see `fisher`): of every
channel at every LSB it may get, and of every weight at the LSB its output channel then has. (Data-free
equalisation, arXiv 1906.04721, section 4.1, balances ranges in place of losses.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hgqify.calibrate.candidates import DataCandidates
from hgqify.calibrate.placement import ceil_log2

LIMIT = 12
"""Largest shift: beyond it a channel is noise, and its weights would come near the end of float32."""

_WORTHWHILE = 0.8  # of the loss before: what gains less on some samples may lose on others
_NONE = -(10**6)  # log2 of nothing
_ROUNDS = 1000


@dataclass(frozen=True, kw_only=True, eq=False)
class Consumer:
    """A layer whose input may be scaled.

    Attributes:
        sets: number of each input channel's set of channels with one shift; -1 for none.
        magnitude: largest magnitude of each input channel.
        losses: of each input channel with the format of `candidates`, (2 LIMIT + 1, inputs).
        kernel: weights, (window, inputs, outputs), zero where an output does not see an input; None where
            every weight has a format of its own, as in a batch normalization.
        curvature: of the loss at every weight, of the same shape.
        weight_bits: width of the weights, the sign included.
    """

    sets: np.ndarray
    magnitude: np.ndarray
    losses: np.ndarray
    kernel: np.ndarray | None = None
    curvature: np.ndarray | None = None
    weight_bits: int = 0


def candidates(bits: int, signed: bool, largest: float, shape: tuple[int, ...]) -> DataCandidates:
    """The formats a channel has at the shifts -LIMIT..LIMIT, as long as the tensor's range stays.

    Args:
        bits: width of the tensor's format, the sign included.
        signed: whether it holds negative numbers.
        largest: magnitude of the tensor.
        shape: of the widths to price: the channels, and 1 along all other axes.
    """
    k = int(signed)
    tops = int(ceil_log2(np.asarray(largest))) - np.arange(-LIMIT, LIMIT + 1)
    i = np.broadcast_to(tops.reshape(-1, *(1,) * len(shape)), (len(tops), *shape))
    return DataCandidates(k=np.full(shape, k), i=i, f=bits - k - i, bits=np.full(i.shape, bits - k, np.int64))


def choose_shifts(consumers: Sequence[Consumer], count: int) -> np.ndarray:
    """A shift for every set of channels.

    Args:
        consumers: the layers they lead to.
        count: number of sets; those no consumer has stay as they are.

    Returns:
        Whole numbers, shape (count,).
    """
    costs = [Cost(consumer) for consumer in consumers]
    best, least = np.zeros(count, np.int64), np.inf
    for start in (np.zeros(count, np.int64), full_shifts(consumers, count)):
        shifts = _descend(costs, start)
        total = sum(cost.total(shifts) for cost in costs)
        if total < least:
            best, least = shifts, total
    for together in _connected(costs):
        before, after = (sum(costs[n].total(s) for n in together) for s in (np.zeros(count, np.int64), best))
        if after > _WORTHWHILE * before:
            for n in together:
                best[costs[n].sets[costs[n].sets >= 0]] = 0
    return best


def _connected(costs: Sequence[Cost]) -> list[list[int]]:
    """Positions of the costs, grouped by the sets they have in common."""
    groups: list[tuple[set[int], list[int]]] = []
    for n, cost in enumerate(costs):
        sets, members = {int(k) for k in cost.sets if k >= 0}, [n]
        apart = []
        for other, others in groups:
            if other & sets:
                sets, members = sets | other, [*others, *members]
            else:
                apart.append((other, others))
        groups = [*apart, (sets, members)]
    return [members for _, members in groups]


def full_shifts(consumers: Sequence[Consumer], count: int) -> np.ndarray:
    """The shifts that bring every channel to the integer bits of the largest beside it."""
    shifts = np.full(count, LIMIT, np.int64)
    met = np.zeros(count, bool)
    for consumer in consumers:
        room = ceil_log2(np.max(consumer.magnitude, initial=0)) - ceil_log2(consumer.magnitude)
        live = (consumer.sets >= 0) & (consumer.magnitude > 0)
        np.minimum.at(shifts, consumer.sets[live], room[live])
        met[consumer.sets[live]] = True
    return np.where(met, shifts, 0)


def _descend(costs: Sequence[Cost], shifts: np.ndarray) -> np.ndarray:
    """Single steps of all sets that gain, as many at once as still gain together."""
    shifts = shifts.copy()
    total = sum(cost.total(shifts) for cost in costs)
    for _ in range(_ROUNDS):
        change = np.zeros((2, len(shifts)))
        for cost in costs:
            cost.add_changes(shifts, change)
        for row, step in enumerate((-1, 1)):
            change[row, np.abs(shifts + step) > LIMIT] = np.inf
        steps = np.where(change[1] < change[0], 1, -1)
        gain = change.min(axis=0)
        order = np.argsort(gain, kind="stable")[: int(np.count_nonzero(gain < -1e-9 * total))]
        number, tried, found = len(order), shifts, total
        while number:
            tried = shifts.copy()
            tried[order[:number]] += steps[order[:number]]
            found = sum(cost.total(tried) for cost in costs)
            if found < total:
                break
            number //= 2
        if not number:
            break
        shifts, total = tried, found
    return shifts


class Cost:
    """The loss of one consumer, with input channels of one set taken together."""

    def __init__(self, consumer: Consumer) -> None:
        self.sets, local = np.unique(consumer.sets, return_inverse=True)
        size = len(self.sets)
        self._rows = np.arange(size)
        self._data = np.zeros((len(consumer.losses), size))
        np.add.at(self._data.T, local, consumer.losses.T)
        magnitude = np.zeros(size)
        np.maximum.at(magnitude, local, consumer.magnitude)
        self._free = (self.sets >= 0) & (magnitude > 0)  # a channel never seen to live keeps its room
        self._top = np.where(magnitude > 0, ceil_log2(magnitude), _NONE)
        self._widest = int(self._top.max())
        self._weights = _WeightLoss(consumer, local, size)

    def _shifts(self, shifts: np.ndarray) -> np.ndarray:
        return np.where(self.sets >= 0, shifts[self.sets], 0)

    def _data_loss(self, shifts: np.ndarray, widest: np.ndarray) -> np.ndarray:
        """Of every set, if the tensor's range is 2**widest."""
        place = np.clip(shifts - (widest - self._widest) + LIMIT, 0, 2 * LIMIT)
        return self._data[place, self._rows]

    def total(self, shifts: np.ndarray) -> float:
        """Loss with these shifts."""
        s = self._shifts(shifts)
        data = self._data_loss(s, np.max(self._top + s))
        return float(data.sum() + self._weights.of(s).sum())

    def add_changes(self, shifts: np.ndarray, change: np.ndarray) -> None:
        """Add to ``change``, (2, sets), what one step down or up of each set alone changes."""
        s, before = self._shifts(shifts), self.total(shifts)
        top = self._top + s
        others = max_of_others(top[:, None])[:, 0]
        for row, step in enumerate((-1, 1)):
            widest = np.maximum(others, top + step)
            found = np.zeros(len(s))
            for value in np.unique(widest):  # a few: only the largest channels move the range
                base = self._data_loss(s, value)
                moved = base.sum() - base + self._data_loss(s + step, value)
                found = np.where(widest == value, moved, found)
            found += self._weights.after(s, step) - before
            change[row, self.sets[self._free]] += found[self._free]


class _WeightLoss:
    """The loss of a kernel by the LSBs its output channels get."""

    def __init__(self, consumer: Consumer, local: np.ndarray, size: int) -> None:
        self._table: np.ndarray | None = None
        kernel, curvature = consumer.kernel, consumer.curvature
        if kernel is None or curvature is None:
            return
        outputs = kernel.shape[-1]
        peak = np.zeros((size, outputs))
        np.maximum.at(peak, local, np.abs(kernel).max(axis=0))
        self._peak = np.where(peak > 0, ceil_log2(peak), _NONE)
        # Entry u: the LSB is that of a format 2**u above the set's own largest weight for this output.
        self._table = np.zeros((consumer.weight_bits + 2, size, outputs))
        finest = np.where(peak > 0, self._peak, 0)[local] - (consumer.weight_bits - 1)
        for u, losses in enumerate(self._table):
            codes = np.floor(np.ldexp(kernel, -finest - u) + 0.5)
            error = np.ldexp(codes, finest + u) - kernel
            np.add.at(losses, local, np.sum(0.5 * curvature * error**2, axis=0))
        self._rows, self._columns = np.ogrid[:size, :outputs]

    def of(self, shifts: np.ndarray) -> np.ndarray:
        """Of every set and output."""
        if self._table is None:
            return np.zeros(1)
        peak = self._peak - shifts[:, None]
        return self._look(peak, peak.max(axis=0), self._columns)

    def after(self, shifts: np.ndarray, step: int) -> np.ndarray:
        """In all, after one step of each set alone."""
        if self._table is None:
            return np.zeros(1)
        peak = self._peak - shifts[:, None]
        top = peak.max(axis=0)
        before = self._look(peak, top, self._columns)
        moved = np.maximum(max_of_others(peak), peak - step)  # each output's top, (sets, outputs)
        result = before.sum() - before.sum(axis=1) + self._look(peak - step, moved, self._columns).sum(axis=1)
        # Where the top moves, the other sets' LSB does too.
        rows, columns = np.nonzero(moved != top)
        others = self._look(peak[:, columns], moved[rows, columns], columns[None])
        others -= before[:, columns]
        others[rows, np.arange(len(rows))] = 0
        np.add.at(result, rows, others.sum(axis=0))
        return result

    def _look(self, peak: np.ndarray, top: np.ndarray, columns: np.ndarray) -> np.ndarray:
        table = self._table
        if table is None:
            return np.zeros_like(peak, np.float64)
        return table[np.clip(top - peak, 0, len(table) - 1), self._rows, columns]


def max_of_others(values: np.ndarray) -> np.ndarray:
    """For every row the maximum of all other rows."""
    if len(values) < 2:
        return np.full(values.shape, _NONE)
    order = np.argsort(values, axis=0)
    first, second = (np.take_along_axis(values, order[-n][None], axis=0) for n in (1, 2))
    return np.where(np.arange(len(values))[:, None] == order[-1], second, first)
