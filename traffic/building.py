"""What schedules are built from: vectors cut into chunks and slices, the ops of one rank in order, and rings.

A span is (byte offset, bytes). Spans of a vector are relative to where the vector begins, so that one list of them serves
source, scratch and target, each with a base of its own. A ready list names for each span the ops that it has to wait for;
an empty one stands for nothing to wait for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from testbed.traffic.collective import Shape, result_after_input
from testbed.traffic.schedule import Copy, Op, RankSchedule, Recv, Reduce, Schedule, Send

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


def share(shape: Shape, chunk: Span, channel: int) -> Span:
    """Return what a channel has of a chunk."""
    first, end = chunks(chunk[1] - chunk[0], shape.channels)[channel]
    return chunk[0] + first, chunk[0] + end


def sliced_chunks(shape: Shape, channel: int = 0) -> list[list[Span]]:
    """Return the slices of one chunk a rank, of what a channel has of the vector."""
    begin, end = share(shape, (0, shape.count), channel)
    return [slices(shape, (begin + first, begin + last)) for first, last in chunks(end - begin, shape.ranks)]


def order_of(shape: Shape, channel: int) -> list[int]:
    """Return the ranks in the order of a channel: host by host, those of each host from the channel's own on.

    So the ring of channel c comes to each host by the rank whose rail is c, and every rail has a ring.
    """
    own = shape.local_ranks
    return [first + (channel + step) % own for first in range(0, shape.ranks, own) for step in range(own)]


def unsliced_chunks(shape: Shape) -> list[list[Span]]:
    """Return one chunk a rank, each as a whole: what nobody passes on gains nothing by slices."""
    return sliced_chunks(replace(shape, slice_bytes=None))


def both(one: Ready, other: Ready) -> Ready:
    """Wait for both."""
    if not one or not other:
        return one or other
    return [(*a, *b) for a, b in zip(one, other, strict=True)]


class Ops:
    """The ops of one rank, in the order in which they are added, messages on `channel`; all of them go slice by slice."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.channel = 0
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
            self._add(Send(peer, source + offset, length, target + offset, requires=wait, channel=self.channel))
            for (offset, length), wait in zip(spans, waits, strict=True)
        ]

    def receive(self, peer: int, spans: Sequence[Span], target: int) -> Ready:
        """Wait for spans from the peer to arrive at `target`."""
        return [self._add(Recv(peer, target + offset, length, channel=self.channel)) for offset, length in spans]

    def reduce(self, spans: Sequence[Span], dst: int, lhs: int, rhs: int, ready: Ready, last: bool = False) -> Ready:
        """Combine what is at `lhs` and `rhs` into `dst`; the `last` time the vectors of all ranks are then in it."""
        waits = ready or [()] * len(spans)
        width, dtype = self.shape.element_bytes, self.shape.dtype
        redop, divisor = self.shape.redop, 1
        if redop == "avg":
            redop, divisor = "sum", self.shape.ranks if last else 1
        return [
            self._add(Reduce(dtype, redop, dst + at, lhs + at, rhs + at, length // width, wait, divisor))
            for (at, length), wait in zip(spans, waits, strict=True)
        ]

    def copy(self, spans: Sequence[Span], dst: int, src: int) -> None:
        """Copy what is at `src` to `dst`, at once."""
        for offset, length in spans:
            self._add(Copy(dst + offset, src + offset, length))


def whole(ranks: Sequence[RankSchedule]) -> Schedule:
    """Return the schedule of all ranks."""
    return Schedule(tuple(ranks))


def alone(shape: Shape) -> Schedule:
    """Return the schedule of a rank that has no other: its result, after the input or in place, is its input."""
    ops = Ops(shape)
    result = result_after_input(shape, 0)
    if result:
        ops.copy(slices(shape, (0, shape.count)), result, 0)
    return whole([ops.schedule(result + shape.size_bytes)])


Order = Callable[[int, int], Iterable[tuple[int, int]]]
"""Given the steps of a ring and the slices of a part: in which order the slices of all steps leave, as (step, slice)."""


def by_step(steps: int, count: int) -> Iterable[tuple[int, int]]:
    """Order the slices of a step before those of the next."""
    return itertools.product(range(steps), range(count))


def by_slice(steps: int, count: int) -> Iterable[tuple[int, int]]:
    """Order each slice a step behind the one before it, so that the first is all around before the last has begun.

    Sends to a peer leave in their order, ready or not. In this one a slice never stands behind a step of another that
    cannot be ready yet, neither where slices come one after the other nor where all are there at once.
    """
    for tick in range(steps + count - 1):
        for step in reversed(range(max(0, tick - count + 1), min(steps, tick + 1))):
            yield step, tick - step


def ring_reduce(
    ops: Ops,
    ring: Sequence[int],
    place: int,
    parts: Sequence[Sequence[Span]],
    first: int,
    bases: tuple[int, int, int],
    ready: Sequence[Ready] = (),
    order: Order = by_step,
    last: bool = True,
) -> tuple[int, Ready]:
    """Add up the parts around a ring of ranks; return the one that is complete here, and when.

    This rank is at `place`. It begins with part `first`, and its last sum is of part `first` + 1. `bases`: where its own
    values are, the scratch that partial sums arrive in and leave from, and the target of the complete sum. `ready`: when
    the own values of each part are there. `last`: whether the ring has all ranks, or what they have come to.
    """
    own, scratch, target = bases
    waits = ready or [()] * len(parts)
    following, previous = ring[(place + 1) % len(ring)], ring[(place - 1) % len(ring)]
    steps = len(ring) - 1
    summed = [list(waits[first % len(parts)]), *([] for _ in range(steps))]
    for step, index in order(steps, max(map(len, parts))):
        here = slice(index, index + 1)
        leaves, comes = (first - step) % len(parts), (first - step - 1) % len(parts)
        ops.send(following, parts[leaves][here], scratch if step else own, scratch, summed[step][here])
        arrived = both(ops.receive(previous, parts[comes][here], scratch), waits[comes][here])
        ends = step == steps - 1
        into = target if ends else scratch
        summed[step + 1] += ops.reduce(parts[comes][here], into, own, scratch, arrived, last and ends)
    return (first - steps) % len(parts), summed[steps]


def ring_gather(
    ops: Ops,
    ring: Sequence[int],
    place: int,
    parts: Sequence[Sequence[Span]],
    part: int,
    bases: tuple[int, int],
    ready: Ready = (),
    order: Order = by_step,
) -> list[Ready]:
    """Pass every part once around a ring, this rank beginning with `part`; return when each of them is there.

    `bases`: where the first part is sent from, and where all parts arrive and are passed on from.
    """
    source, target = bases
    following, previous = ring[(place + 1) % len(ring)], ring[(place - 1) % len(ring)]
    done_by_part: list[list[tuple[int, ...]]] = [[] for _ in parts]
    done_by_part[part] += ready
    steps = len(ring) - 1
    for step, index in order(steps, max(map(len, parts))):
        here = slice(index, index + 1)
        leaves, comes = (part - step) % len(parts), (part - step - 1) % len(parts)
        ops.send(following, parts[leaves][here], target if step else source, target, done_by_part[leaves][here])
        done_by_part[comes] += ops.receive(previous, parts[comes][here], target)
    return [*done_by_part]
