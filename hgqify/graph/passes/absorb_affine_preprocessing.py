"""Turn affine preprocessing layers into scale-and-shift nodes, which folding then absorbs."""

import keras
import numpy as np

from hgqify.graph.model import Graph, Node
from hgqify.graph.passes.affine import scale_shift_nodes
from hgqify.graph.passes.base import Pass, PassResult


class AbsorbAffinePreprocessing(Pass):
    """Rescaling and Normalization -> BatchNormalization spelled scale-and-shift."""

    name = "absorb-affine-preprocessing"

    def run(self, graph: Graph) -> PassResult:
        """Rewrite every Rescaling and Normalization layer."""
        replacements, events = {}, []
        for node in graph:
            if node.kind not in ("Rescaling", "Normalization") or node.call is not None:
                continue
            scale, shift = _rescaling(node) if node.kind == "Rescaling" else _normalization(node)
            # Without weights to train, the calls of a shared layer may become separate nodes.
            replacements[node.name] = scale_shift_nodes(node, scale, shift)
            events.append(self.event(node, "lowered", f"{node.kind} as a scale and shift"))
        return self.result(graph, replacements, {}, events)


def _rescaling(node: Node) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(node.config["scale"], np.float64), np.asarray(node.config["offset"], np.float64)


def _normalization(node: Node) -> tuple[np.ndarray, np.ndarray]:
    """(x - mean) / max(sqrt(variance), epsilon), or its inverse, as scale and shift."""
    config = node.config
    axes = config["axis"]
    axes = () if axes is None else tuple(axes) if isinstance(axes, list | tuple) else (axes,)
    rank = len(node.shape)
    kept = sorted(axis + rank if axis < 0 else axis - 1 for axis in axes)

    def values(key: str) -> np.ndarray:
        value = np.asarray(node.weights[key] if key in node.weights else config[key], np.float64)
        # Keras aligns the dimensions of mean and variance with the kept axes, from the right.
        shape = [1] * rank
        for axis, size in zip(reversed(kept), reversed(value.shape), strict=False):
            shape[axis] = size
        return value.reshape(shape)

    mean, variance = values("mean"), values("variance")
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    return (deviation, mean) if config["invert"] else (1 / deviation, -mean / deviation)
