"""Placements that a file states, as a policy."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.errors import UsageError, nearest
from testbed.importers.slurm_jobs import read_jobs
from testbed.importers.text import Text
from testbed.lab.ranks import Rank, select
from testbed.scheduling.interface import Assignment, Cluster, Policy, Request

NAME = "placement file"


def stated(text: str) -> Policy:
    """Return the policy that places jobs as a text in Slurm's form says."""
    listed = read_jobs(Text(NAME, text))

    def place(cluster: Cluster, jobs: Sequence[Request]) -> list[Assignment]:
        """Place jobs as a file says, each on the first of its ranks there, as many as it asks for."""
        return [job.on(_ranks(cluster, job)[: job.count] if job.missing else ()) for job in jobs]

    def _ranks(cluster: Cluster, job: Request) -> list[Rank]:
        if job.name not in listed:
            raise UsageError(f'it has no job "{job.name}"{nearest(job.name, listed)}')
        ranks, wrong = select(listed[job.name], {host.name: host for host in cluster.lab.hosts})
        if wrong:
            raise UsageError(f"job {job.name}: lab {cluster.lab.name} has {wrong[0]}")
        return ranks

    return place
