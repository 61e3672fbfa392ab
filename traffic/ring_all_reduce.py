"""Ring all-reduce: n−1 steps of reduce-scatter, then n−1 of all-gather, each to the next rank.

Chunk c starts at rank c, is added to by ranks c+1 … c+n−1 in turn, is complete there, and travels on once around.

Memory, S bytes each. Out of place: input, result, scratch. In place: input and result, scratch. Partial sums arrive in
the scratch, are added to there and are sent on from there; only complete sums enter the result. So every byte is
written by one message at most, and, out of place, none is written while a send of it is not acknowledged. In place the
first chunk a rank sends is overwritten by its complete sum. That sum was computed from all that the send delivered, so
only a copy can still be under way, and a queue pair discards copies.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from traffic.collective import Collective, Elements, Shape, gbytes_per_s, random_elements
from traffic.schedule import DTYPES, Op, RankSchedule, Recv, Reduce, Schedule, Send

Span = tuple[int, int]


def chunks(count: int, ranks: int) -> list[Span]:
    """Divide `count` elements into one chunk a rank, as (first, end); lengths differ by one at most, and may be 0."""
    bounds = [rank * (count // ranks) + min(rank, count % ranks) for rank in range(ranks + 1)]
    return list(itertools.pairwise(bounds))


def slices(shape: Shape, chunk: Span) -> list[Span]:
    """Divide a chunk into slices of at most `slice_bytes`, as (byte offset, bytes); none for an empty chunk."""
    width = shape.element_bytes
    first, end = chunk[0] * width, chunk[1] * width
    step = shape.slice_bytes // width * width if shape.slice_bytes else max(end - first, 1)
    return [(offset, min(step, end - offset)) for offset in range(first, end, step)]


def result_offset(shape: Shape) -> int:
    """Return where the result lies: after the input, or upon it."""
    return 0 if shape.in_place else shape.size_bytes


def schedule(shape: Shape) -> Schedule:
    """Return the ring's schedule; every rank sends 2S(n−1)/n bytes if n divides the count."""
    parts = [slices(shape, chunk) for chunk in chunks(shape.count, shape.ranks)]
    memory_bytes = shape.size_bytes * (2 if shape.in_place else 3)
    if not shape.payload:
        raise ValueError("an all-reduce needs payload: there is nothing to add in lengths")
    return Schedule(tuple(RankSchedule(memory_bytes, _rank_ops(shape, parts, rank)) for rank in range(shape.ranks)))


def _rank_ops(shape: Shape, parts: Sequence[Sequence[Span]], rank: int) -> tuple[Op, ...]:
    n = shape.ranks
    following, previous = (rank + 1) % n, (rank - 1) % n
    result = result_offset(shape)
    scratch = result + shape.size_bytes
    ops: list[Op] = []

    def send(chunk: int, source: int, target: int, ready: Sequence[int]) -> None:
        for number, (offset, length) in enumerate(parts[chunk % n]):
            requires = (ready[number],) if ready else ()
            ops.append(Send(following, source + offset, length, target + offset, requires=requires))

    def receive(chunk: int, target: int) -> list[int]:
        first = len(ops)
        ops.extend(Recv(previous, target + offset, length) for offset, length in parts[chunk % n])
        return list(range(first, len(ops)))

    def reduce(chunk: int, target: int, arrived: Sequence[int]) -> list[int]:
        first = len(ops)
        for (offset, length), recv in zip(parts[chunk % n], arrived, strict=True):
            count = length // shape.element_bytes
            ops.append(Reduce(shape.dtype, "sum", target + offset, offset, scratch + offset, count, requires=(recv,)))
        return list(range(first, len(ops)))

    send(rank, 0, scratch, [])
    for step in range(n - 1):
        chunk = rank - step - 1
        arrived = receive(chunk, scratch)
        if step < n - 2:
            send(chunk, scratch, scratch, reduce(chunk, scratch, arrived))
        else:
            send(chunk, result, result, reduce(chunk, result, arrived))
    for step in range(n - 1):
        arrived = receive(rank - step, result)
        if step < n - 2:
            send(rank - step, result, result, arrived)
    return tuple(ops)


def inputs(shape: Shape, seed: int) -> list[Elements]:
    """Return one vector of small whole numbers a rank."""
    return [random_elements(shape.count, shape.dtype, seed, rank) for rank in range(shape.ranks)]


def expected(shape: Shape, vectors: Sequence[Elements]) -> list[Elements]:
    """Return the sum, the same for all ranks, added up in the ring's order so that float results agree to the bit."""
    total = np.empty(shape.count, DTYPES[shape.dtype])
    with np.errstate(over="ignore", invalid="ignore"):
        for chunk, (first, end) in enumerate(chunks(shape.count, shape.ranks)):
            total[first:end] = vectors[chunk][first:end]
            for step in range(1, shape.ranks):
                total[first:end] += vectors[(chunk + step) % shape.ranks][first:end]
    return [total] * shape.ranks


def bandwidth(shape: Shape, time_ps: int) -> tuple[float, float]:
    """Return algbw = S/t and busbw = algbw · 2(n−1)/n, as nccl-tests defines them."""
    algbw = gbytes_per_s(shape.size_bytes, time_ps)
    return algbw, algbw * 2 * (shape.ranks - 1) / shape.ranks


RING_ALL_REDUCE = Collective(
    name="all_reduce",
    algorithm="ring",
    redop="sum",
    root=-1,
    in_place=True,
    inputs=inputs,
    schedule=schedule,
    result_offset=result_offset,
    expected=expected,
    bandwidth=bandwidth,
)
