"""Random programs in the form that the exporter gets them."""

from dataclasses import replace

import numpy as np
from programs import Builder, quantizer

from hgqify.fixed import Overflow, Rounding
from hgqify.precision import Node, Program, annotate
from hgqify.precision.ops import Input


def quantized_once(program: Program) -> Program:
    """One quantizer on each input, which all that read the input read instead: hardware has one input."""
    first = quantizer(1, 5, 6)
    nodes = []
    for node in program.nodes:
        if isinstance(node.op, Input):
            nodes += [
                node,
                Node(name=f"{node.name}_q", op=first, inputs=(node.name,), shape=node.shape, layer="q"),
            ]
            continue
        renamed = tuple(f"{name}_q" if name in program.inputs else name for name in node.inputs)
        nodes.append(replace(node, inputs=renamed))
    return annotate(replace(program, nodes=tuple(nodes)))


def wrapping_ends(rng: np.random.Generator, program: Program) -> Program:
    """A wrapping quantizer behind every output: then requests bite."""
    b = Builder()
    b.nodes, b.inputs = list(program.nodes), list(program.inputs)
    b.shapes = {node.name: node.shape for node in program.nodes}
    roundings = [Rounding.TRN, Rounding.RND, Rounding.RND_CONV]
    ends = [
        b.add(
            quantizer(
                rng.integers(0, 2),
                rng.integers(-1, 4),
                rng.integers(-1, 4),
                roundings[rng.integers(3)],
                Overflow.WRAP,
            ),
            (name,),
            b.shapes[name],
        )
        for name in program.outputs
    ]
    return b.program(*ends)
