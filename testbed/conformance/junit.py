"""Outcomes as JUnit XML, in the shape that CI systems read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from xml.etree import ElementTree

from testbed.conformance.suite import Outcome

NAME = "testbed.conformance"


def to_xml(outcomes: Sequence[Outcome]) -> str:
    """Return one test suite with a test case for each case.

    A case that failed holds `failure`, one whose figures cannot be relied on `error`, one that was not run `skipped`; what
    was measured stands in `system-out`, as JSON.
    """
    counts = {
        "tests": str(len(outcomes)),
        "failures": str(sum(outcome.outcome == "failed" and not outcome.distrust for outcome in outcomes)),
        "errors": str(sum(bool(outcome.distrust) for outcome in outcomes)),
        "skipped": str(sum(outcome.outcome == "skipped" for outcome in outcomes)),
        "time": f"{sum(outcome.seconds for outcome in outcomes):.3f}",
    }
    root = ElementTree.Element("testsuites", {"name": NAME, **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": NAME, **counts})
    for outcome in outcomes:
        _add(suite, outcome)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add(suite: ElementTree.Element, outcome: Outcome) -> None:
    where = {"classname": NAME, "name": outcome.case.name, "time": f"{outcome.seconds:.3f}"}
    case = ElementTree.SubElement(suite, "testcase", where)
    if outcome.outcome == "skipped":
        ElementTree.SubElement(case, "skipped", {"message": outcome.skipped})
    elif outcome.distrust:
        _note(case, "error", "untrusted", outcome.distrust)
    elif outcome.failures:
        _note(case, "failure", "failed", outcome.failures)
    output = ElementTree.SubElement(case, "system-out")
    figures = json.dumps(outcome.data()["runs"], ensure_ascii=False)
    output.text = _printable(f"{outcome.case.asserts}\n{figures}")


def _note(case: ElementTree.Element, tag: str, kind: str, lines: Sequence[str]) -> None:
    note = ElementTree.SubElement(case, tag, {"type": kind, "message": _printable(lines[0])})
    note.text = _printable("\n".join(lines))


def _printable(text: str) -> str:
    """Leave out what XML 1.0 cannot hold."""
    return "".join(sign for sign in text if sign in "\t\n" or sign >= " ")
