"""Policies that place jobs on accelerators. Each leaves jobs that have their ranks as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from testbed.lab.ranks import Rank
from testbed.scheduling.interface import Assignment, Cluster, Request
from testbed.scheduling.neighbourhoods import Key, Neighbourhoods, grouped

Choose = Callable[[list[Rank], Request], list[Rank]]
"""Of the ranks that are free, those of one job in their order."""
Level = Callable[[Rank], Key]


def _one_by_one(cluster: Cluster, jobs: Sequence[Request], choose: Choose) -> list[Assignment]:
    """Place jobs in their order, each on what those before it left free."""
    free = list(cluster.free)
    assignments = []
    for job in jobs:
        ranks = choose(free, job) if job.missing else []
        taken = set(ranks)
        free = [rank for rank in free if rank not in taken]
        assignments.append(job.on(ranks))
    return assignments


def packed(cluster: Cluster, jobs: Sequence[Request]) -> list[Assignment]:
    """Keep each job within the smallest of host, domain or leaf, and site that has room for it."""
    near = Neighbourhoods(cluster.lab)
    levels = (near.host, near.block, near.site)
    return _one_by_one(cluster, jobs, lambda free, job: _tightest(free, job.missing, levels))


def by_domain(cluster: Cluster, jobs: Sequence[Request]) -> list[Assignment]:
    """Give each job as few scale-up domains as hold it, the emptiest first where one does not."""
    near = Neighbourhoods(cluster.lab)
    return _one_by_one(cluster, jobs, lambda free, job: _tightest(free, job.missing, (near.domain,)))


def by_rail(cluster: Cluster, jobs: Sequence[Request]) -> list[Assignment]:
    """Give each job as few rails as hold it: the accelerators of the same number on host after host."""
    return _one_by_one(cluster, jobs, lambda free, job: _tightest(free, job.missing, (lambda rank: rank.accelerator,)))


def _tightest(free: list[Rank], count: int, levels: Sequence[Level]) -> list[Rank]:
    """Return ranks of the tightest group of the first level that has one with room; of the fewest groups where none has.

    `levels` are the smallest groups first.
    """
    for depth, level in enumerate(levels):
        fitting = [group for group in grouped(free, [level(rank) for rank in free]) if len(group) >= count]
        if fitting:
            return _fewest(min(fitting, key=len), count, levels[:depth])
    return _fewest(free, count, levels)


def _fewest(group: list[Rank], count: int, levels: Sequence[Level]) -> list[Rank]:
    """Return so many ranks of a group, of as few of the groups within it as hold them."""
    if not levels:
        return group[:count]
    level = levels[-1]
    parts = sorted(grouped(group, [level(rank) for rank in group]), key=len, reverse=True)
    chosen: list[Rank] = []
    while len(parts[0]) < count - len(chosen):
        chosen += parts.pop(0)
    missing = count - len(chosen)
    last = min((part for part in parts if len(part) >= missing), key=len)
    return chosen + _tightest(last, missing, levels[:-1])


def spread(cluster: Cluster, jobs: Sequence[Request]) -> list[Assignment]:
    """Give each job as equal a share of every domain or leaf, and of every host in it, as there is room for."""
    near = Neighbourhoods(cluster.lab)

    def choose(free: list[Rank], job: Request) -> list[Rank]:
        chosen = set(_in_turn(free, (near.block, near.host))[: job.missing])
        return [rank for rank in free if rank in chosen]

    return _one_by_one(cluster, jobs, choose)


def round_robin(cluster: Cluster, jobs: Sequence[Request]) -> list[Assignment]:
    """Deal the ranks of each job out to the hosts in turn, so that neighbours in a ring are on different hosts."""
    near = Neighbourhoods(cluster.lab)
    return _one_by_one(cluster, jobs, lambda free, job: _in_turn(free, (near.host,))[: job.missing])


def _in_turn(ranks: list[Rank], levels: Sequence[Level]) -> list[Rank]:
    """Return ranks so that groups of the first level take turns, and within each those of the next."""
    if not levels:
        return ranks
    groups = [_in_turn(group, levels[1:]) for group in grouped(ranks, [levels[0](rank) for rank in ranks])]
    longest = max(map(len, groups), default=0)
    return [group[turn] for turn in range(longest) for group in groups if turn < len(group)]


def shuffled(cluster: Cluster, jobs: Sequence[Request]) -> list[Assignment]:
    """Place each job at random, by the seed of the experiment."""
    return _one_by_one(cluster, jobs, lambda free, job: cluster.random("placement", job.name).sample(free, job.missing))


def nearest_site(cluster: Cluster, jobs: Sequence[Request]) -> list[Assignment]:
    """Keep each job at one site that has room for it, or at the roomiest and those nearest to it."""
    near = Neighbourhoods(cluster.lab)

    def choose(free: list[Rank], job: Request) -> list[Rank]:
        groups = grouped(free, [near.site(rank) for rank in free])
        fitting = [group for group in groups if len(group) >= job.missing]
        home = min(fitting, key=len) if fitting else max(groups, key=len)
        delays = near.delay_ps(near.site(home[0]))
        ordered = sorted(groups, key=lambda group: delays[near.site(group[0])])
        chosen: list[Rank] = []
        for group in ordered:
            if missing := job.missing - len(chosen):
                chosen += _tightest(group, min(missing, len(group)), (near.host, near.block))
        return chosen

    return _one_by_one(cluster, jobs, choose)
