"""Hierarchical all-reduce: of m sites with g ranks each, only sums of whole sites travel between sites.

Three stages: within each site a reduce-scatter around a ring, so that its p-th rank has the site's sum of chunk p; between
the p-th ranks of all sites a ring all-reduce of that chunk; within each site an all-gather. So 2(g−1) + 2(m−1) steps, and
2(S/g)(m−1)/m bytes from each rank to another site.

The second stage takes the chunk in as many parts as there are sites, and comes to a part with each of its steps. The stages
within the site send the parts in the order in which it comes to them, each part a step behind the one before it. Otherwise a
site would wait for its first part until it has all of them, links would stand idle, and no slices could make that up.

So with parts of one slice, that take w on a line within the site and L more until they are there, the first part leaves the
first stage after (w+L) + Σ max(n·w, w+L) for n from 1 to g−2: before its n-th step n−1 messages of other parts leave. The
last part takes as long in the third stage; all between them travels while the second stage does.

Memory: input and result, S bytes each or in one, a scratch of S for the sums within the site, and one of a chunk for those
between sites. A slice of a chunk never crosses the parts into which the second stage divides it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from testbed.traffic.arrays import np
from testbed.traffic.building import Ops, Ready, Span, by_slice, chunks, ring_gather, ring_reduce, slices, whole
from testbed.traffic.collective import Collective, Shape, random_vectors, result_after_input
from testbed.traffic.elements import DTYPES, Elements
from testbed.traffic.ring_all_reduce import bandwidth
from testbed.traffic.schedule import RankSchedule, Schedule
from testbed.traffic.vectors import Vector


def check(shape: Shape) -> None:
    """Raise ValueError for ranks that do not make equal sites."""
    if shape.sites < 2 or shape.ranks % shape.sites:
        raise ValueError(f"{shape.ranks} ranks do not make {shape.sites} equal sites, or these are fewer than two")


def _divided(shape: Shape) -> list[list[Span]]:
    """Return the chunks of the ranks of a site, each as its parts for the sites, as (first, end) in elements."""
    sites = []
    for first, end in chunks(shape.count, shape.ranks // shape.sites):
        parts = chunks(end - first, shape.sites)
        sites.append([(first + low, first + high) for low, high in parts])
    return sites


def schedule(shape: Shape) -> Schedule:
    """Return the three stages, each slice going on to the next as soon as it can."""
    check(shape)
    divided = [[slices(shape, part) for part in chunk] for chunk in _divided(shape)]
    return whole([_rank(shape, divided, rank) for rank in range(shape.ranks)])


def _rank(shape: Shape, divided: Sequence[Sequence[Sequence[Span]]], rank: int) -> RankSchedule:
    local = shape.ranks // shape.sites
    site, place = divmod(rank, local)
    here = range(site * local, (site + 1) * local)
    across = range(place, shape.ranks, local)
    begun = [[span for part in _downwards(chunk, site) for span in part] for chunk in divided]
    ended = [[span for part in _downwards(chunk, site + 1) for span in part] for chunk in divided]
    result = result_after_input(shape, rank)
    scratch = result + shape.size_bytes
    parts = divided[place]
    first = min((offset for offset, _ in begun[place]), default=0)
    between = scratch + shape.size_bytes - first
    ops = Ops(shape)
    own = 0
    ready: list[Ready] = [()] * len(parts)
    if local > 1:
        bases = (0, scratch, scratch)
        _, done = ring_reduce(ops, here, place, begun, place - 1, bases, order=by_slice, last=False)
        own, ready = scratch, _by_part(parts, site, done)
    part, done = ring_reduce(ops, across, site, parts, site, (own, between, result), ready)
    gathered = ring_gather(ops, across, site, parts, part, (result, result), done)
    if local > 1:
        complete = [wait for waits in _downwards(gathered, part) for wait in waits]
        ring_gather(ops, here, place, ended, place, (result, result), complete, by_slice)
    longest = max(sum(length for _, length in chunk) for chunk in begun)
    return ops.schedule(scratch + shape.size_bytes + longest)


Part = TypeVar("Part")


def _downwards(parts: Sequence[Part], first: int) -> list[Part]:
    """Return the parts as the ring between sites comes to them: from `first` on downwards, and around."""
    return [parts[(first - step) % len(parts)] for step in range(len(parts))]


def _by_part(parts: Sequence[Sequence[Span]], first: int, ready: Ready) -> list[Ready]:
    """Divide what is known of a chunk's slices among its parts, which come from `first` on downwards."""
    waits = iter(ready)
    # The same turn once more leads back.
    return _downwards([[next(waits) for _ in part] for part in _downwards(parts, first)], first)


def expected(shape: Shape, vectors: Sequence[Vector]) -> list[Elements]:
    """Return the sum, added up in the order of the rings: each site's, from its sums that of all."""
    local = shape.ranks // shape.sites
    total = np.empty(shape.count, DTYPES[shape.dtype])
    for place, parts in enumerate(_divided(shape)):
        for begins, (first, end) in enumerate(parts):
            sums = []
            for site in range(shape.sites):
                ring = [site * local + (place + 1 + step) % local for step in range(local)]
                subtotal = vectors[ring[0]][first:end]
                for rank in ring[1:]:
                    subtotal = shape.combine(subtotal, vectors[rank][first:end])
                sums.append(subtotal)
            of_all = sums[begins]
            for step in range(1, shape.sites):
                of_all = shape.combine(of_all, sums[(begins + step) % shape.sites])
            total[first:end] = shape.complete(of_all)
    return [total] * shape.ranks


HIERARCHICAL_ALL_REDUCE = Collective(
    name="all_reduce",
    algorithm="hierarchical",
    about="sum of all vectors on every rank, within each site and then between the sites: least data over the span",
    redop="sum",
    root=-1,
    in_place=True,
    inputs=random_vectors,
    schedule=schedule,
    result_offset=result_after_input,
    expected=expected,
    bandwidth=bandwidth,
    check=check,
)
