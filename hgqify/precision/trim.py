"""Constants that nothing depends on become zero: they need no bits, no multiplier and no table.

A weight that only meets inputs which are always zero, or only outputs that nobody sees; the bias of such an
output; table entries that no code reaches.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hgqify.precision import ops
from hgqify.precision.backward import requests
from hgqify.precision.backward_linear import tap_slices
from hgqify.precision.info import live
from hgqify.precision.kernels import pad_space, rescale, rescale_each
from hgqify.precision.ops import Constant
from hgqify.precision.program import Node, Program, TensorInfo


def trim(program: Program) -> Program:
    """The same function with every constant zero that no output depends on.

    Tensors keep their bounds, which say nothing any more of elements that nobody sees.

    Args:
        program: annotated.

    Raises:
        PrecisionError: the program is not annotated.
    """
    seen = {name: ~request.unseen for name, request in requests(program).items()}
    nodes = []
    for node in program.nodes:
        infos = [info for name in node.inputs if (info := program.by_name[name].info) is not None]
        nodes.append(_trimmed(node, infos, seen[node.name]) if infos else node)
    return replace(program, nodes=tuple(nodes))


def _trimmed(node: Node, infos: list[TensorInfo], seen: np.ndarray) -> Node:
    op = node.op
    if isinstance(op, ops.Dense):
        places = live(infos[0]).reshape(-1, infos[0].shape[-1])
        op = replace(
            op,
            kernel=_only(op.kernel, _meet(places, seen.reshape(-1, seen.shape[-1]))),
            bias=_bias(op.bias, seen),
        )
    elif isinstance(op, ops.Conv):
        kernel = _only(op.kernel, _conv_meets(op, live(infos[0]), seen))
        op = replace(op, kernel=kernel, bias=_bias(op.bias, seen))
    elif isinstance(op, ops.ScaleShift):
        scale = _reduced(live(infos[0]) & seen, op.scale.codes.shape)
        shift = op.shift and _only(op.shift, _reduced(seen, op.shift.codes.shape))
        op = replace(op, scale=_only(op.scale, scale), shift=shift)
    elif isinstance(op, ops.Table):
        op = replace(op, entries=_only(op.entries, _reached(op, infos[0], seen)))
    elif isinstance(op, ops.EdgeTables):
        op = replace(op, entries=_only(op.entries, _reached_each(op, infos[0], seen)))
    return node if op is node.op else replace(node, op=op)


def _only(constant: Constant, used: np.ndarray) -> Constant:
    """``constant`` with zeros where it is not ``used``."""
    unused = ~np.broadcast_to(used, constant.codes.shape)
    if not np.any(unused & (constant.codes != 0)):
        return constant
    return Constant(codes=np.where(unused, 0, constant.codes), frac=constant.frac)


def _bias(bias: Constant | None, seen: np.ndarray) -> Constant | None:
    return None if bias is None else _only(bias, _reduced(seen, bias.codes.shape))


def _reduced(used: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Whether any element that a constant of ``shape`` was broadcast to is used."""
    own = (1,) * (used.ndim - len(shape)) + shape
    axes = tuple(n for n, (a, b) in enumerate(zip(used.shape, own, strict=True)) if a != b)
    return np.asarray(used.any(axis=axes, keepdims=True)).reshape(shape)


def _meet(inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """(..., inputs, outputs): whether a live input and a seen output meet at any place (first axis)."""
    if np.any(inputs.all(axis=-1) & outputs.all(axis=-1)):
        return np.ones((inputs.shape[-1], outputs.shape[-1]), bool)
    return np.asarray(inputs.T.astype(np.float32) @ outputs.astype(np.float32) > 0)


def _conv_meets(op: ops.Conv, alive: np.ndarray, seen: np.ndarray) -> np.ndarray:
    *window, per_group, filters = op.kernel.codes.shape
    padded = pad_space(alive[None], op.padding)[0]
    outputs = seen.reshape(-1, filters)
    result = np.empty(op.kernel.codes.shape, bool)
    each = filters // op.groups
    for tap in np.ndindex(*window):
        inputs = padded[tap_slices(op, tap, seen.shape[:-1])].reshape(-1, alive.shape[-1])
        if np.any(inputs.all(axis=-1) & outputs.all(axis=-1)):
            result[tap] = True
            continue
        for g in range(op.groups):
            part = slice(g * each, (g + 1) * each)
            result[tap][:, part] = _meet(inputs[:, g * per_group : (g + 1) * per_group], outputs[:, part])
    return result


def _reached(op: ops.Table, x: TensorInfo, seen: np.ndarray) -> np.ndarray:
    """Entries between the bounds of any element that is seen."""
    low, high = (rescale(end, x.frac, op.in_frac)[seen] - op.first for end in (x.low, x.high))
    size = op.entries.codes.size
    # +1 where an interval begins, -1 behind its end: the running sum counts the intervals that hold a code.
    edges = np.bincount(low, minlength=size + 1)[: size + 1].astype(np.int64)
    edges -= np.bincount(high + 1, minlength=size + 1)[: size + 1]
    return np.cumsum(edges)[:size] > 0


def _reached_each(op: ops.EdgeTables, x: TensorInfo, seen: np.ndarray) -> np.ndarray:
    """Entries between the lowest and the highest one that any seen place of an edge reads."""
    *edges, size = op.entries.codes.shape
    low, high = (rescale_each(end, x.frac, op.in_frac) - op.first for end in (x.low, x.high))
    low, high = np.where(seen, low, size), np.where(seen, high, -1)
    least, most = low.reshape(-1, *edges).min(axis=0), high.reshape(-1, *edges).max(axis=0)
    place = np.arange(size)
    return (place >= least[..., None]) & (place <= most[..., None])
