"""Which Keras backend runs where the one Keras would take is not installed."""

import importlib.util
import json
import os
import sys
from pathlib import Path


def choose_backend() -> None:
    """Choose JAX, which hgqify installs, where Keras would fail to import.

    Keras takes the environment variable KERAS_BACKEND, else what its keras.json says (it writes that file
    itself, with 'tensorflow'), else TensorFlow. A backend that is installed is left alone, and so is
    KERAS_BACKEND: who set it wants to hear that it cannot be had.
    """
    if "keras" in sys.modules or "KERAS_BACKEND" in os.environ:
        return
    if importlib.util.find_spec(_configured()) is None:
        os.environ["KERAS_BACKEND"] = "jax"


def _configured() -> str:
    home = os.environ.get("KERAS_HOME")
    folder = Path(home) if home else Path.home() / ".keras"
    try:
        backend = json.loads((folder / "keras.json").read_text())["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"
    return backend if isinstance(backend, str) and backend else "tensorflow"
