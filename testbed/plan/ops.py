"""From the ops of a rank's schedule to those of a workload, with messages cut at the longest that a connection carries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

from testbed.contract.workload import Dtype, Op, ReduceOp
from testbed.traffic import Calc, Copy, RankSchedule, Recv, Reduce, Send

LONGEST_MESSAGE_BYTES = 2**31
"""What a message may hold at most: IBTA volume 1, chapter 9; what adapters give as their port's `max_msg_sz`."""

Pair = tuple[int, int]
Numbers = Mapping[tuple[int, int, int], int]
"""The queue pair of every two ranks that talk and channel, lower rank first."""


def compile_ops(rank: int, ranked: RankSchedule, numbers: Numbers, late_ps: int | None) -> list[Op]:
    """Return the ops of a rank; of one that begins late, behind an op that is nothing but time.

    `numbers` has the queue pair of every two ranks that talk, by channel. A message that is too long becomes several,
    which leave and arrive in order, so whatever waits for it waits for the last of them.
    """
    result: list[Op] = []
    if late_ps is not None:
        result.append({"kind": "calc", "duration_ps": late_ps, "requires": []})
    first = list(range(len(result)))
    ends: dict[int, int] = {}
    waiting: list[tuple[Op, tuple[int, ...]]] = []
    for index, op in enumerate(ranked.ops):
        for entry in _entries(rank, op, numbers):
            result.append(entry)
            waiting.append((entry, op.requires))
        ends[index] = len(result) - 1
    # An op may require one that comes later in the list.
    for entry, requires in waiting:
        entry["requires"] = [ends[required] for required in requires] or first
    return result


def pieces(length_bytes: int) -> Iterator[tuple[int, int]]:
    """Cut a message: yield offset and length of each piece, all as long as can be but the last. Nothing is a message too."""
    for offset in range(0, max(length_bytes, 1), LONGEST_MESSAGE_BYTES):
        yield offset, min(LONGEST_MESSAGE_BYTES, length_bytes - offset)


def _entries(rank: int, op: Any, numbers: Numbers) -> Iterator[Op]:
    if isinstance(op, Send):
        qp = numbers[min(rank, op.peer), max(rank, op.peer), op.channel]
        for at, length in pieces(op.bytes):
            remote = op.remote_offset + at
            yield {"kind": "send", "qp": qp, "offset": op.offset + at, "bytes": length, "remote_offset": remote}
    elif isinstance(op, Recv):
        qp = numbers[min(rank, op.peer), max(rank, op.peer), op.channel]
        for at, length in pieces(op.bytes):
            yield {"kind": "recv", "qp": qp, "offset": op.offset + at, "bytes": length}
    elif isinstance(op, Reduce):
        reduce: ReduceOp = {
            "kind": "reduce",
            "dtype": cast(Dtype, op.dtype),
            "redop": cast(Literal["sum", "prod", "max", "min"], op.redop),
            "dst": op.dst,
            "lhs": op.lhs,
            "rhs": op.rhs,
            "count": op.count,
        }
        if op.divisor > 1:
            reduce["divisor"] = op.divisor
        yield reduce
    elif isinstance(op, Copy):
        yield {"kind": "copy", "dst": op.dst, "src": op.src, "bytes": op.bytes}
    elif isinstance(op, Calc):
        yield {"kind": "calc", "duration_ps": op.duration_ps}
