"""What the conformance suite is made of: benches of a lab's switches, the model of a priority group, JUnit XML."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.conformance import suite
from testbed.conformance.case import Findings
from testbed.conformance.device import Device, Unsuitable, alike, device_of, port_classes
from testbed.conformance.incast import fairness
from testbed.conformance.junit import to_xml
from testbed.conformance.reference import ReferenceGroup
from testbed.conformance.suite import Outcome, Run, exit_code
from testbed.errors import TopologyError, UsageError
from testbed.experiment.file import new_experiment
from testbed.lab.topology import Lab, lab_from, load_lab
from testbed.plan.compile import compile_fabric
from testbed.schema.source import Source


def devices(lab: Lab, *overrides: str, switches: tuple[str, ...] = ()) -> list[Device]:
    experiment = new_experiment("x", "incast").with_overrides(overrides)
    return suite.devices_of(lab, experiment, "virtual", switches, "conformance")


def star(**links: dict[str, Any]) -> Lab:
    """Return a switch with a host behind a link for each of `links`."""
    nodes: dict[str, Any] = {name: {"kind": "host"} for name in links} | {"sw": {"kind": "switch", "buffer": "auto"}}
    entries = [{"endpoints": [f"{name}:eth1", f"sw:eth{n}"], **link} for n, (name, link) in enumerate(links.items(), 1)]
    return lab_from(Source("x", {"name": "x", "topology": {"nodes": nodes, "links": entries}}))


# Benches


def test_a_bench_has_the_switch_as_its_lab_has_it() -> None:
    """Thresholds, rates and delays are those of the whole lab's plan; only neighbours and routes differ."""
    lab = load_lab("two-dc:length=300km")
    experiment = new_experiment("two-dc", "incast")
    whole = next(node for node in compile_fabric(lab, experiment)["nodes"] if node["name"] == "border-a")
    border = next(switch for switch in lab.switches if switch.name == "border-a")
    device = device_of(lab, border, experiment)
    for key in ("priority_groups", "buffer_bytes", "lossless", "pfc", "dscp_to_priority", "lossy_queue_bytes"):
        assert device.switch[key] == whole[key], key
    span = device.ports[1]
    assert (span.rate_bps, span.delay_ps, span.tester) == (10**11, 300_000 * 4897, "t2")
    assert device.switch["routes"] == [[0], [1]] * 2
    assert [node["name"] for node in device.plan["nodes"]] == ["t1", "t2", "switch"]


def test_a_bench_loses_nothing_by_itself() -> None:
    lab = star(a={"loss": 0.5}, b={"profile": "400g-zr", "length": "80km"}, c={})
    (device,) = devices(lab)
    assert all(link["loss"] == [0.0, 0.0] and "loss_process" not in link for link in device.plan["links"])


def test_switches_and_ports_that_are_alike_are_tested_once() -> None:
    assert [device.name for device in devices(load_lab("clos:spines=2,leaves=4,hosts=2"))] == ["leaf1"]
    switches = devices(load_lab("two-dc"))
    assert [device.name for device in switches] == ["leaf-a", "border-a"] and not alike(*switches)
    assert [device.name for device in devices(load_lab("two-dc"), switches=("border-b",))] == ["border-b"]
    mixed = star(a={"rate": "400G"}, b={"rate": "100G"}, c={"rate": "400G"}, d={"rate": "100G", "length": "1km"})
    assert [port.name for port in port_classes(devices(mixed)[0])] == ["eth1", "eth2", "eth4"]


def test_what_is_wrong_with_a_switch_is_reported_with_its_place_in_the_lab() -> None:
    data = {"nodes": {"a": {"kind": "host"}, "leaf": {"kind": "switch", "buffer": "1MB"}}}
    links = [{"endpoints": ["a:eth1", "leaf:eth1"], "length": "80km"}]
    with pytest.raises(TopologyError, match=r"^lab shallow: topology\.nodes\.leaf\.buffer: 1MB cannot hold"):
        devices(lab_from(Source("x", {"name": "shallow", "topology": {**data, "links": links}})))


def test_ports_without_pfc_are_left_out() -> None:
    lab = star(a={}, b={"flow-control": "credit"}, c={"flow-control": "none"}, d={})
    assert [port.name for port in devices(lab)[0].ports] == ["eth1", "eth4"]


def test_a_lab_needs_a_lossless_priority() -> None:
    data = {"name": "x", "topology": {"nodes": {"a": {"kind": "host"}, "s": {"kind": "switch", "lossless": []}}}}
    data["topology"]["links"] = [{"endpoints": ["a:eth1", "s:eth1"]}]  # type: ignore[index]
    with pytest.raises(UsageError, match="no switch with a lossless priority"):
        devices(lab_from(Source("x", data)))
    (device,) = devices(load_lab("pair"), "lossless.pfc=false")
    for case in suite.CASES:
        with pytest.raises(Unsuitable):
            case.places(device)


# The model of a group


@pytest.mark.parametrize(("alpha_log2", "settled"), [(-3, 2_000_000), (0, 9_000_000), (1, 12_000_000)])
def test_a_dynamic_threshold_settles_where_the_closed_form_says(alpha_log2: int, settled: int) -> None:
    group = ReferenceGroup(1, 0, 0, 0, alpha_log2=alpha_log2, pool_bytes=18_000_000)
    held = 0
    while group.arrive(1_000) == "taken":
        held += 1_000
    assert 0 <= settled - held <= 1_000 and group.most_without_xoff() == settled


@given(st.lists(st.integers(64, 9_216), max_size=60), st.sampled_from([None, -3, 0, 2]), st.sampled_from([1, 208]))
def test_what_arrives_can_leave(lengths: list[int], alpha_log2: int | None, cell: int) -> None:
    group = ReferenceGroup(cell, 40_000, 20_000, 30_000, alpha_log2, 2_000, 4_000, 90_000)
    taken = [length for length in lengths if group.arrive(length) != "dropped"]
    assert group.held == sum(group.cells(length) for length in taken)
    goes_on = [group.leave(length) for length in taken]
    assert (group.held, group.reserved, group.shared, group.headroom) == (0, 0, 0, 0)
    assert not taken or goes_on[-1]


def test_fairness_is_jains() -> None:
    assert fairness([3, 3, 3]) == 1 and fairness([1, 0, 0, 0]) == 0.25 and fairness([0, 0]) == 0


# Outcomes


def outcome(*failures: str, distrust: tuple[str, ...] = (), skipped: str = "") -> Outcome:
    runs = [] if skipped else [Run("leaf", "eth1", {"frames": 3, "name": "a\x00<b>"}, failures)]
    return Outcome(suite.CASES[0], runs, skipped, distrust, 0.25)


def test_the_exit_code_is_that_of_the_worst() -> None:
    passed, failed, unsure = outcome(), outcome("wrong"), outcome(distrust=("late",))
    assert exit_code([passed, outcome(skipped="no port")]) == 0
    assert exit_code([passed, failed]) == 1 and exit_code([failed, unsure, passed]) == 4


def test_junit_has_the_shape_that_ci_systems_read() -> None:
    outcomes = [outcome(), outcome("first <wrong>", "second"), outcome(skipped="no port"), outcome(distrust=("late",))]
    root = ElementTree.fromstring(to_xml(outcomes))
    (plain,) = root
    for element in (root, plain):
        counts = {name: element.get(name) for name in ("tests", "failures", "errors", "skipped", "time")}
        assert counts == {"tests": "4", "failures": "1", "errors": "1", "skipped": "1", "time": "1.000"}
    assert (root.tag, plain.tag) == ("testsuites", "testsuite") and plain.get("name") == "testbed.conformance"
    assert [[child.tag for child in case] for case in plain] == [
        ["system-out"],
        ["failure", "system-out"],
        ["skipped", "system-out"],
        ["error", "system-out"],
    ]
    assert all(case.tag == "testcase" and case.get("classname") and case.get("time") == "0.250" for case in plain)
    failure = plain.find("testcase/failure")
    assert failure is not None and (failure.get("message"), failure.text) == ("first <wrong>", "first <wrong>\nsecond")


def test_findings_say_what_is_wrong() -> None:
    findings = Findings()
    findings.equal("a", 1, 1)
    findings.near("b", 1.0, 1.05, 0.1)
    findings.at_least("c", float("nan"), 0)
    findings.at_most("d", 3, 2)
    findings.true("e", [])
    assert findings == ["c is nan, less than 0", "d is 3, more than 2", "e"]
