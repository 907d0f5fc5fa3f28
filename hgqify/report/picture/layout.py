"""Where the nodes of a graph without circles go: in ranks, ordered so that few edges cross, edges straight.

The steps are those of Sugiyama, Tagawa and Toda (IEEE Trans. SMC 11, 1981): ranks by the longest path, long
edges split by dummies, orders by barycenters, and places by least squares. The latter is isotonic regression
in every rank: the best places for given neighbours that keep order and distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

_SWEEPS = 8
_ROUNDS = 24
_DUMMY = 26.0  # pixels that an edge takes between two nodes
_APART = 22.0  # pixels between two nodes


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Places of nodes and edges.

    Attributes:
        rank: of each node; edges go to higher ones.
        x: middle of each node, in pixels.
        bends: for each edge, the middles of its dummies, one for each rank between its ends.
    """

    rank: Mapping[int, int]
    x: Mapping[int, float]
    bends: tuple[tuple[float, ...], ...]


def lay_out(widths: Mapping[int, float], edges: Sequence[tuple[int, int]]) -> Layout:
    """Lay a graph out.

    Args:
        widths: in pixels, by node.
        edges: (source, target); without circles, several between the same nodes are allowed.

    Raises:
        ValueError: the edges form a circle.
    """
    rank = _ranks(list(widths), edges)
    sizes: dict[object, float] = {**widths}
    rows: list[list[object]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for node in widths:
        rows[rank[node]].append(node)
    above: dict[object, list[object]] = {node: [] for node in widths}
    below: dict[object, list[object]] = {node: [] for node in widths}
    chains: list[list[object]] = []
    for number, (source, target) in enumerate(edges):
        chain: list[object] = [source]
        for row in range(rank[source] + 1, rank[target]):
            dummy = (number, row)
            rows[row].append(dummy)
            sizes[dummy], above[dummy], below[dummy] = _DUMMY, [], []
            chain.append(dummy)
        chain.append(target)
        for upper, lower in pairwise(chain):
            below[upper].append(lower)
            above[lower].append(upper)
        chains.append(chain)
    rows = _ordered(rows, above, below)
    x = _placed(rows, above, below, sizes)
    return Layout(
        rank=rank,
        x={node: x[node] for node in widths},
        bends=tuple(tuple(x[dummy] for dummy in chain[1:-1]) for chain in chains),
    )


def _ranks(nodes: Sequence[int], edges: Sequence[tuple[int, int]]) -> dict[int, int]:
    """The longest path from a source; sources as close to what reads them as they can be."""
    readers: dict[int, list[int]] = {node: [] for node in nodes}
    waiting = dict.fromkeys(nodes, 0)
    for source, target in edges:
        readers[source].append(target)
        waiting[target] += 1
    sources = [node for node in nodes if not waiting[node]]
    rank, ready, seen = dict.fromkeys(nodes, 0), list(sources), 0
    while ready:
        node = ready.pop()
        seen += 1
        for target in readers[node]:
            rank[target] = max(rank[target], rank[node] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    if seen != len(nodes):
        raise ValueError("the edges form a circle")
    for node in sources:
        if readers[node]:
            rank[node] = min(rank[target] for target in readers[node]) - 1
    return rank


_Links = Mapping[object, Sequence[object]]


def _ordered(rows: list[list[object]], above: _Links, below: _Links) -> list[list[object]]:
    """Sweep down and up; the order with the fewest crossings wins."""
    best, fewest = [list(row) for row in rows], _crossings(rows, below)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        links = above if down else below
        for number in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            fixed = rows[number - 1 if down else number + 1]
            place = {node: n for n, node in enumerate(fixed)}
            now = {node: n for n, node in enumerate(rows[number])}
            middles = {
                node: sum(place[m] for m in links[node]) / len(links[node]) if links[node] else now[node]
                for node in rows[number]
            }
            rows[number].sort(key=middles.__getitem__)
        count = _crossings(rows, below)
        if count < fewest:
            best, fewest = [list(row) for row in rows], count
    return best


def _crossings(rows: Sequence[Sequence[object]], below: _Links) -> int:
    total = 0
    for upper, lower in pairwise(rows):
        place = {node: n for n, node in enumerate(lower)}
        ends = [place[m] for node in upper for m in sorted(below[node], key=place.__getitem__)]
        # Inversions, by a tree of counts: rows may hold thousands of edges.
        size = len(lower)
        tree = [0] * (size + 1)
        for seen, end in enumerate(ends):
            n, smaller = end + 1, 0
            while n:
                smaller += tree[n]
                n &= n - 1
            total += seen - smaller
            n = end + 1
            while n <= size:
                tree[n] += 1
                n += n & -n
    return total


def _placed(
    rows: Sequence[Sequence[object]], above: _Links, below: _Links, sizes: Mapping[object, float]
) -> dict[object, float]:
    x: dict[object, float] = {}
    for row in rows:
        offsets = _offsets(row, sizes)
        middle = (offsets[0] + offsets[-1]) / 2
        x |= {node: offset - middle for node, offset in zip(row, offsets, strict=True)}
    for turn in range(_ROUNDS):
        last = turn >= _ROUNDS - 2
        for row in rows if turn % 2 == 0 else reversed(rows):
            wanted, weights = [], []
            for node in row:
                near = [*above[node], *below[node]] if not last else list(above[node] or below[node])
                pull = [8.0 if isinstance(m, tuple) and isinstance(node, tuple) else 1.0 for m in near]
                total = sum(pull)
                mean = sum(x[m] * p for m, p in zip(near, pull, strict=True)) / total if near else x[node]
                wanted.append(mean)
                weights.append(total or 0.1)
            offsets = _offsets(row, sizes)
            shifted = [w - o for w, o in zip(wanted, offsets, strict=True)]
            x |= {
                node: place + offset
                for node, place, offset in zip(row, isotonic(shifted, weights), offsets, strict=True)
            }
    return x


def _offsets(row: Sequence[object], sizes: Mapping[object, float]) -> list[float]:
    """Middles of nodes that stand as close as they may."""
    offsets = [0.0]
    for left, right in pairwise(row):
        offsets.append(offsets[-1] + (sizes[left] + sizes[right]) / 2 + _APART)
    return offsets


def isotonic(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The rising numbers that are closest to some values, by weighted least squares.

    Pools neighbours that fall (Ayer et al., Ann. Math. Stat. 26, 1955).
    """
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        pools.append((value, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, u, m), (b, v, n) = pools[-2:]
            pools[-2:] = [((a * u + b * v) / (u + v), u + v, m + n)]
    return [value for value, _, count in pools for _ in range(count)]
