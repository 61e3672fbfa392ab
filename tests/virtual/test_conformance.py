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
from testbed.conformance.names import PUBLIC
from testbed.conformance.suite import Mutation, Outcome, Suite
from testbed.errors import UsageError

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


def each_port(**changes: Callable[[Any], Any]) -> Mutation:
    """Return what changes settings of every port."""

    def change(switch: Json) -> None:
        for port in switch["ports"]:
            port.update({key: new(port[key]) for key, new in changes.items()})

    return edit(change)


def each_group(**changes: Callable[[Json, int], int]) -> Mutation:
    """Return what changes settings of every priority group, given the group and the switch's cell."""

    def change(switch: Json) -> None:
        for group in switch["priority_groups"]:
            group.update({key: new(group, switch.get("cell_bytes", 1)) for key, new in changes.items() if key in group})

    return edit(change)


def by_a_cell(key: str, sign: int) -> Mutation:
    """Return what moves a static threshold by a cell, and what goes with a dynamic one as far."""
    return each_group(**{key: lambda group, cell: group[key] + sign * cell})


def of_first_port(**settings: Any) -> Mutation:
    """Return what changes the priority groups of one port: not the first, which is where others send to."""
    return edit(lambda switch: [g.update(settings) for g in switch["priority_groups"] if g["port"] == 1] and None)


def of_ecn(**settings: Any) -> Mutation:
    """Return what changes how a switch marks."""
    return edit(lambda switch: switch["ecn"].update(settings))


def of_watchdog(**settings: Any) -> Mutation:
    """Return what changes the watchdog of a switch."""
    return edit(lambda switch: switch["watchdog"].update(settings))


def lossless_too(switch: Json) -> None:
    """Let a switch take priority 0 for a lossless one."""
    switch["lossless"] = [0, *switch["lossless"]]
    switch["priority_groups"] += [{**g, "priority": 0} for g in switch["priority_groups"] if g["priority"] == 3]


def dscp_leads_to(dscp: int, priority: int) -> Mutation:
    def change(switch: Json) -> None:
        switch["dscp_to_priority"][dscp] = priority

    return edit(change)


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
        "ignores its response time": each_port(response_ps=lambda ps: 3 * ps),
    },
    "pause-replaced": {"keeps the longer pause": defect("keeps-longer-pause")},
    "pause-ended": {
        "ignores pauses": defect("ignores-pause"),
        "ignores its response time": each_port(response_ps=lambda ps: 5 * ps),
    },
    "pause-frame": {
        "enables all priorities": defect("asks-all-priorities"),
        "enables the next priority": defect("asks-next-priority"),
        "never says XON": defect("never-xon"),
        "has a group address": each_port(mac=lambda mac: "01" + mac[2:]),
        "has no address": each_port(mac=lambda mac: "00:00:00:00:00:00"),
    },
    "pause-refresh": {
        "never refreshes": defect("never-refreshes"),
        "asks for short pauses": defect("asks-too-little"),
    },
    "pause-right-peer": {
        "pauses everybody": defect("asks-every-port"),
        "pauses all priorities": defect("asks-all-priorities"),
        "pauses nobody": defect("spares-first-port"),
    },
    "xoff-threshold": {
        "a cell late": by_a_cell("xoff_bytes", 1),
        "a cell early": by_a_cell("xoff_bytes", -1),
        "has another alpha": each_group(alpha_log2=lambda group, _: group["alpha_log2"] - 1),
        "has a larger reserve": by_a_cell("reserve_bytes", 2),
    },
    "drop-threshold": {
        "a cell late": by_a_cell("headroom_bytes", 1),
        "a cell early": by_a_cell("headroom_bytes", -1),
        "a handful of frames short": each_group(headroom_bytes=lambda group, _: group["headroom_bytes"] - 5 * 1518),
        "drops with half of it free": each_group(headroom_bytes=lambda group, _: group["headroom_bytes"] // 2),
    },
    "xon-threshold": {
        "a cell late": by_a_cell("xon_bytes", -1),
        "a cell early": by_a_cell("xon_bytes", 1),
        "has another offset": by_a_cell("xon_offset_bytes", 1),
        "never says it": defect("never-xon"),
    },
    "late-peer": {
        # In cells it is 2.5 times what full frames need.
        "has a third of the headroom": each_group(headroom_bytes=lambda group, _: group["headroom_bytes"] // 3),
        "has room without end": each_group(headroom_bytes=lambda group, _: group["headroom_bytes"] * 20),
    },
    "headroom-pool": {
        "has a smaller pool": edit(
            lambda switch: switch.update(headroom_pool_bytes=switch["headroom_pool_bytes"] - 20_000)
        ),
        "has a larger pool": edit(
            lambda switch: switch.update(headroom_pool_bytes=switch["headroom_pool_bytes"] + 20_000)
        ),
        "has no pool": edit(lambda switch: switch.update(headroom_pool_bytes=0)),
    },
    "line-rate": {
        "stops too early": each_group(xoff_bytes=lambda *_: 4000, xon_bytes=lambda *_: 0),
        "has no room": each_group(xoff_bytes=lambda *_: 100, xon_bytes=lambda *_: 0, headroom_bytes=lambda *_: 0),
    },
    "mixed-speeds": {
        "has the headroom of the slow port": each_group(headroom_bytes=lambda group, _: group["headroom_bytes"] // 4),
        "goes on too late": each_group(xon_bytes=lambda *_: 0),
    },
    "oversubscription": {
        "has no headroom": each_group(headroom_bytes=lambda *_: 0),
        "reorders": defect("reorders"),
        "never pauses one peer": defect("spares-last-port"),
        "favours a port": of_first_port(xoff_bytes=5_000, xon_bytes=0),
        "goes on too late": each_group(xon_bytes=lambda *_: 0),
    },
    "lossy-beside-lossless": {
        "has no priority groups": edit(lambda switch: switch.update(priority_groups=[])),
        "has no headroom": each_group(headroom_bytes=lambda *_: 0),
        "has a deep lossy queue": edit(lambda switch: switch.update(lossy_queue_bytes=20_000_000)),
    },
    "lossy-congestion": {
        "pauses for a lossy priority": edit(lossless_too),
        "holds what it should drop": edit(lambda switch: switch.update(lossy_queue_bytes=20_000_000)),
    },
    "equal-classes": {
        "pauses for one of them alone": edit(
            lambda switch: (
                [g.update(xoff_bytes=10**7) for g in switch["priority_groups"] if g["priority"] == 4] and None
            )
        ),
        "never pauses one peer": defect("spares-last-port"),
        "names the next priority": defect("asks-next-priority"),
        "has no headroom": each_group(headroom_bytes=lambda *_: 0),
    },
    "fluctuating-load": {
        "never says XON": defect("never-xon"),
        "stops nobody": edit(lambda switch: switch.update(priority_groups=[])),
        "has no headroom": each_group(headroom_bytes=lambda *_: 0),
    },
    "storm-containment": {
        "pauses everybody": defect("asks-every-port"),
        "pauses all priorities": defect("asks-all-priorities"),
        "ignores pauses": defect("ignores-pause"),
    },
    "storm-throttling": {
        "ignores pauses": defect("ignores-pause"),
        "counts 256 bit times": defect("halves-quanta"),
        "ignores its response time": each_port(response_ps=lambda ps: 4 * ps),
    },
    "classification": {
        "leads a DSCP elsewhere": dscp_leads_to(26, 4),
        "leads all to one": edit(lambda switch: switch.update(dscp_to_priority=[3] * 64)),
        "counts by queues": edit(lambda switch: switch.pop("priority_to_group", None)),
        "has the queues of the numbers": edit(lambda switch: switch.update(priority_to_queue=list(range(8)))),
    },
    "pause-queue": {
        "has the queues of the numbers": edit(lambda switch: switch.update(priority_to_queue=list(range(8)))),
        "ignores pauses": defect("ignores-pause"),
        "stops the whole port": defect("pauses-whole-port"),
    },
    "group-priorities": {
        "counts by queues": edit(lambda switch: switch.pop("priority_to_group", None)),
        "names another priority": defect("asks-next-priority"),
        "names all priorities": defect("asks-all-priorities"),
        "never pauses": defect("spares-first-port"),
    },
    "dwrr-shares": {
        "has other weights": each_port(weights=lambda weights: [2 * bool(weight) for weight in weights]),
        "is strict": each_port(weights=lambda weights: [0] * 8),
        "weighs a priority double": each_port(weights=lambda weights: [2 * weights[0], *weights[1:]]),
    },
    "dwrr-live-change": {
        "keeps the old weights": defect("keeps-weights"),
        "has the new weights from the beginning": each_port(weights=lambda w: [w[4], 0, 0, w[3], w[0], 0, 0, 0]),
    },
    "ecn-dequeue": {
        "marks as frames come in": defect("marks-on-arrival"),
        "marks nothing": edit(lambda switch: switch.pop("ecn")),
        "marks everything": of_ecn(kmin_bytes=0, kmax_bytes=0),
        "has a higher Kmax": of_ecn(kmax_bytes=230_000, pmax=0.0),
    },
    "ecn-curve": {
        "has another Pmax": of_ecn(pmax=0.3),
        "has another Kmin": of_ecn(kmin_bytes=90_000),
        "has another Kmax": of_ecn(kmax_bytes=260_000),
        "is a step": of_ecn(kmin_bytes=130_000, kmax_bytes=130_000),
    },
    "watchdog-storm": {
        "has none": edit(lambda switch: switch.pop("watchdog")),
        "is hasty": of_watchdog(detection_ps=200_000_000),
        "is slow": of_watchdog(detection_ps=600_000_000),
        "looks seldom": of_watchdog(poll_ps=550_000_000),
        "forwards": of_watchdog(action="forward"),
    },
    "watchdog-short-storm": {"is hasty": of_watchdog(detection_ps=200_000_000)},
    "watchdog-bursts": {"is hasty": of_watchdog(detection_ps=50_000_000, poll_ps=50_000_000)},
    "watchdog-restoration": {
        "never restores": of_watchdog(restoration_ps=10**13),
        "restores late": of_watchdog(restoration_ps=600_000_000),
        "restores early": of_watchdog(restoration_ps=100_000_000),
    },
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
    assert outcome.runs and all(each.measured for each in outcome.runs)
    json.dumps(outcome.data())


@pytest.mark.parametrize(
    ("name", "mutant"), [(name, mutant) for name, mutants in MUTANTS.items() for mutant in mutants]
)
def test_a_defective_switch_fails(name: str, mutant: str) -> None:
    outcome = run(name, MUTANTS[name][mutant])
    assert outcome.outcome == "failed" and outcome.failures


def test_every_case_can_fail() -> None:
    assert MUTANTS.keys() == {case.name for case in suite.CASES}


def test_cases_are_found_by_the_names_of_public_plans() -> None:
    known = {case.name for case in suite.CASES}
    assert set(PUBLIC) <= known
    assert [case.name for case in suite.select(["l08"])] == [
        "drop-threshold",
        "late-peer",
        "oversubscription",
        "equal-classes",
    ]
    assert [case.name for case in suite.select(["Y06", "pause-lossy"])] == ["pause-lossy", "lossy-congestion"]
    assert suite.Outcome(suite.select(["L01"])[0]).data()["public"] == ["L01", "Y01", "Y05", "PFC-1"]
    with pytest.raises(UsageError, match="no case is called"):
        suite.select(["L99"])


def test_cases_are_named_and_sourced() -> None:
    for case in suite.CASES:
        assert case.name == case.name.lower() and " " not in case.name and case.source
        assert len(case.asserts.split()) > 5 and not case.asserts.endswith(".")


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
        (["--set", "lossless.headroom=1MB"], "--set and --switch need -t"),
        (["--dilation", "10"], "--dilation has no effect under the virtual clock"),
        (["--junit", "/nowhere/report.xml", "--only", "pause-ended"], "cannot write /nowhere/report.xml"),
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
