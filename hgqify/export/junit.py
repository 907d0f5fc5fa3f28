"""A check as JUnit XML, which CI services show test by test.

The shape is the one that Jenkins (junit-10.xsd), GitLab and the Ant JUnit schema have in common: testsuites,
testsuite with its counts, properties, testcase, and in a test case failure or skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from hgqify.export.compare import CheckReport, Comparison, Limit

# What XML 1.0 has no way to say at all.
_UNSPEAKABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SUITE = "hgqify check"


def junit_xml(report: CheckReport, *, seconds: float) -> str:
    """One test case for every comparison and every limit; what could not be compared is skipped.

    Args:
        report: of the check.
        seconds: that it took.

    Returns:
        The document as text, in UTF-8. The text of a failure names layer, sample and element.
    """
    model = str(report.settings.get("model", "model"))
    cases = [
        *(_comparison(comparison, model) for comparison in report.comparisons),
        *(_limit(limit, model) for limit in report.limits),
        *(_skipped(name, reason, model) for name, reason in report.skipped.items()),
    ]
    counts = {
        "tests": str(len(cases)),
        "failures": str(_count(cases, "failure")),
        "errors": "0",
        "time": f"{seconds:.3f}",
    }
    root = ElementTree.Element("testsuites", {"name": _SUITE, **counts})
    counts["skipped"] = str(_count(cases, "skipped"))
    suite = ElementTree.SubElement(root, "testsuite", {"name": f"{_SUITE} {_clean(model)}", **counts})
    _properties(suite, {**report.settings, **{f"version {n}": v for n, v in report.versions.items()}})
    suite.extend(cases)
    if report.notes:
        ElementTree.SubElement(suite, "system-out").text = _clean("\n".join(report.notes))
    ElementTree.indent(root)
    return "<?xml version='1.0' encoding='utf-8'?>\n" + ElementTree.tostring(root, encoding="unicode") + "\n"


def _comparison(comparison: Comparison, model: str) -> ElementTree.Element:
    title = f"{comparison.what} = {comparison.reference}"
    case = _case(title + (f" on {comparison.inputs}" if comparison.inputs else ""), model)
    if comparison.differing:
        count = f"{comparison.differing} of {comparison.codes} codes differ"
        _failure(case, "BitExactness", count, str(comparison))
    return case


def _limit(limit: Limit, model: str) -> ElementTree.Element:
    side = "at most" if limit.at_most else "at least"
    case = _case(f"{limit.name} {side} {limit.told(limit.bound)}", model)
    if not limit.kept:
        _failure(case, "Limit", f"{limit.name}: {limit.told(limit.value)}", str(limit))
    return case


def _skipped(name: str, reason: str, model: str) -> ElementTree.Element:
    case = _case(name, model)
    ElementTree.SubElement(case, "skipped", {"message": _clean(reason)})
    return case


def _case(name: str, model: str) -> ElementTree.Element:
    return ElementTree.Element("testcase", {"classname": f"hgqify.{_clean(model)}", "name": _clean(name)})


def _failure(case: ElementTree.Element, kind: str, message: str, text: str) -> None:
    failure = ElementTree.SubElement(case, "failure", {"type": kind, "message": _clean(message)})
    failure.text = _clean(text)


def _properties(suite: ElementTree.Element, values: Mapping[str, object]) -> None:
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in values.items():
        ElementTree.SubElement(properties, "property", {"name": name, "value": _clean(str(value))})


def _count(cases: Iterable[ElementTree.Element], kind: str) -> int:
    return sum(case.find(kind) is not None for case in cases)


def _clean(text: str) -> str:
    return _UNSPEAKABLE.sub("?", text)
