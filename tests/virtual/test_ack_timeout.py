"""The acknowledgement timeout, 4.096 us doubled n times: over 3000 km a round trip takes 29.4 ms, and n must be 13 at least."""

import pytest

from tests.virtual.harness import TRANSFER_LOCAL_PS, TRANSFER_MESSAGE_BYTES, Json, transfer

SPAN_PS = 3000 * 4_897_000  # single-mode fibre
RTT_PS = 2 * (SPAN_PS + TRANSFER_LOCAL_PS)
RECOVERIES = ("go-back-n", "selective-repeat", "erasure", "timer")


def sender(recovery: str, *settings: str, loss: float = 0) -> Json:
    _, report = transfer(SPAN_PS, (loss, 0), 1, f"transport.recovery={recovery}", *settings)
    found: Json = report["qps"][0]
    return found


@pytest.mark.parametrize("recovery", RECOVERIES)
def test_a_timeout_below_the_round_trip_sends_again_what_is_not_lost(recovery: str) -> None:
    assert 4_096_000 << 12 < RTT_PS < 4_096_000 << 13
    early, late = (sender(recovery, f"transport.timeout={n}") for n in (12, 13))
    assert early["timeouts"] >= 1 and early["retransmitted"] >= 1
    assert (late["timeouts"], late["retransmitted"], late["naks_rx"]) == (0, 0, 0)


@pytest.mark.parametrize("recovery", RECOVERIES)
def test_the_derived_timeout_outlasts_3000_km(recovery: str) -> None:
    found = sender(recovery)
    assert (found["timeouts"], found["retransmitted"]) == (0, 0)
    packets = found["packets_tx"] - (found["erasure"]["parity_tx"] if recovery == "erasure" else 0)
    assert packets == TRANSFER_MESSAGE_BYTES // 4096
