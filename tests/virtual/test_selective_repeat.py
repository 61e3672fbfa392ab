"""Selective repeat over distance: what loss costs is the packets lost, whatever the round trip.

Goodput falls to 1 − p of the line, times window over bandwidth-delay product where the window is the smaller.
"""

from functools import cache

import pytest

from tests.virtual.harness import ACK_WIRE_BYTES, FULL_WIRE_BYTES, MTU, PS_PER_BYTE, TRANSFER_LOCAL_PS, Json, transfer

TOLERANCE = 0.05
MESSAGES = 128  # some 2 million packets: two of them, at 1e-3, are lost when they are sent again
PS_PER_KM = 4_897_000  # single-mode fibre


@cache
def sent(km: int, loss: float, *settings: str, back: float = 0, messages: int = MESSAGES) -> tuple[float, Json]:
    """Send messages over a span that loses data frames, and answers."""
    return transfer(km * PS_PER_KM, (loss, back), messages, "transport.recovery=selective-repeat", *settings)


@pytest.mark.parametrize("km", [80, 300, 1000])
@pytest.mark.parametrize("loss", [1e-4, 1e-3])
def test_goodput_under_loss(km: int, loss: float) -> None:
    goodput, report = sent(km, loss)
    assert goodput / (10**11 * MTU / FULL_WIRE_BYTES) == pytest.approx(1 - loss, rel=TOLERANCE)
    sender = report["qps"][0]
    lost = report["drops"]["link"]
    assert lost > 100
    # What was lost is sent again and little else: beside a packet lost twice, some that came without an acknowledgement.
    assert lost <= sender["retransmitted"] <= 1.05 * lost + 20 and sender["timeouts"] <= 2


@pytest.mark.parametrize("km", [300, 1000])
def test_lost_answers_cost_no_timeout(km: int) -> None:
    """As many answers are lost as packets, some of them NAKs: noticed by the next that come, at most but for the last one."""
    goodput, report = sent(km, 1e-3, back=1e-3)
    assert goodput / (10**11 * MTU / FULL_WIRE_BYTES) == pytest.approx(1 - 1e-3, rel=TOLERANCE)
    assert report["qps"][0]["timeouts"] <= 1


@pytest.mark.parametrize("km", [80, 300])
def test_a_small_window_is_the_limit(km: int) -> None:
    """Half of the bandwidth-delay product gives half of the line.

    An acknowledgement answers every 16th packet, so a part of the window waits for it.
    """
    round_trip_ps = 2 * (km * PS_PER_KM + TRANSFER_LOCAL_PS) + 2 * (FULL_WIRE_BYTES + ACK_WIRE_BYTES) * PS_PER_BYTE
    product = round_trip_ps / (FULL_WIRE_BYTES * PS_PER_BYTE) * MTU
    goodput, report = sent(km, 0, f"transport.window={round(product / 2)}", messages=16)
    assert goodput / (10**11 * MTU / FULL_WIRE_BYTES) == pytest.approx(1 / 2, rel=TOLERANCE)
    assert report["qps"][0]["retransmitted"] == 0
