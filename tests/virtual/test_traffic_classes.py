"""Traffic classes: several lossless priorities beside a lossy one, and the DSCPs of data, acknowledgements and notifications."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed import topologies
from testbed._dataplane import VirtualFabric
from testbed.errors import ExperimentError
from testbed.experiment.file import experiment_from, load_experiment
from testbed.lab.topology import lab_from, load_lab
from testbed.plan.workload import compile_workload
from testbed.run.judgement import conclude
from testbed.run.perform import run_virtual
from testbed.run.result import RunResult
from testbed.run.trial import Trial
from testbed.schema.source import Source
from tests.captures import read_capture
from tests.virtual.harness import MTU, Json, finish, flows_to_last, make_trial, star

ACK, CNP = 0x11, 0x81
"""Opcodes of RoCEv2: RC acknowledge (IBTA volume 1, table 38) and congestion notification (annex A17)."""
CLASSES = {3: ("t1", "t2"), 4: ("s1", "s2"), 0: ("w1", "w2")}
GROUP = {3: 3, 4: 7, 0: 0}
"""The priority groups of the lab three-classes."""


def judged(trial: Trial, cores: int = 1) -> RunResult:
    return conclude(trial, run_virtual(trial, None, lambda progress: None, cores), "virtual", 1, "test")


def counters(result: RunResult, host: str, priority: int) -> Json:
    return result.model_dump(mode="json")["ports"][f"{host}:eth1"]["priorities"].get(str(priority), {})  # type: ignore[no-any-return]


def leaf(result: RunResult) -> dict[str, Json]:
    """Return the counters of the leaf's ports by the host behind each, by priority."""
    document, hosts = result.model_dump(mode="json"), ("r", "t1", "t2", "s1", "s2", "w1", "w2")
    return {host: document["ports"][f"leaf:eth{port}"]["priorities"] for port, host in enumerate(hosts, 1)}


def test_two_lossless_priorities_keep_all_beside_a_lossy_one_that_does_not() -> None:
    experiment = load_experiment(str(topologies.experiments()["three-classes"]))
    trial = Trial(experiment, load_lab("three-classes"))
    result = judged(trial)
    assert result.verdict.passed and result.verdict.lossless and result.verdict.complete
    assert result.drops.lossless == 0 and result.drops.lossy > 0
    ports = leaf(result)
    for priority, hosts in CLASSES.items():
        for host in hosts:
            at, frames = ports[host], counters(result, host, priority)["data_frames_tx"]
            dropped = sum(sum(each["drops"].values()) for each in at.values())
            asked = {number for number, each in at.items() if each["pause_tx"]}
            if priority:
                # Paused by its own priority alone, counted in its own group, and every frame sent once.
                assert asked == {str(priority)} and dropped == 0 and frames == 2 * 2**20 // MTU
                assert counters(result, host, priority)["paused_ns"] > 0
            else:
                assert asked == set() and dropped > 0 and frames > 2**20 // MTU
            assert {number for number, each in at.items() if each["frames_rx"]} == {str(GROUP[priority])}
    # All that comes back to the senders does so on priority 6, the class selector of DSCP 48.
    assert {number for number, each in ports["t1"].items() if each["frames_tx"]} == {"6"}


def classed_flows(queue_pairs: str = "flow", **sections: Any) -> Trial:
    """Return flows of 1 MB on priorities 3, 4 and 5, which are lossless, and on 0, which is not, two each to one host."""
    hosts = [f"h{number}" for number in range(1, 10)]
    priorities = [priority for priority in (3, 4, 5, 0) for _ in range(2)]
    flows = [
        {"from": source, "to": "h9", "bytes": 10**6, "priority": priority}
        for source, priority in zip(hosts, priorities, strict=False)
    ]
    switch = {"buffer": "auto", "lossless": [3, 4, 5], "lossy-queue": "100KB", "weights": {0: 1, 3: 1, 4: 1, 5: 1}}
    lab = star(dict.fromkeys(hosts, "500ns"), switch=switch)
    data = {
        "topology": "star",
        "flows": {"list": flows, "queue-pairs": queue_pairs},
        "lossless": {"background": [0]},
        **sections,
    }
    return Trial(experiment_from(Source("test", data)), lab_from(Source("star", lab)))


@pytest.mark.parametrize("queue_pairs", ["flow", "pair"])
def test_flows_have_priorities_of_their_own(queue_pairs: str) -> None:
    result = judged(classed_flows(queue_pairs))
    assert result.verdict.passed and result.drops.lossless == 0 and result.drops.lossy > 0
    assert result.flow_completion is not None
    told = {flow.src: flow.priority for flow in result.flow_completion.flows}
    assert told == {f"h{number}": [3, 4, 5, 0][(number - 1) // 2] for number in range(1, 9)}
    packets = -(-(10**6) // MTU)
    for host, priority in told.items():
        sent = counters(result, host, priority)["data_frames_tx"]
        assert sent == packets if priority else sent > packets
        others = {other for other in range(8) if other != priority and counters(result, host, other).get("frames_tx")}
        assert others == set()


def test_two_flows_of_two_hosts_that_differ_in_priority_alone_are_told_apart() -> None:
    ends = {"from": "h1", "to": "h9", "bytes": 10**6}
    listed = [{**ends, "priority": 4}, {**ends, "priority": 3}, {"from": "h2", "to": "h9", "bytes": 10**6}]
    result = judged(classed_flows(flows={"list": listed, "queue-pairs": "pair"}))
    assert result.flow_completion is not None
    times = {(flow.src, flow.priority): flow.fct_us for flow in result.flow_completion.flows}
    # Priority 3 of h1 shares half of its own line and half of a queue with h2, so it ends last of its two.
    assert times["h1", 4] < times["h1", 3]  # type: ignore[operator]


def test_a_priority_that_switches_drop_must_be_named_as_background() -> None:
    trial = classed_flows(lossless={})
    with pytest.raises(
        ExperimentError, match=r"flows\.list\[6\]\.priority: priority 0 is not lossless .* lossless\.background"
    ):
        trial.plan  # noqa: B018  compiled when asked for


def on_the_wire(tmp_path: Path, *settings: str, switch: Json | None = None) -> tuple[dict[str, set[int]], Json]:
    """Let three hosts send to a fourth; return the DSCPs of data, acknowledgements and notifications, and the report."""
    lab = star(dict.fromkeys(("h1", "h2", "h3", "h4"), "1us"), switch={"buffer": "auto", **(switch or {})})
    controlled = ("transport.congestion-control=dcqcn", "lossless.ecn={kmin: 20KB, kmax: 40KB, pmax: 1}")
    trial = make_trial(lab, "incast", *controlled, *settings)
    fabric = VirtualFabric(json.dumps(trial.plan))
    path = tmp_path / "wire.pcapng"
    fabric.capture(str(path))
    fabric.load(json.dumps(compile_workload(trial.lab, trial.experiment, flows_to_last(3, 400_000))))
    report = finish(fabric)
    fabric.capture(None)
    dscps: dict[str, set[int]] = {"data": set(), "ack": set(), "cnp": set()}
    for _, frame in read_capture(path):
        if frame[12:14] == b"\x08\x00":
            dscps[{ACK: "ack", CNP: "cnp"}.get(frame[42], "data")].add(frame[15] >> 2)
    return dscps, report


def test_dscps_are_what_they_always_were_unless_told_otherwise(tmp_path: Path) -> None:
    dscps, _ = on_the_wire(tmp_path)
    assert dscps == {"data": {24}, "ack": {24}, "cnp": {48}}


def test_data_acknowledgements_and_notifications_have_dscps_of_their_own(tmp_path: Path) -> None:
    dscps, report = on_the_wire(tmp_path, "transport.dscp=26", "transport.ack-dscp=10", "transport.cnp-dscp=46")
    assert dscps == {"data": {26}, "ack": {10}, "cnp": {46}}
    # By class selectors those are priorities 3, 1 and 5, at the NICs as at the switch.
    for port in ("h4:eth1", "sw:eth4"):
        sent, received = report["ports"][port]["priorities"], "frames_rx" if port[0] == "s" else "frames_tx"
        assert {number for number, each in sent.items() if each[received]} == {"1", "5"}


def test_nics_classify_by_the_map_of_their_switch(tmp_path: Path) -> None:
    switch = {"lossless": [4], "dscp": {"26": 4, "48": 2, "10": 7}}
    settings = ("lossless.priority=4", "transport.dscp=26", "transport.ack-dscp=10")
    dscps, report = on_the_wire(tmp_path, *settings, switch=switch)
    assert dscps == {"data": {26}, "ack": {10}, "cnp": {48}}
    at = report["ports"]["h4:eth1"]["priorities"]
    assert {number for number, each in at.items() if each["frames_tx"]} == {"2", "7"}
    assert {number for number, each in at.items() if each["frames_rx"]} == {"4"}


def test_a_dscp_that_a_switch_takes_for_another_priority_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ExperimentError, match=r"transport\.dscp: DSCP 34 is priority 4 at sw, and lossless\.priority is 3"
    ):
        on_the_wire(tmp_path, "transport.dscp=34")


def test_the_number_of_cores_changes_nothing() -> None:
    one, two = (judged(classed_flows(), cores) for cores in (1, 2))
    assert one.to_json() == two.to_json()
