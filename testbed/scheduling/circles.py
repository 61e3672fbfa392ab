"""Bursts of jobs on shared wires, and the shift of one job at which they meet least: the geometry of CASSINI. Pure.

Rajasekaran, Ghobadi and Akella, "CASSINI: Network-Aware Job Scheduling in Machine Learning Clusters", NSDI 2024: an iteration is
a circle whose circumference is its time, its bursts are arcs, and rotating one circle against another moves arcs apart. What
meets changes only where the edge of an arc passes one of another, so these rotations are all that need to be tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from testbed.scheduling.rhythm import Burst, Rhythm, Wire

TURNS = 16
"""Iterations of the slowest job over which bursts are compared: circles of different size do not close."""
MOST_ARCS = 256
MOST_SHIFTS = 512

Arc = tuple[int, int, float]
"""Start and end in ps, and the share of the wire."""


@dataclass(frozen=True)
class Turning:
    """A job that goes through its rhythm `repeat` times from `start_ps` on."""

    rhythm: Rhythm
    start_ps: int
    repeat: int

    def iterations(self, until_ps: int) -> Iterable[int]:
        """Return the starts of the iterations that start before a time."""
        period = max(self.rhythm.period_ps, 1)
        count = min(self.repeat, MOST_ARCS, max(0, -(-(until_ps - self.start_ps) // period)))
        return (self.start_ps + turn * period for turn in range(count))

    def wires(self) -> set[Wire]:
        """Return the wires that it sends on."""
        return {wire for burst in self.rhythm.bursts for wire in burst.shares}


def best_shift(job: Turning, others: Sequence[Turning]) -> int:
    """Return the shift of a job, in ps and below its period, that costs least: itself, and what bursts wait for each other.

    Of shifts that cost the same it is the least. Run time: for each pair of edges of arcs, a sort of the arcs on each kind of
    shared wire.
    """
    others = [other for other in others if other.wires() & job.wires()]
    if not others or job.rhythm.period_ps == 0:
        return 0
    all_jobs = [job, *others]
    until = max(each.start_ps for each in all_jobs) + TURNS * max(each.rhythm.period_ps for each in all_jobs)
    kinds = _kinds(job, others)
    beside = {wire: [arc for other in others for arc in _arcs(other, wire, until)] for wire in kinds}
    # The turns that are compared stand for all iterations.
    turns = sum(1 for _ in job.iterations(until)) or 1

    def cost(shift: int) -> float:
        moved = Turning(job.rhythm, job.start_ps + shift, job.repeat)
        waits = sum(_excess([*beside[wire], *_arcs(moved, wire, until)]) for wire in kinds)
        return shift + waits * max(1.0, job.repeat / turns)

    return min(_shifts(job, others), key=lambda shift: (round(cost(shift)), shift))


def _kinds(job: Turning, others: Sequence[Turning]) -> list[Wire]:
    """Return one of all shared wires that see the same bursts."""
    all_jobs = [job, *others]
    kinds: dict[tuple[tuple[float, ...], ...], Wire] = {}
    for wire in sorted(job.wires() & {wire for other in others for wire in other.wires()}):
        signature = tuple(
            tuple(round(burst.shares.get(wire, 0.0), 6) for burst in each.rhythm.bursts) for each in all_jobs
        )
        kinds.setdefault(signature, wire)
    return list(kinds.values())


def _shifts(job: Turning, others: Sequence[Turning]) -> list[int]:
    """Return the shifts at which an edge of an arc of the job meets one of another job, and none."""
    period = job.rhythm.period_ps
    own = {job.start_ps + edge for burst in job.rhythm.bursts for edge in (burst.start_ps, burst.end_ps)}
    meetings = {0}
    for other in others:
        turns = other.start_ps, other.start_ps + other.rhythm.period_ps
        edges = {turn + edge for turn in turns for burst in other.rhythm.bursts for edge in _edges(burst)}
        meetings |= {(edge - mine) % period for edge in edges for mine in own}
    shifts = sorted(meetings)
    step = -(-len(shifts) // MOST_SHIFTS)
    return shifts[::step]


def _edges(burst: Burst) -> tuple[int, int]:
    return burst.start_ps, burst.end_ps


def _arcs(job: Turning, wire: Wire, until_ps: int) -> list[Arc]:
    return [
        (start + burst.start_ps, start + burst.end_ps, burst.shares[wire])
        for start in job.iterations(until_ps)
        for burst in job.rhythm.bursts
        if wire in burst.shares
    ]


def _excess(arcs: Sequence[Arc]) -> float:
    """Return by how much arcs exceed the capacity of a wire, in ps of the whole wire."""
    changes = sorted([(start, share) for start, _, share in arcs] + [(end, -share) for _, end, share in arcs])
    total = load = 0.0
    before = 0
    for at, change in changes:
        total += max(0.0, load - 1.0) * (at - before)
        load, before = load + change, at
    return total
