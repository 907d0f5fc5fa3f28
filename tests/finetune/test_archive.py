"""The archive keeps what no other model beats, and finds it again on disk after anything."""

import errno
import itertools
import math
import multiprocessing
import os
import random
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgqify.errors import ExportError, RuleError
from hgqify.finetune import Archive, Entry
from hgqify.finetune.archive import ArchiveFolder, Stage
from hgqify.finetune.checkpoint import Checkpoints, TrainingState

MADE_FROM = {"model": "a1", "settings": "b2"}
# Imports once, and then starts each process in milliseconds.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["hgqify.finetune.archive", "hypothesis.extra.numpy", "pytest"])


def entry(ebops: int, loss: float, step: int = 0, *, size: int = 3) -> Entry:
    weights = (np.full((size, 2), loss), np.array(step), np.array([True, False]))
    return Entry(
        step=step,
        stage=Stage.WIDTHS if step else Stage.START,
        ebops=ebops,
        loss=loss,
        accuracy=None if step % 2 else 91.25,
        agreement=98.5,
        weights=weights,
    )


def archive_of(entries: list[Entry], **options: int | None) -> Archive:
    archive = Archive(**options)
    for one in entries:
        archive = archive.consider(one)
    return archive


def values(archive: Archive) -> list[tuple[int, float]]:
    return [(one.ebops, one.loss) for one in archive.front]


def assert_same(one: Archive, other: Archive) -> None:
    assert [e.name for e in one.front] == [e.name for e in other.front]
    for ours, theirs in zip(one.front, other.front, strict=True):
        fields = ("step", "stage", "ebops", "loss", "accuracy", "agreement")
        assert [getattr(ours, name) for name in fields] == [getattr(theirs, name) for name in fields]
        assert type(theirs.stage) is Stage
        for expected, found in zip(ours.weights, theirs.weights, strict=True):
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
            np.testing.assert_array_equal(found, expected)


# Few values, so that equal ones are met often, and some of any size.
EBOPS = st.integers(0, 12) | st.integers(0, 10**9)
LOSSES = st.integers(0, 12).map(lambda n: n / 4) | st.floats(allow_nan=False) | st.just(math.nan)
ENTRIES = st.lists(st.tuples(EBOPS, LOSSES), max_size=30).map(
    lambda pairs: [entry(ebops, loss, step) for step, (ebops, loss) in enumerate(pairs)]
)


def as_good(one: Entry, other: Entry) -> bool:
    return one.ebops <= other.ebops and one.loss <= other.loss


class TestArchive:
    @given(ENTRIES)
    def test_no_entry_dominates_another(self, entries: list[Entry]) -> None:
        front = archive_of(entries).front
        assert not any(as_good(one, other) for one, other in itertools.permutations(front, 2))
        assert list(front) == sorted(front, key=lambda e: e.ebops)

    @given(ENTRIES)
    def test_every_entry_offered_is_kept_or_dominated(self, entries: list[Entry]) -> None:
        front = archive_of(entries).front
        for one in entries:
            assert math.isnan(one.loss) or any(as_good(kept, one) for kept in front)
        assert all(any(kept is one for one in entries) for kept in front)
        assert not any(math.isnan(kept.loss) for kept in front)

    @given(ENTRIES, st.randoms(use_true_random=False))
    def test_the_order_does_not_matter(self, entries: list[Entry], shuffler: random.Random) -> None:
        shuffled = list(entries)
        shuffler.shuffle(shuffled)
        assert values(archive_of(shuffled)) == values(archive_of(entries))

    @given(ENTRIES, EBOPS, EBOPS)
    def test_best_is_the_least_loss_of_all_within_the_budget(
        self, entries: list[Entry], budget: int, low: int
    ) -> None:
        archive = archive_of(entries)
        within = [one.loss for one in entries if one.ebops <= budget and not math.isnan(one.loss)]
        best = archive.best(budget)
        assert (None if best is None else best.loss) == min(within, default=None)
        # What dominates the others is the best wherever it lies in the range.
        assert archive.best(budget, low) is (best if best is not None and best.ebops >= low else None)

    @given(ENTRIES, st.integers(3, 6), EBOPS)
    def test_a_limit_keeps_the_ends_and_the_one_within_the_budget(
        self, entries: list[Entry], limit: int, budget: int
    ) -> None:
        everything = archive_of(entries)
        archive = archive_of(entries, limit=limit, budget=budget)
        assert len(archive.front) <= limit
        assert not any(as_good(one, other) for one, other in itertools.permutations(archive.front, 2))
        assert values(archive)[:1] == values(everything)[:1]
        assert values(archive)[-1:] == values(everything)[-1:]
        best, expected = archive.best(budget), everything.best(budget)
        assert (best and (best.ebops, best.loss)) == (expected and (expected.ebops, expected.loss))

    def test_of_equals_the_earlier_stays(self) -> None:
        first, second = entry(5, 1.0, 1), entry(5, 1.0, 2)
        archive = archive_of([first])
        assert archive.consider(second) is archive

    def test_a_loss_that_is_no_number_is_no_result(self) -> None:
        for archive in (Archive(), archive_of([entry(5, 1.0)])):
            assert archive.consider(entry(3, math.nan, 1)) is archive

    def test_an_archive_is_never_changed(self) -> None:
        archive = archive_of([entry(5, 1.0)])
        assert values(archive.consider(entry(4, 0.5, 1))) == [(4, 0.5)]
        assert values(archive) == [(5, 1.0)]

    def test_a_limit_drops_what_is_least_missed(self) -> None:
        spread = [entry(100, 4.0), entry(200, 3.0), entry(400, 2.0), entry(800, 1.0)]
        near = entry(410, 1.99)
        assert values(archive_of([*spread, near], limit=4)) == values(archive_of(spread))
        # Unless it is the one for the budget: then its neighbour goes.
        kept = values(archive_of([*spread, near], limit=4, budget=500))
        assert kept == [(100, 4.0), (200, 3.0), (410, 1.99), (800, 1.0)]

    @pytest.mark.parametrize("limit", [0, 2, -1])
    def test_a_limit_too_small_is_refused(self, limit: int) -> None:
        with pytest.raises(RuleError, match=f"at least 3 entries; received: {limit}"):
            Archive(limit=limit)

    def test_names_tell_entries_apart_and_are_the_same_for_numpy_numbers(self) -> None:
        assert entry(500, 0.25, 30).name == "0000030_widths_500_0.25"
        names = {entry(e, v, s).name for e in (1, 2) for v in (0.5, 0.5000001, math.inf) for s in (0, 1)}
        assert len(names) == 12
        assert entry(np.int64(500), np.float64(0.25), np.int64(30)).name == entry(500, 0.25, 30).name


class TestFolder:
    @given(entries=ENTRIES)
    def test_what_was_saved_is_loaded(
        self, entries: list[Entry], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = tmp_path_factory.mktemp("archive") / "out" / "archive"
        archive = archive_of(entries)
        store = ArchiveFolder(folder, MADE_FROM)
        for part in (entries[: len(entries) // 2], entries):
            store.save(archive_of(part))
            store.prune(archive_of(part))
        assert_same(archive, ArchiveFolder(folder, MADE_FROM).load())
        names = os.listdir(folder) if folder.exists() else []
        assert sorted(names) == sorted(f"{one.name}.npz" for one in archive.front)

    def test_nothing_is_removed_before_pruning(self, tmp_path: Path) -> None:
        """So a state stored between the two finds the archive it had, whichever of the two it is."""
        store = ArchiveFolder(tmp_path, MADE_FROM)
        before = archive_of([entry(500, 1.0), entry(400, 2.0, 1)])
        store.save(before)
        after = before.consider(entry(300, 0.5, 2))
        store.save(after)
        for archive in (before, after):
            names = [one.name for one in archive.front]
            assert_same(archive, ArchiveFolder(tmp_path, MADE_FROM).load(only=names))
        assert_same(after, ArchiveFolder(tmp_path, MADE_FROM).load())
        store.prune(after)
        assert os.listdir(tmp_path) == [f"{after.front[0].name}.npz"]

    def test_a_limit_holds_for_what_is_loaded(self, tmp_path: Path) -> None:
        ArchiveFolder(tmp_path, MADE_FROM).save(archive_of([entry(2**n, -n, n) for n in range(9)]))
        archive = ArchiveFolder(tmp_path, MADE_FROM).load(Archive(limit=4, budget=33))
        assert (archive.limit, archive.budget, len(archive.front)) == (4, 33, 4)
        best = archive.best(33)
        assert best is not None
        assert best.ebops == 32

    @pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
    def test_a_damaged_file_is_left_out_and_written_again(self, damage: str, tmp_path: Path) -> None:
        archive = archive_of([entry(500, 1.0), entry(400, 2.0, 1), entry(300, 3.0, 2)])
        ArchiveFolder(tmp_path, MADE_FROM).save(archive)
        path = tmp_path / f"{archive.front[1].name}.npz"
        content = bytearray(path.read_bytes())
        if damage == "flipped":
            content[len(content) // 2] ^= 1
        path.write_bytes({"cut": content[:-1], "empty": b""}.get(damage, content))
        store = ArchiveFolder(tmp_path, MADE_FROM)
        assert values(store.load()) == [(300, 3.0), (500, 1.0)]
        store.save(archive)
        assert_same(archive, ArchiveFolder(tmp_path, MADE_FROM).load())

    def test_models_of_something_else_are_refused_and_kept(self, tmp_path: Path) -> None:
        archive = archive_of([entry(500, 1.0), entry(400, 2.0, 1)])
        ArchiveFolder(tmp_path, MADE_FROM).save(archive)
        with pytest.raises(ExportError, match=r"the model changed; received: 2 of 2 models.*--force"):
            ArchiveFolder(tmp_path, MADE_FROM | {"model": "x"})
        assert_same(archive, ArchiveFolder(tmp_path, MADE_FROM, force=True).load())
        assert not ArchiveFolder(tmp_path, {"model": "x"}, force=True).load().front
        assert not os.listdir(tmp_path)

    def test_somebody_elses_files_are_not_touched(self, tmp_path: Path) -> None:
        for name in ("data.npz", "notes.txt", "0000001_widths.npz"):
            (tmp_path / name).write_text("years of work")
        store = ArchiveFolder(tmp_path, MADE_FROM, force=True)
        store.save(archive_of([entry(500, 1.0)]))
        store.prune(Archive())
        assert sorted(os.listdir(tmp_path)) == ["0000001_widths.npz", "data.npz", "notes.txt"]

    def test_a_full_disk_leaves_what_was_stored(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = archive_of([entry(500, 1.0), entry(400, 2.0, 1)])
        store = ArchiveFolder(tmp_path, MADE_FROM)
        store.save(before)
        after = before.consider(entry(300, 0.5, 2))

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            with pytest.raises(ExportError, match=r"a model of the training cannot be.*is intact.*--resume"):
                store.save(after)
        assert_same(before, ArchiveFolder(tmp_path, MADE_FROM).load())
        store.save(after)
        assert_same(after, ArchiveFolder(tmp_path, MADE_FROM).load())

    def test_a_file_that_grows_no_further_leaves_what_was_stored(self, tmp_path: Path) -> None:
        before = archive_of([entry(500, 1.0), entry(400, 2.0, 1)])
        ArchiveFolder(tmp_path, MADE_FROM).save(before)
        process, hears = run(limited, tmp_path)
        process.join()
        assert "a model of the training cannot be written (File too large)" in hears.recv()
        assert_same(before, ArchiveFolder(tmp_path, MADE_FROM).load())
        assert len(os.listdir(tmp_path)) == 2


def limited(connection, folder: Path) -> None:
    """Add a model where no file may be larger than 10 kB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
    store = ArchiveFolder(folder, MADE_FROM)
    try:
        store.save(store.load().consider(entry(100, 0.5, 3, size=40_000)))
    except ExportError as error:
        connection.send(str(error))


def offered(step: int) -> Entry:
    """Some dominate others, some add to the front, some are dominated."""
    where, luck = np.random.default_rng(step).uniform(size=2)
    ebops = int(400 + 3000 * where)
    return entry(ebops, 1000 / ebops + 0.2 * luck - 0.001 * step, step, size=20_000)


def grow(connection, folder: Path) -> None:
    """Go on with an archive; tell of each version that is safe."""
    store = ArchiveFolder(folder, MADE_FROM)
    archive = store.load()
    step = max((one.step for one in archive.front), default=0)
    while True:
        step += 1
        archive = archive.consider(offered(step))
        store.save(archive)
        connection.send(step)
        store.prune(archive)


def run(target, *arguments) -> tuple:
    """A process of its own, and the end that hears of it."""
    hears, tells = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=target, args=(tells, *arguments))
    process.start()
    tells.close()
    return process, hears


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """What is found is the archive of all steps told of, or of one more."""
    rng = random.Random(3)
    for _ in range(12):
        process, hears = run(grow, tmp_path)
        assert hears.poll(60), "it saves nothing"
        time.sleep(rng.uniform(0, 0.04))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        step = 0
        while True:
            try:
                step = hears.recv()
            except EOFError:
                break
        archive = ArchiveFolder(tmp_path, MADE_FROM).load()
        expected = [archive_of([offered(n) for n in range(1, last + 1)]) for last in (step, step + 1)]
        assert values(archive) in [values(one) for one in expected]
        assert_same(next(one for one in expected if values(one) == values(archive)), archive)
        assert all(not name.startswith(".") for name in os.listdir(tmp_path))


STEPS = 60


def train(connection, folder: Path) -> None:
    """A training as it is meant to store its archive, with a state every third step."""
    store, checkpoints = ArchiveFolder(folder / "archive", MADE_FROM), Checkpoints(folder, MADE_FROM)
    state, archive, first = checkpoints.load(), Archive(limit=4, budget=1000), 1
    if state is not None:
        archive, first = store.load(archive, only=state.record["archive"]), state.record["step"] + 1
    connection.send(first)
    for step in range(first, STEPS + 1):
        archive = archive.consider(offered(step))
        store.save(archive)
        if step % 3 == 0:
            names = [one.name for one in archive.front]
            checkpoints.save(TrainingState(record={"step": step, "archive": names}, arrays={}))
            store.prune(archive)
        time.sleep(0.004)  # however fast the disk, no run gets through in the time it is given


def test_a_training_killed_again_and_again_ends_with_the_archive_of_one_that_was_not(tmp_path: Path) -> None:
    """With a limit this depends on every entry that was ever there: a state must find just its own."""
    rng = random.Random(4)
    expected = archive_of([offered(step) for step in range(1, STEPS + 1)], limit=4, budget=1000)
    assert len(expected.front) == 4
    kills = 0
    while True:
        process, hears = run(train, tmp_path)
        assert hears.poll(60), "it does not start"
        process.join(rng.uniform(0, 0.06))
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        kills += 1
        assert kills < 1000, "it never gets on"
    assert kills, "nothing was tested"
    assert_same(expected, ArchiveFolder(tmp_path / "archive", MADE_FROM).load())
    assert len(os.listdir(tmp_path / "archive")) == 4
