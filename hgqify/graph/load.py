"""Load a Keras model from a file, whatever Keras version and name it has."""

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import keras

from hgqify.errors import ModelLoadError
from hgqify.graph import legacy_config

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_ZIP_MAGIC = b"PK\x03\x04"
_CONFIG_FILE = "config.json"

_SAVE_AGAIN = "check the file, or save the model again with model.save('model.keras')"


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
    config = _hdf5_config(path) if is_hdf5 else _archive_config(path)
    if safe_mode:
        _refuse_code(path, config)
    _refuse_unknown_classes(path, config, custom_objects or {})
    repaired = legacy_config.repaired(config)
    suffix = ".h5" if is_hdf5 else ".keras"
    known = (".h5", ".hdf5") if is_hdf5 else (".keras",)
    if repaired == config and path.suffix in known:
        return _load(path, path, safe_mode, custom_objects)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"model{suffix}"
        (_copy_hdf5 if is_hdf5 else _copy_archive)(path, copy, repaired)
        return _load(path, copy, safe_mode, custom_objects)


def _is_hdf5(path: Path) -> bool:
    if path.is_dir():
        raise ModelLoadError(
            "a folder is not a Keras model file",
            where=str(path),
            remedy="a TensorFlow SavedModel must be saved again as .keras by the program that wrote it",
        )
    try:
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
    raise ModelLoadError(
        "not a Keras model: neither a .keras archive nor HDF5",
        where=str(path),
        received="an empty file" if not head else f"a file that starts with {head!r}",
        remedy="pass a file that model.save() wrote",
    )


def _hdf5_config(path: Path) -> Any:
    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
    except OSError as error:
        raise ModelLoadError(
            "the HDF5 file is damaged or truncated",
            where=str(path),
            received=_first_line(error),
            remedy=_SAVE_AGAIN,
        ) from error
    if text is None:
        raise ModelLoadError(
            "the HDF5 file holds no model, perhaps weights or data only",
            where=str(path),
            remedy="save the whole model with model.save(), not model.save_weights()",
        )
    return _parsed(path, text)


def _archive_config(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            text = archive.read(_CONFIG_FILE) if _CONFIG_FILE in names else None
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise ModelLoadError(
            "the .keras archive is damaged or truncated",
            where=str(path),
            received=_first_line(error),
            remedy=_SAVE_AGAIN,
        ) from error
    if text is None:
        raise ModelLoadError(
            "the archive holds no Keras model",
            where=str(path),
            received=", ".join(sorted(names)[:3]) or "an empty archive",
            remedy="pass a file that model.save() wrote",
        )
    return _parsed(path, text)


def _parsed(path: Path, text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ModelLoadError(
            "the model's config is not JSON",
            where=str(path),
            received=_first_line(error),
            remedy=_SAVE_AGAIN,
        ) from error


def _refuse_code(path: Path, config: Any) -> None:
    for entry in legacy_config.entries(config):
        if entry["class_name"] in ("Lambda", "__lambda__"):
            inner = entry.get("config")
            name = inner.get("name") if isinstance(inner, dict) else None
            raise ModelLoadError(
                "the file holds a Lambda, Python code that would run on loading",
                where=str(path),
                received=f"Lambda layer {name!r}" if name else "a lambda function",
                remedy="replace it by a layer or keras.ops, or trust the file: safe_mode=False (--unsafe)",
            )


def _refuse_unknown_classes(path: Path, config: Any, custom_objects: Mapping[str, Any]) -> None:
    unknown = set()
    for entry in legacy_config.entries(config):
        # Only what Keras 3 wrote as an object names a module; tensors, slices and Keras 2 entries do not.
        if "module" not in entry or str(entry["module"]).split(".")[0] in ("keras", "builtins"):
            continue
        name = entry["class_name"]
        registered = entry.get("registered_name") or name
        known = (keras.saving.get_registered_object(each, custom_objects) for each in (registered, name))
        if all(each is None for each in known):
            unknown.add(name)
    if unknown:
        raise ModelLoadError(
            "the model uses classes that are not part of Keras",
            where=str(path),
            received=", ".join(sorted(unknown)),
            remedy="give the code that defines them: --import layers.py; from Python import it, or pass "
            "custom_objects={name: class}; or rebuild the model from Keras layers",
        )


def _copy_hdf5(path: Path, copy: Path, config: Any) -> None:
    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        file.attrs["model_config"] = json.dumps(config)


def _copy_archive(path: Path, copy: Path, config: Any) -> None:
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            data = json.dumps(config).encode() if name == _CONFIG_FILE else source.read(name)
            target.writestr(name, data)


def _load(path: Path, file: Path, safe_mode: bool, custom_objects: Mapping[str, Any] | None) -> keras.Model:
    try:
        model = keras.saving.load_model(
            file, compile=False, safe_mode=safe_mode, custom_objects=dict(custom_objects or {})
        )
    except Exception as error:  # Keras raises whatever its layers raise on a config or weights they refuse
        raise ModelLoadError(
            "Keras cannot load the model",
            where=str(path),
            received=_first_line(error),
            remedy="save it again with Keras 3, from the program that defines it",
        ) from error
    if not isinstance(model, keras.Model):
        raise ModelLoadError(
            "the file holds no model",
            where=str(path),
            received=type(model).__name__,
            remedy="pass a file that model.save() wrote",
        )
    return model


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
