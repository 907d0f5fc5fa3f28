"""Which layers reduce axes as a Keras operation does: sum, mean, max, min over any of them."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from hgqify.graph.model import Graph, Node
from hgqify.graph.passes.operation_chain import Chain

Rule = Callable[[Graph, Node], tuple[Node, ...] | None]


def _reduction(finish: Callable[[Chain, int, int], Chain], *, last: bool = False) -> Rule:
    """Bring the reduced axes together, in front of the others or behind them, and reduce them as one."""

    def rule(graph: Graph, node: Node) -> tuple[Node, ...] | None:
        shape, axis = graph[node.inputs[0]].shape, node.config["axis"]
        given = axis if isinstance(axis, list | tuple) else (axis,)
        if node.call is not None or None in given or node.config.get("initial") is not None or not node.shape:
            return None
        axes = sorted({int(a) % (len(shape) + 1) - 1 for a in given})
        if -1 in axes:
            return None
        kept = [a for a in range(len(shape)) if a not in axes]
        reduced, others = math.prod(shape[a] for a in axes), math.prod(shape[a] for a in kept)
        chain = Chain(node, node.inputs[0], shape).permute([*kept, *axes] if last else [*axes, *kept])
        chain.reshape((others, reduced) if last else (reduced, others))
        return finish(chain, reduced, others).finish()

    return rule


def _mean(chain: Chain, reduced: int, others: int) -> Chain:
    return chain.add("GlobalAveragePooling1D", {"data_format": "channels_last", "keepdims": False}, (others,))


def _max(chain: Chain, reduced: int, others: int) -> Chain:
    return chain.add("GlobalMaxPooling1D", {"data_format": "channels_last", "keepdims": False}, (others,))


def _min(chain: Chain, reduced: int, others: int) -> Chain:
    return _max(chain.affine(-1, 0), reduced, others).affine(-1, 0)


def _sum(chain: Chain, reduced: int, others: int) -> Chain:
    # Weights of one cost a bit each; an average times its count would round.
    weights = {"kernel": np.ones((reduced, 1), np.float32)}
    return chain.add(
        "Dense", {"units": 1, "use_bias": False, "activation": "linear"}, (others, 1), weights=weights
    )


REDUCTIONS: Mapping[str, Rule] = MappingProxyType(
    {
        "Amax": _reduction(_max),
        "Amin": _reduction(_min),
        "Max": _reduction(_max),
        "Mean": _reduction(_mean),
        "Min": _reduction(_min),
        "Sum": _reduction(_sum, last=True),
    }
)
"""Rules by class name of the operation."""
