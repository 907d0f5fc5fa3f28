"""Whatever differs between two programs is found, whether an input would show it or not."""

import dataclasses

import export_programs as programs
import numpy as np
import pytest

from hgqify.export import compare_programs
from hgqify.fixed import Overflow, Rounding
from hgqify.precision import from_npz, ops, to_npz


def compared(other, reference=None):
    return compare_programs(reference or programs.separable(), other, what="made", against="stored")


def test_a_program_equals_itself_read_from_a_file(tmp_path):
    to_npz(programs.merging(), tmp_path / "program.npz")
    found = compared(from_npz(tmp_path / "program.npz"), programs.merging())
    assert (found.differing, found.place, found.unit) == (0, None, "nodes")
    assert found.samples == len(programs.merging().nodes)
    constants = sum(
        c.codes.size
        for node in programs.merging().nodes
        for c in vars(node.op).values()
        if isinstance(c, ops.Constant)
    )
    assert found.codes > constants > 1000
    assert str(found) == f"made = stored: 0 of {found.codes} codes differ ({found.samples} nodes)"


def flipped(codes):
    changed = np.array(codes)
    changed.flat[-1] ^= 1
    return changed


def changes(op):
    """The operation with each of its numbers and settings changed in turn."""
    for field in dataclasses.fields(op):
        value = getattr(op, field.name)
        if isinstance(value, ops.Constant):
            yield field.name, {field.name: dataclasses.replace(value, codes=flipped(value.codes))}
            yield (
                f"fractional bits of {field.name}",
                {field.name: dataclasses.replace(value, frac=value.frac + 1)},
            )
        elif isinstance(value, np.ndarray):
            yield field.name, {field.name: flipped(value)}
            yield field.name, {field.name: np.stack([value, value])}
        elif isinstance(value, Rounding | Overflow):
            other = Rounding.TRN_ZERO if isinstance(value, Rounding) else Overflow.WRAP_SM
            yield field.name, {field.name: other}
        elif value is None:
            yield field.name, {field.name: programs.scalar(0)}
        elif isinstance(value, int):
            yield field.name, {field.name: value + 1}
        elif isinstance(value, tuple):
            yield field.name, {field.name: value[:-1]}


@pytest.mark.parametrize("name", ["separable", "merging", "shapes"])
def test_every_number_of_every_node_counts(name):
    program = getattr(programs, name)()
    tried = 0
    for position, node in enumerate(program.nodes):
        for what, change in changes(node.op):
            nodes = list(program.nodes)
            nodes[position] = dataclasses.replace(node, op=dataclasses.replace(node.op, **change))
            found = compared(dataclasses.replace(program, nodes=tuple(nodes)), program)
            assert found.differing > 0, (node.name, what)
            assert (found.place.layer, found.place.node) == (node.layer, node.name)
            assert found.place.what.startswith(what)
            tried += 1
        renamed = ({"layer": "other"}, {"name": "n"}) if node.name not in program.inputs else ()
        for change in ({"shape": (99,)}, {"inputs": (*node.inputs, "x")}, *renamed):
            nodes = list(program.nodes)
            nodes[position] = dataclasses.replace(node, **change)
            found = compared(dataclasses.replace(program, nodes=tuple(nodes)), program)
            assert found.differing == 1
            assert found.place.what == {"name": "node"}.get(*change, *change)
    assert tried > 20


def test_the_names_of_inputs_do_not_count():
    """Keras counts unnamed inputs over the whole process: a loaded model's have other names."""
    program = programs.separable()
    called = {program.inputs[0]: "input_layer_7"}
    nodes = [
        dataclasses.replace(
            node,
            name=called.get(node.name, node.name),
            layer="input_layer_7" if node.name in called else node.layer,
            inputs=tuple(called.get(name, name) for name in node.inputs),
        )
        for node in program.nodes
    ]
    other = dataclasses.replace(program, nodes=tuple(nodes), inputs=tuple(called.values()))
    assert compared(other, program).differing == 0


def test_the_place_says_what_is_where():
    program = programs.separable()
    nodes = {node.name: node for node in program.nodes}
    kernel = nodes["dense"].op.kernel
    codes = np.array(kernel.codes)
    codes[2, 3] += 5
    changed = dataclasses.replace(nodes["dense"].op, kernel=dataclasses.replace(kernel, codes=codes))
    nodes["dense"] = dataclasses.replace(nodes["dense"], op=changed)
    found = compared(dataclasses.replace(program, nodes=tuple(nodes.values())))
    assert found.differing == 1
    old = int(kernel.codes[2, 3])
    assert str(found.place) == (
        "first difference in net/dense (node dense), kernel, element (2, 3): "
        f"reference {old}, found {old + 5}"
    )


def test_missing_and_other_nodes():
    program = programs.separable()
    shorter = dataclasses.replace(program, nodes=program.nodes[:-1])
    for found in (compared(shorter), compared(program, shorter)):
        assert found.differing > 0
        assert found.place.node in {"out", "model"}
    found = compared(dataclasses.replace(program, outputs=("dense",)))
    assert found.place.what == "outputs"
    found = compared(programs.merging())
    assert found.differing > found.codes / 2
