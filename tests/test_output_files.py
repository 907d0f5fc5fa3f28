"""Results appear whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from hgqify.errors import ExportError
from hgqify.files import atomic_directory, atomic_write, check_file_target, check_target, remove_partials

MARKER = "report.json"


def write_result(target: Path, text: str, **options: object) -> None:
    with atomic_directory(target, marker=MARKER, **options) as folder:
        (folder / MARKER).write_text(text)
        (folder / "hls").mkdir()
        (folder / "hls" / "a.h").write_text(text)
        assert folder.parent == target.parent


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("exists", [False, True])
def test_a_result_is_written_to_nothing_or_an_empty_folder(tmp_path: Path, exists: bool) -> None:
    if exists:
        (tmp_path / "out").mkdir()
    write_result(tmp_path / "out", "1")
    assert tree(tmp_path) == {f"out/{MARKER}": "1", "out/hls/a.h": "1"}
    assert (tmp_path / "out").stat().st_mode == tmp_path.joinpath("out/hls").stat().st_mode


def test_missing_parents_are_made_and_removed_on_failure(tmp_path: Path) -> None:
    write_result(tmp_path / "a" / "b" / "out", "1")
    with pytest.raises(ZeroDivisionError), atomic_directory(tmp_path / "c" / "d" / "out"):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["a"]


def test_an_existing_result_needs_force(tmp_path: Path) -> None:
    write_result(tmp_path / "out", "1")
    with pytest.raises(ExportError, match=r"exists already.*--force"):
        write_result(tmp_path / "out", "2")
    assert tree(tmp_path / "out")[MARKER] == "1"
    write_result(tmp_path / "out", "2", force=True)
    assert tree(tmp_path) == {f"out/{MARKER}": "2", "out/hls/a.h": "2"}
    assert os.listdir(tmp_path) == ["out"]


def test_force_replaces_results_only(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    with pytest.raises(ExportError, match="holds something else"):
        write_result(tmp_path / "home", "1", force=True)
    assert tree(tmp_path) == {"home/thesis.tex": "years of work"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, SystemExit])
@pytest.mark.parametrize("old", [False, True])
def test_an_interrupted_run_leaves_what_was_there(tmp_path: Path, error: type, old: bool) -> None:
    if old:
        write_result(tmp_path / "out", "1")
    before = tree(tmp_path)

    def interrupted() -> None:
        with atomic_directory(tmp_path / "out", force=True) as folder:
            (folder / MARKER).write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert tree(tmp_path) == before
    assert os.listdir(tmp_path) == (["out"] if old else [])


def test_a_failure_between_the_two_renames_restores_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_result(tmp_path / "out", "1")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(KeyboardInterrupt):
        write_result(tmp_path / "out", "2", force=True)
    assert os.listdir(tmp_path) == ["out"]
    assert tree(tmp_path / "out")[MARKER] == "1"


def test_a_result_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:

    def overtaken() -> None:
        with atomic_directory(tmp_path / "out") as folder:
            (folder / MARKER).write_text("2")
            write_result(tmp_path / "out", "1")

    with pytest.raises(ExportError, match="meanwhile"):
        overtaken()
    assert tree(tmp_path / "out")[MARKER] == "1"
    assert os.listdir(tmp_path) == ["out"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_directory(tmp_path / "link") as folder:
        (folder / "a").write_text("1")
    assert (tmp_path / "link").is_symlink()
    assert tree(tmp_path / "real") == {"a": "1"}


def test_unwritable_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="not a folder"):
        check_target(tmp_path / "file")
    with pytest.raises(ExportError, match="not a folder"):
        check_target(tmp_path / "file" / "out")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    for target in (tmp_path / "out", tmp_path / "parent" / "out"):
        with pytest.raises(ExportError, match=r"cannot be written \(Permission denied\)"):
            check_target(target)


def test_a_refusal_by_the_system_is_an_export_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a read-only file system, which a check of permissions does not see for root."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    for target in (tmp_path / "out", tmp_path / "parent" / "out"):
        with pytest.raises(ExportError, match="Read-only"), atomic_directory(target):
            pass
    assert not os.listdir(tmp_path)


def test_atomic_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    atomic_write(path, "µ")
    assert path.read_bytes() == b"\xc2\xb5"
    atomic_write(path, b"2")
    assert path.read_bytes() == b"2"
    with pytest.raises(ExportError, match="cannot be written"):
        atomic_write(tmp_path / "none" / "a.json", "")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, "3")
    assert path.read_bytes() == b"2"
    assert os.listdir(tmp_path) == ["a.json"]


def test_atomic_write_stores_the_content_before_the_name_and_the_name_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut between the two leaves the old content; one afterwards the new."""
    calls = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def replaced(*names: Path) -> None:
        calls.append("replace")
        replace(*names)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    atomic_write(tmp_path / "a.json", "1")
    assert calls == ["file", "replace", "folder"]


def test_what_killed_processes_left_is_found_by_name(tmp_path: Path) -> None:
    kept = [".a.npz.partial", ".a.npz.0123456789xy.partial", ".b.npz.0123456789ab.partial", "a.npz"]
    for name in (*kept, ".a.npz.0123456789ab.partial", ".a.npz.00112233445f.partial"):
        (tmp_path / name).touch()
    remove_partials(tmp_path, "a.npz")
    assert sorted(os.listdir(tmp_path)) == sorted(kept)
    remove_partials(tmp_path, "*.npz")
    assert sorted(os.listdir(tmp_path)) == sorted(name for name in kept if "b.npz" not in name)
    remove_partials(tmp_path / "none", "*.npz")


def test_a_file_that_cannot_be_written_is_refused_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check_file_target(tmp_path / "a.json") == (tmp_path / "a.json").resolve()
    assert not os.listdir(tmp_path)
    with pytest.raises(ExportError, match="is a folder"):
        check_file_target(tmp_path)
    with pytest.raises(ExportError, match="no such folder"):
        check_file_target(tmp_path / "none" / "a.json")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ExportError, match="Read-only"):
        check_file_target(tmp_path / "a.json")
