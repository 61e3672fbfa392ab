"""The acknowledgement timeout, 4.096 us doubled n times: over 3000 km a round trip takes 29.4 ms, and n must be 13 at least."""

from itertools import pairwise

import pytest

from tests.virtual.harness import TRANSFER_LOCAL_PS, TRANSFER_MESSAGE_BYTES, Json, make_trial, run_trial, transfer

SPAN_PS = 3000 * 4_897_000  # single-mode fibre
RTT_PS = 2 * (SPAN_PS + TRANSFER_LOCAL_PS)
RECOVERIES = ("go-back-n", "selective-repeat", "erasure", "timer")


def sender(recovery: str, *settings: str, loss: float = 0) -> Json:
    _, report = transfer(SPAN_PS, (loss, 0), 1, f"transport.recovery={recovery}", *settings)
    counters: Json = report["qps"][0]
    return counters


@pytest.mark.parametrize("recovery", RECOVERIES)
def test_a_timeout_below_the_round_trip_sends_again_what_is_not_lost(recovery: str) -> None:
    assert 4_096_000 << 12 < RTT_PS < 4_096_000 << 13
    early, late = (sender(recovery, f"transport.timeout={n}") for n in (12, 13))
    assert early["timeouts"] >= 1 and early["retransmitted"] >= 1
    assert (late["timeouts"], late["retransmitted"], late["naks_rx"]) == (0, 0, 0)


@pytest.mark.parametrize("recovery", RECOVERIES)
def test_the_derived_timeout_outlasts_3000_km(recovery: str) -> None:
    counters = sender(recovery)
    assert (counters["timeouts"], counters["retransmitted"]) == (0, 0)
    packets = counters["packets_tx"] - (counters["erasure"]["parity_tx"] if recovery == "erasure" else 0)
    assert packets == TRANSFER_MESSAGE_BYTES // 4096


def chain(hosts: str, spans: str, *lengths: str) -> Json:
    """Two hosts and as many switches in a row as make so many links: `hosts` is the rate of those to a host."""
    names = ["h1", *(f"s{number}" for number in range(1, len(lengths))), "h2"]
    links = []
    for number, (length, (a, b)) in enumerate(zip(lengths, pairwise(names), strict=True)):
        rate = hosts if number in (0, len(lengths) - 1) else spans
        links.append({"endpoints": [f"{a}:eth{2 if number else 1}", f"{b}:eth1"], "length": length, "rate": rate})
    kinds = {name: {"kind": "host" if name in ("h1", "h2") else "switch"} for name in names}
    return {"name": "chain", "topology": {"kinds": {"switch": {"buffer": "auto"}}, "nodes": kinds, "links": links}}


def repeated(lab: Json, workload: str, *settings: str) -> list[tuple[int, int]]:
    trial = make_trial(lab, workload, "workload.payload=false", *settings)
    outcome = run_trial(trial)
    assert outcome.complete
    return [(qp["timeouts"], qp["retransmitted"]) for qp in outcome.report["qps"]]


@pytest.mark.parametrize("workload", ["broadcast", "all_reduce"])
@pytest.mark.parametrize("recovery", RECOVERIES)
def test_the_derived_timeout_outlasts_what_stands_in_deep_buffers(recovery: str, workload: str) -> None:
    """Two round trips are 39 ms. A switch with headroom for 1000 km holds what its NIC sends at four times the span's rate."""
    lab = chain("1G", "250M", "1000km", "10m", "1000km")
    settings = (f"transport.recovery={recovery}", "workload.size=6M")
    assert repeated(lab, workload, *settings) == [(0, 0)] * 2


@pytest.mark.parametrize("recovery", RECOVERIES)
@pytest.mark.parametrize(
    "lengths", [("10m", "1000km", "10m"), ("1m", "700km", "400km", "1m")], ids=["span", "two spans"]
)
def test_the_derived_timeout_outlasts_the_wait_for_credits(lengths: tuple[str, ...], recovery: str) -> None:
    """Of a window of a hundredth an acknowledgement waits behind a full buffer, a round trip of the span at each switch."""
    lab = chain("10G", "10G", *lengths)
    settings = (f"transport.recovery={recovery}", "lossless.flow-control=credit", "lossless.credits=128KiB")
    assert repeated(lab, "all_reduce", *settings, "transport.ack-every=64", "workload.size=2M") == [(0, 0)] * 2
