"""Erasure-coded messages: what parity makes up for costs its own time on the line and no round trip.

A block of k data and m parity packets needs another one sent only if more than m of its k + m are lost: P[Bin(k + m, p) > m].
"""

from math import comb, sqrt
from statistics import median

import pytest

from tests.virtual.harness import (
    ACK_WIRE_BYTES,
    FULL_WIRE_BYTES,
    MTU,
    PS_PER_BYTE,
    TRANSFER_LOCAL_PS,
    TRANSFER_MESSAGE_BYTES,
    Json,
    check_conservation,
    finish,
    flows_to_last,
    loaded_fabric,
    make_trial,
    run_trial,
    star,
    transfer,
)

PS_PER_KM = 4_897_000  # single-mode fibre
PARITY_WIRE_BYTES = FULL_WIRE_BYTES + 16 + 4  # a RETH and a PETH
DEVIATIONS = 4  # of a binomial count: one seed in 16,000 goes beyond


def code(data: int, parity: int) -> tuple[str, ...]:
    return "transport.recovery=erasure", f"transport.erasure.data={data}", f"transport.erasure.parity={parity}"


def beyond_parity(data: int, parity: int, loss: float) -> float:
    """Return the probability that a block loses more packets than it has parity."""
    packets = data + parity
    return 1 - sum(comb(packets, lost) * loss**lost * (1 - loss) ** (packets - lost) for lost in range(parity + 1))


@pytest.mark.parametrize(
    ("data", "parity", "loss", "seeds"), [(8, 1, 0.02, (1, 2)), (32, 4, 0.04, (3, 4)), (16, 8, 0.2, (5,))]
)
def test_how_many_blocks_need_another_packet(data: int, parity: int, loss: float, seeds: tuple[int, ...]) -> None:
    blocks = asked = 0
    for seed in seeds:
        _, report = transfer(10 * PS_PER_KM, (loss, 0), 8, *code(data, parity), f"seed={seed}")
        sender = report["qps"][0]
        blocks += sender["erasure"]["blocks"]
        asked += sender["erasure"]["blocks_asked"]
        # Almost all that was lost of the data was rebuilt, and next to nothing sent in vain.
        assert (
            sender["erasure"]["recovered"] + sender["retransmitted"] >= 0.9 * loss * data * sender["erasure"]["blocks"]
        )
    share = beyond_parity(data, parity, loss)
    assert blocks == len(seeds) * 8 * TRANSFER_MESSAGE_BYTES // (MTU * data)
    assert blocks * share > 50
    assert asked == pytest.approx(blocks * share, abs=DEVIATIONS * sqrt(blocks * share * (1 - share)))


@pytest.mark.parametrize(("data", "parity"), [(32, 4), (8, 2), (64, 2)])
def test_parity_costs_its_share_of_the_line(data: int, parity: int) -> None:
    """Without loss as with it: a block takes the line for k + m packets and delivers k."""
    blocks = 16 * TRANSFER_MESSAGE_BYTES // (data * MTU)
    line_ps = blocks * (data * FULL_WIRE_BYTES + parity * PARITY_WIRE_BYTES) * PS_PER_BYTE
    flight_ps = 100 * PS_PER_KM + TRANSFER_LOCAL_PS
    for loss in (0, 1e-4):
        goodput, report = transfer(100 * PS_PER_KM, (loss, 0), 16, *code(data, parity))
        assert goodput == pytest.approx(blocks * data * MTU * 8 * 10**12 / (line_ps + flight_ps), rel=0.0002)
        sender = report["qps"][0]
        assert sender["erasure"]["blocks"] == blocks
        assert sender["packets_tx"] - sender["erasure"]["parity_tx"] == 16 * TRANSFER_MESSAGE_BYTES // MTU
        assert sender["erasure"]["parity_tx"] == parity * sender["erasure"]["blocks"]
        assert sender["retransmitted"] == 0 and (sender["erasure"]["recovered"] > 0) == (loss > 0)


def completion_ps(seed: int, *settings: str) -> int:
    """Return how long one message of 16 MiB takes over 1000 km that loses a packet in a thousand."""
    lab = star({"a1": f"{1000 * PS_PER_KM}ps", "b1": f"{TRANSFER_LOCAL_PS}ps"}, loss=[1e-3, 0])
    trial = make_trial(lab, "incast", "workload.payload=false", f"seed={seed}", *settings)
    report = finish(loaded_fabric(trial, flows_to_last(1, 2**24)))
    assert report["complete"]
    check_conservation(report)
    return int(report["ranks"][1]["finish_ps"] - report["start_ps"])


def test_the_tail_over_distance_is_shorter_than_that_of_selective_repeat() -> None:
    """A message of 4096 packets loses about four: selective repeat waits a round trip for them, or several; parity, none."""
    seeds = range(20)
    coded = [completion_ps(seed, *code(32, 4)) for seed in seeds]
    repeated = [completion_ps(seed, "transport.recovery=selective-repeat") for seed in seeds]
    packets = 2**24 // MTU
    flight_ps = 1000 * PS_PER_KM + TRANSFER_LOCAL_PS
    line_ps = PS_PER_BYTE * (packets * FULL_WIRE_BYTES + packets // 32 * 4 * PARITY_WIRE_BYTES)
    # All of the line's time, the flight, and a packet stored by the switch: with every seed.
    assert max(coded) < line_ps + flight_ps + 2 * PARITY_WIRE_BYTES * PS_PER_BYTE
    round_trip_ps = 2 * flight_ps + 2 * (FULL_WIRE_BYTES + ACK_WIRE_BYTES) * PS_PER_BYTE
    alone_ps = PS_PER_BYTE * packets * FULL_WIRE_BYTES + flight_ps
    assert median(repeated) > alone_ps + 0.9 * round_trip_ps
    assert max(repeated) > 2 * max(coded)


def lossy_pair(loss: float) -> Json:
    return star({"a1": "100us", "b1": "1us"}, loss=[loss, loss])


@pytest.mark.parametrize("verb", ["write", "send"])
def test_rebuilt_payload_is_right(verb: str) -> None:
    """The ring's vectors come out equal to numpy's though many packets never arrived."""
    trial = make_trial(lossy_pair(0.01), "all_reduce", "workload.size=6MB", f"transport.verb={verb}", *code(16, 4))
    outcome = run_trial(trial)
    assert outcome.complete and outcome.rows[0]["wrong"] == 0
    assert outcome.report["violations"] == []
    qps = outcome.report["qps"]
    assert all(qp["erasure"]["recovered"] > 5 and qp["retransmitted"] == 0 for qp in qps)


def test_a_block_that_is_lost_whole_is_sent_again() -> None:
    """At 30 % every other block of 8 + 2 lacks more than its parity: all arrives in the end, and right."""
    trial = make_trial(lossy_pair(0.3), "all_reduce", "workload.size=500KB", "transport.retries=7", *code(8, 2))
    outcome = run_trial(trial)
    assert outcome.complete and outcome.rows[0]["wrong"] == 0
    assert outcome.report["violations"] == []
    assert all(qp["erasure"]["blocks_asked"] > 0 and qp["retransmitted"] > 0 for qp in outcome.report["qps"])
