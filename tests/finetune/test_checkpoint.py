"""A training's state survives whatever ends the training: always one whole state, never an older one."""

import errno
import itertools
import multiprocessing
import os
import random
import resource
import signal
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from hgqify.errors import ExportError
from hgqify.finetune.checkpoint import STATE_FILE, Checkpoints, TrainingState
from hgqify.finetune.stored import Stored, pack, unpack

MADE_FROM = {"model": "a1", "settings": "b2", "calibration data": "c3", "version of hgqify": "0.1.0"}
# Imports once, and then starts each process in milliseconds.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["hgqify.finetune.checkpoint", "hypothesis.extra.numpy", "pytest"])


def state(n: int, size: int = 1000) -> TrainingState:
    """One that says in every part which it is."""
    rng = np.random.default_rng(n)
    return TrainingState(
        record={"step": n, "rng": rng.bit_generator.state, "archive": [f"{n}_a", f"{n}_b"]},
        arrays={
            "dense/kernel": np.full((size, 3), n, np.float32),
            "step": np.array(n),
            "seed": np.array([n, 1], np.uint32),
        },
    )


def assert_same(one: TrainingState, other: TrainingState) -> None:
    assert one.record == other.record
    assert list(one.arrays) == list(other.arrays)
    for name, array in one.arrays.items():
        found = other.arrays[name]
        assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes()), (
            name
        )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ARRAYS = npst.arrays(
    st.sampled_from(["?", "i1", "u1", "<i4", "<u4", ">i8", "<u8", "<f2", "<f4", "<f8", ">f4", "<c8"]),
    npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


class TestFormat:
    @given(st.dictionaries(st.text(), JSON, max_size=4), st.dictionaries(st.text(), ARRAYS, max_size=4))
    def test_all_comes_back_bit_for_bit(self, record: dict, arrays: dict) -> None:
        found = unpack(pack(Stored(record=record, arrays=arrays, made_from=MADE_FROM)))
        assert found is not None
        assert found.made_from == MADE_FROM
        assert repr(found.record) == repr(record)  # 1 is not True here
        assert_same(TrainingState(record=record, arrays=arrays), found)

    def test_what_is_no_contiguous_block_comes_back(self) -> None:
        base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
        arrays = {
            "transposed": base.T,
            "every other": base[..., ::2],
            "view": base[0],
            "nan": np.array(np.nan),
        }
        found = unpack(pack(Stored(record={"loss": float("inf")}, arrays=arrays, made_from={})))
        assert found is not None
        assert found.record == {"loss": float("inf")}
        for name, array in arrays.items():
            np.testing.assert_array_equal(found.arrays[name], array)

    def test_every_cut_and_every_flipped_bit_is_recognised(self) -> None:
        content = pack(Stored(record={"a": 1}, arrays={"w": np.arange(5.0)}, made_from=MADE_FROM))
        assert unpack(content) is not None
        assert all(unpack(content[:size]) is None for size in range(len(content)))
        assert unpack(content + b"\0") is None
        for n in range(len(content)):
            for bit in (1, 128):
                damaged = bytearray(content)
                damaged[n] ^= bit
                assert unpack(bytes(damaged)) is None, n

    def test_it_is_a_file_that_numpy_opens(self, tmp_path: Path) -> None:
        checkpoints = Checkpoints(tmp_path, MADE_FROM)
        checkpoints.save(state(7))
        with np.load(tmp_path / STATE_FILE) as file:
            assert sorted(file.files) == ["a0", "a1", "a2", "made_from", "names", "record"]
            np.testing.assert_array_equal(file["a1"], 7)

    @pytest.mark.parametrize("record", [{"a": (1, 2)}, {"a": [{1: 2}]}, {"a": np.int64(1)}, {"a": {1}}])
    def test_a_record_that_would_come_back_changed_is_refused(self, record: dict, tmp_path: Path) -> None:
        with pytest.raises(TypeError, match="a record holds"):
            Checkpoints(tmp_path, {}).save(TrainingState(record=record, arrays={}))

    @pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, object, "U3"])
    def test_arrays_that_would_lose_their_type_are_refused(self, dtype: object, tmp_path: Path) -> None:
        with pytest.raises(ExportError, match=r"w: an array of a type.*float32"):
            Checkpoints(tmp_path, {}).save(TrainingState(record={}, arrays={"w": np.zeros(3, dtype)}))
        assert not os.listdir(tmp_path)


class TestCheckpoints:
    def test_the_last_one_saved_is_loaded(self, tmp_path: Path) -> None:
        folder = tmp_path / "a" / "training"
        checkpoints = Checkpoints(folder, MADE_FROM)
        assert checkpoints.load() is None
        assert not folder.exists()
        for n in range(3):
            checkpoints.save(state(n))
            for reader in (checkpoints, Checkpoints(folder, MADE_FROM)):
                loaded = reader.load()
                assert loaded is not None
                assert_same(loaded, state(n))
        assert os.listdir(folder) == [STATE_FILE]
        checkpoints.remove()
        assert checkpoints.load() is None
        checkpoints.remove()

    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"model": "x"}, "the model changed"),
            ({"version of hgqify": "0.2"}, "the version of hgqify changed"),
            ({"settings": "x", "calibration data": "x"}, "the calibration data and the settings changed"),
            ({"validation data": "x"}, "the validation data changed"),
        ],
    )
    def test_a_state_of_something_else_is_refused_and_kept(
        self, changes: dict, named: str, tmp_path: Path
    ) -> None:
        checkpoints = Checkpoints(tmp_path, MADE_FROM)
        checkpoints.save(state(1))
        with pytest.raises(ExportError, match=f"{STATE_FILE}: .*{named}. Choose another folder.*--force"):
            Checkpoints(tmp_path, MADE_FROM | changes)
        loaded = Checkpoints(tmp_path, MADE_FROM, force=True).load()
        assert loaded is not None  # force removes no state that fits
        assert Checkpoints(tmp_path, MADE_FROM | changes, force=True).load() is None

    def test_a_damaged_state_is_not_taken_for_none(self, tmp_path: Path) -> None:
        checkpoints = Checkpoints(tmp_path, MADE_FROM)
        checkpoints.save(state(1))
        checkpoints.path.write_bytes(checkpoints.path.read_bytes()[:-200])
        for read in (checkpoints.load, lambda: Checkpoints(tmp_path, MADE_FROM)):
            with pytest.raises(ExportError, match=r"damaged; received: [\d,]+ bytes that.*--force"):
                read()
        assert Checkpoints(tmp_path, MADE_FROM, force=True).load() is None

    def test_a_state_that_cannot_be_read_is_not_taken_for_none(self, tmp_path: Path) -> None:
        checkpoints = Checkpoints(tmp_path, MADE_FROM)
        (tmp_path / STATE_FILE).mkdir()
        with pytest.raises(ExportError, match="cannot be read"):
            checkpoints.load()

    def test_a_folder_that_cannot_be_written_is_refused_early(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for folder in (tmp_path / "file", tmp_path / "file" / "training"):
            with pytest.raises(ExportError, match="not a folder"):
                Checkpoints(folder, MADE_FROM)


def numbers(connection, folder: Path, size: int) -> None:
    """Save 1, 2, 3, ... or on from what is there; tell of each that is safe."""
    checkpoints = Checkpoints(folder, MADE_FROM)
    found = checkpoints.load()
    n = 0 if found is None else found.record["step"]
    while True:
        n += 1
        checkpoints.save(state(n, size))
        connection.send(n)


def die_at(connection, folder: Path, moment: str) -> None:
    """Save 2, and be killed at a moment of it."""
    checkpoints = Checkpoints(folder, MADE_FROM)
    replace, fsync = os.replace, os.fsync

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def die_half_written(descriptor: int) -> None:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        fsync(descriptor)
        die()

    def die_after(*names: Path) -> None:
        replace(*names)
        die()

    if moment == "half written":
        os.fsync = die_half_written
    else:
        os.replace = die if moment == "written" else die_after
    checkpoints.save(state(2))
    connection.send("still there")


def run(target, *arguments) -> tuple:
    """A process of its own, and the end that hears of it."""
    hears, tells = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=target, args=(tells, *arguments))
    process.start()
    tells.close()
    return process, hears


def told(hears) -> list:
    """All that a process that ended had said."""
    found = []
    while True:
        try:
            found.append(hears.recv())
        except EOFError:
            return found


class TestKilled:
    def test_at_random_moments(self, tmp_path: Path) -> None:
        """Each process goes on where the one before it was killed."""
        rng = random.Random(5)
        saved, hit = 0, 0
        for kill in itertools.count(1):
            process, hears = run(numbers, tmp_path, 40_000)
            assert hears.poll(60), "it saves nothing"
            time.sleep(rng.uniform(0, 0.05))
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
            reported = told(hears)
            assert reported == list(range(reported[0], reported[-1] + 1))
            assert reported[0] in (saved + 1, saved + 2)
            left = os.listdir(tmp_path)
            assert len(left) <= 2
            hit += len(left) == 2
            loaded = Checkpoints(tmp_path, MADE_FROM).load()
            assert loaded is not None
            assert_same(loaded, state(loaded.record["step"], 40_000))
            assert loaded.record["step"] in (reported[-1], reported[-1] + 1)
            assert os.listdir(tmp_path) == [STATE_FILE]
            saved = reported[-1]
            if hit and kill >= 14:
                break
            assert kill < 200, "no kill meets a file half written"

    @pytest.mark.parametrize(("moment", "expected"), [("half written", 1), ("written", 1), ("replaced", 2)])
    def test_at_chosen_moments(self, moment: str, expected: int, tmp_path: Path) -> None:
        Checkpoints(tmp_path, MADE_FROM).save(state(1))
        process, hears = run(die_at, tmp_path, moment)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert told(hears) == []
        assert len(os.listdir(tmp_path)) == (1 if moment == "replaced" else 2)
        loaded = Checkpoints(tmp_path, MADE_FROM).load()
        assert loaded is not None
        assert_same(loaded, state(expected))
        assert os.listdir(tmp_path) == [STATE_FILE]


def limited(connection, folder: Path, limit: int) -> None:
    """Save where no file may be larger than a limit."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        Checkpoints(folder, MADE_FROM).save(state(2, 40_000))
    except ExportError as error:
        connection.send(str(error))


class TestFullDisk:
    @pytest.mark.parametrize("limit", [0, 1000, 400_000])
    @pytest.mark.parametrize("earlier", [False, True])
    def test_a_file_that_grows_no_further(self, limit: int, earlier: bool, tmp_path: Path) -> None:
        checkpoints = Checkpoints(tmp_path, MADE_FROM)
        if earlier:
            checkpoints.save(state(1))
        process, hears = run(limited, tmp_path, limit)
        process.join()
        (message,) = told(hears)
        assert message.startswith(
            f"{checkpoints.path}: the state of the training cannot be written (File too"
        )
        assert "; received: 48" in message
        assert "ulimit -f" in message
        loaded = checkpoints.load()
        if earlier:
            assert "what was stored before is intact" in message
            assert message.endswith("then go on with --resume (resume=True)")
            assert loaded is not None
            assert_same(loaded, state(1))
            assert os.listdir(tmp_path) == [STATE_FILE]
        else:
            assert "nothing was stored before" in message
            assert message.endswith("then run again")
            assert not os.listdir(tmp_path)

    @pytest.mark.parametrize(
        ("code", "call", "words"),
        [
            (
                errno.ENOSPC,
                "fsync",
                "(No space left on device).* bytes to write, [0-9,]+ bytes free. Free space",
            ),
            (errno.EDQUOT, "fsync", "bytes free. Free space there, then go on with --resume"),
            (errno.EROFS, "replace", "(Read-only file system).*Make the folder writable, then go on"),
            (errno.EIO, "fsync", "Input/output error"),
        ],
    )
    def test_what_the_system_refuses(
        self, code: int, call: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checkpoints = Checkpoints(tmp_path, MADE_FROM)
        checkpoints.save(state(1))

        def refuse(*_: object) -> None:
            raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patch:
            patch.setattr(os, call, refuse)
            with pytest.raises(ExportError, match=words) as caught:
                checkpoints.save(state(2))
        assert "what was stored before is intact" in str(caught.value)
        loaded = checkpoints.load()
        assert loaded is not None
        assert_same(loaded, state(1))
        assert os.listdir(tmp_path) == [STATE_FILE]
        checkpoints.save(state(2))
        assert_same(state(2), checkpoints.load() or state(0))

    def test_a_folder_that_went_away_is_made_again(self, tmp_path: Path) -> None:
        checkpoints = Checkpoints(tmp_path / "out", MADE_FROM)
        checkpoints.save(state(1))
        checkpoints.path.unlink()
        checkpoints.path.parent.rmdir()
        checkpoints.save(state(2))
        assert_same(state(2), checkpoints.load() or state(0))
