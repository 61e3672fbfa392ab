"""Schedules made of schedules."""

from __future__ import annotations

from dataclasses import replace

from testbed.traffic.schedule import Copy, Op, RankSchedule, Recv, Reduce, Schedule, Send


def repeated(schedule: Schedule, times: int) -> Schedule:
    """Return a schedule so many times at once, each time in a memory of its own, one behind the other.

    Nothing waits for the time before but what leaves for the same peer.
    """
    sizes = [ranked.memory_bytes for ranked in schedule.ranks]
    rounds = []
    for rank, ranked in enumerate(schedule.ranks):
        ops: list[Op] = []
        for number in range(times):
            bases = [number * size for size in sizes]
            ops += [moved(op, rank, bases, number * len(ranked.ops)) for op in ranked.ops]
        rounds.append(RankSchedule(times * ranked.memory_bytes, tuple(ops)))
    return Schedule(tuple(rounds))


def moved(op: Op, rank: int, bases: list[int], first: int) -> Op:
    """Return an op of a rank in memories that begin at `bases`, whose requirements count from op `first` on."""
    here = bases[rank]
    requires = tuple(first + required for required in op.requires)
    if isinstance(op, Send):
        remote = op.remote_offset + bases[op.peer]
        return replace(op, offset=op.offset + here, remote_offset=remote, requires=requires)
    if isinstance(op, Recv):
        return replace(op, offset=op.offset + here, requires=requires)
    if isinstance(op, Reduce):
        return replace(op, dst=op.dst + here, lhs=op.lhs + here, rhs=op.rhs + here, requires=requires)
    if isinstance(op, Copy):
        return replace(op, dst=op.dst + here, src=op.src + here, requires=requires)
    return replace(op, requires=requires)
