"""The exact parts of a program that is cut at float layers, and those of them that stand for themselves.

Two questions, two answers:

`exact_parts` are what is left connected when the float layers are taken out: each is compared for itself.
Such a part may read what a float layer makes of its own output (a residual around a float layer), so that
no firmware could run it from its inputs to its outputs.

`self_contained` are the largest sets of operations that no path leaves and enters again: given the tensors
at their entry, their firmware computes all those at their exit. For each float layer such a set may hold
operations before it or behind it, but not both; each choice gives one largest set.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np

from hgqify.fixed import Overflow, Rounding
from hgqify.precision.ebops import count_by_node, total
from hgqify.precision.forward import annotate
from hgqify.precision.info import NO_STEP, live_step
from hgqify.precision.ops import Input, Quantize
from hgqify.precision.program import Node, Program, TensorInfo

MOST = 10
"""So many float layers, at most, for which every choice of sides is tried; of more, those in order."""

SIGNIFICAND = 24
"""Bits of the float32 numbers that enter firmware."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Some operations of a program, as a program.

    Attributes:
        program: theirs; its inputs are real numbers, its outputs codes.
        entries: by name of its inputs, the node of the whole program whose values they take: a model input,
            what a float layer gives, or codes that another part computes.
        exits: nodes of the whole program that it computes, in the order of its outputs.
        ebops: exact effective bit operations.
    """

    program: Program
    entries: dict[str, str]
    exits: tuple[str, ...]
    ebops: int

    def __str__(self) -> str:
        return f"{', '.join(self.entries.values())} -> {', '.join(self.exits)}"


def exact_parts(program: Program) -> tuple[Part, ...]:
    """The parts of an annotated program that its float layers leave connected, in its order.

    A program without float layers is one part. Parts without any output of the program are left out.
    """
    if not program.kept:
        entries = {name: name for name in program.inputs}
        part = Part(program=program, entries=entries, exits=program.outputs, ebops=total(program))
        return (part,)
    group: dict[str, int] = {}
    members: dict[int, list[str]] = {}
    for number, node in enumerate(program.nodes):
        group[node.name], members[number] = number, [node.name]
        for other in {group[name] for name in node.inputs} - {number}:
            for name in members[other]:
                group[name] = number
            members[number] += members.pop(other)
    computed = {node.name for node in program.nodes if not isinstance(node.op, Input)}
    order = {node.name: n for n, node in enumerate(program.nodes)}
    parts = []
    for names in sorted(members.values(), key=lambda found: min(order[name] for name in found)):
        part = part_of(program, computed & {*names})
        if part is not None:
            parts.append(part)
    return tuple(parts)


def self_contained(program: Program) -> Iterator[Part]:
    """The self-contained parts of an annotated program, the largest first: by EBOPs, then by operations.

    Parts that only quantize are left out.
    """
    computed = frozenset(node.name for node in program.nodes if not isinstance(node.op, Input))
    before, behind = _sides(program)
    found = set()
    for choice in _choices(len(program.kept)):
        names = computed
        for first, above, below in zip(choice, before, behind, strict=True):
            names = names - (below if first else above)
        found.add(names)
    price = count_by_node(program)

    def size(names: frozenset[str]) -> tuple[int, int, list[str]]:
        return sum(price.get(name, 0) for name in names), len(names), sorted(names)

    for names in sorted(found, key=size, reverse=True):
        part = part_of(program, names)
        if part is not None and any(not isinstance(n.op, Input | Quantize) for n in part.program.nodes):
            yield part


def _choices(count: int) -> Iterator[tuple[bool, ...]]:
    """For every float layer whether the part lies before it."""
    if count <= MOST:
        return itertools.product((True, False), repeat=count)
    return (tuple(n >= cut for n in range(count)) for cut in range(count + 1))


def _sides(program: Program) -> tuple[list[frozenset[str]], list[frozenset[str]]]:
    """For every float layer, the operations that it depends on, and those that depend on it."""
    by_gift = {name: n for n, kept in enumerate(program.kept) for name in kept.gives}
    above: dict[str, frozenset[str]] = {}
    crossed: dict[str, frozenset[int]] = {}
    before: dict[int, frozenset[str]] = {}
    for node in program.nodes:
        number = by_gift.get(node.name)
        # All that a float layer reads stands before what it gives.
        sources = node.inputs if number is None else program.kept[number].reads
        own = frozenset() if isinstance(node.op, Input) else frozenset({node.name})
        above[node.name] = own.union(*(above[name] for name in sources))
        crossed[node.name] = frozenset().union(*(crossed[name] for name in sources))
        if number is not None:
            before[number] = above[node.name]
            crossed[node.name] |= {number}
    computed = [node.name for node in program.nodes if not isinstance(node.op, Input)]
    numbers = range(len(program.kept))
    behind = [frozenset(name for name in computed if number in crossed[name]) for number in numbers]
    return [before[number] for number in numbers], behind


def part_of(program: Program, names: Collection[str]) -> Part | None:
    """Operations of an annotated program as a program of their own; None where nothing leaves them.

    What they read of others comes in as real numbers that are codes already: float32 holds them.

    Args:
        program: annotated.
        names: of the operations. Quantizers directly behind real numbers are added where they are read, and
            what nothing outside sees is left out.

    Returns:
        None too where codes that enter have more than 24 bits.
    """
    alive = _alive(program)
    names = alive.intersection(names)
    leaving = _leaving(program, names, alive)
    needed = set(leaving)
    for node in reversed(program.nodes):
        if node.name in needed:
            needed |= {name for name in node.inputs if name in names or _is_free(program, name)}
    needed |= {n for name in tuple(needed) for n in program.by_name[name].inputs if _is_real(program, n)}
    entries: dict[str, str] = {}
    nodes: list[Node] = []
    for node in program.nodes:
        readers = [reader for reader in program.consumers[node.name] if reader.name in needed]
        if node.name in needed:
            nodes.append(node)
            if isinstance(node.op, Input):
                entries[node.name] = node.name
        elif readers and not isinstance(node.op, Input):
            made = _entry(node, readers, {n.name for n in program.nodes})
            if made is None:
                return None
            nodes += made
            entries[made[0].name] = node.name
    if not leaving:
        return None
    order = {name: position for position, name in enumerate(program.inputs)}
    inputs = sorted(entries, key=lambda name: order.get(name, len(order)))
    alone = annotate(Program(nodes=tuple(nodes), inputs=tuple(inputs), outputs=leaving, name=program.name))
    return Part(
        program=alone,
        entries={name: entries[name] for name in inputs},
        exits=leaving,
        ebops=total(alone),
    )


def _alive(program: Program) -> frozenset[str]:
    """Nodes that some output depends on."""
    found = set(program.outputs)
    for node in reversed(program.nodes):
        found |= {*node.inputs} if node.name in found else set()
    return frozenset(found)


def _leaving(program: Program, names: Collection[str], alive: Collection[str]) -> tuple[str, ...]:
    """What others see of some operations: outputs of the program first, in its order, then the rest."""
    seen = [name for name in program.outputs if name in names]
    for node in program.nodes:
        outside = any(r.name not in names and r.name in alive for r in program.consumers[node.name])
        if node.name in names and outside and not _is_free(program, node.name):
            seen.append(node.name)
    return tuple(dict.fromkeys(seen))


def _is_real(program: Program, name: str) -> bool:
    return isinstance(program.by_name[name].op, Input)


def _is_free(program: Program, name: str) -> bool:
    """Whether a node quantizes real numbers: it may be made twice, once on either side of a cut."""
    node = program.by_name[name]
    return isinstance(node.op, Quantize) and _is_real(program, node.inputs[0])


def _entry(node: Node, readers: list[Node], taken: set[str]) -> tuple[Node, ...] | None:
    """Nodes that bring in what another part computes; None where float32 does not hold it."""
    info = node.info
    minifloat = isinstance(node.op, Quantize) and node.op.digits is not None
    if info is None or not (minifloat or _fits(info)):
        return None
    if all(isinstance(reader.op, Quantize) for reader in readers):
        return (replace(node, op=Input(), inputs=(), info=None),)
    name = f"{node.name}_entry"
    while name in taken:
        name += "_"
    real = replace(node, name=name, op=Input(), inputs=(), info=None)
    op = node.op if isinstance(node.op, Quantize) else _holding(info)
    return (real, replace(node, op=op, inputs=(name,)))


def _fits(info: TensorInfo) -> bool:
    """Whether float32 holds every code: as many bits from the LSB up."""
    step = live_step(info)
    units = np.where(step > NO_STEP, info.frac - step, 0)
    reach = np.maximum(np.abs(info.low), np.abs(info.high)) >> units
    return bool(np.all(reach <= 1 << SIGNIFICAND))


def _holding(info: TensorInfo) -> Quantize:
    """A quantizer that changes none of a tensor's values: one format that holds them all."""
    low, high = int(np.min(info.low, initial=0)), int(np.max(info.high, initial=0))
    bits = max((-low - 1).bit_length() if low < 0 else 0, high.bit_length(), 1)
    return Quantize(
        k=np.asarray(int(low < 0)),
        i=np.asarray(bits - info.frac),
        f=np.asarray(info.frac),
        rounding=Rounding.TRN,
        overflow=Overflow.SAT,
    )
