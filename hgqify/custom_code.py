"""Run the Python code that defines a model's own layers and functions."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hgqify.errors import ModelLoadError


def load_code(source: str) -> dict[str, Any]:
    """Run a Python file, or import a module, and give what it defines.

    Args:
        source: path of a file ('layers.py'; what stands beside it can be imported by it), or the name of an
            installed module ('package.layers'). It runs: only for code that is trusted.

    Returns:
        Its public classes and functions by name, in the form of Keras's ``custom_objects``.

    Raises:
        ModelLoadError: there is no such file or module, it fails, or it defines nothing.
    """
    try:
        module = _from_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    except Exception as error:  # whatever the code raises
        missing = isinstance(error, ModuleNotFoundError) and source.startswith(str(error.name))
        raise ModelLoadError(
            "there is no such module" if missing else "the code of the model's own layers fails",
            where=source,
            received=f"{type(error).__name__}: {error}",
            remedy="give a file, such as layers.py, or the name of an installed module",
        ) from error
    found = {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and getattr(value, "__module__", None) == module.__name__
    }
    if not found:
        raise ModelLoadError(
            "the code defines no public class or function",
            where=source,
            remedy="give the file that defines the classes the model uses",
        )
    return found


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    name = f"hgqify_custom_{path.stem}"  # not the name of a module that something else imports
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # as any import: classes know their module by its name
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(folder)
    return module
