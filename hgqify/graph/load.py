"""Load a Keras model from a file, whatever Keras version and name it has."""

import functools
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import keras

from hgqify.errors import ModelLoadError
from hgqify.files import is_special
from hgqify.graph import legacy_config
from hgqify.graph.archive import CONFIG_FILE, SAVE_AGAIN, cause, check_hdf5, read_config
from hgqify.graph.rehearsal import rehearse
from hgqify.graph.untrusted import parsed, refuse_foreign, registered_object

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_ZIP_MAGIC = b"PK"
_PICKLE_MAGIC = b"\x80"


def load_model(
    path: str | os.PathLike[str],
    *,
    safe_mode: bool = True,
    custom_objects: Mapping[str, Any] | None = None,
) -> keras.Model:
    """Load a `.keras` or HDF5 model; the content decides, not the extension.

    Configs of older Keras versions are repaired where the repair changes no output (see
    `legacy_config`). The file itself is never written to.

    Args:
        path: the file.
        safe_mode: refuse files that carry Python code (Lambda layers).
        custom_objects: classes and functions the model uses, by name, that are not registered with Keras.

    Returns:
        The model, not compiled.

    Raises:
        ModelLoadError: the file is missing, is not a model, is damaged, or needs classes or code that
            are not available.
    """
    path = Path(path)
    is_hdf5 = _is_hdf5(path)
    config = parsed(path, _hdf5_config(path) if is_hdf5 else read_config(path))
    config.pop("compile_config", None)  # which is not read with compile=False
    repaired = legacy_config.repaired(config)
    own = refuse_foreign(path, repaired, custom_objects or {}, safe_mode=safe_mode)
    custom_objects = _by_registered_name(repaired, custom_objects or {})
    suffix = ".h5" if is_hdf5 else ".keras"
    known = (".h5", ".hdf5") if is_hdf5 else (".keras",)
    if repaired == config and path.suffix in known:
        return _load(path, path, safe_mode, custom_objects, own)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"model{suffix}"
        (_copy_hdf5 if is_hdf5 else _copy_archive)(path, copy, repaired)
        return _load(path, copy, safe_mode, custom_objects, own)


def _by_registered_name(config: Any, custom_objects: Mapping[str, Any]) -> dict[str, Any]:
    """Classes also by the names with a package that Keras looks for ('Custom>Block'), where it knows none."""
    found = dict(custom_objects)
    for entry in legacy_config.entries(config):
        registered, known = entry.get("registered_name"), registered_object(entry, found)
        if isinstance(registered, str) and known is not None:
            found.setdefault(registered, known)
    return found


def _is_hdf5(path: Path) -> bool:
    if path.is_dir():
        raise ModelLoadError(
            "a folder is not a Keras model file",
            where=str(path),
            remedy="a TensorFlow SavedModel must be saved again as .keras by the program that wrote it",
        )
    try:
        if is_special(path):
            raise ModelLoadError(
                "not a regular file", where=str(path), remedy="copy it to a file and give that"
            )
        with path.open("rb") as file:
            head = file.read(len(_HDF5_MAGIC))
    except FileNotFoundError as error:
        raise ModelLoadError("the file does not exist", where=str(path), remedy="check the path") from error
    except OSError as error:
        raise ModelLoadError(
            "the file cannot be read", where=str(path), received=error.strerror, remedy="check the file"
        ) from error
    if head == _HDF5_MAGIC:
        return True
    if head.startswith(_ZIP_MAGIC):
        return False
    if head.startswith(_PICKLE_MAGIC):
        raise ModelLoadError(
            "this is a Python pickle, which can run code when opened",
            where=str(path),
            remedy="save the model with model.save('model.keras')",
        )
    raise ModelLoadError(
        "not a Keras model: neither a .keras archive nor HDF5",
        where=str(path),
        received="an empty file" if not head else f"a file that starts with {head!r}",
        remedy="pass a file that model.save() wrote",
    )


def _hdf5_config(path: Path) -> str | bytes:
    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
            if text is not None:
                check_hdf5(path, file, path.stat().st_size)
    except (OSError, RuntimeError, KeyError) as error:
        raise ModelLoadError(
            "the HDF5 file is damaged or truncated",
            where=str(path),
            received=cause(error),
            remedy=SAVE_AGAIN,
        ) from error
    if text is None:
        raise ModelLoadError(
            "the HDF5 file holds no model, perhaps weights or data only",
            where=str(path),
            remedy="save the whole model with model.save(), not model.save_weights()",
        )
    if not isinstance(text, str | bytes):
        raise ModelLoadError(
            "the model's config is not text",
            where=str(path),
            received=type(text).__name__,
            remedy=SAVE_AGAIN,
        )
    return text


def _copy_hdf5(path: Path, copy: Path, config: Any) -> None:
    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        file.attrs["model_config"] = json.dumps(config)


def _copy_archive(path: Path, copy: Path, config: Any) -> None:
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            data = json.dumps(config).encode() if name == CONFIG_FILE else source.read(name)
            target.writestr(name, data)


def _load(
    path: Path, file: Path, safe_mode: bool, custom_objects: Mapping[str, Any] | None, own: bool
) -> keras.Model:
    load = functools.partial(
        keras.saving.load_model,
        file,
        compile=False,
        safe_mode=safe_mode,
        custom_objects=dict(custom_objects or {}),
    )
    error = rehearse(load)
    # Classes of the user's own may be known to this thread alone, or read variables that have no values yet.
    if error is not None and not own:
        raise _refused(path, error) from error
    try:
        model = load()
    except Exception as error:  # Keras raises whatever its layers raise on a config or weights they refuse
        raise _refused(path, error) from error
    if not isinstance(model, keras.Model):
        raise ModelLoadError(
            "the file holds no model",
            where=str(path),
            received=type(model).__name__,
            remedy="pass a file that model.save() wrote",
        )
    return model


def _refused(path: Path, error: Exception) -> ModelLoadError:
    """What Keras found wrong: the innermost of the errors it wraps, without configs and lists of objects."""
    what, inner = "Keras cannot load the model", str(error).split("Exception encountered: ")[-1]
    layer = re.search(r"Example error message for object <(\w+) name=([^,>]*).*?>:\s+(.*)", inner, re.DOTALL)
    if layer:
        what = "the weights in the file do not fit its layers"
        inner = f"{layer[1]} {layer[2]!r}: {layer[3]}"
    return ModelLoadError(
        what,
        where=str(path),
        received=cause(error, inner),
        remedy="save it again with Keras 3, from the program that defines it",
    )
