"""NICs that take in less than comes: pauses that spread upstream and lose nothing, or losses that are theirs by name."""

from typing import Any

import pytest

from testbed.run.judgement import conclude
from tests.virtual.harness import (
    FULL_FRAME_BYTES,
    FULL_WIRE_BYTES,
    MTU,
    RATE_BPS,
    Json,
    check_conservation,
    finish,
    flows_to_last,
    loaded_fabric,
    make_trial,
    priority,
    run_trial,
    star,
)

DRAIN_BPS = 50 * 10**9
MESSAGE_BYTES = 2**26
WIDE = "transport.window=64MB"
GOODPUT_BPS = DRAIN_BPS * MTU / FULL_FRAME_BYTES  # a buffer counts frames with their FCS and without gaps


def slow(delay: str, senders: int = 1, **nic: Any) -> Json:
    """Return a star whose last host drains at 50G, behind a link of this delay."""
    lab = star({**{f"a{number}": "1us" for number in range(1, senders + 1)}, "b1": delay})
    lab["topology"]["nodes"]["b1"]["nic"] = {"drain": "50G", **nic}
    return lab


def sent(lab: Json, *settings: str, senders: int = 1, messages: int = 1) -> Json:
    trial = make_trial(lab, "incast", "workload.payload=false", WIDE, *settings)
    report = finish(loaded_fabric(trial, flows_to_last(senders, *[MESSAGE_BYTES] * messages)))
    assert report["complete"]
    check_conservation(report)
    return report


def goodput(report: Json, messages: int) -> float:
    finished = max(rank["finish_ps"] for rank in report["ranks"])
    return messages * MESSAGE_BYTES * 8 * 10**12 / (finished - report["start_ps"])


@pytest.mark.parametrize("delay", ["1us", "100us"])
def test_pauses_hold_back_what_the_nic_cannot_take(delay: str) -> None:
    lab = slow(delay, buffer="4MB")
    report = sent(lab)
    assert report["drops"] == {"lossless": 0, "lossy": 0, "link": 0, "outage": 0, "malformed": 0}
    assert goodput(report, 1) == pytest.approx(GOODPUT_BPS, rel=0.02)
    # The NIC stops its switch, and the switch the sender.
    nic, near, far = (priority(report, port) for port in ("b1:eth1", "sw:eth2", "a1:eth1"))
    assert nic["pause_tx"] == near["pause_rx"] > 5 and near["paused_ns"] > 10**6
    assert far["pause_rx"] > 5 and far["paused_ns"] > 10**6
    assert report["qps"][0]["retransmitted"] == 0
    # What came after XOFF, less what was taken in meanwhile, had room: (Rs - Rd)·τ, in whole frames.
    receive = make_trial(lab, "incast").plan["nodes"][1]["receive"]
    beyond_ps = 2 * int(delay.removesuffix("us")) * 10**6
    assert nic["headroom_bytes_max"] > (RATE_BPS - DRAIN_BPS) * beyond_ps // (8 * 10**12)
    assert nic["ingress_bytes_max"] == receive["xoff_bytes"] + nic["headroom_bytes_max"] <= receive["buffer_bytes"]


@pytest.mark.parametrize("xoff_kb", [50, 500, 1500, 3000])
def test_a_low_threshold_over_distance_costs_what_the_model_says(xoff_kb: int) -> None:
    """XOFF = XON = X, a round trip τ from the switch: the NIC idles max(0, τ - X/Rd) in each cycle of stop and go.

    The cycle is 2τ + τ(Rs - Rd)/Rd + min(X, Rd·τ)/(Rs - Rd). Rates are in bytes of frames, as the buffer counts.
    """
    delay_ps, messages = 200 * 10**6, 8
    report = sent(slow("200us", buffer="16MB", xoff=f"{xoff_kb}KB", xon=f"{xoff_kb}KB"), messages=messages)
    assert report["drops"]["lossless"] == 0 and report["drops"]["lossy"] == 0
    arrival, drain = RATE_BPS * FULL_FRAME_BYTES / FULL_WIRE_BYTES / 8e12, DRAIN_BPS / 8e12
    trial_response_ps = make_trial(slow("1us"), "incast").plan["nodes"][2]["ports"][0]["response_ps"]
    # A frame is stored before it counts, a pause waits for half a frame on average, and takes its response time.
    round_trip_ps = 2 * delay_ps + trial_response_ps + 1.5 * FULL_WIRE_BYTES * 80
    threshold = xoff_kb * 1000
    idle = max(0.0, round_trip_ps - threshold / drain)
    cycle = 2 * round_trip_ps + round_trip_ps * (arrival - drain) / drain
    cycle += min(threshold, drain * round_trip_ps) / (arrival - drain)
    assert goodput(report, messages) / GOODPUT_BPS == pytest.approx(1 - idle / cycle, rel=0.02)
    if idle == 0:
        assert priority(report, "b1:eth1")["ingress_bytes_max"] == pytest.approx(
            threshold + (arrival - drain) * round_trip_ps, rel=0.02
        )


def test_without_pfc_the_nic_drops_and_is_named() -> None:
    trial = make_trial(slow("1us", buffer="200KB"), "incast", "workload.payload=false", "lossless.pfc=false", WIDE)
    fabric = loaded_fabric(trial, flows_to_last(1, 2**24))
    report = finish(fabric)
    check_conservation(report)
    dropped = priority(report, "b1:eth1")["drops"]["receiver"]
    assert report["complete"] and dropped > 100
    assert report["drops"]["lossless"] == dropped and report["conservation"]["dropped"] == dropped
    assert report["qps"][0]["retransmitted"] >= dropped
    assert priority(report, "b1:eth1")["ingress_bytes_max"] <= 200_000 and priority(report, "b1:eth1")["pause_tx"] == 0


def test_the_verdict_says_whose_fault_it_was() -> None:
    lab = slow("1us", buffer="200KB")
    lab["topology"]["nodes"]["a1"], lab["topology"]["nodes"]["b1"] = (
        lab["topology"]["nodes"][name] for name in ("b1", "a1")
    )
    trial = make_trial(lab, "incast", "workload.size=16MB", "lossless.pfc=false", WIDE)
    outcome = run_trial(trial)
    verdict = conclude(trial, outcome, "virtual", 1, "").verdict
    assert verdict.correct and not verdict.lossless and not verdict.passed
    lost = outcome.report["drops"]["lossless"]
    assert verdict.reasons == [
        f"not lossless: {lost:,} frames of lossless priorities dropped by NICs that take in too little, "
        f"at a1:eth1 priority 3 (receiver {lost:,})"
    ]


def test_an_incast_into_a_slow_nic_is_shared() -> None:
    report = sent(slow("1us", senders=4, buffer="1MB"), senders=4)
    assert report["drops"]["lossless"] == 0
    assert goodput(report, 4) == pytest.approx(GOODPUT_BPS, rel=0.02)
    ends = [flow["completion_ns"] for flow in report["flows"]]
    assert max(ends) < 1.1 * min(ends)


@pytest.mark.parametrize("delay", ["1us", "100us"])
def test_credits_come_back_when_a_packet_is_taken_in(delay: str) -> None:
    report = sent(slow(delay), "lossless.flow-control=credit")
    assert report["drops"] == {"lossless": 0, "lossy": 0, "link": 0, "outage": 0, "malformed": 0}
    assert goodput(report, 1) == pytest.approx(GOODPUT_BPS, rel=0.02)
    assert priority(report, "sw:eth2")["credit_wait_ns"] > 10**6 and priority(report, "b1:eth1")["pause_tx"] == 0


def test_a_nic_as_fast_as_its_line_delays_and_no_more() -> None:
    lab = slow("1us")
    lab["topology"]["nodes"]["b1"]["nic"]["drain"] = "100G"
    report = sent(lab)
    assert priority(report, "b1:eth1")["pause_tx"] == 0
    assert priority(report, "b1:eth1")["ingress_bytes_max"] <= 2 * FULL_FRAME_BYTES
    assert goodput(report, 1) == pytest.approx(RATE_BPS * MTU / FULL_WIRE_BYTES, rel=0.01)
