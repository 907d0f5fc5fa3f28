"""The tiny models of `fixtures/tiny_models.py`, importable by every test."""

import importlib.util
from pathlib import Path

_PATH = Path(__file__).parents[1] / "fixtures" / "tiny_models.py"
_SPEC = importlib.util.spec_from_file_location("tiny_models", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
tiny_models = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tiny_models)
