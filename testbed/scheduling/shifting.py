"""Policies that decide when jobs start and on which priority they travel. Jobs without ranks are packed first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from testbed.lab.ranks import Rank
from testbed.scheduling.circles import Turning, best_shift
from testbed.scheduling.interface import Assignment, Cluster, Request
from testbed.scheduling.placing import packed
from testbed.scheduling.rhythm import Rhythm, rhythms


def _placed(cluster: Cluster, jobs: Sequence[Request]) -> list[Request]:
    """Return jobs with their ranks: their own, or those that packing gives them."""
    placed = []
    for job, assignment in zip(jobs, packed(cluster, jobs), strict=True):
        ranks = tuple(rank for rank in assignment.ranks if isinstance(rank, Rank))
        placed.append(replace(job, ranks=ranks))
    return placed


def interleaved(cluster: Cluster, jobs: Sequence[Request]) -> list[Assignment]:
    """Shift starts so that bursts of jobs on one link fall into each other's gaps (CASSINI, NSDI'24)."""
    jobs = _placed(cluster, jobs)
    all_jobs = [*cluster.scheduled, *jobs]
    turning = [
        Turning(rhythm, job.start_ps, job.job.repeat)
        for job, rhythm in zip(all_jobs, rhythms(cluster, all_jobs), strict=True)
    ]
    settled, assignments = turning[: len(cluster.scheduled)], []
    for job, own in zip(jobs, turning[len(settled) :], strict=True):
        shift = best_shift(own, settled)
        settled.append(replace(own, start_ps=own.start_ps + shift))
        assignments.append(job.on(shift_ps=shift))
    return assignments


def prioritised(cluster: Cluster, jobs: Sequence[Request]) -> list[Assignment]:
    """Give jobs the lossless priorities of the lab in turn, the highest to those that communicate least."""
    jobs = _placed(cluster, jobs)
    lossless = sorted(_lossless(cluster), reverse=True)
    undecided = [job for job in jobs if job.priority is None]
    ordered = sorted(zip(undecided, rhythms(cluster, undecided), strict=True), key=_communication)
    given = {
        job.name: lossless[place * len(lossless) // len(ordered)]
        for place, (job, _) in enumerate(ordered)
        if len(lossless) > 1
    }
    return [job.on(priority=given.get(job.name)) for job in jobs]


def _communication(pair: tuple[Request, Rhythm]) -> int:
    return pair[1].communication_ps


def _lossless(cluster: Cluster) -> set[int]:
    """Return the priorities that all switches keep lossless."""
    switches = cluster.lab.switches
    return set(switches[0].lossless).intersection(*(switch.lossless for switch in switches)) if switches else set()
