"""Weights that several layers of a model hold in common.

A graph gives each of its nodes weights of its own. Calls of one layer stay one; a variable of Keras that two
layers hold, or that somebody's code takes from another layer, becomes a copy in each of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from hgqify.graph.describe import weight_variables
from hgqify.graph.model import Node

_FEW = 4
"""Constants of fewer values apart from 0 are those of a variable by chance."""


@dataclass(frozen=True, kw_only=True)
class Borrowed:
    """A weight of a layer that others have, too.

    Attributes:
        layer: path of the layer.
        weight: what it is to the layer: 'kernel'; 'weight' of an operation.
        others: paths of the others.
    """

    layer: str
    weight: str
    others: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"its {self.weight} is also that of {', '.join(self.others)} in the float model: from here on a "
            "copy with widths of its own, and fine-tuning moves them apart"
        )


def find_borrowed(
    nodes: Sequence[Node], layers: Mapping[str, keras.layers.Layer], model: keras.Model
) -> tuple[Borrowed, ...]:
    """Weights that more than one layer or operation of a model has, in the order of the nodes.

    Layers are asked for their variables. An operation has constants only, which are what code made of a
    variable: its values in any order (transposed, reshaped), or some of them (sliced).

    Args:
        nodes: as read.
        layers: by node, the layer that it is a call of.
        model: that was read.
    """
    users: dict[int, dict[str, str]] = {}  # of a variable: what it is to each path
    constants: list[tuple[Node, np.ndarray]] = []
    for node in nodes:
        path = node.origin[0]
        if node.name in layers:
            for key, variable in weight_variables(layers[node.name]).items():
                users.setdefault(id(variable), {}).setdefault(path, key)
        elif node.call is not None:
            constants += [(node, array) for array in _arrays(node)]
    if constants:
        for variable in model.variables:
            if not keras.backend.is_float_dtype(variable.dtype):
                continue
            values = np.asarray(keras.ops.convert_to_numpy(variable), np.float32)
            for node, array in constants:
                if _is_part(array, values):
                    users.setdefault(id(variable), {}).setdefault(node.origin[0], "weight")
    found = {}
    for shared in users.values():
        for path, weight in shared.items():
            others = tuple(other for other in shared if other != path)
            if others:
                found[path, weight] = Borrowed(layer=path, weight=weight, others=others)
    order = {node.origin[0]: number for number, node in reversed(list(enumerate(nodes)))}
    return tuple(sorted(found.values(), key=lambda one: order[one.layer]))


def _arrays(node: Node) -> list[np.ndarray]:
    """The float constants of a call that can be told from others."""
    call = node.call
    leaves = keras.tree.flatten((call.args, dict(call.kwargs))) if call is not None else []
    arrays = [np.asarray(leaf) for leaf in leaves if isinstance(leaf, np.ndarray)]
    floats = [a.astype(np.float32) for a in arrays if keras.backend.is_float_dtype(a.dtype.name)]
    return [a for a in floats if len(np.unique(a[a != 0])) >= _FEW]


def _is_part(array: np.ndarray, values: np.ndarray) -> bool:
    """Whether all values of an array are among those of a variable."""
    if array.size > values.size:
        return False
    # Most are told apart by a few values; `isin` sorts all of a variable.
    few = array.ravel()[:_FEW]
    return all((values == value).any() for value in few) and bool(np.isin(array, values).all())
