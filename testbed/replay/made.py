"""A trace made of a schedule, for other tools, and the flows of a trace that consists of flows alone."""

from __future__ import annotations

from typing import NamedTuple

from testbed.replay.form import NO_LANE, Op, Trace
from testbed.traffic import Calc, Recv, Schedule, Send
from testbed.traffic.program import lengths_alone, without_marks


def trace_of(schedule: Schedule, name: str) -> Trace:
    """Return what the ranks of a schedule compute and send each other; a message's tag is its channel."""
    ranks = []
    for ranked in without_marks(lengths_alone(schedule)).ranks:
        ops = []
        for op in ranked.ops:
            if isinstance(op, Calc):
                ops.append(Op("calc", op.duration_ps, after=op.requires))
            elif isinstance(op, Send | Recv):
                kind = "send" if isinstance(op, Send) else "recv"
                ops.append(Op(kind, op.bytes, op.peer, op.channel, after=op.requires))
        ranks.append(tuple(ops))
    return Trace((name,), tuple(ranks)).check()


class Flow(NamedTuple):
    """A message that waits for nothing but its time."""

    source: int
    target: int
    bytes: int
    start_ps: int


def flows_of(trace: Trace) -> list[Flow] | None:
    """Return the messages of a trace, in its order, if each begins at a time, on a queue pair of its own; else None."""
    numbered: list[tuple[int, Flow]] = []
    lanes = set[tuple[int, int, int]]()
    for rank, ops in enumerate(trace.ranks):
        for op in ops:
            if op.begun or (op.kind != "send" and op.after) or op.kind not in ("calc", "send", "recv"):
                return None
            if op.kind == "calc" and op.lane != NO_LANE:
                return None
            if op.kind == "send":
                before = [ops[other] for other in op.after]
                if op.lane == NO_LANE or len(before) > 1 or any(one.kind != "calc" for one in before):
                    return None
                lanes.add((rank, op.peer, op.lane))
                start_ps = before[0].amount if before else 0
                numbered.append((op.tag, Flow(rank, op.peer, op.amount, start_ps)))
    if len(lanes) < len(numbered) or len({tag for tag, _ in numbered}) < len(numbered):
        return None
    return [flow for _, flow in sorted(numbered)]
