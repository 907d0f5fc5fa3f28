"""Models with layers kept in float: converted, lowered, saved, and checked part by part."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from kept_models import MODELS, data

import hgqify
from hgqify.convert import Status
from hgqify.layers import KeptFloat
from hgqify.precision import exact_parts, from_npz, lower, self_contained
from hgqify.progress import no_progress

KEPT = {
    "middle": ["wave"],
    "in_a_row": ["first", "second"],
    "in_a_row_with_moves": ["r0", "first", "r1", "p", "second"],
    "branch": ["wave"],
    "two_branches": ["left", "right"],
    "read_within_and_without": ["wave"],
    "start": ["bins"],
    "start_beside_exact": ["wave"],
    "end": ["wave"],
    "several_outputs": ["parts"],
    "shared": ["wave", "wave_2"],
    "attention": ["greater", "mha"],
    "operation": ["cumsum"],
    "integers": ["lookup"],
    "recurrent": ["lstm"],
}
# Entries and exits of the exact parts, by name of the Keras layer.
PARTS = {
    "middle": [("x -> a_exit"), ("wave -> b")],
    "in_a_row": [("x -> a_exit"), ("second -> b")],
    "in_a_row_with_moves": ["second -> b"],
    "branch": ["x, wave -> c, a_exit"],
    "two_branches": ["x, left, right -> add, a_exit, b_exit"],
    "read_within_and_without": ["x, wave -> add, c, a_exit"],
    "start": ["bins -> b"],
    "start_beside_exact": ["x, wave -> add"],
    "end": ["x -> a_exit", "wave -> wave_output"],
    "several_outputs": ["x -> a_exit", "parts, parts -> add, parts_0_output"],
    "shared": ["x -> a_exit", "y -> b_exit", "wave, wave_2 -> add"],
    "attention": ["x -> sum_exit, a_exit", "mha -> b"],
    "operation": ["x -> a_exit", "cumsum -> b"],
    "integers": ["x, lookup -> add"],
    "recurrent": ["lstm -> b"],
}


@pytest.fixture(scope="module", params=list(MODELS))
def converted(request: pytest.FixtureRequest) -> tuple[str, keras.Model, hgqify.Result]:
    keras.utils.set_random_seed(3)
    model = MODELS[request.param]()
    result = hgqify.convert(model, data(model), unsupported="keep", finetune_steps=0, progress=no_progress)
    return request.param, model, result


def test_the_kept_layers_and_nothing_else_stay_float(
    converted: tuple[str, keras.Model, hgqify.Result],
) -> None:
    name, _, result = converted
    found = [layer.name for layer in result.model.layers if isinstance(layer, KeptFloat)]
    assert sorted(re.sub(r"_\d+$", "", n) if "greater" in n or "cumsum" in n else n for n in found) == sorted(
        KEPT[name]
    )
    assert [entry["layer"] for entry in result.report.kept] == [k.layer for k in result.program.kept]
    assert all(f"kept in float: {layer} (" in result.summary() for layer in found)
    assert "layers kept in float not counted" in result.summary()
    statuses = [entry["status"] for entry in result.report.conversion]
    assert str(Status.FLOAT) in statuses
    assert str(Status.REFUSED) not in statuses
    for layer in result.model.layers:
        assert not isinstance(layer, KeptFloat) or not layer.trainable_variables


def test_the_clone_is_the_float_model(converted: tuple[str, keras.Model, hgqify.Result]) -> None:
    _, model, result = converted
    x = data(model, 9)
    wanted, found = (
        keras.tree.flatten(m.predict_on_batch(keras.tree.pack_sequence_as(m.input, x)))
        for m in (model, result.float_model)
    )
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_the_exact_parts(converted: tuple[str, keras.Model, hgqify.Result]) -> None:
    name, _, result = converted
    program = result.program
    layer = {node.name: node.layer for node in program.nodes}

    def told(part: object) -> str:
        text = ", ".join(layer[n] for n in part.entries) + " -> " + ", ".join(layer[n] for n in part.exits)
        return re.sub(r"(cumsum|sum|greater)_\d+", r"\1", text)

    assert [told(part) for part in exact_parts(program)] == PARTS[name]


def test_no_path_leaves_a_self_contained_part_and_comes_back(
    converted: tuple[str, keras.Model, hgqify.Result],
) -> None:
    program = converted[2].program
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


def test_saved_loaded_and_checked(converted: tuple[str, keras.Model, hgqify.Result], tmp_path: Path) -> None:
    name, model, result = converted
    written = result.save(tmp_path / "r")
    assert not (tmp_path / "r" / "hls").exists()
    assert "no project was written" in written.notes[0]
    program = from_npz(tmp_path / "r" / "program.npz")
    assert program.kept == result.program.kept
    loaded = keras.saving.load_model(tmp_path / "r" / "model.keras")
    assert lower(loaded).kept == program.kept
    report = hgqify.check(tmp_path / "r", data=data(model, 40), random=40, progress=no_progress)
    assert report.exact, report.summary()
    parts = len(PARTS[name])
    assert [c.what for c in report.comparisons[1:]] == [
        f"Keras, part {n + 1} of {parts}" for n in range(parts)
    ] * 2
    assert all(c.codes for c in report.comparisons)
    assert any("C simulation was not run: no part" in note for note in report.notes)


def test_the_whole_is_refused_by_export(
    converted: tuple[str, keras.Model, hgqify.Result], tmp_path: Path
) -> None:
    _, _, result = converted
    with pytest.raises(hgqify.errors.ExportError, match="stay in float cannot be written") as caught:
        result.export(tmp_path / "hls")
    assert all(str(kept) in str(caught.value) for kept in result.program.kept)
    assert "extent='largest'" in str(caught.value)
    assert not (tmp_path / "hls").exists()
