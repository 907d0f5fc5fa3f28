"""The config of a model from a file, looked at before Keras makes objects of it.

Keras looks up every class and function that a config names, makes the one and calls the other. What may be
named is listed here rather than what may not: what builds a network. Everything else would at best fail, at
worst fetch, read, write or run something.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from hgqify.errors import ModelLoadError
from hgqify.graph import legacy_config
from hgqify.graph.archive import SAVE_AGAIN, cause

# Modules of Keras, private ones without their 'src', whose classes and functions are parts of networks.
_PARTS = frozenset(
    {
        "activations",
        "constraints",
        "dtype_policies",
        "initializers",
        "layers",
        "losses",
        "metrics",
        "models",
        "ops",
        "optimizers",
        "quantizers",
        "random",
        "regularizers",
    }
)
_ITSELF = frozenset({"Model", "Sequential", "Functional", "DTypePolicy", "Variable", "Quantizer"})
"""Classes that Keras names by its own name alone."""
_CODE = frozenset({"Lambda", "__lambda__"})
_ELSEWHERE = {
    "TFSMLayer": "a TensorFlow SavedModel in another folder",
    "TorchModuleWrapper": "a pickled PyTorch module",
    "JaxLayer": "Python functions",
    "FlaxLayer": "Python functions",
}
"""Layers that are what they are by something which is no layer, and which would be opened or run."""
_DEEPEST = 200
"""Levels of a config: one in another takes four to six."""


def parsed(path: Path, text: str | bytes) -> Any:
    """A config from its text.

    Raises:
        ModelLoadError: it is not JSON, no config of an object, or nested too deeply to be one of a model.
    """
    try:
        config = json.loads(text)
        deep = _depth_exceeds(config, _DEEPEST)
    except RecursionError:
        config, deep = None, True
    except ValueError as error:
        raise ModelLoadError(
            "the model's config is not JSON", where=str(path), received=cause(error), remedy=SAVE_AGAIN
        ) from error
    if deep:
        raise ModelLoadError(
            "the model's config is nested too deeply",
            where=str(path),
            received=f"more than {_DEEPEST} levels",
            remedy="build the model with fewer models inside models",
        )
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise ModelLoadError(
            "the model's config describes no model",
            where=str(path),
            received=text[:60] if isinstance(text, str) else repr(text[:60])[2:-1],
            remedy=SAVE_AGAIN,
        )
    return config


def refuse_foreign(path: Path, config: Any, custom_objects: Mapping[str, Any], *, safe_mode: bool) -> bool:
    """Refuse a config that names what is no part of a network of Keras and not known here.

    Args:
        path: for the message.
        config: as `parsed` gives it.
        custom_objects: known besides what is registered with Keras, by name.
        safe_mode: refuse what carries code, or opens other files, too.

    Returns:
        Whether it names classes or functions of the user's own, which are known.

    Raises:
        ModelLoadError: code; a function that builds no network; classes that are not there.
    """
    own = False
    unknown: set[str] = set()
    for entry in legacy_config.entries(config):
        if safe_mode:
            _refuse_code(path, entry)
        name, module = _named(entry), str(entry.get("module") or "")
        registered = registered_object(entry, custom_objects)
        if registered is not None:
            own |= not str(getattr(registered, "__module__", "")).startswith("hgqify.")
            continue
        # Only what Keras 3 wrote as an object names a module; tensors, slices and Keras 2 entries do not.
        if "module" not in entry:
            continue
        if module.split(".")[0] != "keras" and not (module == "builtins" and _is_builtin(name)):
            unknown.add(f"{name} ({module})" if module else name)
        elif module != "builtins" and not _is_part(module, name):
            raise ModelLoadError(
                "the config names something of Keras that is no part of a network",
                where=str(path),
                received=f"{module}.{name}",
                remedy="it may be made to do harm: get the model from whoever trained it",
            )
    if unknown:
        raise ModelLoadError(
            "the model uses classes or functions that are not part of Keras",
            where=str(path),
            received=", ".join(sorted(unknown)[:10]) + (", ..." if len(unknown) > 10 else ""),
            remedy="give the code that defines them: --import layers.py; from Python import it, or pass "
            "custom_objects={name: class}; or rebuild the model from Keras layers",
        )
    return own


def _refuse_code(path: Path, entry: Mapping[str, Any]) -> None:
    kind, inner = entry["class_name"], entry.get("config")
    name = inner.get("name") if isinstance(inner, dict) else None
    if kind in _CODE:
        raise ModelLoadError(
            "the file holds a Lambda, Python code that would run on loading",
            where=str(path),
            received=f"Lambda layer {name!r}" if name else "a lambda function",
            remedy="replace it by a layer or keras.ops, or trust the file: safe_mode=False (--unsafe)",
        )
    if kind in _ELSEWHERE:
        raise ModelLoadError(
            f"the model holds {_ELSEWHERE[kind]}, which loading would open or run",
            where=str(path),
            received=f"{kind} {name!r}" if name else kind,
            remedy="rebuild this part from Keras layers",
        )
    vocabulary = inner.get("vocabulary") if isinstance(inner, dict) else None
    if isinstance(vocabulary, str):
        raise ModelLoadError(
            "the model reads another file, which loading would open",
            where=str(path),
            received=f"{kind} with the vocabulary {vocabulary!r}",
            remedy="look words up before the model, and give it numbers",
        )


def _named(entry: Mapping[str, Any]) -> str:
    """What an entry names: a class, or, for functions, what stands in its config."""
    kind = entry["class_name"]
    inner = entry.get("config")
    return inner if kind == "function" and isinstance(inner, str) else kind


def registered_object(entry: Mapping[str, Any], custom_objects: Mapping[str, Any]) -> Any:
    """The class or function of an entry that is known outside of Keras itself; None if there is none."""
    name = _named(entry)
    registered = str(entry.get("registered_name") or name)
    found = (keras.saving.get_registered_object(key, custom_objects) for key in (registered, name))
    return next((each for each in found if each is not None), None)


def _is_builtin(name: str) -> bool:
    """Whether Keras finds a function of its own by its name alone."""
    homes = (
        keras.activations,
        keras.constraints,
        keras.initializers,
        keras.losses,
        keras.metrics,
        keras.optimizers,
        keras.regularizers,
    )
    return any(hasattr(home, name) for home in homes)


def _is_part(module: str, name: str) -> bool:
    parts = [part for part in module.split(".")[1:] if part != "src"]
    if "." in name:
        return False
    if not parts:
        return name in _ITSELF
    if parts[0] == "models":
        return name[:1].isupper()  # classes; its functions open files
    return parts[0] in _PARTS


def _depth_exceeds(config: Any, most: int) -> bool:
    level = [config]
    for _ in range(most):
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True
