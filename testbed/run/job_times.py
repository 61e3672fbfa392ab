"""What a run of jobs took: from when each calc of each rank ended to iterations, communication and bandwidth. Pure.

A rank communicates from when a step begins there until it has ended there, waiting for others included. What of it falls
while the rank computes is hidden, the rest is exposed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from testbed.contract.report import Report
from testbed.contract.workload import Workload
from testbed.plan.jobs import PlannedJobs
from testbed.traffic.program import Label

Json = dict[str, Any]
Interval = tuple[int, int]

PS_PER_US = 10**6


@dataclass
class _Seen:
    """What one rank did for one job, in ps: by iteration when it computed and communicated, and when it ended."""

    start_ps: int | None = None
    computed: dict[int, list[Interval]] = field(default_factory=dict)
    communicated: dict[int, list[Interval]] = field(default_factory=dict)
    steps: dict[tuple[int, int], Interval] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)


def rows(planned: PlannedJobs, names: Sequence[str], workload: Workload, report: Report) -> list[Json]:
    """Return a row for each job that takes part, by what the engine reports of the workload that was made of them.

    Times are in us and count from the start of the run. Of a job that did not come to its end there is no `end_us`.
    """
    begun_ps = report["start_ps"]
    seen = [
        _seen(labels, ranked, begun_ps) for labels, ranked in zip(planned.labels, _ended(workload, report), strict=True)
    ]
    rows = []
    for job, (name, program) in enumerate(zip(names, planned.programs, strict=True)):
        if program.ranks:
            members = [seen[rank].get(job, _Seen()) for rank in program.ranks]
            rows.append({"name": name, **_row(planned, job, members)})
    return rows


def _ended(workload: Workload, report: Report) -> list[list[int | None]]:
    """Return for each rank when its calcs ended, in their order; None for one that did not."""
    ended = []
    for ranked, reported in zip(workload["ranks"], report["ranks"], strict=True):
        ends = {calc[0]: calc[1] for calc in reported.get("calcs", ())}
        ended.append([ends.get(index) for index, op in enumerate(ranked["ops"]) if op["kind"] == "calc"])
    return ended


def _seen(labels: Sequence[Label], ended: Sequence[int | None], begun_ps: int) -> dict[int, _Seen]:
    """Return what a rank did, by job."""
    seen: dict[int, _Seen] = {}
    begins: dict[tuple[int, int, int], int] = {}
    for label, at in zip(labels, ended, strict=True):
        if at is None:
            continue
        of_job, end_ps = seen.setdefault(label.job, _Seen()), at - begun_ps
        if label.kind == "start":
            of_job.start_ps = end_ps
        elif label.kind == "compute":
            of_job.computed.setdefault(label.iteration, []).append((end_ps - label.duration_ps, end_ps))
        elif label.kind == "begin":
            begins[label.job, label.iteration, label.step] = end_ps
        elif label.kind == "end":
            span = (begins[label.job, label.iteration, label.step], end_ps)
            of_job.communicated.setdefault(label.iteration, []).append(span)
            of_job.steps[label.iteration, label.step] = span
        else:
            of_job.ends[label.iteration] = end_ps
    return seen


def length(intervals: Iterable[Interval]) -> int:
    """Return how much intervals cover together."""
    total, until = 0, None
    for first, end in sorted(intervals):
        begin = first if until is None else max(first, until)
        total += max(0, end - begin)
        until = end if until is None else max(until, end)
    return total


def _row(planned: PlannedJobs, job: int, members: Sequence[_Seen]) -> Json:
    repeat = planned.programs[job].repeat
    start_ps = min((one.start_ps for one in members if one.start_ps is not None), default=None)
    before, iterations = start_ps or 0, []
    for iteration in range(repeat):
        ends = [one.ends.get(iteration) for one in members]
        known = [end for end in ends if end is not None]
        if len(known) < len(ends):
            break
        exposed, hidden = _communication(members, iteration)
        iterations.append({
            "time_us": (max(known) - before) / PS_PER_US,
            "exposed_us": exposed / PS_PER_US,
            "hidden_us": hidden / PS_PER_US,
        })  # fmt: skip
        before = max(known)
    whole = len(iterations) == repeat and start_ps is not None
    steps = _steps(planned, job, members)
    spent = sum(step["time_us"] for step in steps)
    return {
        "ranks": [str(planned.ranks[rank]) for rank in planned.programs[job].ranks],
        "start_us": None if start_ps is None else start_ps / PS_PER_US,
        "end_us": before / PS_PER_US if whole else None,
        "iterations": iterations,
        "exposed_us": sum(one["exposed_us"] for one in iterations),
        "hidden_us": sum(one["hidden_us"] for one in iterations),
        "busbw_gbytes_per_s": sum(step["busbw_gbytes_per_s"] * step["time_us"] for step in steps) / spent
        if spent
        else None,
        "steps": steps,
    }


def _communication(members: Sequence[_Seen], iteration: int) -> tuple[float, float]:
    """Return for how long a rank communicated in an iteration, exposed and hidden: the mean over the ranks, in ps."""
    exposed = hidden = 0
    for one in members:
        communicated, computed = one.communicated.get(iteration, []), one.computed.get(iteration, [])
        alone = length([*communicated, *computed]) - length(computed)
        exposed += alone
        hidden += length(communicated) - alone
    return exposed / len(members), hidden / len(members)


def _steps(planned: PlannedJobs, job: int, members: Sequence[_Seen]) -> list[Json]:
    """Return a row for each step that is a collective: its mean time and bandwidth, over iterations and groups.

    The time of a group is from when the first of its ranks began until the last one ended.
    """
    program, steps = planned.programs[job], []
    for number, call in enumerate(planned.calls[job]):
        if call is None:
            continue
        collective, shapes = call
        times = [
            (shape, max(end for _, end in spans) - min(begin for begin, _ in spans))
            for iteration in range(program.repeat)
            for part, shape in zip(program.steps[number].parts, shapes, strict=True)
            if len(spans := _spans(members, part.ranks, (iteration, number))) == len(part.ranks)
        ]
        if times:
            busbw = [collective.bandwidth(shape, time_ps)[1] for shape, time_ps in times]
            steps.append({
                "step": number,
                "collective": collective.name,
                "algorithm": collective.algorithm,
                "size_bytes": max(shape.size_bytes for shape in shapes),
                "groups": len(shapes),
                "time_us": sum(time_ps for _, time_ps in times) / len(times) / PS_PER_US,
                "busbw_gbytes_per_s": sum(busbw) / len(busbw),
            })  # fmt: skip
    return steps


def _spans(members: Sequence[_Seen], ranks: Sequence[int], step: tuple[int, int]) -> list[Interval]:
    return [members[rank].steps[step] for rank in ranks if step in members[rank].steps]


def makespan_us(rows: Sequence[Json]) -> float | None:
    """Return when the last job ended; None if one did not."""
    ends = [row["end_us"] for row in rows]
    return None if not ends or None in ends else float(max(ends))
