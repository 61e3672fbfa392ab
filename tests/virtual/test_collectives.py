"""Every collective on a fabric: right, as fast as its links allow, and sites apart only where it says so."""

import pytest

from testbed.execution import Outcome
from testbed.trial import Trial
from tests.virtual.harness import check_conservation, make_trial, priority, run_trial
from traffic import ALGORITHMS

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
