"""Output that appears whole or not at all."""

import contextlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

from hgqify.errors import ExportError


def is_special(path: Path) -> bool:
    """Whether a path is neither a file nor a folder: reading a pipe would wait for ever, a device never end.

    Raises:
        OSError: it cannot be looked at, or is not there.
    """
    mode = path.stat().st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_target(target: str | os.PathLike[str], *, force: bool = False, marker: str | None = None) -> Path:
    """Check, before any work, that a result may be written to `target`.

    Args:
        target: folder to be written.
        force: an existing result may be replaced.
        marker: a file that every such result holds. A folder without it is never replaced, so that
            a mistyped output path cannot delete somebody's files.

    Returns:
        The absolute path, with links followed.

    Raises:
        ExportError: it exists and may not be replaced, or cannot be written there.
    """
    path = Path(target).expanduser().resolve()
    try:
        exists = path.exists()
    except OSError as error:  # a name too long for the file system
        raise _unwritable(path, error.strerror) from error
    if path.is_dir():
        _check_replaceable(path, force, marker)
    elif exists:
        raise ExportError("the output exists and is not a folder", where=str(path), remedy="choose another")
    parent = path.parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise ExportError(
            "the output cannot be written",
            where=str(path),
            received=f"{parent}, which is not a folder",
            remedy="choose another output folder",
        )
    _check_writable(parent, path)
    return path


def _check_writable(parent: Path, path: Path) -> None:
    """Make and remove a folder: permissions alone do not tell of read-only or special file systems."""
    probe = parent / f".{uuid.uuid4().hex[:12]}.probe"
    try:
        probe.mkdir()
    except OSError as error:
        raise _unwritable(path, error.strerror) from error
    probe.rmdir()


def check_file_target(target: str | os.PathLike[str]) -> Path:
    """Check, before any work, that `atomic_write` can write a file.

    Args:
        target: file to be written; one that exists will be replaced.

    Returns:
        The absolute path, with links followed.

    Raises:
        ExportError: it is a folder, its folder does not exist, or cannot be written to.
    """
    path = Path(target).expanduser().resolve()
    if path.is_dir():
        raise ExportError("the output is a folder", where=str(path), remedy="give the name of a file")
    if not path.parent.is_dir():
        raise _unwritable(path, "there is no such folder")
    _check_writable(path.parent, path)
    return path


def _check_replaceable(path: Path, force: bool, marker: str | None) -> None:
    if not any(path.iterdir()):
        return
    if not force:
        raise ExportError(
            "the output folder exists already",
            where=str(path),
            remedy="choose another with -o, or replace it with --force (force=True)",
        )
    if marker is not None and not (path / marker).exists():
        raise ExportError(
            "the output folder holds something else and is not replaced",
            where=str(path),
            received=f"a folder without {marker}",
            remedy="choose another output folder",
        )


def _unwritable(path: Path, reason: str | None) -> ExportError:
    return ExportError(
        f"the output cannot be written ({reason or 'unknown reason'})",
        where=str(path),
        remedy="choose a folder you may write to",
    )


@contextlib.contextmanager
def atomic_directory(
    target: str | os.PathLike[str], *, force: bool = False, marker: str | None = None
) -> Iterator[Path]:
    """Write a folder beside its destination, and move it there only when all went well.

    Yields a new empty folder. If the block raises, Ctrl-C included, it is removed and `target` is as
    it was before. A result that exists is replaced only with `force`, and only at the end.

    Args:
        target: folder to be written; missing parents are made.
        force: an existing result may be replaced.
        marker: see `check_target`.

    Raises:
        ExportError: before the block, if `target` may not be written (`check_target`).
    """
    path = check_target(target, force=force, marker=marker)
    made = _make_parents(path)
    partial = _sibling(path, "partial")
    try:
        try:
            partial.mkdir()
        except OSError as error:
            raise _unwritable(path, error.strerror) from error
        yield partial
        _replace(partial, path, force)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for parent in made:
            # Something else may stand in it by now; then it stays.
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


def _sibling(path: Path, purpose: str) -> Path:
    # A rename is atomic only within one file system: hence beside the target, not in /tmp. Made
    # with mkdir rather than mkdtemp so that the result gets the user's own permissions.
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.{purpose}")


def _make_parents(path: Path) -> list[Path]:
    """Make the missing parents; returns them, innermost first."""
    missing: list[Path] = []
    parent = path.parent
    while not parent.exists():
        missing.append(parent)
        parent = parent.parent
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error.strerror) from error
    return missing


def _replace(new: Path, path: Path, force: bool) -> None:
    if not path.exists() or not any(path.iterdir()):
        os.replace(new, path)  # onto an empty folder or nothing: atomic
        return
    if not force:
        raise ExportError(
            "the output folder was made by somebody else meanwhile", where=str(path), remedy="run again"
        )
    old = _sibling(path, "old")
    try:
        path.rename(old)
        new.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def atomic_write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file beside its destination and rename it: readers see the old or the new content.

    Once it returns, the new content outlasts a power cut too. A process killed meanwhile leaves a file
    behind that `remove_partials` finds.

    Args:
        path: file to be written; its folder must exist.
        content: text (written as UTF-8) or bytes.

    Raises:
        ExportError: it cannot be written.
    """
    path = Path(path).expanduser().resolve()
    partial = _sibling(path, "partial")
    data = content.encode() if isinstance(content, str) else content
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise _unwritable(path, error.strerror) from error
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Store a rename itself, not only the content of the file."""
    # Not every system opens folders, nor every file system syncs them: there it happens a little later.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_partials(folder: Path, pattern: str) -> None:
    """Remove what processes that were killed in `atomic_write` left behind.

    Args:
        folder: where they wrote; need not exist.
        pattern: of the names of the files they wrote, as for `Path.glob`.
    """
    for partial in folder.glob(f".{pattern}.{'[0-9a-f]' * 12}.partial"):
        partial.unlink(missing_ok=True)
