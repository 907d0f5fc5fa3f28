"""A program in which every tensor is stored in its planned type: what the firmware keeps, in the reference."""

from dataclasses import replace

import numpy as np

from hgqify.export.plan import make_plan
from hgqify.export.types import HlsType
from hgqify.precision import Node, Program, annotate
from hgqify.precision.ops import Input, Quantize


def cast(source: Node, held: HlsType, name: str) -> Node:
    """Assignment to a type."""
    k, i, f = (np.asarray(n) for n in (held.k, held.i, held.f))
    op = Quantize(k=k, i=i, f=f, rounding=held.rounding, overflow=held.overflow)
    return Node(name=name, op=op, inputs=(source.name,), shape=source.shape, layer=source.layer)


def stored(program: Program, io_type: str = "io_parallel") -> Program:
    """`program`, prepared, with a cast behind every node and behind every sum of products.

    Tensors keep their names, with ``_stored`` behind it.
    """
    plan = make_plan(program, io_type)
    absorbs = {producer: quantizer for quantizer, producer in plan.absorbed.items()}
    nodes: list[Node] = []
    holder: dict[str, str] = {}
    for node in program.nodes:
        nodes.append(replace(node, inputs=tuple(holder[name] for name in node.inputs)))
        if isinstance(node.op, Quantize):
            found = plan.quantizers[node.name]
            bits = found.bits
            parts = [np.where(bits.alive, part, 0) for part in (bits.k, bits.i, bits.f)]
            if not plan.needs_mask(node):
                held = found.uniform()
                parts = [np.asarray(n) for n in (held.k, held.i, held.f)]
            k, i, f = parts
            op = Quantize(k=k, i=i, f=f, rounding=found.rounding, overflow=found.overflow)
            nodes[-1] = replace(nodes[-1], op=op)
        if node.name in plan.accumulator:
            nodes.append(cast(nodes[-1], plan.accumulator[node.name], f"{node.name}_sum"))
        if node.name in absorbs:
            holder[node.name] = nodes[-1].name
            continue
        nodes.append(cast(nodes[-1], plan.result[node.name].plain(), f"{node.name}_stored"))
        if isinstance(node.op, Input):
            nodes[-1] = cast(nodes[-2], plan.result[node.name], f"{node.name}_stored")
        holder[node.name] = nodes[-1].name
    return annotate(
        replace(program, nodes=tuple(nodes), outputs=tuple(holder[name] for name in program.outputs))
    )
