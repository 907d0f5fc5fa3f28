"""Which layers bound or choose values as a Keras operation does: maximum, minimum, clip, abs, where."""

from typing import Any

import numpy as np

from hgqify.graph.model import Graph, Node, Ref
from hgqify.graph.passes.operation_chain import Chain

_RELU = {"activation": "relu"}


def _relu(**config: float) -> dict[str, Any]:
    return {"max_value": None, "negative_slope": 0.0, "threshold": 0.0, **config}


_NEGATIVE = _relu(max_value=0.0, negative_slope=1.0)  # min(x, 0), exact on every grid


def _chain(graph: Graph, node: Node, label: str = "") -> Chain:
    return Chain(node, node.inputs[0], graph[node.inputs[0]].shape, label)


def at_least(graph: Graph, node: Node, low: np.ndarray) -> tuple[Node, ...]:
    """``max(x, low)`` as ``relu(x - low) + low``."""
    return _chain(graph, node).affine(1, -low).add("Activation", _RELU).affine(1, low).finish()


def at_most(graph: Graph, node: Node, high: np.ndarray) -> tuple[Node, ...]:
    """``min(x, high)``; a bound that is not negative fits into a ReLU that passes what is negative."""
    if high.size == 1 and high.item() >= 0:
        config = _relu(max_value=high.item(), negative_slope=1.0)
        return _chain(graph, node).add("ReLU", config).finish()
    return _chain(graph, node).affine(1, -high).add("ReLU", _NEGATIVE).affine(1, high).finish()


def clip(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    """``ops.clip`` between two numbers."""
    low, high = node.config["x_min"], node.config["x_max"]
    if node.call is not None or not (np.isscalar(low) and np.isscalar(high)):
        return None
    low, high = float(low), float(high)  # type: ignore[arg-type]
    if (low, high) == (-1, 1):
        return _chain(graph, node).add("Activation", {"activation": "hard_tanh"}).finish()
    if not (low < high and np.isfinite([low, high]).all()):
        return None
    chain = _chain(graph, node).affine(1, -low).add("ReLU", _relu(max_value=high - low))
    return chain.affine(1, low).finish()


def absolute(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    """``|x| = max(x, 0) - min(x, 0)``."""
    if node.call is not None or not node.shape:
        return None
    above = _chain(graph, node, "above_").add("Activation", _RELU)
    below = _chain(graph, node, "below_").add("ReLU", _NEGATIVE)
    whole = _chain(graph, node).add("Subtract", inputs=(above.name, below.name))
    return (*above.nodes, *below.nodes, *whole.finish())


def where(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    """``ops.where(condition, x, y)`` with a constant condition: masks of 0 and 1, and a sum."""
    values = [*node.call.args, *node.call.kwargs.values()] if node.call else []
    if len(values) != 3 or isinstance(values[0], Ref) or not node.shape:
        return None
    condition = _unbatched(values[0], node)
    if condition is None or any(graph[name].shape != node.shape for name in node.inputs):
        return None
    mask = np.broadcast_to(condition, node.shape).astype(np.float64)
    shift: Any = np.zeros(())
    chains = []
    for value, part, label in ((values[1], mask, "then_"), (values[2], 1 - mask, "else_")):
        if isinstance(value, Ref):
            name = node.inputs[value.index]
            chains.append(Chain(node, name, node.shape, label).affine(_narrow(part), 0))
            continue
        constant = _unbatched(value, node)
        if constant is None:
            return None
        # Not a product: what the mask leaves out may be infinite.
        shift = shift + np.where(part > 0, constant, 0)
    last = chains[-1]
    if len(chains) == 2:
        last = Chain(node, last.name, node.shape).add("Add", inputs=[chain.name for chain in chains])
        return (*chains[0].nodes, *chains[1].nodes, *last.finish())
    return last.affine(1, shift).finish() if np.isfinite(shift).all() else None


def _unbatched(value: Any, node: Node) -> np.ndarray | None:
    """A constant without batch dimension that broadcasts to the node's shape."""
    array = np.asarray(value)
    rank = len(node.shape)
    if array.ndim == rank + 1 and array.shape[0] == 1:
        array = array[0]
    try:
        fits = array.ndim <= rank and np.broadcast_shapes(array.shape, node.shape) == node.shape
    except ValueError:
        return None
    return array if fits else None


def _narrow(mask: np.ndarray) -> np.ndarray:
    """The mask with size 1 on every axis along which it does not vary."""
    for axis in range(mask.ndim):
        first = mask.take([0], axis)
        if np.array_equal(np.broadcast_to(first, mask.shape), mask):
            mask = first
    return mask
