"""Patterns of single messages: incast (all to rank 0) and permutation (each to one other)."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.traffic.collective import Collective, Shape, gbytes_per_s, no_elements
from testbed.traffic.schedule import RankSchedule, Recv, Schedule, Send
from testbed.traffic.vectors import Drawn, Elements, Joined, Vector


def incast_schedule(shape: Shape) -> Schedule:
    """Let ranks 1 … n−1 each write their vector to rank 0, into a region per sender, all at once."""
    size = shape.size_bytes
    senders = range(1, shape.ranks)
    receiver = RankSchedule(
        size * len(senders) * shape.payload, tuple(Recv(sender, (sender - 1) * size, size) for sender in senders)
    )
    return Schedule(
        (receiver, *(RankSchedule(size * shape.payload, (Send(0, 0, size, (s - 1) * size),)) for s in senders))
    )


def incast_inputs(shape: Shape, seed: int) -> list[Vector]:
    """Return a vector for every sender and nothing for the receiver."""
    return [
        no_elements(shape),
        *(Drawn(shape.count, shape.dtype, seed, rank) for rank in range(1, shape.ranks)),
    ]


def incast_expected(shape: Shape, vectors: Sequence[Vector]) -> list[Vector]:
    """Return the senders' vectors, one after the other, for rank 0, and nothing to check for the senders."""
    return [Joined([(vector, 0, len(vector)) for vector in vectors[1:]]), *([no_elements(shape)] * (shape.ranks - 1))]


def incast_bandwidth(shape: Shape, time_ps: int) -> tuple[float, float]:
    """Return the rate at which rank 0 received from all senders together, as algbw and busbw alike."""
    rate = gbytes_per_s(shape.size_bytes * (shape.ranks - 1), time_ps)
    return rate, rate


def permutation(ranks: int, size_bytes: int, shift: int) -> Schedule:
    """Let every rank i send `size_bytes`, lengths only, to rank (i + shift) mod `ranks`.

    Raises ValueError for a shift that makes ranks send to themselves.
    """
    if shift % ranks == 0:
        raise ValueError(f"a shift by {shift} among {ranks} ranks sends every rank to itself")
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
    about="a pattern: every other rank sends to rank 0 at the same time",
    redop="none",
    root=0,
    in_place=False,
    inputs=incast_inputs,
    schedule=incast_schedule,
    result_offset=lambda shape, rank: 0,
    expected=incast_expected,
    bandwidth=incast_bandwidth,
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
)
