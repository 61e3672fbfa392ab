"""What jobs took, from the ends of their calcs."""

from typing import Any

import pytest

from testbed.contract.report import Report
from testbed.contract.workload import Workload
from testbed.lab.ranks import Rank
from testbed.plan.jobs import PlannedJobs
from testbed.run import job_times
from testbed.traffic import Calc, Schedule, Shape
from testbed.traffic.program import Label, Part, Program, Step, lengths_alone, unrolled
from testbed.traffic.ring_all_reduce import RING_ALL_REDUCE

SHAPE = Shape(2, 250_000, payload=False)  # 1 MB
US = 10**6


@pytest.mark.parametrize(
    ("intervals", "covered"),
    [
        ([], 0),
        ([(3, 7)], 4),
        ([(0, 5), (3, 9)], 9),
        ([(8, 9), (0, 1)], 2),
        ([(0, 10), (2, 3), (4, 12)], 12),
        ([(4, 4)], 0),
    ],
)
def test_intervals_that_overlap_count_once(intervals: list[tuple[int, int]], covered: int) -> None:
    assert job_times.length(intervals) == covered


def planned() -> PlannedJobs:
    """One job of two ranks: compute 10 us, an all-reduce beside, compute 20 us; twice."""
    ring = lengths_alone(RING_ALL_REDUCE.schedule(SHAPE))
    steps = (Step(10 * US), Step(parts=(Part((0, 1), ring),), beside=True), Step(20 * US))
    programs = (Program((0, 1), steps, repeat=2),)
    schedule, labels = unrolled(programs, 2)
    calls = ((None, (RING_ALL_REDUCE, (SHAPE,)), None),)
    return PlannedJobs((Rank("h1", 0), Rank("h2", 3, alone=False)), schedule, labels, programs, calls)


def workload_of(schedule: Schedule) -> Workload:
    kinds = [[{"kind": "calc" if isinstance(op, Calc) else "send"} for op in ranked.ops] for ranked in schedule.ranks]
    return {"ranks": [{"ops": ops} for ops in kinds]}  # type: ignore[typeddict-item]


def report(jobs: PlannedJobs, workload: Workload, times: dict[Label, int], start_ps: int = 7) -> Report:
    ranks: list[Any] = []
    for labels, ranked in zip(jobs.labels, workload["ranks"], strict=True):
        calcs = [index for index, op in enumerate(ranked["ops"]) if op["kind"] == "calc"]
        told = [[index, start_ps + times[label]] for index, label in zip(calcs, labels, strict=True) if label in times]
        ranks.append({"calcs": told[::-1]})
    return {"start_ps": start_ps, "ranks": ranks}  # type: ignore[typeddict-item]


def times_of(iteration: int, first: int, communicated: int) -> dict[Label, int]:
    begin = first + 10 * US
    return {
        Label(0, "compute", iteration, 0, 10 * US): begin,
        Label(0, "begin", iteration, 1): begin,
        Label(0, "end", iteration, 1): begin + communicated,
        Label(0, "compute", iteration, 2, 20 * US): begin + 20 * US,
        Label(0, "iteration", iteration): begin + max(communicated, 20 * US),
    }


def test_what_falls_while_a_rank_computes_is_hidden_and_the_rest_exposed() -> None:
    """50 us of communication over 20 us of computing, then 8 us that hide whole."""
    jobs = planned()
    workload = workload_of(jobs.schedule)
    times = {Label(0, "start"): 0, **times_of(0, 0, 50 * US), **times_of(1, 60 * US, 8 * US)}
    (row,) = job_times.rows(jobs, ["train"], workload, report(jobs, workload, times))
    assert row["iterations"] == [
        {"time_us": 60.0, "exposed_us": 30.0, "hidden_us": 20.0},
        {"time_us": 30.0, "exposed_us": 0.0, "hidden_us": 8.0},
    ]
    assert (row["start_us"], row["end_us"], row["exposed_us"], row["hidden_us"]) == (0.0, 90.0, 30.0, 28.0)
    assert row["ranks"] == ["h1", "h2/3"]
    (step,) = row["steps"]
    assert (step["collective"], step["size_bytes"], step["time_us"]) == ("all_reduce", 10**6, 29.0)
    # Of two ranks busbw is algbw: 20 and 125 GB/s.
    assert step["busbw_gbytes_per_s"] == row["busbw_gbytes_per_s"] == pytest.approx((20 + 125) / 2)
    assert job_times.makespan_us([row]) == 90.0


def test_a_job_that_was_cut_off_has_the_iterations_that_it_ended() -> None:
    jobs = planned()
    workload = workload_of(jobs.schedule)
    times = {Label(0, "start"): 0, **times_of(0, 0, 50 * US), Label(0, "compute", 1, 0, 10 * US): 70 * US}
    (row,) = job_times.rows(jobs, ["train"], workload, report(jobs, workload, times))
    assert (len(row["iterations"]), row["end_us"]) == (1, None)
    assert job_times.makespan_us([row]) is None
