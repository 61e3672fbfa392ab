"""Every collective on a fabric: right, as fast as its links allow, and sites apart only where it says so."""

import pytest

from testbed.run.execution import Outcome
from testbed.run.trial import Trial
from testbed.traffic import ALGORITHMS
from tests.virtual.harness import (
    FULL_WIRE_BYTES,
    MTU,
    PS_PER_BYTE,
    check_conservation,
    make_trial,
    priority,
    run_trial,
)

ALL = [(name, algorithm) for name, known in ALGORITHMS.items() for algorithm in known]
each = pytest.mark.parametrize(("name", "algorithm"), ALL)


def run(lab: str, name: str, algorithm: str, *settings: str) -> tuple[Trial, Outcome]:
    trial = make_trial(lab, name, f"workload.algorithm={algorithm}", *settings)
    outcome = run_trial(trial)
    assert outcome.complete, outcome.reasons
    check_conservation(outcome.report)
    return trial, outcome


@each
def test_every_collective_is_right_where_frames_are_lost(name: str, algorithm: str) -> None:
    """8 ranks at two sites, odd sizes, slices, a span that loses one frame in fifty: checked element by element."""
    settings = ("workload.size=123460", "workload.slice=5000", "transport.mtu=1024", "seed=3")
    trial, outcome = run("two-dc:hosts=4,length=40km,loss=2%", name, algorithm, *settings)
    measured = [outcome.rows[0], *([outcome.rows[0]["in_place"]] if trial.collective.in_place else [])]
    assert [row["wrong"] for row in measured] == [None if name == "permutation" else 0] * len(measured)
    assert outcome.report["drops"]["link"] > 0 and outcome.report["drops"]["lossless"] == 0


@each
def test_the_same_collective_takes_the_same_course_again(name: str, algorithm: str) -> None:
    hashes = {run("clos", name, algorithm, "workload.size=64KiB")[1].report["event_log_hash"] for _ in range(2)}
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("name", "algorithm", "share"),
    [
        # All but headers, which take 82 bytes of 4178; steps one after the other cost a little more.
        ("all_reduce", "ring", 0.94),
        ("all_reduce", "halving-doubling", 0.94),
        ("all_gather", "ring", 0.94),
        ("reduce_scatter", "ring", 0.94),
        ("all_to_all", "pairwise", 0.94),
        # Of 8 ranks the root sends to 3 children; of the two trees a rank has two children and a parent in one.
        ("broadcast", "tree", 0.94 / 3),
        ("reduce", "tree", 0.94 / 3),
        ("all_reduce", "double-tree", 0.94 * 14 / 8 / 3),
    ],
)
def test_large_vectors_fill_the_links(name: str, algorithm: str, share: float) -> None:
    settings = ("workload.size=8MiB", "workload.slice=64KiB")
    _, outcome = run("incast:senders=7", name, algorithm, *settings)
    assert outcome.rows[0]["busbw_gbytes_per_s"] >= share * 12.5


def test_hierarchical_spares_the_span() -> None:
    """Two sites of 4: a ring moves 2S·7/8 over the span each way, site by site it is 4 · 2(S/4)(1/2) = S."""
    size = 4 * 2**20
    carried = {}
    for algorithm in ("ring", "hierarchical"):
        settings = (f"workload.size={size}", "workload.in-place=false")
        _, outcome = run("two-dc:hosts=4,length=80km", "all_reduce", algorithm, *settings)
        carried[algorithm] = [
            priority(outcome.report, port)["data_frames_tx"] for port in ("border-a:eth2", "border-b:eth2")
        ]
    assert carried == {"ring": [size * 14 // 8 // 4096] * 2, "hierarchical": [size // 4096] * 2}


def test_hierarchical_crosses_a_long_span_less_often() -> None:
    """Of its 8 steps two cross the span, and the last acknowledgement; of a ring's 14 four do, on the way of some chunk."""
    times = {
        algorithm: run("two-dc:hosts=4,length=300km", "all_reduce", algorithm, "workload.size=1MiB")[1].rows[0][
            "time_us"
        ]
        for algorithm in ("ring", "hierarchical")
    }
    flight_us = 300 * 4.897
    assert 3 * flight_us < times["hierarchical"] < 3.2 * flight_us
    assert 5 * flight_us < times["ring"] < 5.2 * flight_us


@pytest.mark.parametrize(
    ("ranks", "sites", "sliced"),
    [(4, 2, None), (4, 2, "64KiB"), (8, 4, None), (6, 3, "100KB"), (16, 2, None)],
)
def test_hierarchical_keeps_every_link_busy_on_one_switch(ranks: int, sites: int, sliced: str | None) -> None:
    """Of m sites of g ranks each sends 2S(g-1)/g in its site and 2(S/g)(m-1)/m beyond, in all 2S(n-1)/n, without a gap.

    What comes on top is the flight of each step: 2(g-1) + 2(m-1), over two links of 1 us and through one switch.
    """
    size = 2**24
    settings = [f"workload.size={size}", f"workload.sites={sites}", *([f"workload.slice={sliced}"] if sliced else [])]
    _, outcome = run(f"incast:senders={ranks - 1}", "all_reduce", "hierarchical", *settings)
    line_us = 2 * size * (ranks - 1) / ranks / MTU * FULL_WIRE_BYTES * PS_PER_BYTE / 1e6
    flights_us = (2 * (ranks // sites - 1) + 2 * (sites - 1)) * 2.5
    for row in (outcome.rows[0], outcome.rows[0]["in_place"]):
        assert row["wrong"] == 0
        assert line_us < row["time_us"] < line_us + flights_us


@pytest.mark.parametrize("hosts", [2, 4])
def test_hierarchical_keeps_a_long_span_busy(hosts: int) -> None:
    """The span carries half a vector each way, and after the first answer the other half; the last is then acknowledged.

    Sums that are begun at the first slice leave while others are still to be made, so the sites' own stages take no time
    but that of a few slices: the first goes through its site, then all of the site's ranks send theirs over the span.
    """
    size, piece = 2**24, 2**16
    settings = (f"workload.size={size}", f"workload.slice={piece}", "workload.in-place=false")
    _, outcome = run(f"two-dc:hosts={hosts},length=300km", "all_reduce", "hierarchical", *settings)
    flight_us, per_byte_us = 300 * 4.897, FULL_WIRE_BYTES / MTU * PS_PER_BYTE / 1e6
    span_us = 3 * flight_us + size * per_byte_us / 2
    assert outcome.rows[0]["wrong"] == 0
    assert span_us < outcome.rows[0]["time_us"] < span_us + (2 * hosts + 4) * piece * per_byte_us
