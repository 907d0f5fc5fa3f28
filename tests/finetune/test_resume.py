"""A training that was stopped goes on as if it had not been: the same weights, bit for bit."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from budget_cases import Case, make_case, mlp, samples

import hgqify
from hgqify.data import open_source
from hgqify.errors import BudgetError, ExportError, RuleError
from hgqify.finetune import Finetuned, FinetuneSettings, OwnTraining, Storage, finetune
from hgqify.finetune import run as run_module
from hgqify.finetune.checkpoint import STATE_FILE
from hgqify.progress import no_progress
from hgqify.reference import run
from hgqify.training import exact_ebops

STEPS = 40


@pytest.fixture(scope="module")
def allocated() -> Case:
    return make_case(mlp, 0.06, compensate=False)


@pytest.fixture
def every_epoch(monkeypatch):
    """The state is stored at the end of every epoch, however short."""
    monkeypatch.setattr(run_module, "_STORE_EVERY", -1.0)


class StopError(Exception):
    """Whatever stops a training."""


def train(
    case: Case,
    storage: Storage | None = None,
    stop: int | None = None,
    own: OwnTraining | None = None,
    **settings,
) -> Finetuned:
    """All steps, or up to the stop."""

    def told(event):
        if event.done == stop:
            raise StopError

    return finetune(
        case.model,
        case.clone,
        open_source(case.x),
        logits=(True,),
        settings=FinetuneSettings(**{"steps": STEPS, "batch_size": 32, "evaluations": 5} | settings),
        settle=case.settle,
        budget=case.budget,
        own=own,
        storage=storage,
        progress=told,
    )


def values(case: Case) -> list[np.ndarray]:
    return [np.array(v) for v in case.model.variables]


def assert_same(one: list[np.ndarray], two: list[np.ndarray]) -> None:
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def assert_same_archive(one: Finetuned, two: Finetuned) -> None:
    assert [entry.name for entry in one.archive.front] == [entry.name for entry in two.archive.front]
    for a, b in zip(one.archive.front, two.archive.front, strict=True):
        assert_same(list(a.weights), list(b.weights))


@pytest.fixture(scope="module")
def whole(allocated) -> tuple[Finetuned, list[np.ndarray]]:
    """What a training gives that nothing stops."""
    case = allocated.again()
    return train(case), values(case)


# 360 samples: an epoch has 11 steps. Looks are at 8, 16, 24, 32 (the last of the widths) and 40.
@pytest.mark.parametrize("stops", [(3,), (9,), (12,), (30, 31, 32), (33,), (36, 38), (40,)])
def test_resumed_is_uninterrupted(allocated, whole, tmp_path, every_epoch, stops):
    for n, stop in enumerate(stops):
        with pytest.raises(StopError):
            train(allocated.again(), Storage(folder=tmp_path / "t", resume=n > 0), stop)
    case = allocated.again()
    found = train(case, Storage(folder=tmp_path / "t", resume=True))
    expected, wanted = whole
    assert_same(values(case), wanted)
    assert_same_archive(found, expected)
    assert found.report.looks == expected.report.looks
    stored = max((n for n in (8, 11, 16, 22, 24, 32, 33, 40) if n <= stops[-1]), default=None)
    assert found.report.resumed_at == stored


def test_without_a_budget_too(allocated, tmp_path, every_epoch):
    def go(storage=None, stop=None):
        case = allocated.again()

        def told(event):
            if event.done == stop:
                raise StopError

        finetune(
            case.model,
            case.clone,
            open_source(case.x),
            logits=(True,),
            settings=FinetuneSettings(steps=30, batch_size=32, evaluations=3),
            settle=case.settle,
            storage=storage,
            progress=told,
        )
        return values(case)

    expected = go()
    with pytest.raises(StopError):
        go(Storage(folder=tmp_path / "t"), 25)
    assert_same(go(Storage(folder=tmp_path / "t", resume=True)), expected)


def test_what_is_drawn_goes_on_where_it_was(allocated, tmp_path, every_epoch):
    """Stochastic rounding: a training stopped and resumed draws what an undisturbed one draws."""

    def go(storage: Storage | None = None, stop: int | None = None, **options):
        case = allocated.again()
        train(case, storage, stop, **options)
        return values(case)

    expected = go(stochastic_rounding=True)
    with pytest.raises(StopError):
        go(Storage(folder=tmp_path / "t"), 25, stochastic_rounding=True)
    assert_same(go(Storage(folder=tmp_path / "t", resume=True), stochastic_rounding=True), expected)
    plain = go()
    assert any(not np.array_equal(a, b) for a, b in zip(plain, expected, strict=True))


def test_a_finished_training_resumed_gives_its_result_again(allocated, whole, tmp_path):
    train(allocated.again(), Storage(folder=tmp_path / "t"))
    case = allocated.again()
    train(case, Storage(folder=tmp_path / "t", resume=True))
    assert_same(values(case), whole[1])


def test_a_collapse_is_remembered(allocated, tmp_path, every_epoch):
    """The moment to come back to, and how often it was needed, outlast a stop."""
    import dataclasses

    budget = dataclasses.replace(allocated.budget, price=0.1)
    harsh = dataclasses.replace(allocated, budget=budget)
    case = harsh.again()
    expected = train(case, steps=80, width_rate=0.3)
    assert expected.report.collapses
    first = expected.report.collapses[0].step
    with pytest.raises(StopError):
        train(harsh.again(), Storage(folder=tmp_path / "t"), first + 12, steps=80, width_rate=0.3)
    other = harsh.again()
    found = train(other, Storage(folder=tmp_path / "t", resume=True), steps=80, width_rate=0.3)
    assert found.report.collapses == expected.report.collapses
    assert_same(values(other), values(case))


def test_what_is_not_asked_for_is_refused(allocated, tmp_path):
    folder = tmp_path / "t"
    with pytest.raises(StopError):
        train(allocated.again(), Storage(folder=folder), 20)
    stored = (folder / STATE_FILE).read_bytes()
    with pytest.raises(ExportError, match=r"stopped.*--resume"):
        train(allocated.again(), Storage(folder=folder))
    with pytest.raises(ExportError, match=r"the settings changed.*--force"):
        train(allocated.again(), Storage(folder=folder, resume=True), batch_size=64)
    assert (folder / STATE_FILE).read_bytes() == stored
    other = make_case(mlp, 0.1, compensate=False)
    with pytest.raises(ExportError, match="the model and the settings changed"):
        train(other, Storage(folder=folder, resume=True))
    found = train(allocated.again(), Storage(folder=folder, force=True))
    assert found.report.resumed_at is None


def test_another_optimizer_is_refused(allocated, tmp_path):
    """Its state would not fit; that of another rate would bring the old rate back."""
    folder = tmp_path / "t"
    with pytest.raises(StopError):
        train(allocated.again(), Storage(folder=folder), 20, OwnTraining(optimizer=keras.optimizers.SGD(0.1)))
    for other in (keras.optimizers.Adam(0.1), keras.optimizers.SGD(0.2), None):
        with pytest.raises(ExportError, match=r"the optimizer changed.*--force"):
            train(allocated.again(), Storage(folder=folder, resume=True), own=OwnTraining(optimizer=other))
    same = OwnTraining(optimizer=keras.optimizers.SGD(0.1, name="again"))
    found = train(allocated.again(), Storage(folder=folder, resume=True), own=same)
    assert found.report.resumed_at == 16


def test_other_weights_of_features_are_refused(allocated, tmp_path):
    """Losses of the old weights would be compared with those of the new."""
    folder = tmp_path / "t"
    with pytest.raises(StopError):
        train(allocated.again(), Storage(folder=folder), 20, OwnTraining(features={"a": 1.0}))
    with pytest.raises(ExportError, match="the features changed"):
        train(allocated.again(), Storage(folder=folder, resume=True), own=OwnTraining(features={"a": 2.0}))


def test_a_folder_of_something_else_is_refused(allocated, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for force in (False, True):
        with pytest.raises(ExportError, match=r"something else.*thesis\.tex"):
            train(allocated.again(), Storage(folder=tmp_path, force=force))
    assert (tmp_path / "thesis.tex").exists()


def test_a_full_disk_loses_nothing(allocated, whole, tmp_path, every_epoch):
    """The message says what to do; after that the training goes on."""
    folder = tmp_path / "t"
    with pytest.raises(StopError):
        train(allocated.again(), Storage(folder=folder), 20)
    stored = (folder / STATE_FILE).read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(ExportError, match=r"intact.*--resume"):
            train(allocated.again(), Storage(folder=folder, resume=True))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (folder / STATE_FILE).read_bytes() == stored
    case = allocated.again()
    train(case, Storage(folder=folder, resume=True))
    assert_same(values(case), whole[1])


SCRIPT = """
    import sys
    from pathlib import Path
    import numpy as np
    sys.path.insert(0, {tests!r})
    from budget_cases import mlp, samples
    import hgqify
    from hgqify.finetune import run
    from hgqify.progress import no_progress

    run._STORE_EVERY = -1.0
    model = mlp()
    result = hgqify.convert(
        model, samples(model), target_ebops=5000, finetune_steps=1200, batch_size=32,
        training_folder={folder!r}, resume=True, progress=no_progress,
    )
    resumed = np.array(result.report.finetune["resumed_at"] or 0)
    np.savez({out!r}, *result.model.get_weights(), resumed=resumed)
"""


def start(tmp_path: Path, folder: str, out: str) -> subprocess.Popen[bytes]:
    code = textwrap.dedent(SCRIPT).format(
        tests=str(Path(__file__).parent), folder=str(tmp_path / folder), out=str(tmp_path / out)
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment)


def test_killed_and_resumed(tmp_path):
    """kill -9, twice, at moments nobody chose: the result is that of a run that nothing disturbed."""
    for n in range(2):
        process = start(tmp_path, "killed", "killed.npz")
        state, before = tmp_path / "killed" / STATE_FILE, 0.0
        deadline = time.monotonic() + 300
        before = state.stat().st_mtime if state.exists() else 0.0
        while not (state.exists() and state.stat().st_mtime > before):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.005)
        time.sleep(0.05 + 0.11 * n)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (tmp_path / "killed.npz").exists()
    assert start(tmp_path, "killed", "killed.npz").wait() == 0
    assert start(tmp_path, "whole", "whole.npz").wait() == 0
    with np.load(tmp_path / "killed.npz") as killed, np.load(tmp_path / "whole.npz") as undisturbed:
        assert killed["resumed"] > 0
        assert undisturbed["resumed"] == 0
        for name in set(undisturbed.files) - {"resumed"}:
            np.testing.assert_array_equal(killed[name], undisturbed[name])


def test_choose_by_budget_afterwards():
    """Another model of the same training: exact, within what was asked for."""
    model = mlp()
    x = samples(model)
    result = hgqify.convert(
        model, x, target_ebops=5000, finetune_steps=STEPS, compensate=False, progress=no_progress
    )
    assert result.archive.front
    for entry in result.archive.front:
        chosen = result.at(entry.ebops)
        assert chosen.report.ebops == exact_ebops(chosen.model) == entry.ebops
        assert chosen.report.finetune["loss"] == entry.loss
        for scale in (1, 10):
            (expected,) = run(chosen.program, scale * x).values
            np.testing.assert_array_equal(chosen.model.predict_on_batch(scale * x), expected)
    assert result.report.ebops == exact_ebops(result.model)
    with pytest.raises(BudgetError, match="fewest are"):
        result.at(10)


def test_misuse_is_said_before_any_work(tmp_path):
    model = mlp()
    with pytest.raises(RuleError, match="training_folder"):
        hgqify.convert(model, samples(model), resume=True)
    with pytest.raises(RuleError, match="not fine-tuned"):
        hgqify.convert(model, samples(model), budgets=[5000], training_folder=tmp_path / "t")
