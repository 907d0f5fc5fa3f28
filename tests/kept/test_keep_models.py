"""Models with layers kept in float: converted, lowered, saved, and checked part by part."""

import re
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
from kept_models import MODELS, data

import hgqify
from hgqify.beginning import calibrated
from hgqify.convert import Conversion, Status
from hgqify.errors import ExportError
from hgqify.export import ProjectOptions, refuse_unprintable
from hgqify.layers import KeptFloat
from hgqify.precision import Program, exact_parts, from_npz, lower, self_contained, to_npz
from hgqify.progress import no_progress

KEPT = {
    "middle": ["wave"],
    "in_a_row": ["first", "second"],
    "in_a_row_with_moves": ["r0", "first", "r1", "p", "second"],
    "branch": ["wave"],
    "two_branches": ["left", "right"],
    "read_within_and_without": ["wave"],
    "start": ["steps"],
    "start_beside_exact": ["wave"],
    "end": ["wave"],
    "several_outputs": ["parts"],
    "shared": ["wave", "wave_2"],
    "attention": ["greater", "mha"],
    "long_attention": ["wave", "wave_2"],
    "operation": ["cumsum"],
    "integers": ["lookup"],
    "recurrent": ["lstm"],
    "truth": ["greater"],
}
# Entries and exits of the exact parts, by name of the Keras layer.
PARTS = {
    "middle": [("x -> a_exit"), ("wave -> b")],
    "in_a_row": [("x -> a_exit"), ("second -> b")],
    "in_a_row_with_moves": ["second -> b"],
    "branch": ["x, wave -> c, a_exit"],
    "two_branches": ["x, left, right -> add, a_exit, b_exit"],
    "read_within_and_without": ["x, wave -> add, c, a_exit"],
    "start": ["steps -> b"],
    "start_beside_exact": ["x, wave -> add"],
    "end": ["x -> a_exit", "wave -> wave_output"],
    "several_outputs": ["x -> a_exit", "parts, parts -> add, parts_0_output"],
    "shared": ["x -> a_exit", "y -> b_exit", "wave, wave_2 -> add"],
    "attention": ["x -> sum_exit, a_exit", "mha -> b"],
    "long_attention": ["x, wave -> b_exit", "wave_2 -> wave_2_output"],
    "operation": ["x -> a_exit", "cumsum -> b"],
    "integers": ["x, lookup -> add"],
    "recurrent": ["lstm -> b"],
    "truth": ["x -> a_exit", "greater -> b"],
}


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    model: keras.Model
    conversion: Conversion
    program: Program


@pytest.fixture(scope="module", params=list(MODELS))
def converted(request: pytest.FixtureRequest) -> Case:
    keras.utils.set_random_seed(3)
    model = MODELS[request.param]()
    found = calibrated(model, data(model), unsupported="keep", finetune_steps=0).conversion
    return Case(name=request.param, model=model, conversion=found, program=lower(found.model))


def test_the_kept_layers_and_nothing_else_stay_float(converted: Case) -> None:
    conversion = converted.conversion
    kept = [layer for layer in conversion.model.layers if isinstance(layer, KeptFloat)]
    # Keras numbers operations without a name over the whole process.
    found = [re.sub(r"(greater|cumsum)_\d+", r"\1", layer.name) for layer in kept]
    assert sorted(found) == sorted(KEPT[converted.name])
    assert [layer.layer for layer in converted.program.kept] == [layer.name for layer in kept]
    assert {*conversion.kept} == {layer.name for layer in kept}
    assert all(conversion.kept.values())
    assert conversion.report.with_status(Status.FLOAT)
    assert not conversion.report.refused
    assert not any(layer.trainable_variables for layer in kept)


def test_the_clone_is_the_float_model(converted: Case) -> None:
    x = data(converted.model, 9)
    wanted, found = (
        keras.tree.flatten(m.predict_on_batch(keras.tree.pack_sequence_as(m.input, x)))
        for m in (converted.model, converted.conversion.clone)
    )
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_the_exact_parts(converted: Case) -> None:
    name, program = converted.name, converted.program
    layer = {node.name: node.layer for node in program.nodes}

    def told(part: object) -> str:
        text = ", ".join(layer[n] for n in part.entries) + " -> " + ", ".join(layer[n] for n in part.exits)
        return re.sub(r"(cumsum|sum|greater)_\d+", r"\1", text)

    assert [told(part) for part in exact_parts(program)] == PARTS[name]


def test_no_path_leaves_a_self_contained_part_and_comes_back(converted: Case) -> None:
    program = converted.program
    readers = {node.name: {reader.name for reader in program.consumers[node.name]} for node in program.nodes}
    for kept in program.kept:
        for name in kept.reads:
            readers[name] |= {*kept.gives}
    parts = list(self_contained(program))
    assert parts
    sizes = [part.ebops for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    for part in parts:
        assert part.program.outputs == part.exits
        inside = {node.name for node in part.program.nodes} - {*part.entries}
        behind: set[str] = set()
        pending = [reader for name in part.exits for reader in readers[name] if reader not in inside]
        while pending:
            name = pending.pop()
            if name not in behind:
                behind.add(name)
                pending += readers[name]
        assert not behind & inside, str(part)
        assert not behind & {*part.entries.values()}, str(part)


def test_saved_loaded_and_checked(converted: Case, tmp_path: Path) -> None:
    converted.conversion.model.save(tmp_path / "model.keras")
    to_npz(converted.program, tmp_path / "program.npz")
    assert from_npz(tmp_path / "program.npz").kept == converted.program.kept
    report = hgqify.check(tmp_path, data=data(converted.model, 40), random=40, progress=no_progress)
    assert report.exact, report.summary()
    parts = len(PARTS[converted.name])
    told = [f"Keras, part {n + 1} of {parts}" for n in range(parts)]
    assert [c.what for c in report.comparisons] == ["integers of model.keras", *told, *told]
    assert all(c.codes for c in report.comparisons)
    assert any("C simulation was not run" in note for note in report.notes)


def test_the_whole_is_refused_by_export(converted: Case) -> None:
    with pytest.raises(ExportError, match="stay in float cannot be written") as caught:
        refuse_unprintable(converted.program, ProjectOptions())
    assert all(str(kept) in str(caught.value) for kept in converted.program.kept)
    assert "extent='largest'" in str(caught.value)
