"""Limits for continuous integration: EBOPs and the metric, and JUnit XML that says what left them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from junit_schema import problems
from stand_in import run

import hgqify
from hgqify.exporting import saved_report
from hgqify.precision import from_npz, ops, to_npz
from hgqify.progress import no_progress

FAST = ("--no-csim", "--random", "20", "-q")


def checked(folder: Path, *options: str) -> tuple[int, dict, ElementTree.Element]:
    """Exit status, JSON and JUnit XML of a check of result a."""
    told, junit = folder / "told.json", folder / "junit.xml"
    done = run("check", str(folder / "a"), *FAST, *options, "--json", str(told), "--junit", str(junit))
    assert done.exit_code in (0, 1), done.output
    root = ElementTree.fromstring(junit.read_bytes())
    assert problems(root) == []
    return done.exit_code, json.loads(told.read_text()), root


def test_limits_that_are_kept(results: Path) -> None:
    ebops = saved_report(results / "a")["ebops"]
    data = str(results / "holdout.npz")
    status, told, root = checked(results, "--data", data, "--max-ebops", str(ebops), "--min-metric", "0.9")
    assert (status, told["passed"]) == (0, True)
    most, least = told["limits"]
    assert (most["name"], most["value"], most["kept"]) == ("EBOPs", ebops, True)
    assert (least["name"], least["bound"], least["kept"]) == ("accuracy", 0.9, True)
    assert least["basis"] == "holdout.npz (120 samples)"
    names = [case.get("name") for case in root.iter("testcase")]
    assert names == [
        "integers of model.keras = program.npz",
        "Keras = reference on holdout.npz",
        "Keras = reference on random inputs",
        f"EBOPs at most {ebops:,}",
        "accuracy at least 0.9",
    ]
    assert not list(root.iter("failure"))


def test_a_limit_that_is_left_fails(results: Path) -> None:
    done = run("check", str(results / "a"), *FAST, "--max-ebops", "100")
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[-2] == "exact       every code is equal"
    assert lines[-1].startswith("limit       EBOPs ")
    assert "at most 100 is allowed: LIMIT LEFT by" in lines[-1]
    data = str(results / "holdout.npz")
    status, told, root = checked(results, "--data", data, "--max-ebops", "100", "--min-metric", "1")
    assert (status, told["exact"], told["passed"]) == (1, True, False)
    failures = {case.get("name"): case.find("failure") for case in root.iter("testcase")}
    assert failures["EBOPs at most 100"].get("type") == "Limit"
    assert root.get("failures") == str(sum(not limit["kept"] for limit in told["limits"]))


def test_a_difference_is_a_failure_that_names_layer_and_element(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "a", tmp_path / "a")
    program = from_npz(tmp_path / "a" / "program.npz")
    kernel = next(node.op.kernel for node in program.nodes if isinstance(node.op, ops.Dense))
    kernel.codes[3, 4] += 1
    to_npz(program, tmp_path / "a" / "program.npz")
    status, _, root = checked(tmp_path)
    assert status == 1
    failure = next(root.iter("failure"))
    assert failure.get("message") == "1 of 356 codes differ"
    assert "first difference in dense (node dense), kernel, element (3, 4)" in failure.text


def test_what_cannot_be_compared_is_skipped(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hgqify.checking.compiler", lambda: None)
    junit = results / "skipped.xml"
    assert run("check", str(results / "a"), "--random", "9", "-q", "--junit", str(junit)).exit_code == 0
    root = ElementTree.fromstring(junit.read_bytes())
    assert problems(root) == []
    (skipped,) = root.iter("skipped")
    assert "no C++ compiler" in skipped.get("message")
    assert root.find("testsuite").get("skipped") == "1"


def metric(results: Path, labels: np.ndarray) -> tuple[str, float]:
    with np.load(results / "holdout.npz") as data:
        x = data["x"]
    report = hgqify.check(
        results / "a", data=x, labels=labels, min_metric=-9, csim=False, random=0, progress=no_progress
    )
    (limit,) = report.limits
    return limit.name, limit.value


def outputs(results: Path) -> np.ndarray:
    import keras

    with np.load(results / "holdout.npz") as data:
        return keras.saving.load_model(results / "a" / "model.keras").predict(data["x"], verbose=0)


def test_the_metric_is_accuracy_for_classes_and_r2_for_numbers(results: Path) -> None:
    y = outputs(results)
    named = y.argmax(axis=1)
    assert metric(results, named) == ("accuracy", 1.0)
    assert metric(results, np.eye(3)[named]) == ("accuracy", 1.0)
    wrong = named.copy()
    wrong[:30] = (wrong[:30] + 1) % 3
    assert metric(results, wrong) == ("accuracy", 0.75)
    assert metric(results, y) == ("R2", 1.0)
    noisy = y + np.random.default_rng(0).normal(size=y.shape)
    expected = 1 - np.sum((noisy - y) ** 2) / np.sum((noisy - noisy.mean()) ** 2)
    assert metric(results, noisy)[1] == pytest.approx(expected, abs=1e-5)


MISUSE: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "per cent": (lambda p: ["--data", f"{p}/holdout.npz", "--min-metric", "98"], "For 98 % give 0.98"),
    "no data": (lambda _: ["--min-metric", "0.9"], "needs data. Give --data FILE"),
    "no labels": (lambda p: ["--data", f"{p}/x.npy", "--min-metric", "0.9"], "needs labels. Give --labels"),
    "labels alone": (lambda _: ["--labels", "y.npy"], "labels come with data. Give --data"),
    "other labels": (
        lambda p: ["--data", f"{p}/x.npy", "--labels", f"{p}/seven.npy", "--min-metric", "0.9"],
        "whole numbers from 0, or one-hot rows",
    ),
    "negative": (lambda _: ["--max-ebops", "-1"], "--max-ebops"),
    "junit in no folder": (lambda _: ["--junit", "none/x.xml"], "there is no such folder"),
}


@pytest.mark.parametrize("case", MISUSE)
def test_misuse_of_limits(case: str, results: Path) -> None:
    with np.load(results / "holdout.npz") as data:
        np.save(results / "x.npy", data["x"])
    np.save(results / "seven.npy", np.zeros((120, 7)))
    options, message = MISUSE[case]
    done = run("check", str(results / "a"), *FAST, *options(results))
    assert done.exit_code == 2
    assert message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.output
