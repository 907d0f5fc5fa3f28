"""The layout of networks: order, distance, crossings, and pictures of large ones."""

import itertools
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgqify.report.picture import draw, lay_out
from hgqify.report.picture.drawing import cut, edge_note, edge_text
from hgqify.report.picture.layout import isotonic

QUANTIZED = {
    "bits": [8, 8.0, 8],
    "format": {"k": [1, 1], "i": [2, 2], "f": [5, 5], "rounding": "RND", "overflow": "SAT"},
}


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """Number of nodes, and edges that only go to higher numbers."""
    count = draw(st.integers(1, 12))
    pairs = list(itertools.combinations(range(count), 2))
    return count, draw(st.lists(st.sampled_from(pairs), max_size=24)) if pairs else []


@given(graphs())
def test_edges_go_down_and_nodes_do_not_overlap(graph: tuple[int, list[tuple[int, int]]]) -> None:
    count, edges = graph
    widths = {node: 100.0 + 20 * (node % 3) for node in range(count)}
    layout = lay_out(widths, edges)
    for (source, target), bends in zip(edges, layout.bends, strict=True):
        assert layout.rank[target] - layout.rank[source] == len(bends) + 1 > 0
    for one, other in itertools.combinations(range(count), 2):
        if layout.rank[one] == layout.rank[other]:
            room = (widths[one] + widths[other]) / 2
            assert abs(layout.x[one] - layout.x[other]) >= room


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(0.1, 10)), min_size=1, max_size=20))
def test_isotonic_regression(points: list[tuple[float, float]]) -> None:
    values, weights = zip(*points, strict=True)
    found = isotonic(values, weights)
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(found))
    # Blocks of equal places stand at their weighted mean: the optimality condition.
    for _, block in itertools.groupby(range(len(found)), key=lambda n: round(found[n], 6)):
        own = list(block)
        mean = sum(values[n] * weights[n] for n in own) / sum(weights[n] for n in own)
        assert mean == pytest.approx(found[own[0]], abs=1e-4)


def test_a_chain_is_straight_and_a_residual_goes_round_it() -> None:
    layout = lay_out(dict.fromkeys(range(5), 200.0), [(0, 1), (1, 2), (2, 3), (0, 3), (3, 4)])
    assert [layout.rank[node] for node in range(5)] == [0, 1, 2, 3, 4]
    assert layout.x[1] == pytest.approx(layout.x[2], abs=0.5)
    assert layout.x[0] == pytest.approx(layout.x[3], abs=0.5)
    around = layout.bends[3]
    assert around[0] == pytest.approx(around[1], abs=0.5)
    assert abs(around[0] - layout.x[1]) > 100


def test_two_lines_that_could_cross_do_not() -> None:
    edges = [(0, 3), (1, 2), (2, 4), (3, 5)]
    layout = lay_out(dict.fromkeys(range(6), 100.0), edges)
    for (a, b), (c, d) in itertools.combinations(edges[:2], 2):
        assert (layout.x[a] - layout.x[c]) * (layout.x[b] - layout.x[d]) > 0


def test_circles_are_refused() -> None:
    with pytest.raises(ValueError, match="circle"):
        lay_out({0: 1.0, 1: 1.0}, [(0, 1), (1, 0)])


def residual_network(blocks: int) -> dict[str, Any]:
    """Blocks of three layers with an addition."""
    names, edges, last = ["input"], [], 0
    for block in range(blocks):
        first = len(names)
        names += [f"block_{block}_{part}" for part in ("a", "b", "c", "add")]
        edges += [(last, first), (first, first + 1), (first + 1, first + 2), (first + 2, first + 3)]
        edges.append((last, first + 3))
        last = first + 3
    return {
        "nodes": [
            {"id": n, "layer": name, "operations": ["Conv"], "shape": [8, 8, 16]}
            for n, name in enumerate(names)
        ],
        "edges": [{"source": a, "target": b, **QUANTIZED} for a, b in edges],
        "omitted": 0,
    }


def test_a_network_of_two_hundred_layers_is_drawn_whole_and_soon() -> None:
    graph = residual_network(50)
    start = time.monotonic()
    picture = draw(graph, {})
    assert time.monotonic() - start < 10
    for node in graph["nodes"]:
        assert f">{node['layer']}</text>" in picture
    assert picture.count('class="bits quantized"') == len(graph["edges"])
    sizes = [tuple(map(int, pair)) for pair in re.findall(r'width="(\d+)" height="(\d+)" role', picture)]
    assert len(sizes) > 15  # parts
    # Two abreast on a laptop, none higher than a sheet of paper.
    assert max(width for width, _ in sizes) < 580
    assert max(height for _, height in sizes) < 1000


def test_every_node_is_in_one_part_only() -> None:
    picture = draw(residual_network(12), {})
    assert len(re.findall(r'class="box"', picture)) == 49


def test_a_single_node() -> None:
    graph = {"nodes": [{"id": 0, "layer": "x", "operations": ["Input"], "shape": []}], "edges": []}
    assert ">x</text>" in draw(graph, {})


def test_texts_of_edges() -> None:
    assert edge_text({"bits": None, "format": None}) == "real"
    assert edge_text({"bits": [3, 4.5, 8], "format": None}) == "3–8 bit"
    assert edge_note(QUANTIZED) == "8 bits: ap_fixed<8,3,AP_RND,AP_SAT>"
    mixed = {**QUANTIZED, "bits": [0, 4.25, 8], "format": {**QUANTIZED["format"], "f": [-3, 5]}}
    assert edge_note(mixed) == "0–8 bits (mean 4.25): k 1, i 2, f −3–5, rounding RND, overflow SAT"
    assert edge_note({"bits": [3, 4.5, 8], "format": None}).endswith("what the exact result takes")


def test_texts_are_cut_to_their_room() -> None:
    assert cut("short", 200) == "short"
    assert cut("m" * 50, 200).endswith("m…")
    assert len(cut("m" * 50, 200)) < len(cut("i" * 50, 200))
