"""Ring all-reduce: n−1 steps of reduce-scatter, then n−1 of all-gather, each to the next rank.

With several channels each has a part of the vector, and a ring of its own through the ranks (`building.order_of`).

Chunk c starts at rank c, is added to by ranks c+1 … c+n−1 in turn, is complete there, and travels on once around.

Memory, S bytes each. Out of place: input, result, scratch. In place: input and result, scratch. Partial sums arrive in
the scratch, are added to there and are sent on from there; only complete sums enter the result. So every byte is
written by one message at most, and, out of place, none is written while a send of it is not acknowledged. In place the
first chunk a rank sends is overwritten by its complete sum. That sum was computed from all that the send delivered, so
only a copy can still be under way, and a queue pair discards copies.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.traffic.arrays import np
from testbed.traffic.building import Ops, alone, chunks, order_of, ring_gather, ring_reduce, share, sliced_chunks, whole
from testbed.traffic.collective import Collective, Shape, gbytes_per_s, random_vectors, result_after_input
from testbed.traffic.elements import DTYPES, Elements
from testbed.traffic.schedule import Schedule
from testbed.traffic.vectors import Vector


def schedule(shape: Shape) -> Schedule:
    """Return the ring's schedule; every rank sends 2S(n−1)/n bytes if n divides the count."""
    if shape.ranks == 1:
        return alone(shape)
    rings = [(order_of(shape, channel), sliced_chunks(shape, channel)) for channel in range(shape.channels)]
    ranks = []
    for rank in range(shape.ranks):
        result = result_after_input(shape, rank)
        ops = Ops(shape)
        for ops.channel, (ring, parts) in enumerate(rings):
            place = ring.index(rank)
            done, ready = ring_reduce(ops, ring, place, parts, place, (0, result + shape.size_bytes, result))
            ring_gather(ops, ring, place, parts, done, (result, result), ready)
        ranks.append(ops.schedule(shape.size_bytes * (2 if shape.in_place else 3)))
    return whole(ranks)


def expected(shape: Shape, vectors: Sequence[Vector]) -> list[Elements]:
    """Return the sum, the same for all ranks, added up in the ring's order so that float results agree to the bit."""
    total = np.empty(shape.count, DTYPES[shape.dtype])
    for channel in range(shape.channels):
        ring = order_of(shape, channel)
        begin, end = share(shape, (0, shape.count), channel)
        for chunk, (first, last) in enumerate(chunks(end - begin, shape.ranks)):
            here = slice(begin + first, begin + last)
            added = vectors[ring[chunk]][here]
            for step in range(1, shape.ranks):
                added = shape.combine(added, vectors[ring[(chunk + step) % shape.ranks]][here])
            total[here] = shape.complete(added)
    return [total] * shape.ranks


def bandwidth(shape: Shape, time_ps: int) -> tuple[float, float]:
    """Return algbw = S/t and busbw = algbw · 2(n−1)/n, as nccl-tests defines them."""
    algbw = gbytes_per_s(shape.size_bytes, time_ps)
    return algbw, algbw * 2 * (shape.ranks - 1) / shape.ranks


RING_ALL_REDUCE = Collective(
    name="all_reduce",
    algorithm="ring",
    about="sum of all vectors on every rank, in a ring: the least data a link for large sizes",
    redop="sum",
    root=-1,
    in_place=True,
    inputs=random_vectors,
    schedule=schedule,
    result_offset=result_after_input,
    expected=expected,
    bandwidth=bandwidth,
    channels=True,
)
