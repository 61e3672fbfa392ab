"""What a policy is given, and what it returns.

A policy is a function of a cluster and of jobs, and returns an assignment for each job, in their order:

    def backwards(cluster: Cluster, jobs: Sequence[Request]) -> list[Assignment]:
        \"""Fill the lab from its last host on.\"""
        free = list(reversed(cluster.free))
        return [job.on([free.pop(0) for _ in range(job.missing)]) for job in jobs]

The first line of its docstring is what `testbed list policies` says of it. A package that has one names it in the entry point
group `testbed.schedulers`. Policies compute from their arguments alone: what they draw, they draw from `Cluster.random`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from testbed.experiment.file import Experiment
from testbed.experiment.jobs import Job
from testbed.lab.ranks import Rank
from testbed.lab.topology import Lab


@dataclass(frozen=True)
class Assignment:
    """What a policy decides of one job: its ranks in their order, how much later it starts, and its priority.

    A rank is one of `Cluster.free` or its text, as `h1` or `s1/3`. `shift_ps` is added to the start of the job. A priority of
    None leaves the job's own.
    """

    ranks: Sequence[Rank | str]
    shift_ps: int = 0
    priority: int | None = None


@dataclass(frozen=True)
class Request:
    """A job that is to be scheduled: how many ranks it needs, those that it has already, its start, and what it does.

    `ranks` has either none or `count` of them: an experiment lists them, or an earlier policy has placed them. They stay.
    `start_ps` counts from the start of the run, earlier shifts included.
    """

    job: Job
    count: int
    ranks: tuple[Rank, ...] = ()
    start_ps: int = 0
    priority: int | None = None

    @property
    def name(self) -> str:
        """The name of the job."""
        return self.job.name

    @property
    def missing(self) -> int:
        """How many ranks are to be found: `count`, or none."""
        return 0 if self.ranks else self.count

    def on(self, ranks: Sequence[Rank | str] = (), *, shift_ps: int = 0, priority: int | None = None) -> Assignment:
        """Return the assignment of these ranks, or of the job's own where it has them."""
        return Assignment(self.ranks or tuple(ranks), shift_ps, priority)


@dataclass(frozen=True)
class Cluster:
    """The lab, the ranks that no job has yet, in the order of the lab, and the jobs that are scheduled already.

    `experiment` is whose jobs these are, with its transport and seed.
    """

    lab: Lab
    experiment: Experiment
    free: tuple[Rank, ...]
    scheduled: tuple[Request, ...] = field(default=())

    def random(self, *parts: object) -> random.Random:
        """Return a generator that depends on the seed of the experiment and on `parts` alone."""
        return random.Random(repr((self.experiment.seed, *parts)))


Policy = Callable[[Cluster, Sequence[Request]], Sequence[Assignment]]
"""Given a cluster and jobs, the assignment of each job."""
