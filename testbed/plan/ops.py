"""From the ops of a rank's schedule to those of a workload, with messages cut at the longest that a connection carries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, cast

from testbed.contract.workload import Dtype, Op, ReduceOp
from testbed.traffic import Calc, Copy, RankSchedule, Recv, Reduce, Send

LONGEST_MESSAGE_BYTES = 2**31
"""What a message may hold at most: IBTA volume 1, chapter 9; what adapters give as their port's `max_msg_sz`."""

Spread = Literal["messages", "slices"]
Numbers = Mapping[tuple[int, ...], Sequence[int]]
"""By lower rank, higher rank and channel: the indices of their queue pairs."""


def compile_ops(
    rank: int, ranked: RankSchedule, numbers: Numbers, late_ps: int | None, spread: Spread = "messages"
) -> list[Op]:
    """Return the ops of a rank; of one that begins late, behind an op that is nothing but time.

    `numbers` has the queue pairs of every two ranks that talk. Of several, the messages take one each in turn, or each
    message is sliced and takes all of them. A message that is too long becomes several, which leave and arrive in order, so
    whatever waits for it waits for the last of them on each queue pair.
    """
    result: list[Op] = []
    if late_ps is not None:
        result.append({"kind": "calc", "duration_ps": late_ps, "requires": []})
    first = list(range(len(result)))
    ends: dict[int, list[int]] = {}
    waiting: list[tuple[Op, tuple[int, ...]]] = []
    counts: Counter[tuple[type[Send | Recv], int, int]] = Counter()
    for index, op in enumerate(ranked.ops):
        if not isinstance(op, Send | Recv):
            entries = {0: [_computed(op)]}
        else:
            qps = numbers[min(rank, op.peer), max(rank, op.peer), op.channel]
            lane = (type(op), op.peer, op.channel)
            entries = _spread(op, qps, counts[lane], spread)
            counts[lane] += 1
        ends[index] = []
        for pieces_of_one in entries.values():
            result += pieces_of_one
            waiting += [(entry, op.requires) for entry in pieces_of_one]
            ends[index].append(len(result) - 1)
    # An op may require one that comes later in the list.
    for entry, requires in waiting:
        entry["requires"] = [end for required in requires for end in ends[required]] or first
    return result


def pieces(length_bytes: int) -> Iterator[tuple[int, int]]:
    """Cut a message: yield offset and length of each piece, all as long as can be but the last. Nothing is a message too."""
    for offset in range(0, max(length_bytes, 1), LONGEST_MESSAGE_BYTES):
        yield offset, min(LONGEST_MESSAGE_BYTES, length_bytes - offset)


def _spread(op: Send | Recv, qps: Sequence[int], count: int, spread: Spread) -> dict[int, list[Op]]:
    """Return the ops that a message becomes, by queue pair; it is the `count`-th of its direction."""
    if spread == "messages" or len(qps) == 1:
        qp = qps[count % len(qps)]
        return {qp: [_message(op, qp, at, length) for at, length in pieces(op.bytes)]}
    ops: dict[int, list[Op]] = {}
    for qp, (begin, length) in zip(qps, slices(op.bytes, len(qps)), strict=False):
        ops[qp] = [_message(op, qp, begin + at, part) for at, part in pieces(length)]
    return ops


def slices(length_bytes: int, qps: int) -> Iterator[tuple[int, int]]:
    """Cut a message for several queue pairs: yield offset and length of each slice, as many at most, all alike but the last."""
    step = max(1, -(-length_bytes // qps))
    for begin in range(0, max(length_bytes, 1), step):
        yield begin, min(step, length_bytes - begin)


def _message(op: Send | Recv, qp: int, at: int, length: int) -> Op:
    if isinstance(op, Recv):
        return {"kind": "recv", "qp": qp, "offset": op.offset + at, "bytes": length}
    remote = op.remote_offset + at
    return {"kind": "send", "qp": qp, "offset": op.offset + at, "bytes": length, "remote_offset": remote}


def _computed(op: Reduce | Copy | Calc) -> Op:
    if isinstance(op, Copy):
        return {"kind": "copy", "dst": op.dst, "src": op.src, "bytes": op.bytes}
    if isinstance(op, Calc):
        return {"kind": "calc", "duration_ps": op.duration_ps}
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
    return reduce
