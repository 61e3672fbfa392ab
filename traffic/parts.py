"""Collectives on vectors of one equal part a rank: all-gather and reduce-scatter around a ring, all-to-all in pairs.

S is the length of the whole vector, P = S/n that of a part. Memory, out of place: input, result, and for sums a scratch
of S. In place an all-gather's input is the rank's own part of the result, and a reduce-scatter's result that of the input.
Every byte is written by one message at most. A sum overwrites only what the rank itself does not send.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.traffic.arrays import np
from testbed.traffic.building import (
    Ops,
    Ready,
    Span,
    alone,
    both,
    order_of,
    ring_gather,
    ring_reduce,
    share,
    sliced_chunks,
    slices,
    whole,
)
from testbed.traffic.collective import Collective, Shape, gbytes_per_s, random_vectors
from testbed.traffic.elements import Elements
from testbed.traffic.schedule import Schedule
from testbed.traffic.vectors import Drawn, Joined, Vector


def check(shape: Shape) -> None:
    """Raise ValueError for a vector that cannot be divided."""
    if shape.count % shape.ranks:
        raise ValueError(f"{shape.count} elements are not one equal part for each of {shape.ranks} ranks")


def part(shape: Shape, vector: Vector, rank: int) -> Elements:
    """Return a rank's part of a vector."""
    length = shape.count // shape.ranks
    return vector[rank * length : (rank + 1) * length]


def bandwidth(shape: Shape, time_ps: int) -> tuple[float, float]:
    """Return algbw = S/t and busbw = algbw · (n−1)/n, as nccl-tests defines them."""
    algbw = gbytes_per_s(shape.size_bytes, time_ps)
    return algbw, algbw * (shape.ranks - 1) / shape.ranks


def _ring(shape: Shape, channel: int) -> tuple[list[int], list[list[Span]]]:
    """Return the ranks in the order of a channel, and of the part of each in that order what the channel has of it."""
    ring, length = order_of(shape, channel), shape.count // shape.ranks
    return ring, [slices(shape, share(shape, (rank * length, (rank + 1) * length), channel)) for rank in ring]


def gather_inputs(shape: Shape, seed: int) -> list[Vector]:
    """Return a part of small whole numbers for each rank."""
    return [Drawn(shape.count // shape.ranks, shape.dtype, seed, rank) for rank in range(shape.ranks)]


def gather_input_offset(shape: Shape, rank: int) -> int:
    """Return where a rank's part lies: by itself, or in its place of the result."""
    return rank * shape.part_bytes if shape.in_place else 0


def gather_result_offset(shape: Shape, rank: int) -> int:
    """Return where the result lies."""
    return 0 if shape.in_place else shape.part_bytes


def gather_schedule(shape: Shape) -> Schedule:
    """Pass every rank's part once around the ring; every rank sends S(n−1)/n bytes in n−1 steps."""
    check(shape)
    ranks = []
    for rank in range(shape.ranks):
        result = gather_result_offset(shape, rank)
        source = gather_input_offset(shape, rank) - rank * shape.part_bytes
        ops = Ops(shape)
        for ops.channel in range(shape.channels):
            ring, parts = _ring(shape, ops.channel)
            place = ring.index(rank)
            if not shape.in_place:
                ops.copy(parts[place], result, source)
            ring_gather(ops, ring, place, parts, place, (source, result))
        ranks.append(ops.schedule(result + shape.size_bytes))
    return whole(ranks)


def gather_expected(shape: Shape, vectors: Sequence[Vector]) -> list[Vector]:
    """Return the parts of all ranks, one after the other, for every rank."""
    return [Joined([(vector, 0, len(vector)) for vector in vectors])] * shape.ranks


def scatter_result_offset(shape: Shape, rank: int) -> int:
    """Return where a rank's part of the sum lies: after the input, or in its place of it."""
    return rank * shape.part_bytes if shape.in_place else shape.size_bytes


def scatter_schedule(shape: Shape) -> Schedule:
    """Add part r up around the ring from rank r+1 to rank r; every rank sends S(n−1)/n bytes in n−1 steps."""
    check(shape)
    if shape.ranks == 1:
        return alone(shape)
    ranks = []
    for rank in range(shape.ranks):
        scratch = shape.size_bytes if shape.in_place else shape.size_bytes + shape.part_bytes
        target = scatter_result_offset(shape, rank) - rank * shape.part_bytes
        ops = Ops(shape)
        for ops.channel in range(shape.channels):
            ring, parts = _ring(shape, ops.channel)
            place = ring.index(rank)
            ring_reduce(ops, ring, place, parts, place - 1, (0, scratch, target))
        ranks.append(ops.schedule(scratch + shape.size_bytes))
    return whole(ranks)


def scatter_expected(shape: Shape, vectors: Sequence[Vector]) -> list[Elements]:
    """Return every rank's part of the sum, added up in the ring's order."""
    results = []
    for rank in range(shape.ranks):
        sums = []
        for channel in range(shape.channels):
            ring = order_of(shape, channel)
            place = ring.index(rank)
            here = slice(*share(shape, (0, shape.count // shape.ranks), channel))
            total = part(shape, vectors[ring[(place + 1) % shape.ranks]], rank)[here]
            for step in range(2, shape.ranks + 1):
                total = shape.combine(total, part(shape, vectors[ring[(place + step) % shape.ranks]], rank)[here])
            sums.append(shape.complete(total))
        results.append(np.concatenate(sums))
    return results


def exchange_schedule(shape: Shape) -> Schedule:
    """Let rank r send its part k to rank k: in step s to the s-th rank after it, once the step before has arrived.

    Every rank sends S(n−1)/n bytes in n−1 steps.
    """
    check(shape)
    parts, result = sliced_chunks(shape), shape.size_bytes
    ranks = []
    for rank in range(shape.ranks):
        ops = Ops(shape)
        ops.copy(parts[rank], result, 0)
        arrived: Ready = ()
        for step in range(1, shape.ranks):
            to, source = (rank + step) % shape.ranks, (rank - step) % shape.ranks
            ops.send(to, parts[to], 0, result + (rank - to) * shape.part_bytes, arrived)
            arrived = both(ops.receive(source, parts[source], result), ())
        ranks.append(ops.schedule(2 * shape.size_bytes))
    return whole(ranks)


def exchange_expected(shape: Shape, vectors: Sequence[Vector]) -> list[Vector]:
    """Return for rank r the parts r of all ranks, one after the other."""
    length = shape.count // shape.ranks
    return [Joined([(vector, rank * length, (rank + 1) * length) for vector in vectors]) for rank in range(shape.ranks)]


ALL_GATHER = Collective(
    name="all_gather",
    algorithm="ring",
    about="the parts of all ranks on every rank, in a ring",
    redop="none",
    root=-1,
    in_place=True,
    inputs=gather_inputs,
    schedule=gather_schedule,
    result_offset=gather_result_offset,
    expected=gather_expected,
    bandwidth=bandwidth,
    input_offset=gather_input_offset,
    check=check,
    parts=True,
    channels=True,
)

REDUCE_SCATTER = Collective(
    name="reduce_scatter",
    algorithm="ring",
    about="one part of the sum of all vectors on each rank, in a ring",
    redop="sum",
    root=-1,
    in_place=True,
    inputs=random_vectors,
    schedule=scatter_schedule,
    result_offset=scatter_result_offset,
    expected=scatter_expected,
    bandwidth=bandwidth,
    check=check,
    parts=True,
    channels=True,
)

ALL_TO_ALL = Collective(
    name="all_to_all",
    algorithm="pairwise",
    about="a part from every rank to every other, a pair of ranks at a time",
    redop="none",
    root=-1,
    in_place=False,
    inputs=random_vectors,
    schedule=exchange_schedule,
    result_offset=lambda shape, rank: shape.size_bytes,
    expected=exchange_expected,
    bandwidth=bandwidth,
    check=check,
    parts=True,
)
