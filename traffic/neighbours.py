"""Send-receive around a ring, and a barrier by dissemination.

In a barrier of n ranks round k is a message of one element to the rank 2^k further on, sent once those of all rounds before
have arrived; after ceil(log2 n) rounds every rank has heard of every other (Hensgen, Finkel and Manber, 1988). What a rank
sends is its own element, so that what has arrived shows who was heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from testbed.traffic.building import Ops, Ready, alone, both, slices, whole
from testbed.traffic.collective import Collective, Shape, gbytes_per_s, random_vectors
from testbed.traffic.schedule import Schedule
from testbed.traffic.vectors import Joined, Vector


def exchange_schedule(shape: Shape) -> Schedule:
    """Let every rank send its vector to the next and receive that of the one before."""
    if shape.ranks == 1:
        return alone(shape)
    spans, size = slices(replace(shape, slice_bytes=None), (0, shape.count)), shape.size_bytes
    ranks = []
    for rank in range(shape.ranks):
        ops = Ops(shape)
        ops.send((rank + 1) % shape.ranks, spans, 0, size)
        ops.receive((rank - 1) % shape.ranks, spans, size)
        ranks.append(ops.schedule(2 * size))
    return whole(ranks)


def exchange_expected(shape: Shape, vectors: Sequence[Vector]) -> list[Vector]:
    """Return for every rank the vector of the one before it."""
    return [vectors[rank - 1] for rank in range(shape.ranks)]


def exchange_bandwidth(shape: Shape, time_ps: int) -> tuple[float, float]:
    """Return S/t as algbw and busbw alike, as nccl-tests defines them."""
    rate = gbytes_per_s(shape.size_bytes, time_ps)
    return rate, rate


def rounds(ranks: int) -> list[int]:
    """Return how far each round of a barrier reaches."""
    return [1 << bit for bit in range((ranks - 1).bit_length())]


def barrier_schedule(shape: Shape) -> Schedule:
    """Let no rank go on before all have begun."""
    spans, width = slices(shape, (0, shape.count)), shape.size_bytes
    ranks = []
    for rank in range(shape.ranks):
        ops = Ops(shape)
        arrived: Ready = ()
        for number, reach in enumerate(rounds(shape.ranks)):
            target = (number + 1) * width
            ops.send((rank + reach) % shape.ranks, spans, 0, target, arrived)
            arrived = both(ops.receive((rank - reach) % shape.ranks, spans, target), arrived)
        ranks.append(ops.schedule((1 + len(rounds(shape.ranks))) * width))
    return whole(ranks)


def barrier_expected(shape: Shape, vectors: Sequence[Vector]) -> list[Vector]:
    """Return for every rank the elements of those that it heard, round by round."""
    results: list[Vector] = []
    for rank in range(shape.ranks):
        arrived = [vectors[(rank - reach) % shape.ranks] for reach in rounds(shape.ranks)] or [vectors[rank][:0]]
        results.append(Joined([(vector, 0, len(vector)) for vector in arrived]))
    return results


SENDRECV = Collective(
    name="sendrecv",
    algorithm="direct",
    about="the vector of each rank on the next, around a ring",
    redop="none",
    root=-1,
    in_place=False,
    inputs=random_vectors,
    schedule=exchange_schedule,
    result_offset=lambda shape, rank: shape.size_bytes,
    expected=exchange_expected,
    bandwidth=exchange_bandwidth,
)

BARRIER = Collective(
    name="barrier",
    algorithm="dissemination",
    about="no rank goes on before all have begun: an element to and from log2(ranks) others in turn",
    redop="none",
    root=-1,
    in_place=False,
    inputs=random_vectors,
    schedule=barrier_schedule,
    result_offset=lambda shape, rank: shape.size_bytes,
    expected=barrier_expected,
    bandwidth=lambda shape, time_ps: (0.0, 0.0),
    has_size=False,
)
