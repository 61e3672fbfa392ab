"""Broadcast and reduce along the binomial tree: ceil(log2 n) rounds of messages of S bytes.

Ranks stand in the tree as they are counted from the root, which is at place 0. A place's parent is the place without its
highest bit. Broadcast memory: root's input and every result, or the two in one. A
reduce has, S bytes each, input, sum, and a scratch for every child; in place the root's sum stands on its input.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.traffic.building import Ops, Ready, alone, both, slices, whole
from testbed.traffic.collective import Collective, Shape, gbytes_per_s, no_elements, random_vectors, result_after_input
from testbed.traffic.elements import Elements
from testbed.traffic.schedule import Schedule
from testbed.traffic.vectors import Drawn, Vector


def parent(rank: int, ranks: int, root: int = 0) -> int:
    """Return the parent of a rank that is not the root."""
    place = (rank - root) % ranks
    return (place - (1 << place.bit_length() - 1) + root) % ranks


def children(rank: int, ranks: int, root: int = 0) -> list[int]:
    """Return a rank's children, those with the largest trees below them first."""
    place = (rank - root) % ranks
    bits = range(place.bit_length(), ranks.bit_length())
    return [(child + root) % ranks for bit in bits if (child := place + (1 << bit)) < ranks]


def bandwidth(shape: Shape, time_ps: int) -> tuple[float, float]:
    """Return S/t as algbw and busbw alike, as nccl-tests defines them."""
    rate = gbytes_per_s(shape.size_bytes, time_ps)
    return rate, rate


def broadcast_inputs(shape: Shape, seed: int) -> list[Vector]:
    """Return a vector for the root and nothing for the others."""
    drawn = Drawn(shape.count, shape.dtype, seed, shape.root)
    return [drawn if rank == shape.root else no_elements(shape) for rank in range(shape.ranks)]


def broadcast_schedule(shape: Shape) -> Schedule:
    """Let every rank pass on, slice by slice, what it receives; it sends S bytes to each child."""
    spans = slices(shape, (0, shape.count))
    result = result_after_input(shape, 0)
    ranks = []
    for rank in range(shape.ranks):
        ops = Ops(shape)
        source = 0 if rank == shape.root else result
        arrived: Ready = ()
        if rank != shape.root:
            arrived = ops.receive(parent(rank, shape.ranks, shape.root), spans, result)
        elif not shape.in_place:
            ops.copy(spans, result, 0)
        for child in children(rank, shape.ranks, shape.root):
            ops.send(child, spans, source, result, arrived)
        ranks.append(ops.schedule(result + shape.size_bytes))
    return whole(ranks)


def broadcast_expected(shape: Shape, vectors: Sequence[Vector]) -> list[Vector]:
    """Return the root's vector for every rank."""
    return [vectors[shape.root]] * shape.ranks


def _sum_offset(shape: Shape, rank: int) -> int:
    return 0 if shape.in_place and rank == shape.root else shape.size_bytes


def reduce_schedule(shape: Shape) -> Schedule:
    """Let every rank add its children's sums to its own values, and send what comes of it to its parent."""
    if shape.ranks == 1:
        return alone(shape)
    size, spans = shape.size_bytes, slices(shape, (0, shape.count))
    ranks = []
    for rank in range(shape.ranks):
        ops = Ops(shape)
        here, own = _sum_offset(shape, rank), 0
        done: Ready = ()
        below = children(rank, shape.ranks, shape.root)
        for number, child in enumerate(below):
            scratch = here + (number + 1) * size
            arrived = ops.receive(child, spans, scratch)
            last = rank == shape.root and child == below[-1]
            done = ops.reduce(spans, here, own, scratch, both(arrived, done), last)
            own = here
        if rank != shape.root:
            above = parent(rank, shape.ranks, shape.root)
            place = children(above, shape.ranks, shape.root).index(rank)
            ops.send(above, spans, own, _sum_offset(shape, above) + (place + 1) * size, done)
        ranks.append(ops.schedule(here + (len(below) + 1) * size))
    return whole(ranks)


def reduce_expected(shape: Shape, vectors: Sequence[Vector]) -> list[Elements]:
    """Return the sum, added up in the tree's order, for the root, and nothing to check for the others."""

    def total(rank: int) -> Elements:
        sum_ = vectors[rank][:]
        for child in children(rank, shape.ranks, shape.root):
            sum_ = shape.combine(sum_, total(child))
        return sum_

    result = shape.complete(total(shape.root))
    return [result if rank == shape.root else no_elements(shape) for rank in range(shape.ranks)]


BROADCAST = Collective(
    name="broadcast",
    algorithm="tree",
    about="the vector of the root on every rank, down a binomial tree",
    redop="none",
    root=0,
    in_place=True,
    inputs=broadcast_inputs,
    schedule=broadcast_schedule,
    result_offset=result_after_input,
    expected=broadcast_expected,
    bandwidth=bandwidth,
)

REDUCE = Collective(
    name="reduce",
    algorithm="tree",
    about="the sum of all vectors on the root, up a binomial tree",
    redop="sum",
    root=0,
    in_place=True,
    inputs=random_vectors,
    schedule=reduce_schedule,
    result_offset=_sum_offset,
    expected=reduce_expected,
    bandwidth=bandwidth,
)
