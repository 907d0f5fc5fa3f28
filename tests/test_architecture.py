"""The structure that DESIGN promises, held by reading the imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import hgqify

ROOT = Path(hgqify.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
MAX_LINES = 400

# Leaves that everything may import.
BASE = {"calling", "errors", "files", "progress", "scoring", "toml_text", "version"}
# What each package may import besides itself and the leaves. `hgqify` stands for the public API.
ALLOWED: dict[str, set[str]] = {
    "backend": set(),
    "calling": set(),
    "errors": set(),
    "custom_code": set(),
    "equations": set(),
    "version": set(),
    "files": set(),
    "progress": set(),
    "toml_text": set(),
    "toml_file": set(),
    "scoring": set(),
    "fixed": set(),
    "data": set(),
    "quantizers": {"fixed"},
    "layers": {"quantizers", "fixed", "equations"},
    "graph": {"equations"},
    "convert": {"layers", "quantizers", "graph", "fixed", "equations"},
    "calibrate": {"layers", "quantizers", "data", "fixed", "graph", "equations"},
    "finetune": {"layers", "quantizers", "data", "calibrate", "graph"},
    "precision": {"fixed", "layers", "quantizers", "graph", "equations"},
    "hgq2": {"fixed", "graph", "layers", "precision", "quantizers"},
    "reference": {"fixed", "precision"},
    "export": {"precision", "reference", "fixed", "layers"},
    "report": set(),
    "gather": {"precision"},
    "config": {"layers", "quantizers"},
    "opening": {"data"},
    "metric": {"data", "whole_model"},
    "whole_model": {"cutting", "precision", "reference"},
    "float64": {"layers"},
    "utils": {"finetune", "layers", "opening", "quantizers"},
    "overflow_choice": {"calibrate", "fixed", "layers", "precision", "quantizers"},
    "cutting": {"graph", "layers", "precision"},
    "part_checks": {"cutting", "export", "float64", "precision", "reference"},
    "settling": {"calibrate", "layers", "precision"},
    "equalizing": {"calibrate", "convert", "data", "graph", "layers"},
    "budget": {"calibrate"},
    "fitting": {"budget", "calibrate", "data", "precision"},
    "allocating": {"budget", "calibrate", "convert", "data", "fitting", "quality"},
    "quality": {"calibrate", "convert", "data", "gather", "report"},
    "keywords": {"calibrate", "convert", "export", "finetune"},
    "recipe": {"calibrate", "convert", "export", "finetune"},
    "building": {"convert", "export", "layers"},
    "calibrated": {"calibrate", "convert", "data", "equalizing", "export", "finetune", "recipe"},
    "pareto": {
        "budget",
        "calibrate",
        "calibrated",
        "fitting",
        "data",
        "quality",
        "report",
        "result",
        "settling",
    },
    "settings_file": {"calibrate", "convert", "export", "finetune", "pareto", "recipe", "toml_file"},
    "settings_template": {"calibrate", "convert", "export", "finetune", "settings_file"},
    "cli": {"hgqify"},
    "__main__": {"cli"},
}
# The API binds the stages together, and the package's init is its index.
UNBOUND = {
    "api",
    "beginning",
    "checking",
    "comparing",
    "concluding",
    "exporting",
    "importing",
    "reporting",
    "result",
    "statements",
    "sweep",
    "training",
    "__init__",
}

# Third-party packages that only some may use.
OUTSIDE: dict[str, set[str]] = {
    "hls4ml": {"export"},
    "click": {"cli"},
    "joblib": {"pareto"},
    "matplotlib": {"pareto"},
    "h5py": {"data", "graph"},
    "jax": {"quantizers", "layers", "calibrate", "finetune"},
    "torch": {"quantizers", "layers"},
    "tensorflow": {"quantizers", "layers"},
    "hgq": {"hgq2"},
}
NO_KERAS = (BASE - {"calling"}) | {"fixed", "data", "reference", "report", "cli"}


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Full name of everything a file imports, the line, and whether it is inside a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) in lazy
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno, id(node) in lazy


def imported_packages(path: Path) -> Iterator[tuple[str, int]]:
    """First-level parts of hgqify that a file imports; 'hgqify' for names of the package itself."""
    parts = {package_of(file) for file in FILES}
    for name, line, _ in imports(path):
        first, _, rest = name.partition(".")
        if first == "hgqify":
            part = rest.split(".")[0]
            yield (part if part in parts else "hgqify"), line


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
class TestFile:
    def test_imports_go_one_way(self, path: Path) -> None:
        package = package_of(path)
        if package in UNBOUND:
            return
        assert package in ALLOWED, f"a new package {package}: say above what it may import"
        allowed = ALLOWED[package] | BASE | {package}
        wrong = [f"line {line}: {part}" for part, line in imported_packages(path) if part not in allowed]
        assert not wrong, f"{package} may import {sorted(allowed)}; found {wrong}"

    def test_third_party_packages_stay_where_they_belong(self, path: Path) -> None:
        package = package_of(path)
        for name, line, lazy in imports(path):
            first = name.split(".")[0]
            assert package in OUTSIDE.get(first, {package}), f"line {line}: {first} in {package}"
            assert first != "keras" or package not in NO_KERAS or lazy, f"line {line}: keras in {package}"
            assert first not in {"hls4ml", "hgq"} or lazy, (
                f"line {line}: import {first} inside functions only"
            )
            assert not name.startswith(("keras.src", "keras._")), f"line {line}: {name} is private"
            assert first not in {"da4ml", "alkaid"}, f"line {line}: {first} is not a dependency"

    def test_no_assert_statements(self, path: Path) -> None:
        """`python -O` drops them, and a user learns nothing from them."""
        tree = ast.parse(path.read_text(encoding="utf-8"))
        lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
        assert not lines, f"assert in lines {lines}: raise an error from hgqify.errors"

    def test_no_swallowed_exceptions(self, path: Path) -> None:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.ExceptHandler):
                continue
            broad = node.type is None or (
                isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}
            )
            raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            assert not broad or raises, f"line {node.lineno}: catches everything and goes on"

    def test_length(self, path: Path) -> None:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= MAX_LINES, f"{lines} lines: one concept per file"

    def test_docstring(self, path: Path) -> None:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.name == "__init__.py"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_an_init_lists_what_it_exports(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    exported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    listed: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets
        ):
            listed = set(ast.literal_eval(node.value))
    exported -= {"__version__", "annotations"}
    assert exported <= listed, f"not in __all__: {sorted(exported - listed)}"


def test_the_table_has_no_unknown_names() -> None:
    for allowed in ALLOWED.values():
        assert allowed <= set(ALLOWED) | UNBOUND | {"hgqify"}
