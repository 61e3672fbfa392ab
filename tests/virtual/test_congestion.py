"""Congestion marks where and as often as they should be, what DCQCN makes of them, and that both can be repeated."""

import json
import struct
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import pytest
from scapy.contrib.roce import BTH
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from testbed._dataplane import VirtualFabric
from testbed.plan.workload import compile_workload
from tests.virtual.harness import (
    FULL_FRAME_BYTES,
    FULL_WIRE_BYTES,
    MTU,
    RETH_BYTES,
    Json,
    check_conservation,
    finish,
    flows_to_last,
    loaded_fabric,
    make_trial,
    priority,
    report_of,
    run_until,
    star,
)

ROOMY = ("workload.payload=false", "lossless.xoff=100MB", "transport.window=64MiB")
DCQCN = "transport.congestion-control=dcqcn"
# The thresholds that Zhu et al. give beside their parameters, for 40 Gb/s.
EARLY = "lossless.ecn={kmin: 5KB, kmax: 200KB, pmax: 1%}"
RELEASE_PS = 5 * 10**9


def held_back(frames: int, ecn: str, dscp: int | None = None) -> VirtualFabric:
    """Load one message of full frames, which all stand in the switch's queue to r1 until `RELEASE_PS`."""
    trial = make_trial(star({"s1": "1us", "r1": "1us"}), "incast", *ROOMY, f"lossless.ecn={ecn}")
    workload = compile_workload(trial.lab, trial.experiment, flows_to_last(1, frames * MTU))
    if dscp is not None:
        workload |= {"dscp": dscp, "priority": dscp >> 3}
    fabric = VirtualFabric(json.dumps(trial.plan))
    fabric.load(json.dumps(workload))
    ends = [(change_at, held) for change_at, held in ((0, True), (RELEASE_PS, False))]
    fabric.impair(json.dumps([{"link": 1, "way": 1, "at_ps": at, "drain": held} for at, held in ends]))
    return fabric


def steps(fabric: VirtualFabric, number: int = 3, budget: int = 1) -> list[tuple[int, int]]:
    """Run to the end; return frames sent to r1 and marks among them, after every step in which either changed."""
    counts = [(0, 0)]
    complete = False
    while not complete:
        complete = fabric.advance(budget)
        if str(number) not in report_of(fabric)["ports"]["sw:eth2"]["priorities"]:
            continue
        counters = priority(report_of(fabric), "sw:eth2", number)
        if (counters["frames_tx"], counters["ecn_marked"]) != counts[-1]:
            counts.append((counters["frames_tx"], counters["ecn_marked"]))
    return counts


def test_marks_are_made_as_frames_leave() -> None:
    """Of 60 frames in a queue, with a step at 20, the first 40 are marked: they leave more than 20 behind, themselves included.

    Marked as they came in it would be the last 40.
    """
    threshold = 20 * FULL_FRAME_BYTES
    counts = steps(held_back(60, f"{{kmin: {threshold}, kmax: {threshold}, pmax: 1}}"))
    assert counts == [(sent, min(sent, 40)) for sent in range(61)]


def test_a_threshold_counts_to_the_byte() -> None:
    """The frame before the last 20 finds kmin + 1 bytes and is marked; with kmin a byte higher it is not."""
    for kmin, marked in ((21 * FULL_FRAME_BYTES - 1, 40), (21 * FULL_FRAME_BYTES, 39)):
        assert steps(held_back(60, f"{{kmin: {kmin}, kmax: {kmin}, pmax: 1}}"))[-1] == (60, marked)


def test_marks_follow_the_curve() -> None:
    """A queue of 8000 frames drains through the slope of the curve; each eighth is marked as often as it says."""
    frames, bands, kmin, kmax, pmax = 8000, 8, 4_000_000, 30_000_000, 0.4
    marks = dict(steps(held_back(frames, f"{{kmin: {kmin}, kmax: {kmax}, pmax: {pmax}}}"), budget=40))

    def chance(position: int) -> float:
        """Return the probability for the frame that leaves as number `position`, from 0."""
        queued = (frames - position) * FULL_FRAME_BYTES + (RETH_BYTES if position == 0 else 0)
        return 0.0 if queued <= kmin else 1.0 if queued > kmax else pmax * (queued - kmin) / (kmax - kmin)

    width = frames // bands
    edges = [min((sent for sent in marks if sent >= band * width), default=frames) for band in range(bands + 1)]
    for first, last in pairwise(edges):
        chances = [chance(position) for position in range(first, last)]
        marked, expected = marks[last] - marks[first], sum(chances)
        spread = sum(share * (1 - share) for share in chances) ** 0.5
        assert abs(marked - expected) <= 2.576 * spread, f"frames {first} to {last}: {marked}, not {expected:.0f}"
    assert chance(0) == 1 and chance(frames - 1) == 0  # both ends of the curve were passed


def test_lossy_priorities_are_never_marked() -> None:
    assert steps(held_back(60, "{kmin: 0, kmax: 0, pmax: 1}", dscp=0), number=0)[-1] == (60, 0)


def test_what_does_not_understand_marks_is_never_marked() -> None:
    """Every frame of the lossless priority that may be marked is; notifications, which may not, travel there unharmed."""
    marks = "lossless.ecn={kmin: 0, kmax: 0, pmax: 1}"
    trial = make_trial(star({"s1": "1us", "r1": "1us"}), "incast", *ROOMY, DCQCN, marks)
    workload = compile_workload(trial.lab, trial.experiment, flows_to_last(1, 10**7))
    notify_dscp = workload["transport"]["congestion_control"]["notify_dscp"]
    assert notify_dscp == 48
    workload["transport"]["congestion_control"]["notify_dscp"] = 24
    fabric = VirtualFabric(json.dumps(trial.plan))
    fabric.load(json.dumps(workload))
    report = finish(fabric)
    data, answers = priority(report, "sw:eth2"), priority(report, "sw:eth1")
    assert data["ecn_marked"] == data["frames_tx"] == report["qps"][0]["packets_tx"]
    assert answers["ecn_marked"] == report["qps"][0]["acks_rx"] < answers["frames_tx"]


def test_notifications_ride_a_priority_of_their_own() -> None:
    """With every packet marked, at a floor of one in 3.3 us, there is a notification each 50 us, as often as may be."""
    marks = "lossless.ecn={kmin: 0, kmax: 0, pmax: 1}"
    settings = (*ROOMY, DCQCN, marks, "transport.dcqcn.minimum=10G")
    trial = make_trial(star({"s1": "1us", "r1": "1us"}), "incast", *settings)
    report = finish(loaded_fabric(trial, flows_to_last(1, 10**8)))
    counters = report["ports"]["r1:eth1"]["priorities"]
    taken_us = (report["ranks"][1]["finish_ps"] - report["start_ps"]) / 10**6
    assert taken_us / (50 + 3.4) <= counters["6"]["frames_tx"] <= taken_us / 50 + 1
    assert counters["3"]["frames_tx"] == report["qps"][0]["acks_rx"]
    # Soon the rate stands at its floor.
    assert taken_us == pytest.approx(10**8 * 8 / 10_000 * FULL_WIRE_BYTES / MTU, rel=0.05)


def total(report: Json, what: str) -> int:
    return sum(entry[what] for port in report["ports"].values() for entry in port["priorities"].values())


def jain(shares: Sequence[float]) -> float:
    """Return Jain's index of fairness: 1 if all are alike, 1/n if one has everything."""
    return float(sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares)))


@cache
def long_incast(senders: int, *settings: str) -> tuple[Json, list[float]]:
    """Let each sender write 256 MB to one receiver; return the report and what each sent until the first was done."""
    lab = star({f"s{number}": "1us" for number in range(1, senders + 1)} | {"r1": "1us"})
    trial = make_trial(lab, "incast", "workload.payload=false", *settings)
    fabric = loaded_fabric(trial, flows_to_last(senders, *[64_000_000] * 4))
    shares: list[float] = []
    while not fabric.advance(20_000):
        received = [priority(report_of(fabric), f"sw:eth{port}")["frames_rx"] for port in range(1, senders + 1)]
        if max(received) * MTU < 250_000_000:
            shares = received
    return report_of(fabric), shares


@pytest.mark.parametrize("senders", [4, 8])
@pytest.mark.parametrize("parameters", ["paper", "hpcc-ns3"])
def test_dcqcn_takes_the_place_of_pauses(senders: int, parameters: str) -> None:
    """PFC alone holds an incast by pausing all the time; with DCQCN it is needed for the first moments at most."""
    alone, _ = long_incast(senders)
    report, shares = long_incast(senders, EARLY, DCQCN, f"transport.dcqcn={parameters}")
    for each in (alone, report):
        assert each["complete"] and each["drops"]["lossless"] == 0
        check_conservation(each)
    assert total(alone, "pause_tx") > 10_000 and total(alone, "ecn_marked") == 0
    assert total(report, "pause_tx") < total(alone, "pause_tx") / 100 and total(report, "ecn_marked") > 0
    assert jain(shares) >= 0.95


def test_marks_alone_slow_nobody() -> None:
    """Without congestion control the receiver sends no notification, and the run takes as long as one without marks."""
    marked, _ = long_incast(4, EARLY)
    assert total(marked, "ecn_marked") > 0 and "6" not in marked["ports"]["r1:eth1"]["priorities"]
    assert marked["now_ps"] == long_incast(4)[0]["now_ps"]


def test_the_same_seed_marks_the_same_frames() -> None:
    def run(seed: int) -> tuple[str, int]:
        settings = (EARLY, DCQCN, "workload.payload=false", f"seed={seed}")
        trial = make_trial("incast", "incast", *settings)
        report = finish(loaded_fabric(trial, flows_to_last(8, 10_000_000)))
        return report["event_log_hash"], total(report, "ecn_marked")

    assert run(1) == run(1) and run(1)[1] > 0
    assert run(1)[0] != run(2)[0]


def notification(station: Json, to: Json, qpn: int) -> str:
    """Return a CNP between two stations of a plan, as `inject` takes it."""
    bth = BTH(opcode=0x81, becn=1, dqpn=qpn) / struct.pack("16x")
    ip = IP(src=station["ip"], dst=to["ip"], tos=48 << 2) / UDP(sport=0xC001, dport=4791, chksum=0) / bth
    return bytes(Ether(src=station["mac"], dst=to["mac"]) / ip).hex()


@pytest.mark.parametrize(("second_ms", "gbps"), [(41, 96.7), (201, 99.5), (11, 75.0)])
def test_a_notification_long_after_the_last_one_hardly_cuts(second_ms: int, gbps: float) -> None:
    """Alpha is 1 at 1 ms and decays by 1/256 every 55 us, at line rate too: after 40 ms it is 0.058, and half of that is cut.

    The rate counts frames without preamble and gap, in the time before the first increase.
    """
    settings = (*ROOMY, EARLY, DCQCN, "transport.dcqcn=paper")
    trial = make_trial(star({"s1": "1us", "r1": "1us"}), "incast", *settings)
    (sender, receiver), ms = trial.plan["stations"][:2], 10**9
    fabric = loaded_fabric(trial, flows_to_last(1, *[10**9] * 3))
    cnp = notification(
        receiver, sender, compile_workload(trial.lab, trial.experiment, flows_to_last(1, 1))["qps"][0]["qpn"]
    )
    times = (1, second_ms)
    trains = [{"node": "r1", "port": "eth1", "at_ps": at * ms, "hex": cnp, "priority": None} for at in times]
    fabric.inject(json.dumps(trains))
    span_ps = 45 * 10**6
    begin, end = (run_until(fabric, second_ms * ms + 5 * 10**6 + late) for late in (0, span_ps))
    sent = priority(end, "s1:eth1")["bytes_tx"] - priority(begin, "s1:eth1")["bytes_tx"]
    assert sent * 8000 / span_ps == pytest.approx(gbps, abs=0.5)
