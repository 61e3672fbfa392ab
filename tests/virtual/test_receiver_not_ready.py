"""Receivers that are not ready: a SEND before its receive comes again when it is told to, and costs what that takes."""

import pytest

from tests.virtual.harness import (
    ACK_WIRE_BYTES,
    FULL_WIRE_BYTES,
    PS_PER_BYTE,
    check_conservation,
    make_trial,
    run_trial,
    star,
)

US = 10**6
FLIGHT_PS = 20 * US  # from end to end
TIMER_PS = 640 * US  # code 12 of the InfiniBand table
POSTED = ("transport.verb=send", "transport.receive-queue=posted", "workload.size=400KB")


@pytest.mark.parametrize("recovery", ["go-back-n", "selective-repeat", "erasure"])
def test_a_late_rank_is_waited_for(recovery: str) -> None:
    """The ring's second rank begins 2 ms late. Each try takes the flight there and back, the wait, and a packet stored twice."""
    late_ps = 2000 * US
    lab = star({"a1": "19us", "b1": "1us"})
    trial = make_trial(
        lab,
        "all_reduce",
        *POSTED,
        "workload.late={b1: 2ms}",
        f"transport.recovery={recovery}",
        "workload.in-place=false",
    )
    outcome = run_trial(trial)
    assert outcome.complete and outcome.rows[0]["wrong"] == 0
    check_conservation(outcome.report)
    there, back = (2 * size * PS_PER_BYTE for size in (FULL_WIRE_BYTES, ACK_WIRE_BYTES))
    round_trip_ps = 2 * FLIGHT_PS + there + back + TIMER_PS
    waiting = next(qp for qp in outcome.report["qps"] if qp["a"] == "a1")
    # It arrives first after a flight and then once every round; the last try is the first one after the receive is there.
    assert waiting["rnr_naks_rx"] == -(-(late_ps - FLIGHT_PS - there) // round_trip_ps)
    assert waiting["timeouts"] == 0 and waiting["naks_rx"] == 0
    took_ps = outcome.rows[0]["time_us"] * US
    assert took_ps > FLIGHT_PS + waiting["rnr_naks_rx"] * round_trip_ps


def test_by_default_there_is_always_a_receive() -> None:
    trial = make_trial(
        star({"a1": "19us", "b1": "1us"}), "all_reduce", "transport.verb=send", "workload.late={b1: 2ms}"
    )
    outcome = run_trial(trial)
    assert outcome.complete and all(qp["rnr_naks_rx"] == qp["retransmitted"] == 0 for qp in outcome.report["qps"])


def test_retries_that_run_out_end_the_run_and_are_named() -> None:
    trial = make_trial(
        star({"a1": "19us", "b1": "1us"}),
        "all_reduce",
        *POSTED,
        "workload.late={b1: 20ms}",
        "transport.rnr-timer=1",
        "transport.rnr-retries=3",
    )
    outcome = run_trial(trial)
    assert not outcome.complete
    assert "QP 17 (a1 and b1): rnr retry exceeded" in outcome.reasons[0]
    assert next(qp for qp in outcome.report["qps"] if qp["a"] == "a1")["rnr_naks_rx"] == 4
