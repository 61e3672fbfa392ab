"""A trace made of a schedule: what the testbed runs, for other tools."""

from __future__ import annotations

from testbed.replay.form import Op, Trace
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
