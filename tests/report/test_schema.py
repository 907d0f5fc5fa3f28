"""report.json is as its description says, and nothing else is taken for one."""

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import hgqify
from hgqify.cli import main
from hgqify.errors import DataError, ExportError
from hgqify.report import SCHEMA, LayerReport, Quality, Report
from hgqify.report.files import read
from hgqify.report.page import page
from hgqify.report.schema import schema, validated


def test_reports_are_as_described(classifier: dict[str, Any], regression: dict[str, Any]) -> None:
    for found in (classifier, regression):
        assert validated(found, "report.json") is found


def test_the_description_names_every_field() -> None:
    wanted = schema()
    assert wanted["properties"]["schema"]["const"] == SCHEMA
    for described, kind, more in (
        (wanted, Report, {"schema"}),
        (wanted["properties"]["quality"], Quality, set()),
        (wanted["$defs"]["layer"], LayerReport, set()),
    ):
        names = {field.name for field in dataclasses.fields(kind)} | more
        assert set(described["properties"]) == set(described["required"]) == names


def test_the_description_is_of_words_that_are_understood() -> None:
    """A word that nobody looks at would promise what is not held."""
    known = {
        "$schema", "$defs", "$ref", "title", "description", "type", "required", "properties", "anyOf",
        "const", "additionalProperties", "enum", "items", "minItems", "maxItems", "minimum", "maximum",
        "exclusiveMinimum",
    }  # fmt: skip

    def look(part: dict[str, Any]) -> None:
        assert set(part) <= known
        inner = [
            *part.get("properties", {}).values(),
            *part.get("$defs", {}).values(),
            *part.get("anyOf", ()),
        ]
        inner += [part[name] for name in ("items", "additionalProperties") if name in part]
        for one in inner:
            look(one)

    look(dict(schema()))


def changed(report: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with another value at a path such as 'layers.0.ebops', or without it."""
    copied = copy.deepcopy(report)
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place = copied
    for step in way:
        place = place[step]
    if value is removed:
        del place[last]
    else:
        place[last] = value
    return copied


removed = object()

WRONG = [
    ("ebops", 1.5, "ebops must be a whole number"),
    ("ebops", True, "ebops must be a whole number"),
    ("ebops", -1, "ebops must be 0 or more"),
    ("model", removed, "model must be there; received: nothing"),
    ("layers", {}, "layers must be a list"),
    ("layers.1.input_bits", [1], r"layers\[1\].input_bits must be a list of 2 to 2"),
    ("layers.1.input_bits", [1, "2"], r"layers\[1\].input_bits\[1\] must be a whole number"),
    ("layers.1.weight_values.high", 0, r"layers\[1\].weight_values.high must be above 0"),
    ("calibration.sites.0.ints", [0, 10**9], r"calibration.sites\[0\].ints\[1\] must be 10000 or less"),
    ("conversion.0.status", "lost", r"conversion\[0\].status must be one of converted, kept"),
    ("seconds.convert", "fast", "seconds.convert must be a number"),
    ("allocation", [], "allocation must be an object or null"),
    ("graph.edges.0.source", 99, r"graph.edges\[0\] must be between nodes"),
    ("graph.nodes.0.id", 1, "graph.edges|graph.nodes"),
    ("outcomes.quantized", [[1, 2], [3]], "outcomes.quantized must be a square"),
    ("outcomes.float", [[1]], "outcomes.float must be a square"),
    ("outcomes.quantized", removed, "outcomes.quantized must be there"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG, ids=[f"{w[0]}-{w[2][-12:]}" for w in WRONG])
def test_what_is_wrong_is_named(classifier: dict[str, Any], path: str, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"report.json: {message}"):
        validated(changed(classifier, path, value), "report.json")


def test_circles_are_refused(classifier: dict[str, Any]) -> None:
    edge = classifier["graph"]["edges"][-1]
    back = {**edge, "source": edge["target"], "target": edge["source"]}
    wrong = changed(classifier, "graph.edges", [*classifier["graph"]["edges"], back])
    with pytest.raises(DataError, match="without circles"):
        validated(wrong, "report.json")


def test_another_version_says_so(classifier: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=rf"another version.*schema 1; this version reads {SCHEMA}"):
        validated({**classifier, "schema": 1}, "report.json")


HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "no text": lambda: b"\xff\xfe\x00",
    "no JSON": lambda: b"{",
    "a pit of brackets": lambda: b"[" * 200_000,
    "not a number": lambda: b'{"ebops": NaN}',
    "a number without end": lambda: b'{"ebops": ' + b"9" * 5000 + b"}",
    "a list": lambda: b"[]",
    "another object": lambda: b"{}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_the_command_refuses_other_files(name: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes(HOSTILE[name]())
    found = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert found.exit_code == 2
    assert found.output.startswith(f"Error: {tmp_path / 'report.json'}: ")
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_the_command_refuses_other_folders(tmp_path: Path) -> None:
    for target in (tmp_path, tmp_path / "nothing"):
        found = CliRunner().invoke(main, ["report", str(target)])
        assert found.exit_code == 2
        assert "Give the folder that hgqify wrote" in found.output


def test_the_command_writes_the_page_again(classifier_folder: Path, tmp_path: Path) -> None:
    saved = (classifier_folder / "report.html").read_text(encoding="utf-8")
    target = tmp_path / "page.html"
    for source in (classifier_folder, classifier_folder / "report.json"):
        found = CliRunner().invoke(main, ["report", str(source), "-o", str(target)])
        assert (found.exit_code, found.output) == (0, f"written to {target}\n")
        assert target.read_text(encoding="utf-8") == saved
        target.unlink()


def test_beside_the_report_by_default(classifier: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps(classifier))
    assert hgqify.render_report(tmp_path) == tmp_path / "report.html"
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page(classifier)
    with pytest.raises(ExportError, match="is a folder"):
        hgqify.render_report(tmp_path, tmp_path)


def test_a_verdict_is_recorded_once_more(classifier: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps({**classifier, "check": None}))
    place = {"sample": 1, "expected": 1.0, "found": float("inf"), "text": "layer dense"}
    comparison = {**classifier["check"]["comparisons"][0], "differing": 2, "place": place}
    verdict = {**classifier["check"], "exact": False, "comparisons": [comparison], "overflow": {"more": 1}}
    hgqify.record_check(tmp_path, verdict)
    found = read(tmp_path)["check"]
    assert not found["exact"]
    assert found["comparisons"][0]["place"]["found"] is None  # JSON has no infinity
    assert "overflow" not in found
    assert "first: layer dense" in (tmp_path / "report.html").read_text(encoding="utf-8")
