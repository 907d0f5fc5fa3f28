"""Lower resizing and centre crops to moves of values, and to a small dense layer where they interpolate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import keras
import numpy as np

from hgqify.graph.build import float_factory
from hgqify.graph.model import INPUT, Graph, Node
from hgqify.graph.passes.base import Pass, PassResult
from hgqify.graph.passes.operation_chain import Chain
from hgqify.graph.passes.operation_moves import MAX_RUNS

_PROBED = 1 << 24
"""Elements of the images that are resized at a time to learn how."""

_TOLERANCE = 1e-5


class LowerResizing(Pass):
    """Resizing, CenterCrop, UpSampling2D that interpolates -> moves of values, or a matrix for each axis.

    The layer resizes each axis by itself, and linearly: what it makes of single rows and columns gives its
    matrices. A row of a matrix with a single one moves a value; other rows are weights of a dense layer along
    the axis.
    """

    name = "lower-resizing"

    def run(self, graph: Graph) -> PassResult:
        """Lower every such layer that can be; the others are left, and the reason is reported."""
        replacements, events = {}, []
        for node in graph:
            if not is_resizing(node):
                continue
            if node.kind == "RandomCrop":
                if node.shape == graph[node.inputs[0]].shape:
                    replacements[node.name] = Chain(node, node.inputs[0], node.shape).finish()
                    events.append(self.event(node, "lowered", "an identity at inference"))
                continue
            plan = _plan(graph, node)
            if isinstance(plan, str):
                events.append(self.event(node, "kept", plan))
                continue
            replacements[node.name] = _lower(graph, node, plan)
            events.append(self.event(node, "lowered", "moves" if plan.moves else "a matrix for each axis"))
        return self.result(graph, replacements, {}, events)


def is_resizing(node: Node) -> bool:
    """Whether a node resizes, and is no plain upsampling."""
    if node.call is not None:
        return False
    if node.kind == "UpSampling2D":
        return node.config.get("interpolation", "nearest") != "nearest"
    return node.kind in ("Resizing", "CenterCrop", "RandomCrop")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Plan:
    """Matrices (results, places) of height and width; ``moves``: each row has a single one."""

    matrices: tuple[np.ndarray, np.ndarray]

    @property
    def moves(self) -> bool:
        return all(_indices(matrix) is not None for matrix in self.matrices)


def _plan(graph: Graph, node: Node) -> _Plan | str:
    """How the layer resizes, or why it is not lowered."""
    first = node.config.get("data_format") == "channels_first"
    given = graph[node.inputs[0]].shape
    if len(given) != 3:
        return "it resizes something else than images"
    places = given[1:] if first else given[:2]
    layer = float_factory(node)

    def resized(images: np.ndarray) -> np.ndarray:
        """(images, height, width) -> the same, resized."""
        images = images[:, None] if first else images[..., None]
        tensor = keras.ops.convert_to_tensor(images.astype(np.float32))
        y: np.ndarray = np.asarray(keras.ops.convert_to_numpy(layer(tensor)))
        return y[:, 0] if first else y[..., 0]

    # The middle row and column are never padding.
    height, width = (_matrix(resized, places, axis) for axis in (0, 1))
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, *places)) + 1
    expected = height @ image[0] @ width.T
    if not np.allclose(resized(image)[0], expected, rtol=_TOLERANCE, atol=10 * _TOLERANCE):
        return "what it computes is no matrix for each axis"
    plan = _Plan(matrices=(height, width))
    if not plan.moves and _is_rounded(graph, node):
        return "it rounds the integers that it interpolates between"
    for matrix in plan.matrices:
        indices = _indices(matrix)
        if indices is not None and _runs(indices, matrix.shape[1]) > MAX_RUNS:
            return f"it cuts an axis into more than {MAX_RUNS} pieces"
    return plan


def _matrix(resized: Callable[[np.ndarray], np.ndarray], places: tuple[int, ...], axis: int) -> np.ndarray:
    size, found = places[axis], []
    chunk = max(1, _PROBED // (places[0] * places[1]))
    for start in range(0, size, chunk):
        images = np.zeros((min(chunk, size - start), *places), np.float32)
        for number in range(len(images)):
            images[(number, start + number) if axis == 0 else (number, slice(None), start + number)] = 1
        y = resized(images)
        found.append(y[:, :, y.shape[2] // 2] if axis == 0 else y[:, y.shape[1] // 2])
    matrix = np.concatenate(found).T.astype(np.float64)
    matrix[np.abs(matrix) < _TOLERANCE] = 0
    near = np.round(matrix * 256) / 256
    # Weights that are dyadic but for the float32 arithmetic that found them.
    return np.where(np.abs(matrix - near) < _TOLERANCE, near, matrix)


def _indices(matrix: np.ndarray) -> list[int] | None:
    """For each result the place that it comes from, if each is a single one."""
    ones = matrix == 1
    if not np.all(ones.sum(axis=1) == 1) or np.any(matrix[~ones]):
        return None
    return np.argmax(ones, axis=1).tolist()


def _repeats(indices: list[int], size: int) -> int | None:
    """How often each place is repeated, if each is as often as any other."""
    count = len(indices) // size
    return count if count and indices == np.repeat(np.arange(size), count).tolist() else None


def _runs(indices: list[int], size: int) -> int:
    if _repeats(indices, size) is not None:
        return 1
    steps = {b - a for a, b in pairwise(indices)}
    return 1 if len(steps) == 1 and min(steps) > 0 else 1 + sum(b != a + 1 for a, b in pairwise(indices))


def _is_rounded(graph: Graph, node: Node) -> bool:
    """Whether the layer gets integers, which Keras rounds again once they are resized."""
    source = graph[node.inputs[0]]
    while len(source.inputs) == 1 and not source.weights:
        source = graph[source.inputs[0]]
    return source.kind == INPUT and keras.backend.is_int_dtype(source.config["dtype"])


def _lower(graph: Graph, node: Node, plan: _Plan) -> tuple[Node, ...]:
    first = node.config.get("data_format") == "channels_first"
    chain = Chain(node, node.inputs[0], graph[node.inputs[0]].shape)
    if first:
        chain.permute((1, 2, 0))
    found = [_indices(matrix) for matrix in plan.matrices]
    sizes = chain.shape[:2]
    repeats = [_repeats(i, size) if i else None for i, size in zip(found, sizes, strict=True)]
    if all(repeats) and repeats != [1, 1]:
        shape = (*(size * (r or 1) for size, r in zip(sizes, repeats, strict=True)), chain.shape[2])
        config = {"size": tuple(repeats), "interpolation": "nearest", "data_format": "channels_last"}
        chain.add("UpSampling2D", config, shape)
    elif plan.moves and all(i == list(range(i[0], i[-1] + 1)) for i in found if i):
        crop = tuple((i[0], size - 1 - i[-1]) for i, size in zip(found, sizes, strict=True) if i)
        shape = (*(len(i) for i in found if i), chain.shape[2])
        chain.add("Cropping2D", {"cropping": crop, "data_format": "channels_last"}, shape)
    elif plan.moves:
        for axis, indices in enumerate(found):
            chain.gather(axis, indices or [])
    else:
        for axis, matrix in enumerate(plan.matrices):
            _multiplied(chain, axis, matrix)
    if first:
        chain.permute((2, 0, 1))
    return chain.finish()


def _multiplied(chain: Chain, axis: int, matrix: np.ndarray) -> None:
    """A dense layer along an axis."""
    indices = _indices(matrix)
    if indices is not None:
        chain.gather(axis, indices)
        return
    order = [a for a in range(3) if a != axis]
    chain.permute([*order, axis])
    weights = {"kernel": matrix.T.astype(np.float32)}
    config = {"units": len(matrix), "use_bias": False, "activation": "linear"}
    chain.add("Dense", config, (*chain.shape[:-1], len(matrix)), weights=weights)
    chain.permute([2, 0, 1] if axis == 0 else [0, 2, 1])
