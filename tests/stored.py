"""A program in which every tensor is stored in its planned type: the firmware's tensors, in the reference."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hgqify.export.plan import make_plan
from hgqify.export.types import HlsType
from hgqify.precision import Node, Program, annotate
from hgqify.precision.ops import Input, Quantize


def assignment(held: HlsType) -> Quantize:
    """What assignment to a type does."""
    k, i, f = (np.asarray(n) for n in (held.k, held.i, held.f))
    return Quantize(k=k, i=i, f=f, rounding=held.rounding, overflow=held.overflow)


def cast(source: Node, held: HlsType, name: str) -> Node:
    """A node that assigns to a type."""
    op = assignment(held)
    return Node(name=name, op=op, inputs=(source.name,), shape=source.shape, layer=source.layer)


def stored(
    program: Program, io_type: str = "io_parallel", others: Mapping[str, HlsType] | None = None
) -> Program:
    """`program`, prepared, with a cast behind every node and behind every sum of products.

    Tensors keep their names, with ``_stored`` behind it. ``others`` are types to use instead of the planned
    ones, by the node whose value is stored.
    """
    plan = make_plan(program, io_type)
    others = others or {}
    absorbs = {producer: quantizer for quantizer, producer in plan.absorbed.items()}
    nodes: list[Node] = []
    holder: dict[str, str] = {}
    for node in program.nodes:
        nodes.append(replace(node, inputs=tuple(holder[name] for name in node.inputs)))
        if isinstance(node.op, Quantize):
            found = plan.quantizers[node.name]
            bits = found.bits
            parts = [np.where(bits.alive, part, 0) for part in (bits.k, bits.i, bits.f)]
            k, i, f = parts
            op = Quantize(k=k, i=i, f=f, rounding=found.rounding, overflow=found.overflow)
            if not plan.needs_mask(node):
                op = assignment(others.get(node.name, found.uniform()))
            nodes[-1] = replace(nodes[-1], op=op)
        if node.name in plan.accumulator:
            nodes.append(cast(nodes[-1], plan.accumulator[node.name], f"{node.name}_sum"))
        if node.name in absorbs:
            holder[node.name] = nodes[-1].name
            continue
        held = others.get(node.name, plan.result[node.name])
        held = held if isinstance(node.op, Input) else held.plain()
        nodes.append(cast(nodes[-1], held, f"{node.name}_stored"))
        holder[node.name] = nodes[-1].name
    return annotate(
        replace(program, nodes=tuple(nodes), outputs=tuple(holder[name] for name in program.outputs))
    )
