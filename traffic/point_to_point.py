"""Patterns of single messages: incast (all to the root) and permutation (each to one other)."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.traffic.collective import Collective, Shape, gbytes_per_s, no_elements
from testbed.traffic.elements import Elements
from testbed.traffic.schedule import RankSchedule, Recv, Schedule, Send
from testbed.traffic.vectors import Drawn, Joined, Vector


def _senders(shape: Shape) -> list[int]:
    return [rank for rank in range(shape.ranks) if rank != shape.root]


def incast_schedule(shape: Shape) -> Schedule:
    """Let all ranks but the root each write their vector to it, into a region per sender, all at once."""
    size, senders = shape.size_bytes, _senders(shape)
    ranks = [RankSchedule(0, ())] * shape.ranks
    if size:
        receives = tuple(Recv(sender, place * size, size) for place, sender in enumerate(senders))
        ranks[shape.root] = RankSchedule(size * len(senders) * shape.payload, receives)
        for place, sender in enumerate(senders):
            ranks[sender] = RankSchedule(size * shape.payload, (Send(shape.root, 0, size, place * size),))
    return Schedule(tuple(ranks))


def incast_inputs(shape: Shape, seed: int) -> list[Vector]:
    """Return a vector for every sender and nothing for the receiver."""
    return [
        no_elements(shape) if rank == shape.root else Drawn(shape.count, shape.dtype, seed, rank)
        for rank in range(shape.ranks)
    ]


def incast_expected(shape: Shape, vectors: Sequence[Vector]) -> list[Vector]:
    """Return the senders' vectors, one after the other, for the root, and nothing to check for the senders."""
    joined = Joined([(vectors[sender], 0, len(vectors[sender])) for sender in _senders(shape)])
    return [joined if rank == shape.root else no_elements(shape) for rank in range(shape.ranks)]


def incast_bandwidth(shape: Shape, time_ps: int) -> tuple[float, float]:
    """Return the rate at which the root received from all senders together, as algbw and busbw alike."""
    rate = gbytes_per_s(shape.size_bytes * (shape.ranks - 1), time_ps)
    return rate, rate


def permutation(ranks: int, size_bytes: int, shift: int) -> Schedule:
    """Let every rank i send `size_bytes`, lengths only, to rank (i + shift) mod `ranks`.

    Raises ValueError for a shift that makes ranks send to themselves.
    """
    if shift % ranks == 0:
        raise ValueError(f"a shift by {shift} among {ranks} ranks sends every rank to itself")
    if size_bytes == 0:
        return Schedule((RankSchedule(0, ()),) * ranks)
    return Schedule(
        tuple(
            RankSchedule(
                0, (Send((rank + shift) % ranks, 0, size_bytes, 0), Recv((rank - shift) % ranks, 0, size_bytes))
            )
            for rank in range(ranks)
        )
    )


def permutation_schedule(shape: Shape) -> Schedule:
    """Pair every rank with the one half the way around."""
    return permutation(shape.ranks, shape.size_bytes, shape.ranks // 2)


def permutation_bandwidth(shape: Shape, time_ps: int) -> tuple[float, float]:
    """Return the rate of one rank, as algbw and busbw alike."""
    rate = gbytes_per_s(shape.size_bytes, time_ps)
    return rate, rate


def _nothing(shape: Shape) -> list[Elements]:
    return [no_elements(shape)] * shape.ranks


INCAST = Collective(
    name="incast",
    algorithm="direct",
    about="a pattern: every other rank sends to the root at the same time",
    redop="none",
    root=0,
    in_place=False,
    inputs=incast_inputs,
    schedule=incast_schedule,
    result_offset=lambda shape, rank: 0,
    expected=incast_expected,
    bandwidth=incast_bandwidth,
    least=2,
)

PERMUTATION = Collective(
    name="permutation",
    algorithm="direct",
    about="a pattern: every rank sends to one other and receives from one other",
    redop="none",
    root=-1,
    in_place=False,
    inputs=lambda shape, seed: _nothing(shape),
    schedule=permutation_schedule,
    result_offset=lambda shape, rank: 0,
    expected=lambda shape, vectors: _nothing(shape),
    bandwidth=permutation_bandwidth,
    least=2,
)
