"""A tensor laid out for a matrix product."""

from __future__ import annotations

from hgqify.precision.lowering import LayerLowering
from hgqify.precision.ops import Reshape, Transpose


def laid(call: LayerLowering, name: str, labels: str, order: str, shape: tuple[int, ...], role: str) -> str:
    """A tensor with its axes in another order, then with another shape.

    Args:
        call: of the layer.
        name: of the tensor's node.
        labels: of its axes.
        order: the same labels as they are wanted.
        shape: what the reordered tensor is reshaped to.
        role: tells the nodes apart.
    """
    if labels != order:
        perm = tuple(labels.index(label) for label in order)
        turned = tuple(call.shape_of(name)[axis] for axis in perm)
        name = call.add(Transpose(perm=perm), name, shape=turned, role=f"{role}_turned")
    if call.shape_of(name) != shape:
        name = call.add(Reshape(), name, shape=shape, role=f"{role}_rows")
    return name
