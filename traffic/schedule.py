"""Schedules: what every rank sends, receives and computes, and in which order.

A schedule says nothing of time or of networks. An op may begin once the ops it requires are finished:

- a `Send` lands when its last byte is in the receiver's memory and is finished when the sender knows it (acknowledged);
- a `Recv` is finished when the matching send has landed and its own requirements are met. As with an RDMA WRITE, it does
  not hold the sender back: the receiver's memory must be free from the moment the send may begin;
- a `Reduce`, a `Copy` and a `Calc` are finished when they are computed.

Sends from one rank to one peer on one channel leave in the order of the list, and the k-th of them is matched with the
k-th `Recv` the peer has for that rank and channel. The form follows GOAL (LogGOPSim): sends, receives, calculations, and
requirements between them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from testbed.traffic.arrays import np
from testbed.traffic.elements import DTYPES, OPERATIONS, combine, divide, item_bytes

if TYPE_CHECKING:
    import numpy.typing as npt

Memory: TypeAlias = "npt.NDArray[np.uint8]"


@dataclass(frozen=True, slots=True)
class Send:
    """Send `bytes` at `offset` of this rank's memory to `remote_offset` of the peer's."""

    peer: int
    offset: int
    bytes: int
    remote_offset: int
    tag: int = 0
    requires: tuple[int, ...] = ()
    channel: int = 0


@dataclass(frozen=True, slots=True)
class Recv:
    """Wait for `bytes` from the peer to be complete at `offset` of this rank's memory."""

    peer: int
    offset: int
    bytes: int
    tag: int = 0
    requires: tuple[int, ...] = ()
    channel: int = 0


@dataclass(frozen=True, slots=True)
class Reduce:
    """Compute dst[i] = lhs[i] op rhs[i] over `count` elements; dst, lhs and rhs are byte offsets, equal or disjoint.

    A `divisor` above 1 divides what comes of it, which makes the last sum of all ranks an average.
    """

    dtype: str
    redop: str
    dst: int
    lhs: int
    rhs: int
    count: int
    requires: tuple[int, ...] = ()
    divisor: int = 1


@dataclass(frozen=True, slots=True)
class Copy:
    """Write the `bytes` at `src` to `dst`, which do not overlap."""

    dst: int
    src: int
    bytes: int
    requires: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Calc:
    """Compute for `duration_ps` of nominal time, touching no memory."""

    duration_ps: int
    requires: tuple[int, ...] = ()


Op = Send | Recv | Reduce | Copy | Calc


@dataclass(frozen=True, slots=True)
class RankSchedule:
    """The ops of one rank. With `memory_bytes` 0 it sends and receives lengths only, at any offset, and sums are of nothing."""

    memory_bytes: int
    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The ops of all ranks; a rank's number is its position.

    `talks` are sender, receiver and channel of messages beside those of its ops, of ranks whose ops are not here.
    """

    ranks: tuple[RankSchedule, ...]
    talks: tuple[tuple[int, int, int], ...] = ()

    def validate(self) -> None:
        """Check the schedule as a whole.

        Raises ValueError, naming rank and op, for a peer, a requirement or a memory range that does not exist, for a
        send and a receive that do not match, and for requirements that can never be met (a cycle, across ranks too).
        Cost: linear in the number of ops and requirements.
        """
        for rank, rank_schedule in enumerate(self.ranks):
            if rank_schedule.memory_bytes < 0:
                raise ValueError(f"rank {rank}: memory_bytes is negative")
            for index, op in enumerate(rank_schedule.ops):
                fault = _fault(self, rank, op)
                if fault:
                    raise ValueError(f"rank {rank} op {index}: {fault}")
        graph = build_graph(self)
        walked = sum(1 for _ in graph.walk())
        if walked < graph.size:
            raise ValueError("requirements form a cycle: some ops can never begin")

    def bytes_sent(self, rank: int) -> int:
        """Return the payload bytes that one rank sends."""
        return sum(op.bytes for op in self.ranks[rank].ops if isinstance(op, Send))


def _fault(schedule: Schedule, rank: int, op: Op) -> str | None:
    """Return what is wrong with one op taken by itself, or None."""
    rank_schedule = schedule.ranks[rank]
    for required in op.requires:
        if not 0 <= required < len(rank_schedule.ops):
            return f"requires op {required}, and the rank has {len(rank_schedule.ops)}"
    if isinstance(op, Calc):
        return "duration_ps is negative" if op.duration_ps < 0 else None
    if isinstance(op, Reduce):
        return _reduce_fault(rank_schedule, op)
    if isinstance(op, Copy):
        return _copy_fault(rank_schedule, op)
    if not 0 <= op.peer < len(schedule.ranks) or op.peer == rank:
        return f"peer {op.peer} is not another rank"
    if op.bytes <= 0:
        return "a message has at least one byte"
    peer_memory = schedule.ranks[op.peer].memory_bytes
    if (rank_schedule.memory_bytes == 0) != (peer_memory == 0):
        return f"one of ranks {rank} and {op.peer} has memory and the other has none"
    return _range_fault(rank_schedule, op.offset, op.bytes)


def _reduce_fault(rank_schedule: RankSchedule, op: Reduce) -> str | None:
    """Return what is wrong with a reduce, or None."""
    if op.dtype not in DTYPES:
        return f"unknown dtype {op.dtype!r}; known: {', '.join(DTYPES)}"
    if op.redop not in OPERATIONS:
        return f"unknown redop {op.redop!r}; known: {', '.join(OPERATIONS)}"
    if op.count <= 0:
        return "a reduce has at least one element"
    if op.divisor < 1:
        return "a divisor is at least 1"
    length = op.count * item_bytes(op.dtype)
    for operand in (op.lhs, op.rhs):
        if operand != op.dst and abs(operand - op.dst) < length:
            return "dst overlaps an operand in part"
    faults = (_range_fault(rank_schedule, offset, length) for offset in (op.dst, op.lhs, op.rhs))
    return next((fault for fault in faults if fault), None)


def _copy_fault(rank_schedule: RankSchedule, op: Copy) -> str | None:
    """Return what is wrong with a copy, or None."""
    if op.bytes <= 0:
        return "a copy has at least one byte"
    if abs(op.dst - op.src) < op.bytes:
        return "dst overlaps src"
    faults = (_range_fault(rank_schedule, offset, op.bytes) for offset in (op.dst, op.src))
    return next((fault for fault in faults if fault), None)


def _range_fault(rank_schedule: RankSchedule, offset: int, length: int) -> str | None:
    memory_bytes = rank_schedule.memory_bytes
    if offset < 0 or (memory_bytes and offset + length > memory_bytes):
        return f"bytes {offset} to {offset + length} lie outside the memory of {memory_bytes} bytes"
    return None


@dataclass(slots=True)
class Graph:
    """What must happen before what, over all ranks.

    Node `finish(rank, op)` is the op's end; a send has a second node, `land(rank, op)`. `before[node]` are the direct
    predecessors. `matched` maps a receive's (rank, op) to its send's.
    """

    bases: list[int]
    total_ops: int
    before: list[list[int]]
    matched: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Return the number of nodes, two per op; the landing of an op that is no send is an empty event."""
        return 2 * self.total_ops

    def finish(self, rank: int, op: int) -> int:
        """Return the node of an op's end."""
        return self.bases[rank] + op

    def land(self, rank: int, op: int) -> int:
        """Return the node of a send's arrival."""
        return self.total_ops + self.bases[rank] + op

    def walk(self, rng: random.Random | None = None) -> Iterator[int]:
        """Yield every node that can happen, each after its predecessors; in random order if `rng` is given."""
        after: list[list[int]] = [[] for _ in self.before]
        missing = [len(predecessors) for predecessors in self.before]
        for node, predecessors in enumerate(self.before):
            for predecessor in predecessors:
                after[predecessor].append(node)
        ready = [node for node, count in enumerate(missing) if count == 0]
        while ready:
            if rng is not None:
                pick = rng.randrange(len(ready))
                ready[pick], ready[-1] = ready[-1], ready[pick]
            node = ready.pop()
            yield node
            for successor in after[node]:
                missing[successor] -= 1
                if missing[successor] == 0:
                    ready.append(successor)


def build_graph(schedule: Schedule) -> Graph:
    """Match sends with receives and return the order that requirements, messages and queue pairs impose.

    Raises ValueError if sends and receives between two ranks differ in number, length or offset.
    """
    bases = [0]
    for rank_schedule in schedule.ranks:
        bases.append(bases[-1] + len(rank_schedule.ops))
    graph = Graph(bases, bases[-1], [[] for _ in range(2 * bases[-1])])
    sends: dict[tuple[int, int, int], list[int]] = {}
    recvs: dict[tuple[int, int, int], list[int]] = {}
    for rank, rank_schedule in enumerate(schedule.ranks):
        for index, op in enumerate(rank_schedule.ops):
            first = graph.land(rank, index) if isinstance(op, Send) else graph.finish(rank, index)
            graph.before[first].extend(graph.finish(rank, required) for required in op.requires)
            if isinstance(op, Send):
                graph.before[graph.finish(rank, index)].append(first)
                direction = sends.setdefault((rank, op.peer, op.channel), [])
                if direction:
                    graph.before[first].append(graph.land(rank, direction[-1]))
                direction.append(index)
            elif isinstance(op, Recv):
                recvs.setdefault((op.peer, rank, op.channel), []).append(index)
    for source, target, channel in sends.keys() | recvs.keys():
        outgoing, incoming = (messages.get((source, target, channel), []) for messages in (sends, recvs))
        if len(outgoing) != len(incoming):
            raise ValueError(
                f"rank {source} sends {len(outgoing)} messages to rank {target}, which receives {len(incoming)}"
            )
        for sent, received in zip(outgoing, incoming, strict=True):
            _check_match(schedule, source, sent, target, received)
            graph.matched[target, received] = (source, sent)
            graph.before[graph.finish(target, received)].append(graph.land(source, sent))
    return graph


def _check_match(schedule: Schedule, source: int, sent: int, target: int, received: int) -> None:
    send, recv = schedule.ranks[source].ops[sent], schedule.ranks[target].ops[received]
    assert isinstance(send, Send) and isinstance(recv, Recv)
    if (send.bytes, send.remote_offset, send.tag) != (recv.bytes, recv.offset, recv.tag):
        raise ValueError(
            f"rank {source} op {sent} sends {send.bytes} bytes to offset {send.remote_offset} with tag {send.tag}; "
            f"rank {target} op {received} expects {recv.bytes} at {recv.offset} with tag {recv.tag}"
        )


def simulate(schedule: Schedule, memories: Sequence[Memory | bytes], rng: random.Random | None = None) -> list[Memory]:
    """Carry a schedule out on copies of `memories` over a network that takes no time, and return the memories.

    With `rng`, events happen in a random order among those the requirements allow. A memory shorter than the rank's
    `memory_bytes` is filled with zeros. Raises ValueError if the schedule is not valid or a memory is too long.
    """
    schedule.validate()
    results = []
    for rank_schedule, memory in zip(schedule.ranks, memories, strict=True):
        content = np.frombuffer(bytes(memory), dtype=np.uint8)
        if len(content) > rank_schedule.memory_bytes:
            raise ValueError(f"{len(content)} bytes do not fit in a memory of {rank_schedule.memory_bytes}")
        results.append(np.concatenate([content, np.zeros(rank_schedule.memory_bytes - len(content), np.uint8)]))
    graph = build_graph(schedule)
    places = [(rank, index) for rank, r in enumerate(schedule.ranks) for index in range(len(r.ops))]
    for node in graph.walk(rng):
        landing = node >= graph.total_ops
        rank, index = places[node % graph.total_ops]
        op = schedule.ranks[rank].ops[index]
        if landing and isinstance(op, Send) and len(results[rank]):
            payload = results[rank][op.offset : op.offset + op.bytes]
            results[op.peer][op.remote_offset : op.remote_offset + op.bytes] = payload
        elif not landing and isinstance(op, Reduce) and len(results[rank]):
            _reduce(results[rank], op)
        elif not landing and isinstance(op, Copy) and len(results[rank]):
            results[rank][op.dst : op.dst + op.bytes] = results[rank][op.src : op.src + op.bytes]
    return results


def _reduce(memory: Memory, op: Reduce) -> None:
    dtype = np.dtype(DTYPES[op.dtype])
    length = op.count * dtype.itemsize
    # Copies, because an offset need not be a multiple of the element size.
    lhs = memory[op.lhs : op.lhs + length].copy().view(dtype)
    rhs = memory[op.rhs : op.rhs + length].copy().view(dtype)
    out = combine(op.dtype, op.redop, lhs, rhs)
    if op.divisor > 1:
        out = divide(op.dtype, out, op.divisor)
    memory[op.dst : op.dst + length] = out.view(np.uint8)
