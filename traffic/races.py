"""Find memory that two ops may touch at once."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.traffic.elements import item_bytes
from testbed.traffic.schedule import Copy, Graph, Reduce, Schedule, Send, build_graph


@dataclass(frozen=True, slots=True)
class _Access:
    """Bytes `first` to `end` of a rank's memory, in use from when all of `starts` happened until `stop` does."""

    rank: int
    first: int
    end: int
    writes: bool
    starts: tuple[int, ...]
    stop: int
    label: str


def races(schedule: Schedule, until_acknowledged: bool = False) -> list[str]:
    """Return one line for every pair of ops whose memory accesses overlap, one of them writing, in no certain order.

    A send reads its source, and writes its target, from when it may begin until it lands; with `until_acknowledged` it
    reads until it is finished. Raises ValueError if the schedule is not valid. Cost: quadratic in the ops of a rank.
    """
    schedule.validate()
    graph = build_graph(schedule)
    earlier = _ancestors(graph)
    pairs = []
    by_rank: dict[int, list[_Access]] = {}
    for access in _accesses(schedule, graph, until_acknowledged):
        for other in by_rank.setdefault(access.rank, []):
            if _clash(access, other) and not _follows(access, other, earlier) and not _follows(other, access, earlier):
                pairs.append(f"rank {access.rank}: {other.label} and {access.label}")
        by_rank[access.rank].append(access)
    return list(dict.fromkeys(pairs))


def _clash(one: _Access, other: _Access) -> bool:
    overlap = one.first < other.end and other.first < one.end
    return overlap and (one.writes or other.writes) and one.label != other.label


def _ancestors(graph: Graph) -> list[int]:
    """Return for every node the set of nodes that happen no later, as the bits of an integer."""
    earlier = [0] * graph.size
    for node in graph.walk():
        earlier[node] = 1 << node
        for predecessor in graph.before[node]:
            earlier[node] |= earlier[predecessor]
    return earlier


def _follows(late: _Access, early: _Access, earlier: list[int]) -> bool:
    return any(earlier[start] >> early.stop & 1 for start in late.starts)


def _accesses(schedule: Schedule, graph: Graph, until_acknowledged: bool) -> list[_Access]:
    accesses = []
    for rank, rank_schedule in enumerate(schedule.ranks):
        for index, op in enumerate(rank_schedule.ops):
            starts = tuple(graph.finish(rank, required) for required in op.requires)
            finish, land = graph.finish(rank, index), graph.land(rank, index)
            label = f"op {index} of rank {rank}"
            if isinstance(op, Send):
                read_until = finish if until_acknowledged else land
                target = op.remote_offset
                accesses += [
                    _Access(rank, op.offset, op.offset + op.bytes, False, starts, read_until, label),
                    _Access(op.peer, target, target + op.bytes, True, starts, land, label),
                ]
            elif isinstance(op, Reduce):
                length = op.count * item_bytes(op.dtype)
                accesses += [
                    _Access(rank, offset, offset + length, offset == op.dst, starts, finish, label)
                    for offset in (op.dst, op.lhs, op.rhs)
                ]
            elif isinstance(op, Copy):
                accesses += [
                    _Access(rank, offset, offset + op.bytes, offset == op.dst, starts, finish, label)
                    for offset in (op.dst, op.src)
                ]
    return accesses
