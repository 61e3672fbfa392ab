"""All-reduce by recursive halving and doubling (Rabenseifner): log2 n exchanges each way, 2S(n−1)/n bytes from each rank.

On the way down a rank exchanges half of what it still has with the rank that differs in the next bit, highest first, and
adds up the half that it keeps; in the end rank r has the sum of chunk r. On the way up what they have is exchanged, and so
doubles. The ranks are a power of two.

Memory: input and result, S bytes each or in one; scratch with a region for each exchange on the way down, together about
S bytes.
Partial sums are made in the region that the other half arrived in, and sent on from there; only complete sums enter the
result, so every byte is written by one message at most.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.traffic.arrays import np
from testbed.traffic.building import Ops, Ready, Span, alone, both, chunks, sliced_chunks, whole
from testbed.traffic.collective import Collective, Shape, random_vectors, result_after_input
from testbed.traffic.elements import DTYPES, Elements
from testbed.traffic.ring_all_reduce import bandwidth
from testbed.traffic.schedule import RankSchedule, Schedule
from testbed.traffic.vectors import Vector


def check(shape: Shape) -> None:
    """Raise ValueError for ranks that are no power of two."""
    if shape.ranks & (shape.ranks - 1):
        raise ValueError(f"halving and doubling needs a power of two of ranks, not {shape.ranks}")


def _distances(ranks: int) -> list[int]:
    """Return how far apart partners are on the way down."""
    return [1 << bit for bit in reversed(range(ranks.bit_length() - 1))]


def _kept(rank: int, distance: int) -> range:
    """Return the chunks that a rank keeps after the exchange over a distance: those with its higher bits."""
    first = rank // distance * distance
    return range(first, first + distance)


def schedule(shape: Shape) -> Schedule:
    """Return the exchanges, each of which begins when the one before has arrived: side by side they would share the link."""
    check(shape)
    if shape.ranks == 1:
        return alone(shape)
    parts = sliced_chunks(shape)
    return whole([_rank(shape, parts, rank) for rank in range(shape.ranks)])


def _regions(shape: Shape, parts: Sequence[Sequence[Span]], rank: int) -> tuple[dict[int, int], int]:
    """Return the base of the region that each exchange on the way down arrives in, by its distance, and where they end."""
    base = result_after_input(shape, rank) + shape.size_bytes
    regions = {}
    for distance in _distances(shape.ranks):
        spans = [span for chunk in _kept(rank, distance) for span in parts[chunk]]
        first = min((offset for offset, _ in spans), default=0)
        regions[distance] = base - first
        base += sum(length for _, length in spans)
    return regions, base


def _rank(shape: Shape, parts: Sequence[Sequence[Span]], rank: int) -> RankSchedule:
    ops, result = Ops(shape), result_after_input(shape, rank)
    regions, end = _regions(shape, parts, rank)
    own = 0
    before: tuple[int, ...] = ()
    done: dict[int, Ready] = dict.fromkeys(range(shape.ranks), ())
    for distance in _distances(shape.ranks):
        partner = rank ^ distance
        theirs = _regions(shape, parts, partner)[0][distance]
        for chunk in _kept(partner, distance):
            ops.send(partner, parts[chunk], own, theirs, _after(before, parts[chunk], done[chunk]))
        for chunk in _kept(rank, distance):
            received = ops.receive(partner, parts[chunk], regions[distance])
            before = received[-1] if received else before
            arrived = both(received, done[chunk])
            target = result if distance == 1 else regions[distance]
            done[chunk] = ops.reduce(parts[chunk], target, own, regions[distance], arrived, distance == 1)
        own = regions[distance]
    for distance in reversed(_distances(shape.ranks)):
        partner = rank ^ distance
        for chunk in _kept(rank, distance):
            ops.send(partner, parts[chunk], result, result, _after(before, parts[chunk], done[chunk]))
        for chunk in _kept(partner, distance):
            done[chunk] = ops.receive(partner, parts[chunk], result)
            before = done[chunk][-1] if done[chunk] else before
    return ops.schedule(end)


def _after(before: tuple[int, ...], spans: Sequence[Span], ready: Ready) -> Ready:
    """Wait for the last of the exchange before, too; it arrives in order, so for all of it."""
    return both([before] * len(spans), ready)


def expected(shape: Shape, vectors: Sequence[Vector]) -> list[Elements]:
    """Return the sum, added up in the order of the exchanges."""
    total = np.empty(shape.count, DTYPES[shape.dtype])
    for first, end in chunks(shape.count, shape.ranks):
        sums = [vector[first:end] for vector in vectors]
        while len(sums) > 1:
            half = len(sums) // 2
            sums = [shape.combine(sums[index], sums[index + half]) for index in range(half)]
        total[first:end] = shape.complete(sums[0])
    return [total] * shape.ranks


HALVING_DOUBLING_ALL_REDUCE = Collective(
    name="all_reduce",
    algorithm="halving-doubling",
    about="sum of all vectors on every rank, in log2(ranks) exchanges; ranks are a power of two",
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
