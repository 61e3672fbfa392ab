"""Lengths without payload: the same times and counters as a run whose results are compared, for every collective."""

import json
import subprocess
from collections.abc import Callable

import pytest

from testbed.run.execution import Outcome
from testbed.traffic import ALGORITHMS
from tests.virtual.harness import ACK_WIRE_BYTES, FULL_WIRE_BYTES, MTU, check_conservation, make_trial, run_trial

CASES = [
    (collective, name)
    for collective, algorithms in ALGORITHMS.items()
    for name in algorithms
    if collective != "permutation"
]


def times(outcome: Outcome) -> list[list[float]]:
    """Return what each row measured, out of place and in place."""
    return [[row[key]["time_us"] for key in ("in_place",) if row[key]] + [row["time_us"]] for row in outcome.rows]


def both(lab: str, collective: str, *settings: str) -> tuple[Outcome, Outcome]:
    """Run with payload and without, and check what must be equal."""
    runs = [run_trial(make_trial(lab, collective, *settings, f"workload.payload={flag}")) for flag in ("true", "false")]
    checked, silent = runs
    assert checked.complete and silent.complete
    assert [row["wrong"] for row in checked.rows] == [0] * len(checked.rows)
    assert [row["wrong"] for row in silent.rows] == [None] * len(silent.rows)
    assert times(checked) == times(silent)
    assert checked.flows == silent.flows
    assert checked.report == silent.report
    check_conservation(silent.report)
    return checked, silent


@pytest.mark.parametrize(("collective", "algorithm"), CASES)
def test_times_and_counters_are_those_of_the_checked_run(collective: str, algorithm: str) -> None:
    trial = make_trial("clos", collective, f"workload.algorithm={algorithm}", "workload.size=256K")
    _checked, silent = both("clos", collective, f"workload.algorithm={algorithm}", "workload.size=256K")
    # Every message that the schedule sends has arrived, whole and once, out of place and, where there is that, in place.
    (shape,) = trial.series.shapes()
    schedule = trial.collective.schedule(shape)
    expected = sum(schedule.bytes_sent(rank) for rank in range(shape.ranks))
    for in_place in (False, True) if trial.collective.in_place else (False,):
        assert sum(flow["bytes"] for flow in silent.flows if flow["in_place"] == in_place) == expected
    assert all(flow["completion_ns"] is not None for flow in silent.flows)


@pytest.mark.parametrize("recovery", ["go-back-n", "selective-repeat", "erasure"])
def test_losses_are_made_good_alike(recovery: str) -> None:
    settings = (f"transport.recovery={recovery}", "workload.size=1M", "workload.slice=64K")
    checked, silent = both("two-dc:length=8km,loss=1e-3", "all_reduce", *settings)
    assert silent.report["drops"]["link"] == checked.report["drops"]["link"] > 0


def test_more_than_any_memory_would_hold(call_testbed: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
    """8 GiB a rank: input, result and scratch of two ranks would be 48 GiB. Lengths need none of it."""
    where = ("-t", "pair:rate=400G", "--clock", "virtual", "--set", "workload.in-place=false")
    done = call_testbed("run", "all_reduce", *where, "-b", "8G", "-c", "0", "--format", "json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["collective"]["rows"]
    assert row["size_bytes"] == 2**33 and row["wrong"] is None
    # Data one way and acknowledgements of the other, one for every 16 packets.
    shared = 50 * MTU / (FULL_WIRE_BYTES + ACK_WIRE_BYTES / 16)
    assert row["busbw_gbytes_per_s"] == pytest.approx(shared, rel=1e-4)
