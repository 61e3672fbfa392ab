"""How far messages of a schedule go: within a host, a scale-up domain, over one switch, over several, or to another site."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from testbed.lab.sites import sites
from testbed.plan.queue_pairs import Ends, QueuePairs, Talk
from testbed.traffic import Schedule, Send

Reach = Literal["host", "domain", "leaf", "spine", "site"]
REACHES: tuple[Reach, ...] = ("host", "domain", "leaf", "spine", "site")


def bytes_by_reach(pairs: QueuePairs, schedule: Schedule) -> dict[Reach, int]:
    """Return how many bytes ranks send so far, nearest first. Cost: linear in the sends of the schedule."""
    sent: Counter[Talk] = Counter()
    for rank, ranked in enumerate(schedule.ranks):
        for op in ranked.ops:
            if isinstance(op, Send):
                sent[Talk(min(rank, op.peer), max(rank, op.peer), op.channel)] += op.bytes
    site_of = sites(pairs.lab)
    bytes_of: Counter[Reach] = Counter()
    for talk, length in sent.items():
        # Queue pairs of one talk share its bytes, and go equally far.
        ends = pairs.ends[pairs.numbers[talk][0]]
        bytes_of["host" if ends is None else _reach(pairs, ends, site_of[ends.a[0]] != site_of[ends.b[0]])] += length
    return {reach: bytes_of[reach] for reach in REACHES}


def _reach(pairs: QueuePairs, ends: Ends, parted: bool) -> Reach:
    if parted:
        return "site"
    host, port = ends.a
    if pairs.lab.ports[host][port] in pairs.host(host).scale_up:
        return "domain"
    leaf = pairs.costs.routing.tables.leaf
    one, other = leaf(ends.a), leaf(ends.b)
    return "leaf" if one == other or other == host else "spine"
