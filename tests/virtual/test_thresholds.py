"""Thresholds, marks and queues by port and by priority, with several lossless priorities loaded at once and lossy ones beside."""

import json
from collections import Counter
from typing import Any

import pytest

from testbed._dataplane import VirtualFabric
from testbed.buffers.headroom import headroom
from testbed.conformance.frames import address, roce
from tests.virtual.harness import Json, check_conservation, make_trial, report_of

SENDERS = 2
FRAME = 4096
RATE_BPS = 100 * 10**9
SPAN_PS = 400 * 10**6


def loaded(switch: Json, dscps: dict[str, list[int]], *overrides: str) -> tuple[Json, Json]:
    """Let senders fill a receiver's link at once, each with a train a DSCP that together are as fast as its line.

    Return the switch's plan and the report. Trains obey the pauses of their priority.
    """
    nodes: Json = {name: {"kind": "host"} for name in (*dscps, "r")} | {"sw": {"kind": "switch", **switch}}
    links = [
        {"endpoints": [f"{name}:eth1", f"sw:eth{port}"], "delay": "500ns"} for port, name in enumerate((*dscps, "r"), 1)
    ]
    lab = {"name": "loaded", "topology": {"nodes": nodes, "links": links}}
    trial = make_trial(lab, "incast", "lossless.priority=3", *overrides)
    stations = [address(station) for station in trial.plan["stations"]]
    trains = []
    for number, (name, several) in enumerate(dscps.items()):
        every = (FRAME + 20) * 8 * 10**12 // RATE_BPS * len(several)
        count = SPAN_PS // every
        for index, dscp in enumerate(several):
            frame = roce(stations[number], stations[len(dscps)], dscp, FRAME, entropy=49152 + index)
            train = {"hex": frame.hex(), "count": count, "every_ps": every, "priority": dscp >> 3}
            trains.append({"node": name, "port": "eth1", **train})
    fabric = VirtualFabric(json.dumps(trial.plan))
    fabric.inject(json.dumps(trains))
    assert fabric.run_until(20 * SPAN_PS, 50_000_000)
    report = report_of(fabric)
    check_conservation(report)
    return next(node for node in trial.plan["nodes"] if node["kind"] == "switch"), report


def at(report: Json, port: str, priority: int) -> Any:
    return report["ports"][port]["priorities"].get(str(priority), Counter())


def test_two_lossless_priorities_pause_each_at_its_own_threshold_and_lossy_ones_drop() -> None:
    thresholds = {
        "xoff": "200KB",
        "priorities": {"4": {"xoff": "50KB"}},
        "ports": {"eth2": {"priorities": {"3": {"xoff": "90KB"}}}},
    }
    switch = {
        "buffer": "8MB",
        "lossless": [3, 4],
        "lossy-queue": "100KB",
        "weights": {"0": 1, "3": 1, "4": 1},
        "thresholds": thresholds,
    }
    _, report = loaded(switch, {"s1": [24, 32, 0], "s2": [24, 32, 0]})
    assert report["drops"]["lossless"] == 0 and report["drops"]["lossy"] > 0
    room = headroom(RATE_BPS, 500_000, 4218).total_bytes
    for port, priority, xoff in [
        ("sw:eth1", 3, 200_000),
        ("sw:eth1", 4, 50_000),
        ("sw:eth2", 3, 90_000),
        ("sw:eth2", 4, 50_000),
    ]:
        counters = at(report, port, priority)
        assert counters["pause_tx"] > 0
        assert xoff < counters["ingress_bytes_max"] <= xoff + room, (port, priority)
    # Three weights of 1 share the line: a third each, whoever is paused and whoever is dropped.
    sent = [at(report, "sw:eth3", priority)["frames_tx"] for priority in (3, 4)]
    assert sent[0] == pytest.approx(sent[1], rel=0.02)


def test_only_the_priority_that_is_congested_is_paused() -> None:
    """A quarter of the line on one priority, as much as fits of the other: pauses of one do not touch the other."""
    thresholds = {"priorities": {"3": {"xoff": "100KB"}, "4": {"xoff": "100KB"}}}
    switch = {"buffer": "8MB", "lossless": [3, 4], "thresholds": thresholds}
    _, report = loaded(switch, {"s1": [24, 24, 24, 32], "s2": [24]})
    assert at(report, "sw:eth1", 3)["pause_tx"] > 0 and at(report, "sw:eth1", 4)["pause_tx"] == 0
    assert report["drops"]["lossless"] == 0


def test_marks_begin_where_the_queue_says() -> None:
    step = {"kmin": "60KB", "kmax": "60KB", "pmax": 1}
    thresholds = {"xoff": "400KB", "priorities": {"4": {"ecn": step}}}
    switch = {"buffer": "8MB", "lossless": [3, 4], "weights": {"3": 1, "4": 1}, "thresholds": thresholds}
    _, report = loaded(switch, {"s1": [24, 32], "s2": [24, 32]})
    assert at(report, "sw:eth3", 4)["ecn_marked"] > 0
    assert at(report, "sw:eth3", 3)["ecn_marked"] == 0, "as full, and it has no marks"
    assert at(report, "sw:eth3", 3)["queue_bytes_max"] > 60_000


def test_a_dscp_goes_where_the_map_of_the_switch_says() -> None:
    switch = {"buffer": "8MB", "lossless": [3, 4], "dscp": {"26": 4, "10": 4}}
    _, report = loaded(switch, {"s1": [26], "s2": [24]})
    assert at(report, "sw:eth1", 4)["frames_rx"] > 0 and at(report, "sw:eth2", 3)["frames_rx"] > 0
    assert at(report, "sw:eth1", 3)["frames_rx"] == 0


def test_priorities_that_share_a_queue_share_its_group_and_its_pauses() -> None:
    switch = {"buffer": "8MB", "lossless": [3, 4], "queues": {"4": 3}, "thresholds": {"xoff": "100KB"}}
    planned, report = loaded(switch, {"s1": [24, 32], "s2": [24, 32]})
    assert planned["lossless"] == [3]
    room = headroom(RATE_BPS, 500_000, 4218).total_bytes
    for port in ("sw:eth1", "sw:eth2"):
        held = at(report, port, 3)["ingress_bytes_max"]
        assert 100_000 < held <= 100_000 + room, "both together"
        assert at(report, port, 4)["frames_rx"] == 0
    for host in ("s1:eth1", "s2:eth1"):
        assert at(report, host, 3)["pause_rx"] == at(report, host, 4)["pause_rx"] > 0, "one frame asks for both"
    assert report["drops"]["lossless"] == 0


@pytest.mark.parametrize("alpha", [0, "1/256", 128, "none"])
def test_no_alpha_loses_a_frame(alpha: object) -> None:
    thresholds = {"alpha": alpha, "reserve": "20KB"}
    switch = {"buffer": "8MB", "lossless": [3, 4], "thresholds": thresholds}
    planned, report = loaded(switch, {"s1": [24, 32], "s2": [24, 32]})
    assert report["drops"]["lossless"] == 0
    held = report["buffers"]["sw"]["shared_bytes_max"] if "buffers" in report else None
    if alpha == 0:
        most = max(at(report, f"sw:eth{port}", priority)["ingress_bytes_max"] for port in (1, 2) for priority in (3, 4))
        assert most <= 20_000 + planned["priority_groups"][0]["headroom_bytes"], "the reserve, and headroom"
    if alpha == "none":
        assert held is None or held > planned["pool_bytes"] - 2 * 4218, "the whole pool"
