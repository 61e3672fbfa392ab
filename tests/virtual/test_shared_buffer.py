"""A switch that shares its memory: where dynamic thresholds settle, what a headroom pool holds, all to the cell."""

import json
from typing import Any

import pytest

from testbed._dataplane import VirtualFabric
from testbed.buffers.headroom import headroom
from testbed.conformance.frames import address, udp
from testbed.lab.switches import named_switches
from tests.virtual.harness import (
    FULL_FRAME_BYTES,
    PS_PER_BYTE,
    RATE_BPS,
    Json,
    check_conservation,
    finish,
    flows_to_last,
    loaded_fabric,
    make_trial,
    priority,
    report_of,
)

CELL = 208
FULL_FRAME_IN_CELLS = 20 * CELL  # 4158 bytes
POOL_BYTES = 18_000_000


def fan_in(senders: int, switch: Json, rate: str = "100G", receiver: str = "100G", delay: str = "100ns") -> Json:
    """Return a lab of senders and one receiver around a switch."""
    nodes: Json = {f"s{number}": {"kind": "host"} for number in range(1, senders + 1)} | {"r": {"kind": "host"}}
    nodes["sw"] = {"kind": "switch", **switch}
    links: list[Json] = [
        {"endpoints": [f"s{number}:eth1", f"sw:eth{number}"], "rate": rate, "delay": delay}
        for number in range(1, senders + 1)
    ]
    links.append({"endpoints": ["r:eth1", f"sw:eth{senders + 1}"], "rate": receiver, "delay": delay})
    return {"name": "fan-in", "topology": {"nodes": nodes, "links": links}}


def run(lab: Json, senders: int, size: int, *overrides: str) -> tuple[Json, Json]:
    """Let every sender write one message to the receiver; return the switch's plan and the report."""
    settings = ["workload.payload=false", "transport.window=64MiB", "transport.verb=send", *overrides]
    trial = make_trial(lab, "incast", *settings)
    report = finish(loaded_fabric(trial, flows_to_last(senders, size)))
    assert report["complete"]
    check_conservation(report)
    return trial.plan["nodes"][-1], report


def figures(report: Json, senders: int, key: str) -> list[int]:
    return [priority(report, f"sw:eth{port}")[key] for port in range(1, senders + 1)]


def azure(**thresholds: Any) -> Json:
    """Return the switch of Azure's worked configuration without reserves, which the closed form does not have."""
    return {"profile": "azure-24mb", "thresholds": {"reserve": 0, **thresholds}}


# n groups settle at alpha·B/(1 + n·alpha).
@pytest.mark.parametrize(("senders", "settled"), [(1, 2_000_000), (8, 1_125_000), (32, 450_000)])
def test_groups_settle_where_the_closed_form_says(senders: int, settled: int) -> None:
    # One sender needs a faster link than the receiver's to fill anything.
    lab = fan_in(senders, azure(), rate="400G" if senders == 1 else "100G")
    plan, report = run(lab, senders, 12 * settled // (1 + senders // 8))
    assert plan["pool_bytes"] == POOL_BYTES and plan["headroom_pool_bytes"] == 6_000_000
    assert report["drops"]["lossless"] == 0
    ingress, rooms = (figures(report, senders, f"{key}_bytes_max") for key in ("ingress", "headroom"))
    for held, beyond in zip(ingress, rooms, strict=True):
        assert settled - 2 * FULL_FRAME_BYTES < held <= settled + 2 * FULL_FRAME_BYTES + beyond
        assert 0 < beyond <= 96_928
    assert all(pauses > 0 for pauses in figures(report, senders, "pause_tx"))


def test_alpha_moves_where_they_settle() -> None:
    for alpha, settled in [("1/32", 450_000), ("1/2", 1_800_000)]:
        _, report = run(fan_in(8, azure(alpha=alpha)), 8, 12_000_000)
        held = max(figures(report, 8, "ingress_bytes_max")) - max(figures(report, 8, "headroom_bytes_max"))
        assert held == pytest.approx(settled, abs=3 * FULL_FRAME_BYTES)


def burst_of(frames: int, pool: int) -> int:
    """Send a burst towards a link so slow that all but its first frame must wait; return the pauses it caused."""
    switch = {"buffer": "4MB", "cell": CELL, "pool": pool, "thresholds": {"alpha": 1}}
    _, report = run(fan_in(1, switch, receiver="100M"), 1, frames * 4096)
    assert report["drops"]["lossless"] == 0
    held = priority(report, "sw:eth1")["ingress_bytes_max"]
    assert held == (frames - 1) * FULL_FRAME_IN_CELLS
    return int(priority(report, "sw:eth1")["pause_tx"])


def test_a_dynamic_threshold_is_exact_to_the_cell() -> None:
    """The last of n waiting frames fits if n frames are no more than what n − 1 leave of the pool (alpha 1)."""
    waiting = 30
    enough = (2 * waiting - 1) * FULL_FRAME_IN_CELLS
    assert burst_of(waiting + 1, enough) == 0
    assert burst_of(waiting + 1, enough - CELL) > 0


def test_headroom_is_exact_to_the_cell() -> None:
    def with_headroom(room: int | str) -> tuple[Json, Json]:
        thresholds = {"alpha": "1/8", "headroom": room}
        switch = {"buffer": "8MB", "cell": CELL, "pool": "1MB", "thresholds": thresholds}
        return run(fan_in(4, switch, delay="2us"), 4, 2_000_000)

    plan, report = with_headroom("auto")
    assert report["drops"]["lossless"] == 0
    used = max(figures(report, 4, "headroom_bytes_max"))
    assert used % CELL == 0 and all(group["headroom_bytes"] % CELL == 0 for group in plan["priority_groups"])
    assert plan["priority_groups"][0]["headroom_bytes"] > used
    assert with_headroom(used)[1]["drops"]["lossless"] == 0
    scant = with_headroom(used - CELL)[1]
    causes = [priority(scant, f"sw:eth{port}")["drops"]["headroom"] for port in range(1, 6)]
    assert sum(causes) == scant["drops"]["lossless"] > 0


def with_headroom_pool(pool: int | str) -> tuple[Json, Json]:
    switch = {"buffer": "64MB", "pool": "4MB", "headroom-pool": pool, "thresholds": {"alpha": "1/8"}}
    return run(fan_in(8, switch, delay="20us"), 8, 4_000_000)


def test_a_shared_headroom_pool_loses_frames_only_beyond_the_pool() -> None:
    plan, report = with_headroom_pool("8MB")
    caps = [group["headroom_bytes"] for group in plan["priority_groups"]]
    assert sum(caps) <= 8_000_000 and report["drops"]["lossless"] == 0
    used = sum(figures(report, 8, "headroom_bytes_max"))
    # Oversubscribed, but not by what was needed.
    plan, report = with_headroom_pool(used)
    assert sum(caps) > used == plan["headroom_pool_bytes"] > max(caps)
    assert report["drops"]["lossless"] == 0
    # Too small: frames drop when it is full, and not a frame before.
    scant = used * 3 // 4
    _, report = with_headroom_pool(scant)
    dropped = figures(report, 8, "drops")
    assert sum(causes["headroom"] for causes in dropped) == report["drops"]["lossless"] > 0
    assert sum(figures(report, 8, "headroom_bytes_max")) > scant - FULL_FRAME_BYTES


@pytest.mark.parametrize("profile", sorted(named_switches()))
@pytest.mark.parametrize("mtu", [1024, 4096])
def test_named_switches_are_lossless(profile: str, mtu: int) -> None:
    _, report = run(fan_in(8, {"profile": profile}, delay="500ns"), 8, 4_000_000, f"transport.mtu={mtu}")
    assert report["drops"]["lossless"] == 0
    assert sum(flow["goodput_bps"] for flow in report["flows"]) == pytest.approx(10**11, rel=0.1)


def test_smallest_frames_alone_are_borne() -> None:
    """A sender that lets go of nothing else, as one does that was paused with its acknowledgements."""
    switch = {"buffer": "8MB", "cell": CELL, "thresholds": {"alpha": "1/8"}}
    trial = make_trial(fan_in(1, switch, receiver="10G", delay="5us"), "incast")
    node = trial.plan["nodes"][-1]
    sender, receiver = (address(station) for station in trial.plan["stations"][:2])
    fabric = VirtualFabric(json.dumps(trial.plan))
    # Acknowledgements are of 66 bytes; the priority is lossless, and the train obeys its pauses.
    train = {"hex": udp(sender, receiver, 24, 66).hex(), "count": 60_000, "every_ps": 86 * PS_PER_BYTE, "priority": 3}
    fabric.inject(json.dumps([{"node": "s1", "port": "eth1", **train}]))
    assert fabric.run_until(10**10, 10_000_000)
    counters = priority(report_of(fabric), "sw:eth1")
    assert counters["drops"]["headroom"] == 0 and counters["pause_tx"] > 0
    assert 0.8 * node["priority_groups"][0]["headroom_bytes"] < counters["headroom_bytes_max"]


def test_small_packets_waste_cells_and_headroom_bears_it() -> None:
    """Packets that leave nearly a cell unused, over a distance that makes them the most of the headroom."""
    switch = {"buffer": "auto", "cell": 1000, "thresholds": {"alpha": "1/8"}}
    _, report = run(fan_in(4, switch, delay="50us"), 4, 12_000_000, "transport.mtu=1024", "transport.ack-every=1")
    assert report["drops"]["lossless"] == 0
    uncounted = headroom(RATE_BPS, 50_000_000, 4218).total_bytes + 4218
    assert max(figures(report, 4, "headroom_bytes_max")) > 1.3 * uncounted
