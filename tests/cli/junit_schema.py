"""What CI services agree on about JUnit XML: elements, their order, and attributes, as rules.

After the schemas of Jenkins (junit-10.xsd) and of Ant (JUnit.xsd by windyroad), where they agree.
"""

import re
from xml.etree import ElementTree

CHILDREN = {
    "testsuites": ["testsuite"],
    "testsuite": ["properties", "testcase", "system-out", "system-err"],
    "properties": ["property"],
    "property": [],
    "testcase": ["skipped", "failure", "error"],
    "failure": [],
    "skipped": [],
    "system-out": [],
}
REQUIRED = {
    "testsuite": {"name", "tests", "failures", "errors", "time"},
    "property": {"name", "value"},
    "testcase": {"name", "classname"},
    "failure": {"type", "message"},
}
ALLOWED = {
    "testsuites": {"name", "tests", "failures", "errors", "time"},
    "testsuite": REQUIRED["testsuite"] | {"skipped", "timestamp", "hostname"},
    "skipped": {"message"},
}


def problems(root: ElementTree.Element) -> list[str]:
    """Where a document leaves the schema; none if it is valid."""
    if root.tag != "testsuites":
        return [f"the root is {root.tag}"]
    return [*_element(root), *(text for suite in root.iter("testsuite") for text in _counts(suite))]


def _element(element: ElementTree.Element) -> list[str]:
    tag, found = element.tag, []
    if tag not in CHILDREN:
        return [f"{tag} is unknown"]
    names = set(element.attrib)
    found += [f"{tag} lacks {name}" for name in REQUIRED.get(tag, set()) - names]
    found += [f"{tag} has {name}" for name in names - ALLOWED.get(tag, REQUIRED.get(tag, set()))]
    for name in names & {"tests", "failures", "errors", "skipped"}:
        if not re.fullmatch(r"\d+", element.attrib[name]):
            found.append(f"{tag} {name} is no number")
    if "time" in names and not re.fullmatch(r"\d+\.\d+", element.attrib["time"]):
        found.append(f"{tag} time is no decimal")
    order = [CHILDREN[tag].index(child.tag) if child.tag in CHILDREN[tag] else -1 for child in element]
    if -1 in order or order != sorted(order):
        found.append(f"{tag} holds {[child.tag for child in element]}")
    return [*found, *(text for child in element for text in _element(child))]


def _counts(suite: ElementTree.Element) -> list[str]:
    cases = list(suite.iter("testcase"))
    counted = {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "errors": sum(case.find("error") is not None for case in cases),
        "skipped": sum(case.find("skipped") is not None for case in cases),
    }
    return [f"{name} is not {n}" for name, n in counted.items() if suite.get(name, "0") != str(n)]
