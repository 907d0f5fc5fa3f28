"""A program in operations that hls4ml has kernels for: broadcasts written out, three spatial axes folded.

Every node keeps its name and its values; what is put in between has a name of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from hgqify.precision import ops
from hgqify.precision.forward import infer
from hgqify.precision.lowering import identifier
from hgqify.precision.ops import Constant, Op
from hgqify.precision.program import Node, Program

_MERGES = (ops.Add, ops.Subtract, ops.Multiply, ops.Maximum, ops.Minimum)


def expand(program: Program) -> Program:
    """The same function without merges that broadcast, and without operations over three spatial axes.

    Args:
        program: annotated fixed program.
    """
    writer = _Writer(program)
    for node in program.nodes:
        rank = len(node.shape) - 1
        if isinstance(node.op, _MERGES) and len({writer.shape(name) for name in node.inputs}) > 1:
            _broadcast(node, writer)
        elif rank > 2 and type(node.op) in _OVER_THREE_AXES:
            _OVER_THREE_AXES[type(node.op)](node, writer)
        else:
            writer.nodes[node.name] = node
    return replace(program, nodes=tuple(writer.nodes.values()))


class _Writer:
    """Nodes of the new program; those added are annotated."""

    def __init__(self, program: Program) -> None:
        self.nodes: dict[str, Node] = {}
        self._taken = {node.name.lower() for node in program.nodes}

    def shape(self, name: str) -> tuple[int, ...]:
        return self.nodes[name].shape

    def add(self, op: Op, source: str, shape: tuple[int, ...], origin: Node, *, last: bool = False) -> str:
        """A node that stems from ``origin``, and has its name if it is the ``last``."""
        kind = type(op).__name__.lower()
        name = origin.name if last else identifier(f"{origin.name}_{kind}", self._taken)
        info = self.nodes[source].info
        if info is None:
            raise TypeError("the program is not annotated")
        self.nodes[name] = Node(
            name=name,
            op=op,
            inputs=(source,),
            shape=shape,
            layer=origin.layer,
            info=infer(op, (info,), shape, where=origin.layer),
        )
        return name


def _broadcast(node: Node, writer: _Writer) -> None:
    """Repeat each operand to the shape of the result: places as they are, channels by a product with ones."""
    inputs, rank = [], len(node.shape)
    for name in node.inputs:
        shape = writer.shape(name)
        if len(shape) < len(node.shape):
            shape = (1,) * (len(node.shape) - len(shape)) + shape
            name = writer.add(ops.Reshape(), name, shape, node)
        if rank > 3:
            repeats = tuple(size // own for size, own in zip(node.shape, shape, strict=True))
            name = _along_axes(ops.Repeat(repeats=repeats), name, node, writer)
            inputs.append(name if shape == node.shape else writer.add(ops.Reshape(), name, node.shape, node))
            continue
        if shape[-1] != node.shape[-1]:
            ones = Constant(codes=np.ones((1, node.shape[-1]), np.int64), frac=0)
            shape = (*shape[:-1], node.shape[-1])
            name = writer.add(ops.Dense(kernel=ones, bias=None), name, shape, node)
        if shape != node.shape:
            repeats = tuple(size // own for size, own in zip(node.shape, shape, strict=True))
            name = writer.add(ops.Repeat(repeats=repeats), name, node.shape, node)
        inputs.append(name)
    writer.nodes[node.name] = replace(node, inputs=tuple(inputs))


def _inwards(name: str, node: Node, writer: _Writer) -> str:
    """(depth, height, width, channels) -> (height, width, depth * channels)."""
    depth, height, width, channels = writer.shape(name)
    name = writer.add(ops.Reshape(), name, (depth, height * width, channels), node)
    name = writer.add(ops.Transpose(perm=(1, 0, 2)), name, (height * width, depth, channels), node)
    return writer.add(ops.Reshape(), name, (height, width, depth * channels), node)


def _outwards(name: str, depth: int, node: Node, writer: _Writer) -> str:
    """(height, width, depth * channels) -> (depth, height * width, channels)."""
    height, width, packed = writer.shape(name)
    channels = packed // depth
    name = writer.add(ops.Reshape(), name, (height * width, depth, channels), node)
    return writer.add(ops.Transpose(perm=(1, 0, 2)), name, (depth, height * width, channels), node)


def _dense(node: Node, writer: _Writer) -> None:
    """All places in a row."""
    (source,) = node.inputs
    shape = writer.shape(source)
    places = math.prod(shape[:-1])
    name = writer.add(ops.Reshape(), source, (places, shape[-1]), node)
    name = writer.add(node.op, name, (places, node.shape[-1]), node)
    writer.add(ops.Reshape(), name, node.shape, node, last=True)


def _conv(node: Node, writer: _Writer) -> None:
    """Each depth is a block of channels, and the kernel of a depth that is not reached is zero."""
    op = node.op
    if not isinstance(op, ops.Conv):
        raise TypeError(type(op))
    depth, *_, channels = writer.shape(node.inputs[0])
    out_depth, *space, filters = node.shape
    codes = ungroup(op.kernel.codes, op.groups)
    wide = np.zeros((*codes.shape[1:3], depth, channels, out_depth, filters), np.int64)
    for place in range(out_depth):
        for tap in range(codes.shape[0]):
            read = place * op.strides[0] + tap * op.dilation[0] - op.padding[0][0]
            if 0 <= read < depth:
                wide[:, :, read, :, place] = codes[tap]
    kernel = wide.reshape(*codes.shape[1:3], depth * channels, out_depth * filters)
    flat = ops.Conv(
        kernel=Constant(codes=kernel, frac=op.kernel.frac),
        bias=None if op.bias is None else _tiled(op.bias, out_depth, filters),
        strides=op.strides[1:],
        dilation=op.dilation[1:],
        padding=op.padding[1:],
    )
    name = _inwards(node.inputs[0], node, writer)
    name = writer.add(flat, name, (*space, out_depth * filters), node)
    writer.add(ops.Reshape(), _outwards(name, out_depth, node, writer), node.shape, node, last=True)


def _tiled(bias: Constant, count: int, filters: int) -> Constant:
    return Constant(codes=np.tile(np.broadcast_to(bias.codes, (filters,)), count), frac=bias.frac)


def _sum_pool(node: Node, writer: _Writer) -> None:
    """A sum over windows is a convolution with ones."""
    op = node.op
    if not isinstance(op, ops.SumPool):
        raise TypeError(type(op))
    channels = node.shape[-1]
    ones = Constant(codes=np.ones((*op.window, 1, channels), np.int64), frac=0)
    as_conv = ops.Conv(
        kernel=ones, bias=None, strides=op.strides, dilation=(1, 1, 1), padding=op.padding, groups=channels
    )
    _conv(replace(node, op=as_conv), writer)


def _max_pool(node: Node, writer: _Writer) -> None:
    """The maximum over height and width, and of those the one over depth."""
    op = node.op
    if not isinstance(op, ops.MaxPool):
        raise TypeError(type(op))
    depth, *_, channels = writer.shape(node.inputs[0])
    out_depth, height, width, _ = node.shape
    name = _inwards(node.inputs[0], node, writer)
    within = ops.MaxPool(window=op.window[1:], strides=op.strides[1:], padding=op.padding[1:])
    name = writer.add(within, name, (height, width, depth * channels), node)
    name = _outwards(name, depth, node, writer)
    across = ops.MaxPool(
        window=(op.window[0], 1), strides=(op.strides[0], 1), padding=(op.padding[0], (0, 0))
    )
    name = writer.add(across, name, (out_depth, height * width, channels), node)
    writer.add(ops.Reshape(), name, node.shape, node, last=True)


def _moved(node: Node, writer: _Writer) -> None:
    """Pad, crop or repeat axis by axis: each as the middle one of three, which turns nothing."""
    name = _along_axes(node.op, node.inputs[0], node, writer)
    writer.add(ops.Reshape(), name, node.shape, node, last=True)


def _along_axes(op: Op, name: str, node: Node, writer: _Writer) -> str:
    """The name of the tensor, with the axes of the last step as (before, axis, behind)."""
    shape = writer.shape(name)
    for axis, amount in enumerate(_amounts(op)):
        if amount in (1, (0, 0)):
            continue
        before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        one, size = _along(op, amount, shape[axis])
        name = writer.add(ops.Reshape(), name, (before, shape[axis], after), node)
        name = writer.add(one, name, (before, size, after), node)
        shape = (*shape[:axis], size, *shape[axis + 1 :])
    return name


def _amounts(op: Op) -> tuple[Any, ...]:
    if isinstance(op, ops.Pad):
        return op.padding
    if isinstance(op, ops.Crop):
        return op.cropping
    if isinstance(op, ops.Repeat):
        return op.repeats
    raise TypeError(type(op))


def _along(op: Op, amount: Any, size: int) -> tuple[Op, int]:
    """The operation on the middle one of three axes of ``size`` places, and how many it leaves."""
    none = (0, 0)
    if isinstance(op, ops.Repeat):
        return ops.Repeat(repeats=(1, amount, 1)), size * amount
    if isinstance(op, ops.Pad):
        return ops.Pad(padding=(none, amount, none)), size + sum(amount)
    return ops.Crop(cropping=(none, amount, none)), size - sum(amount)


_OVER_THREE_AXES: Mapping[type[Op], Callable[[Node, _Writer], None]] = MappingProxyType(
    {
        ops.Dense: _dense,
        ops.Conv: _conv,
        ops.SumPool: _sum_pool,
        ops.MaxPool: _max_pool,
        **dict.fromkeys((ops.Pad, ops.Crop, ops.Repeat), _moved),
    }
)


def ungroup(codes: np.ndarray, groups: int) -> np.ndarray:
    """A grouped kernel (*w, in/g, out) as a dense one (*w, in, out) with zeros between groups."""
    if groups == 1:
        return codes
    *window, per_group, filters = codes.shape
    result = np.zeros((*window, per_group * groups, filters), codes.dtype)
    step = filters // groups
    for g in range(groups):
        rows, columns = slice(g * per_group, (g + 1) * per_group), slice(g * step, (g + 1) * step)
        result[..., rows, columns] = codes[..., columns]
    return result
