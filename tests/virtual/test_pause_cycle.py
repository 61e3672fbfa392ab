"""XOFF = XON = X: two senders into one receiver pause and resume in the cycle that a closed form predicts.

Both senders start together and stay in step, so each priority group is a queue of its own: it fills at the sender's
rate Rs and, half the receiver's link being its share, drains at Rd = Rs/2. With the round trip τ from threshold to
sender and back:

    queue empty       idle = max(0, τ − X/Rd)
    period            cycle = 2τ + τ(Rs − Rd)/Rd + min(X, Rd·τ)/(Rs − Rd)
    receiver's link   1 − idle/cycle
    sender's link     paused for τ·Rs/Rd of every cycle
    peak              X + (Rs − Rd)τ

A buffer counts frames without preamble and gap, so Rs is the line rate times 4158/4178 for packets of 4096 bytes. τ is
twice the flight, the PAUSE frame itself, and one frame: the switch counts the first frame after a pause when all of it
has arrived, and the last before a pause completes.
"""

import pytest

from tests.virtual.harness import (
    FULL_FRAME_BYTES,
    FULL_WIRE_BYTES,
    PFC_WIRE_BYTES,
    PS_PER_BYTE,
    Json,
    flows_to_last,
    loaded_fabric,
    make_trial,
    priority,
    report_of,
    star,
)

TOLERANCE = 0.03
MESSAGE_BYTES = 50_000_000
MESSAGES = 30
WARM_UP_CYCLES, CYCLES = 8, 40
PS = 10**12
RATE = PS / PS_PER_BYTE * FULL_FRAME_BYTES / FULL_WIRE_BYTES  # Rs, in bytes a second as a buffer counts them
DRAIN = RATE / 2


def observe(delay_us: int, threshold: int, cycle_ps: int) -> tuple[Json, Json]:
    """Run two endless flows and return the reports at the ends of some 40 cycles, the first ones left out."""
    lab = star({"s1": f"{delay_us}us", "s2": f"{delay_us}us", "r1": "1us"})
    thresholds = [f"lossless.xoff={threshold}", f"lossless.xon={threshold}", "lossless.response=0"]
    trial = make_trial(lab, "incast", *thresholds, "transport.window=64MiB", "workload.payload=false")
    fabric = loaded_fabric(trial, flows_to_last(2, *[MESSAGE_BYTES] * MESSAGES))
    reports = []
    for until_ps in (WARM_UP_CYCLES * cycle_ps, (WARM_UP_CYCLES + CYCLES) * cycle_ps):
        while (report := report_of(fabric))["now_ps"] < until_ps:
            assert not fabric.advance(2_000), "the flows are too short"
        reports.append(report)
    return reports[0], reports[1]


@pytest.mark.parametrize("delay_us", [25, 100, 400])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.5])
def test_throughput_and_peak(delay_us: int, share: float) -> None:
    """The threshold is a share of Rd·τ, the flight time one way; from a share of 1 on the link is always busy."""
    trip_ps = 2 * delay_us * 10**6 + (PFC_WIRE_BYTES + FULL_WIRE_BYTES) * PS_PER_BYTE
    trip = trip_ps / PS
    threshold = round(share * DRAIN * trip)
    idle = max(0.0, trip - threshold / DRAIN)
    fill = min(threshold, DRAIN * trip) / (RATE - DRAIN)
    cycle = 2 * trip + trip * (RATE - DRAIN) / DRAIN + fill
    before, after = observe(delay_us, threshold, round(cycle * PS))

    span_ps = after["now_ps"] - before["now_ps"]
    frames = priority(after, "sw:eth3")["frames_tx"] - priority(before, "sw:eth3")["frames_tx"]
    utilisation = frames * FULL_WIRE_BYTES * PS_PER_BYTE / span_ps
    assert utilisation == pytest.approx(1 - idle / cycle, rel=TOLERANCE)
    if share >= 1:
        assert utilisation > 0.999
    for number in (1, 2):
        peak = priority(after, f"sw:eth{number}")["ingress_bytes_max"]
        assert peak == pytest.approx(threshold + (RATE - DRAIN) * trip, rel=TOLERANCE)
        sender = f"s{number}:eth1"
        paused_ns = priority(after, sender)["paused_ns"] - priority(before, sender)["paused_ns"]
        assert paused_ns * 1000 / span_ps == pytest.approx(trip * RATE / DRAIN / cycle, rel=TOLERANCE)
    assert after["drops"] == {"lossless": 0, "lossy": 0, "link": 0, "outage": 0} and after["violations"] == []
