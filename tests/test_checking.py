"""`hgqify.check` on saved results: what it streams, what it refuses early, what it reports."""

import dataclasses
import json
import tracemalloc
from pathlib import Path

import keras
import numpy as np
import pytest

import hgqify
from hgqify import checking
from hgqify.errors import DataError
from hgqify.fixed import Overflow
from hgqify.layers import QAdd, QDense, Quantize
from hgqify.precision import from_npz, lower, ops, to_npz
from hgqify.progress import no_progress
from hgqify.quantizers import QuantizerConfig

SIDE = 32


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `Result.save` writes, without a project: a model whose samples are large."""
    keras.utils.set_random_seed(1)
    x = keras.Input((SIDE * SIDE,))
    model = keras.Model(x, QDense(3, name="dense")(Quantize(name="q")(x)), name="wide")
    folder = tmp_path_factory.mktemp("saved")
    model.save(folder / "model.keras")
    to_npz(lower(model), folder / "program.npz")
    return folder


def check(folder: Path, **options: object) -> hgqify.CheckReport:
    return hgqify.check(folder, **{"csim": False, "progress": no_progress, **options})


def peak(folder: Path, **options: object) -> int:
    tracemalloc.start()
    report = check(folder, **options)
    reached = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.exact
    return reached


def test_memory_does_not_grow_with_the_number_of_samples(saved: Path, tmp_path: Path) -> None:
    one_batch = 128 * SIDE * SIDE * 4
    check(saved, random=128)  # what is loaded once
    few, many = peak(saved, random=256), peak(saved, random=2048)
    assert many < few + one_batch
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(2048, SIDE * SIDE)).astype("f4"))
    few, many = (peak(saved, random=0, data=tmp_path / "x.npy", limit=limit) for limit in (256, None))
    assert many < few + one_batch


def test_the_report_as_plain_values(saved: Path) -> None:
    report = check(saved, data=np.zeros((5, SIDE * SIDE), "f4"), random=20, seed=7, limit=3)
    told = report.to_dict()
    assert json.loads(report.to_json()) == json.loads(json.dumps(told))
    parts = {"schema", "exact", "codes", "comparisons", "notes", "overflow", "settings", "versions"}
    assert set(told) == parts | {"limits", "passed", "skipped"}
    assert told["exact"] is True
    assert [(c["what"], c["inputs"], c["samples"], c["unit"]) for c in told["comparisons"]] == [
        ("integers of model.keras", "", 4, "nodes"),
        ("Keras", "the data", 3, "samples"),
        ("Keras", "random inputs", 20, "samples"),
    ]
    assert told["settings"] == {
        "directory": str(saved),
        "model": "wide",
        "data": "the data",
        "limit": 3,
        "random": 20,
        "seed": 7,
        "batch": 128,
        "csim": False,
        "float64": False,
    }
    assert {"hgqify", "keras", "numpy", "python", "backend"} <= set(told["versions"])
    assert check(saved, random=20, seed=7).to_dict()["comparisons"][-1] == told["comparisons"][-1]


def changed(saved: Path, folder: Path, kind: type[ops.Op], **changes: object) -> Path:
    """A copy of the result with the last operation of a kind changed in program.npz."""
    program = from_npz(saved / "program.npz")
    nodes = list(program.nodes)
    position = max(n for n, node in enumerate(nodes) if isinstance(node.op, kind))
    op = dataclasses.replace(nodes[position].op, **changes)
    nodes[position] = dataclasses.replace(nodes[position], op=op)
    to_npz(dataclasses.replace(program, nodes=tuple(nodes)), folder / "program.npz")
    (folder / "model.keras").write_bytes((saved / "model.keras").read_bytes())
    return folder


def test_a_change_that_no_input_shows_is_found(saved: Path, tmp_path: Path) -> None:
    folder = changed(saved, tmp_path, ops.Quantize, overflow=Overflow.SAT)
    report = check(folder, data=np.zeros((9, SIDE * SIDE), "f4"), random=0)
    integers, on_data = report.comparisons
    assert on_data.differing == 0
    assert (integers.differing, report.exact) == (1, False)
    assert integers.place is not None
    assert (integers.place.layer, integers.place.what) == ("dense", "overflow")
    assert "first difference in dense" in report.summary()
    told = report.to_dict()["comparisons"][0]["place"]
    assert (told["layer"], told["found"], told["text"]) == ("dense", "WRAP", str(integers.place))
    with pytest.raises(hgqify.errors.BitExactnessError, match=r"integers of model\.keras = program\.npz"):
        report.raise_if_different()


def test_a_difference_is_said_with_its_place(saved: Path, tmp_path: Path) -> None:
    kernel = next(n.op.kernel for n in from_npz(saved / "program.npz").nodes if isinstance(n.op, ops.Dense))
    turned = dataclasses.replace(kernel, codes=-kernel.codes)
    report = check(changed(saved, tmp_path, ops.Dense, kernel=turned), random=8)
    integers, on_random = report.to_dict()["comparisons"]
    assert integers["differing"] == np.count_nonzero(kernel.codes)
    assert on_random["differing"] > 0
    assert on_random["place"]["layer"] == "dense"
    assert set(on_random["place"]) >= {"sample", "index", "expected", "found", "codes", "text"}


def test_bad_data_is_refused_before_the_compiler_runs(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(checking, "compile_project", compiled)
    x = np.zeros((300, SIDE * SIDE), "f4")
    with pytest.raises(ZeroDivisionError):
        check(saved, data=x, csim=True)
    x[5, 7] = np.nan
    for bad in (x, x[:, :-1]):
        with pytest.raises(DataError):
            check(saved, data=bad, csim=True)
    x[[5, 290]] = x[[290, 5]]  # in a later batch: found on the way
    with pytest.raises(DataError, match="290"):
        check(saved, data=x)


def test_nothing_to_compare_on(saved: Path) -> None:
    with pytest.raises(DataError, match="nothing to compare on"):
        check(saved, random=0)


def test_what_wraps_on_the_data_is_told(tmp_path: Path) -> None:
    x = keras.Input((4,))
    config = QuantizerConfig("kif", "datalane", i0=0, f0=3, overflow_mode="SAT")
    wraps = QuantizerConfig("kif", "datalane", i0=0, f0=3, overflow_mode="WRAP")
    model = keras.Model(x, QAdd(iq_conf=wraps, name="sum")([Quantize(iq_conf=config)(x)] * 2))
    model = keras.Model(x, Quantize(iq_conf=wraps, name="last")(model(x)))
    model.save(tmp_path / "model.keras")
    to_npz(lower(model), tmp_path / "program.npz")
    calm = check(tmp_path, data=np.full((5, 4), 0.25, "f4"))
    assert not calm.notes
    assert "overflow: " in calm.summary()
    wild = check(tmp_path, data=np.full((5, 4), 0.75, "f4"))
    assert wild.exact, wild.summary()  # it wraps alike everywhere
    assert "values wrap in 1 quantizer(s), as last" in wild.summary()


def test_sums_too_wide_for_float32_are_checked_in_float64(tmp_path: Path) -> None:
    x = keras.Input((64,))
    config = QuantizerConfig("kif", "datalane", i0=2, f0=18, overflow_mode="SAT")
    model = keras.Model(x, QDense(3, iq_conf=config, name="dense")(x))
    model.save(tmp_path / "model.keras")
    to_npz(lower(model), tmp_path / "program.npz")
    assert not check(tmp_path).exact
    report = check(tmp_path, float64=True)
    assert report.exact, report.summary()
    assert [c.what for c in report.comparisons] == ["integers of model.keras", "Keras in float64"]
