"""Lower normalizations over the elements of a sample to means, a table, products and a scale and shift."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hgqify.convert.parts import LARGEST, MEAN, SCALED, SUM, Exponents, Parts, positive_axes
from hgqify.graph import Graph, Node, Pass, PassResult
from hgqify.layers import inverse_sqrt, scaled_epsilon

KINDS = ("LayerNormalization", "RMSNormalization", "UnitNormalization", "GroupNormalization")

_SQUARES = 1e-12
"""UnitNormalization's least sum of squares; the root of 0 has no reciprocal."""
_NEGLIGIBLE = 2.0**-30
"""Beside a mean of squares of which the largest is at least 1."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of a tensor that a normalization brings to one size.

    Attributes:
        key: name of the normalization's node, or what all calls of a shared one have in common.
        tensor: name of the node that gives it.
        axes: along which a row runs, the batch counted as 0.
        epsilon: beside the mean of squares: what lies far below its root is not enlarged.
    """

    key: str
    tensor: str
    axes: tuple[int, ...]
    epsilon: float


class LowerNormalization(Pass):
    """LayerNormalization(x) -> c * inverse_sqrt(mean(c * c)) * gamma + beta, c = x - mean(x).

    RMSNormalization has c = x, UnitNormalization a sum in place of the mean of squares, and
    GroupNormalization groups of channels. The last part keeps the node's name.

    Where rows differ in size by orders of magnitude, one format for all of them would lose the small ones.
    There c is scaled row by row by a power of two p that brings its largest magnitude into [1, 2), and
    epsilon by its square: ``c p / sqrt(mean((c p)**2) + epsilon p**2)`` is the same.

    Args:
        sizes: sizes of the rows of those normalizations that are to be scaled, by `Rows.key`.
    """

    name = "lower-normalization"

    def __init__(self, sizes: Mapping[str, Exponents] | None = None) -> None:
        self._sizes = dict(sizes or {})

    def run(self, graph: Graph) -> PassResult:
        """Lower every normalization of single samples."""
        replacements, events = {}, []
        for node in graph:
            if node.kind in KINDS and node.call is None and _is_possible(node):
                sizes = self._sizes.get(node.shared or node.name)
                replacements[node.name] = _parts(node, sizes)
                how = "" if sizes is None else ", rows scaled by powers of two"
                events.append(self.event(node, "lowered", f"means, a table of 1/sqrt(x), products{how}"))
        return self.result(graph, replacements, {}, events)


def _is_possible(node: Node) -> bool:
    axes = positive_axes(node)
    if 0 in axes:
        return False
    return node.kind != "GroupNormalization" or len(axes) == 1


def normalized_rows(graph: Graph) -> tuple[Rows, ...]:
    """What the normalizations of a lowered graph bring to one size."""
    found = []
    for node in graph:
        stem, _, label = node.name.rpartition("/")
        if node.kind != SCALED or label != "squares":
            continue
        (total,) = graph.consumers(node.name)
        inverse = graph[f"{stem}/inverse"]
        found.append(
            Rows(
                key=(node.shared or node.name).removesuffix("/squares"),
                tensor=node.inputs[0],
                axes=positive_axes(total),
                epsilon=float(inverse.config["activation_params"]["epsilon"]),
            )
        )
    return tuple(found)


def _parts(node: Node, sizes: Exponents | None) -> tuple[Node, ...]:
    parts, config, shape = Parts(node), node.config, node.shape
    axes, (source,) = positive_axes(node), node.inputs
    if node.kind == "GroupNormalization":
        y = _grouped(parts, source, sizes)
    elif node.kind == "UnitNormalization":
        y = _normalized(parts, source, shape, axes, sizes, centered=False, kind=SUM, least=_SQUARES)
    else:
        centered = node.kind == "LayerNormalization" and not config.get("rms_scaling", False)
        epsilon = float(config["epsilon"])
        y = _normalized(parts, source, shape, axes, sizes, centered=centered, epsilon=epsilon)
    _affine(parts, y, axes)
    return parts.done()


def _normalized(
    parts: Parts,
    x: str,
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    sizes: Exponents | None,
    *,
    centered: bool,
    kind: str = MEAN,
    epsilon: float = 0.0,
    least: float = 0.0,
) -> str:
    if centered:
        mean = parts.reduced("mean", MEAN, x, shape, axes)
        x = parts.add("centered", "Subtract", (x, mean), shape)
    offset = None
    if sizes is not None:
        largest = parts.reduced("largest", LARGEST, x, shape, axes)
        if epsilon * 4.0**-sizes.lowest > _NEGLIGIBLE:
            bounds = sizes._asdict()
            offset = parts.table("epsilon", scaled_epsilon, largest, epsilon=epsilon, **bounds)
        x = parts.by_power("sized", x, parts.power("row_power", largest, sizes), shape, sizes)
        epsilon, least = 0.0, _SQUARES
    squares = parts.scaled("squares", x, x, shape)
    power = parts.reduced("variance" if centered else "power", kind, squares, shape, axes)
    if offset is not None:
        power = parts.add("offset", "Add", (power, offset), parts.shapes[power])
    inverse = parts.table("inverse", inverse_sqrt, power, epsilon=epsilon, least=least)
    return parts.scaled("normalized", x, inverse, shape)


def _grouped(parts: Parts, x: str, sizes: Exponents | None) -> str:
    """Each group of channels over all places; channels elsewhere than behind them are moved there."""
    given, (axis,) = parts.origin.shape, positive_axes(parts.origin)
    order = _behind((axis,), len(given))
    x = parts.permute("channels_last", x, given, order)
    *space, channels = (given[a] for a in order)
    groups = int(parts.origin.config["groups"])
    groups = channels if groups == -1 else groups
    shape = (math.prod(space), groups, channels // groups)
    x = parts.reshape("groups", x, shape)
    epsilon = float(parts.origin.config["epsilon"])
    y = _normalized(parts, x, shape, (1, 3), sizes, centered=True, epsilon=epsilon)
    y = parts.reshape("channels", y, (*space, channels))
    return parts.permute("channels_back", y, (*space, channels), np.argsort(order).tolist())


def _behind(axes: tuple[int, ...], rank: int) -> list[int]:
    """All axes from 0, those of ``axes`` (batch counted as 0) behind the others."""
    last = [a - 1 for a in axes]
    return [a for a in range(rank) if a not in last] + last


def _affine(parts: Parts, x: str, axes: tuple[int, ...]) -> None:
    """gamma and beta as a batch normalization of mean 0 and variance 1; nothing where they change nothing."""
    node = parts.origin
    found = {key: np.ravel(value) for key, value in node.weights.items()}
    given = found.get("gamma", found.get("scale"))
    beta = found.get("beta")
    scaled = given is not None and np.any(given != 1)
    if not scaled and (beta is None or not np.any(beta)):
        return
    size = math.prod(node.shape[a - 1] for a in axes)
    gamma = np.ones(size, np.float32) if given is None else given
    shift = np.zeros(size, np.float32) if beta is None else beta
    weights = {
        "gamma": gamma,
        "beta": shift,
        "moving_mean": np.zeros(size, np.float32),
        "moving_variance": np.ones(size, np.float32),
    }
    config: dict[str, Any] = {"epsilon": 0.0, "axis": axes[0] if len(axes) == 1 else -1}
    if len(axes) == 1:
        parts.add("scale", "BatchNormalization", (x,), node.shape, config, weights)
        return
    # Parameters of several axes become those of one.
    order = _behind(axes, len(node.shape))
    turned = tuple(node.shape[a] for a in order)
    x = parts.permute("turned", x, node.shape, order)
    flat = (*turned[: -len(axes)], size)
    x = parts.reshape("flat", x, flat)
    x = parts.add("scale", "BatchNormalization", (x,), flat, config, weights)
    x = parts.reshape("whole", x, turned)
    parts.permute("back", x, turned, np.argsort(order).tolist())
