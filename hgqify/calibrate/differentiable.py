"""Whether what is learned from the outputs gets through the layers that stay in float."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from hgqify.errors import CalibrationError
from hgqify.graph import Graph, read, walk
from hgqify.layers import KeptFloat, QLinear


def refuse_opaque(clone: keras.Model, inputs: Sequence[np.ndarray], *, purpose: str) -> None:
    """Raise unless gradients pass every float layer that has weights to be set before it.

    Args:
        clone: float model with the layers of the quantized one, see `convert.Conversion`.
        inputs: some samples, an array per model input.
        purpose: what the gradients are for.

    Raises:
        CalibrationError: names the layers that let nothing through (their derivative is zero wherever these
            samples lead), or another backend than JAX.
    """
    learned = _behind_weights(clone)
    if not learned:
        return
    if keras.backend.backend() != "jax":
        raise CalibrationError(
            f"{purpose} takes gradients through layers kept in float, which come from JAX only so far",
            where=min(learned),
            received=f"backend {keras.backend.backend()}",
            remedy="set KERAS_BACKEND=jax for the conversion; the result runs on every backend",
        )
    opaque = []
    for layer, given in walk(clone, [keras.ops.convert_to_tensor(x) for x in inputs]):
        if isinstance(layer, KeptFloat) and layer.name in learned:
            gradients = _gradients(layer, given)
            if not any(np.any(gradients[n]) for n in learned[layer.name]):
                opaque.append(f"{layer.name} ({layer.kind})")
    if opaque:
        raise CalibrationError(
            f"{purpose} takes gradients, and layers that are kept in float let none through",
            received=", ".join(opaque),
            remedy="convert without: finetune_steps=0 (--finetune-steps 0), and no budget",
        )


def _behind_weights(clone: keras.Model) -> dict[str, list[int]]:
    """By name of the float layers, which of their inputs come from layers whose weights are set."""
    graph: Graph = read(clone)
    layers = {layer.name: layer for layer in clone.layers}
    weighty: dict[str, bool] = {}
    found: dict[str, list[int]] = {}
    for node in graph:
        layer = layers.get(node.origin[0])
        weighty[node.name] = isinstance(layer, QLinear) or any(weighty[name] for name in node.inputs)
        positions = [n for n, name in enumerate(node.inputs) if weighty[name]]
        if isinstance(layer, KeptFloat) and positions:
            found[layer.name] = positions
    return found


def _gradients(layer: KeptFloat, given: Sequence[Any]) -> list[np.ndarray]:
    """Of a random combination of a layer's results, by each of its inputs; zero for what is no number."""
    import jax

    variables = [
        [v.value for v in part] for part in (layer.trainable_variables, layer.non_trainable_variables)
    ]
    floats = [n for n, x in enumerate(given) if keras.backend.is_float_dtype(str(x.dtype))]

    def results(varied: Sequence[Any]) -> list[Any]:
        tensors = list(given)
        for n, x in zip(floats, varied, strict=True):
            tensors[n] = x
        inputs = tensors[0] if len(tensors) == 1 else tensors
        flat = keras.tree.flatten(layer.stateless_call(*variables, inputs)[0])
        return [y for y in flat if keras.backend.is_float_dtype(str(y.dtype))]

    found = [np.zeros(x.shape) for x in given]
    values, pullback = jax.vjp(results, [given[n] for n in floats])
    rng = np.random.default_rng(0)
    drawn = [np.asarray(rng.normal(size=y.shape), y.dtype) for y in values]
    if drawn:
        for n, gradient in zip(floats, pullback(drawn)[0], strict=True):
            found[n] = np.asarray(gradient)
    return found
