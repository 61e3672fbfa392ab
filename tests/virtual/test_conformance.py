"""The conformance suite: a sound switch passes every case, and for each case there are defective ones that fail it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from xml.etree import ElementTree

import pytest

from testbed import cli
from testbed.conformance import engines, suite
from testbed.conformance.device import switch_of
from testbed.conformance.suite import Mutation, Outcome, Suite

Json = dict[str, Any]
RunTestbed = Callable[..., CompletedProcess[str]]
Command = Callable[..., tuple[int, str, str]]


def edit(change: Callable[[Json], None]) -> Mutation:
    """Return what changes the switch of a plan."""

    def mutate(plan: Json) -> Json:
        changed = copy.deepcopy(plan)
        change(switch_of(changed))
        return changed

    return mutate


def defect(*names: str) -> Mutation:
    """Return what gives a switch defects that the data plane has for this purpose."""
    return edit(lambda switch: switch.update(defects=list(names)))


def ports(**settings: Any) -> Mutation:
    """Return what gives every port of a switch other settings than its plan."""
    return edit(lambda switch: [port.update(settings) for port in switch["ports"]] and None)


def scaled_response(factor: int) -> Mutation:
    return edit(lambda switch: [p.update(response_ps=p["response_ps"] * factor) for p in switch["ports"]] and None)


MUTANTS: dict[str, dict[str, Mutation]] = {
    "pause-lossless": {
        "ignores pauses": defect("ignores-pause"),
        "stops the whole port": defect("pauses-whole-port"),
        "has another map of DSCPs": edit(lambda switch: switch.update(dscp_to_priority=[0] * 64)),
    },
    "pause-lossy": {"obeys them": defect("obeys-lossy-pause")},
    "global-pause": {"obeys it": defect("obeys-global-pause")},
    "zero-vector": {"looks at times alone": defect("ignores-enable-vector")},
    "zero-source": {"takes it for damaged": defect("ignores-zero-source")},
    "pause-quanta": {
        "counts 256 bit times": defect("halves-quanta"),
        "ignores its response time": scaled_response(3),
    },
    "pause-replaced": {"keeps the longer pause": defect("keeps-longer-pause")},
    "pause-ended": {"ignores pauses": defect("ignores-pause"), "stops the whole port": scaled_response(5)},
}
"""By case: what is wrong with a switch that must fail it."""


def run(name: str, mutate: Mutation | None = None) -> Outcome:
    """Run a case on its own labs."""
    (case,) = suite.select([name])
    return Suite("virtual", engines.virtual, mutate).run(case, suite.own_devices(case, "virtual", "conformance"))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process; return exit status, output and errors."""

    def run_command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["testbed", *arguments])
        try:
            status = cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        out, errors = capsys.readouterr()
        return status, out, errors

    return run_command


@pytest.mark.parametrize("name", [case.name for case in suite.CASES])
def test_a_sound_switch_passes(name: str) -> None:
    outcome = run(name)
    assert outcome.failures == [] and outcome.outcome == "passed", outcome.skipped
    assert len({str((each.switch, each.place)) for each in outcome.runs}) == len(outcome.runs) > 0
    json.dumps(outcome.data())


@pytest.mark.parametrize(
    ("name", "mutant"), [(name, mutant) for name, mutants in MUTANTS.items() for mutant in mutants]
)
def test_a_defective_switch_fails(name: str, mutant: str) -> None:
    outcome = run(name, MUTANTS[name][mutant])
    assert outcome.outcome == "failed" and outcome.failures


def test_every_case_can_fail() -> None:
    assert MUTANTS.keys() == {case.name for case in suite.CASES}


def test_cases_are_named_and_sourced() -> None:
    for case in suite.CASES:
        assert case.name == case.name.lower() and " " not in case.name and case.source
        assert case.asserts[0].islower() and not case.asserts.endswith(".")


def test_measurements_repeat() -> None:
    first, second = (run("pause-quanta").data() for _ in range(2))
    assert first == second


def test_the_command_tests_a_lab(run_testbed: RunTestbed, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    options = ["-t", "two-dc", "--only", "pause-lossless", "--only", "pause-lossy", "--junit", str(report)]
    done = run_testbed("conformance", *options, "--format", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["lab"], document["clock"], document["passed"], document["trusted"]) == (
        "two-dc",
        "virtual",
        2,
        True,
    )
    assert [(case["name"], case["outcome"]) for case in document["cases"]] == [
        ("pause-lossless", "passed"),
        ("pause-lossy", "passed"),
    ]
    # Leaves and borders of both sites are alike: one of each, on each kind of port.
    assert [each["switch"] for each in document["cases"][0]["runs"]] == ["leaf-a", "border-a", "border-a"]
    root = ElementTree.parse(report).getroot()
    assert root.tag == "testsuites" and root.find("testsuite").get("tests") == "2"  # type: ignore[union-attr]
    assert [case.get("name") for case in root.iter("testcase")] == ["pause-lossless", "pause-lossy"]


def test_a_lab_that_is_not_lossless_fails(command: Command, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    options = ["--only", "pause-lossless", "--junit", str(report), "--switch", "leaf-a"]
    settings = ["--set", "lossless.headroom=5KB", "--set", "lossless.xoff=20KB"]
    status, out, _ = command("conformance", "-t", "two-dc", *settings, *options)
    assert status == 1
    assert "frames lost is" in out and "1 failed" in out
    (failure,) = ElementTree.parse(report).getroot().iter("failure")
    assert "frames lost is" in str(failure.text)


def test_what_cannot_be_tested_is_skipped(command: Command) -> None:
    status, out, _ = command("conformance", "-t", "pair", "--set", "lossless.pfc=false", "--only", "pause-lossless")
    assert status == 0 and "skipped" in out and "leaf: no lossless priority" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "pause-loseless"], 'did you mean "pause-lossless"?'),
        (["-t", "pair", "--switch", "spine"], 'lab pair has no switch "spine"; it has leaf'),
        (["--set", "lossless.headroom=1MB"], "--set and --switch go with -t"),
        (["--dilation", "10"], "the virtual clock has none"),
        (["--junit", "/nowhere/report.xml", "--only", "pause-ended"], "--junit /nowhere/report.xml"),
    ],
)
def test_bad_usage(options: list[str], message: str, command: Command) -> None:
    status, _, errors = command("conformance", *options)
    assert status == 2 and message in errors


def test_the_list_says_what_each_case_asserts(command: Command) -> None:
    status, out, _ = command("conformance", "--list", "--format", "json")
    rows = json.loads(out)["cases"]
    assert status == 0
    assert [row["name"] for row in rows] == [case.name for case in suite.CASES]
    assert all(row["asserts"] and row["source"] for row in rows)
