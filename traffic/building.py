"""What schedules are built from: vectors cut into chunks and slices, the ops of one rank in order, and rings.

A span is (byte offset, bytes). Spans of a vector are relative to where the vector begins, so that one list of them serves
source, scratch and target, each with a base of its own. A ready list names for each span the ops that it has to wait for;
an empty one stands for nothing to wait for.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from traffic.collective import Shape
from traffic.schedule import Copy, Op, RankSchedule, Recv, Reduce, Schedule, Send

Span = tuple[int, int]
Ready = Sequence[tuple[int, ...]]


def chunks(count: int, ranks: int) -> list[Span]:
    """Divide `count` elements into one chunk a rank, as (first, end); lengths differ by one at most, and may be 0."""
    bounds = [rank * (count // ranks) + min(rank, count % ranks) for rank in range(ranks + 1)]
    return list(itertools.pairwise(bounds))


def slices(shape: Shape, chunk: Span) -> list[Span]:
    """Divide a chunk into slices of at most `slice_bytes`, as spans; none for an empty chunk."""
    width = shape.element_bytes
    first, end = chunk[0] * width, chunk[1] * width
    step = shape.slice_bytes // width * width if shape.slice_bytes else max(end - first, 1)
    return [(offset, min(step, end - offset)) for offset in range(first, end, step)]


def sliced_chunks(shape: Shape) -> list[list[Span]]:
    """Return the slices of one chunk a rank."""
    return [slices(shape, chunk) for chunk in chunks(shape.count, shape.ranks)]


def both(one: Ready, other: Ready) -> Ready:
    """Wait for both."""
    if not one or not other:
        return one or other
    return [(*a, *b) for a, b in zip(one, other, strict=True)]


class Ops:
    """The ops of one rank, in the order in which they are added; all of them go slice by slice."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.ops: list[Op] = []

    def schedule(self, memory_bytes: int) -> RankSchedule:
        """Return the ops, with a memory if the ranks have any."""
        return RankSchedule(memory_bytes if self.shape.payload else 0, tuple(self.ops))

    def _add(self, op: Op) -> tuple[int, ...]:
        self.ops.append(op)
        return (len(self.ops) - 1,)

    def send(self, peer: int, spans: Sequence[Span], source: int, target: int, ready: Ready = ()) -> Ready:
        """Send spans at `source` to where `target` is at the peer."""
        waits = ready or [()] * len(spans)
        return [
            self._add(Send(peer, source + offset, length, target + offset, requires=wait))
            for (offset, length), wait in zip(spans, waits, strict=True)
        ]

    def receive(self, peer: int, spans: Sequence[Span], target: int) -> Ready:
        """Wait for spans from the peer to arrive at `target`."""
        return [self._add(Recv(peer, target + offset, length)) for offset, length in spans]

    def reduce(self, spans: Sequence[Span], dst: int, lhs: int, rhs: int, ready: Ready) -> Ready:
        """Add up what is at `lhs` and `rhs` into `dst`."""
        waits = ready or [()] * len(spans)
        width, dtype = self.shape.element_bytes, self.shape.dtype
        return [
            self._add(Reduce(dtype, "sum", dst + at, lhs + at, rhs + at, length // width, requires=wait))
            for (at, length), wait in zip(spans, waits, strict=True)
        ]

    def copy(self, spans: Sequence[Span], dst: int, src: int) -> None:
        """Copy what is at `src` to `dst`, at once."""
        for offset, length in spans:
            self._add(Copy(dst + offset, src + offset, length))


def whole(ranks: Sequence[RankSchedule]) -> Schedule:
    """Return the schedule of all ranks."""
    return Schedule(tuple(ranks))


def ring_reduce(
    ops: Ops,
    ring: Sequence[int],
    place: int,
    parts: Sequence[Sequence[Span]],
    first: int,
    bases: tuple[int, int, int],
    ready: Sequence[Ready] = (),
) -> tuple[int, Ready]:
    """Add up the parts around a ring of ranks; return the one that is complete here, and when.

    This rank is at `place`. It begins with part `first`, and its last sum is of part `first` + 1. `bases`: where its own
    values are, the scratch that partial sums arrive in and leave from, and the target of the complete sum. `ready`: when
    the own values of each part are there.
    """
    own, scratch, target = bases
    waits = ready or [()] * len(parts)
    following, previous = ring[(place + 1) % len(ring)], ring[(place - 1) % len(ring)]
    part = first % len(parts)
    ops.send(following, parts[part], own, scratch, waits[part])
    done: Ready = ()
    for step in range(len(ring) - 1):
        part = (part - 1) % len(parts)
        arrived = both(ops.receive(previous, parts[part], scratch), waits[part])
        if step < len(ring) - 2:
            done = ops.reduce(parts[part], scratch, own, scratch, arrived)
            ops.send(following, parts[part], scratch, scratch, done)
        else:
            done = ops.reduce(parts[part], target, own, scratch, arrived)
    return part, done


def ring_gather(
    ops: Ops,
    ring: Sequence[int],
    place: int,
    parts: Sequence[Sequence[Span]],
    part: int,
    bases: tuple[int, int],
    ready: Ready = (),
) -> list[Ready]:
    """Pass every part once around a ring, this rank beginning with `part`; return when each of them is there.

    `bases`: where the first part is sent from, and where all parts arrive and are passed on from.
    """
    source, target = bases
    following, previous = ring[(place + 1) % len(ring)], ring[(place - 1) % len(ring)]
    found: list[Ready] = [()] * len(parts)
    found[part] = ready
    ops.send(following, parts[part], source, target, ready)
    for step in range(len(ring) - 1):
        part = (part - 1) % len(parts)
        found[part] = ops.receive(previous, parts[part], target)
        if step < len(ring) - 2:
            ops.send(following, parts[part], target, target, found[part])
    return found
