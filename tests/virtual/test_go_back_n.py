"""Go-back-N over 80 km: what loss costs is what the closed form says.

A lost packet is noticed when the next one arrives out of order; the NAK reaches the sender a round trip later, and all W
packets sent in the meantime are sent again. So a packet is sent 1 + W·p/(1−p) times on average, and goodput falls to
(1−p)/(1−p+p·W). W is rate·RTT over the packet's bytes on the wire, preamble and gap included (4178 for 4096 of payload);
the RTT is twice the flight, and the packet and its answer stored and forwarded by the switch: 2352 packets.
"""

from functools import cache

import pytest

from tests.virtual.harness import (
    ACK_WIRE_BYTES,
    FULL_WIRE_BYTES,
    MTU,
    PS_PER_BYTE,
    TRANSFER_LOCAL_PS,
    TRANSFER_MESSAGE_BYTES,
    Json,
    transfer,
)

TOLERANCE = 0.05
MESSAGES = 256  # some 4 million packets, so that 1e-5 means 40 losses, each worth 0.06 %
SPAN_PS = 80_000 * 4897  # single-mode fibre
RTT_PS = 2 * (SPAN_PS + TRANSFER_LOCAL_PS) + 2 * (FULL_WIRE_BYTES + ACK_WIRE_BYTES) * PS_PER_BYTE
W = RTT_PS / (FULL_WIRE_BYTES * PS_PER_BYTE)


@cache
def sent(loss: float, messages: int = MESSAGES) -> tuple[float, Json]:
    """Send messages over the span, which loses data frames only."""
    return transfer(SPAN_PS, (loss, 0), messages)


@pytest.fixture(scope="module")
def ideal() -> float:
    """Return the goodput without loss: the line rate less headers, and the flight of the last packet."""
    goodput, report = sent(0)
    assert goodput == pytest.approx(10**11 * MTU / FULL_WIRE_BYTES, rel=0.001)
    assert report["qps"][0]["retransmitted"] == 0
    return goodput


@pytest.mark.parametrize(("loss", "messages"), [(1e-5, MESSAGES), (1e-4, MESSAGES), (1e-3, MESSAGES // 2)])
def test_goodput_under_loss(loss: float, messages: int, ideal: float) -> None:
    goodput, report = sent(loss, messages)
    assert goodput / ideal == pytest.approx((1 - loss) / (1 - loss + loss * W), rel=TOLERANCE)
    sender = report["qps"][0]
    assert report["drops"]["lossless"] == 0 and report["drops"]["link"] > 0
    # A second loss of the same packet draws no second NAK, only the timer's end: one in 1/p losses.
    assert sender["timeouts"] <= 5 + 3 * loss * sender["naks_rx"]


def test_one_loss_costs_a_round_trip_of_packets() -> None:
    """Beyond W it costs the lost packet itself, the one whose arrival shows the gap, and at most one on the line."""
    _, report = sent(1e-5)
    sender = report["qps"][0]
    assert sender["timeouts"] == 0 and sender["naks_rx"] > 20
    assert W <= sender["retransmitted"] / sender["naks_rx"] <= W + 3


def test_one_loss_over_300_km_at_400g() -> None:
    """Fifteen times the packets in flight, and the same law; with so few losses goodput is held to those that there were."""
    span_ps, ps_per_byte = 300_000 * 4897, PS_PER_BYTE // 4
    goodput, report = transfer(span_ps, (1e-5, 0), MESSAGES // 4, rate="400G")
    in_flight = 2 * (span_ps + TRANSFER_LOCAL_PS) / (FULL_WIRE_BYTES * ps_per_byte) + 2 * (
        1 + ACK_WIRE_BYTES / FULL_WIRE_BYTES
    )
    sender = report["qps"][0]
    assert sender["timeouts"] == 0 and sender["naks_rx"] >= 5
    assert in_flight <= sender["retransmitted"] / sender["naks_rx"] <= in_flight + 3
    fresh = MESSAGES // 4 * TRANSFER_MESSAGE_BYTES / MTU
    share = fresh / (fresh + sender["naks_rx"] * in_flight)
    assert goodput / (4 * 10**11 * MTU / FULL_WIRE_BYTES) == pytest.approx(share, rel=TOLERANCE)
