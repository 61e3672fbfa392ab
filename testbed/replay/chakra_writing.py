"""A trace as execution traces of Chakra, one for each rank."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.replay.chakra import COLLECTIVE as COLLECTIVE_NODE
from testbed.replay.chakra import COLLECTIVES, COMPUTE, PS_PER_US, RECV, SEND
from testbed.replay.form import ANY, Op, Trace
from testbed.replay.protobuf import written, written_varint

VERSION = "0.0.4"
_INT32, _INT64, _BOOL, _STRING = 7, 9, 27, 29


def write_chakra(trace: Trace) -> list[bytes]:
    """Return what the file of each rank holds; durations are rounded to whole us.

    Raises ValueError for what Chakra has no node for: any source or tag, an op that begins with another, and some collectives.
    """
    kinds = {name: number for number, name in COLLECTIVES.items()}
    return [
        _messages([written(1, VERSION), *(_node(trace, number, op, kinds) for number, op in enumerate(ops))])
        for ops in trace.ranks
    ]


def _messages(parts: Sequence[bytes]) -> bytes:
    return b"".join(written_varint(len(part)) + part for part in parts)


def _node(trace: Trace, number: int, op: Op, kinds: dict[str, int]) -> bytes:
    if op.begun:
        raise ValueError("Chakra has no node that begins with another")
    head = written(1, number) + written(2, f"{op.kind}_{number}")
    waits = written(5, b"".join(map(written_varint, op.after))) if op.after else b""
    cpu = _attribute("is_cpu_op", _BOOL, int(op.kind == "calc" and op.lane > 0))
    if op.kind == "calc":
        duration = round(op.amount / PS_PER_US)
        return head + written(3, COMPUTE) + waits + written(7, duration) + cpu
    size = _attribute("comm_size", _INT64, op.amount)
    if op.kind in ("send", "recv"):
        if ANY in (op.peer, op.tag):
            raise ValueError("Chakra has no receive of any source or any tag")
        end = _attribute("comm_dst" if op.kind == "send" else "comm_src", _INT32, op.peer)
        kind = SEND if op.kind == "send" else RECV
        return head + written(3, kind) + waits + cpu + size + end + _attribute("comm_tag", _INT32, op.tag)
    if op.kind not in kinds or op.tag:
        raise ValueError(f"Chakra has no {op.kind}{' with a root' if op.tag else ''} whose size is known")
    members = trace.groups[op.peer]
    if op.kind == "all_gather":
        size = _attribute("comm_size", _INT64, op.amount // len(members))
    group = b"" if len(members) == len(trace.ranks) else _attribute("pg_name", _STRING, str(op.peer))
    return (
        head
        + written(3, COLLECTIVE_NODE)
        + waits
        + cpu
        + _attribute("comm_type", _INT64, kinds[op.kind])
        + size
        + group
    )


def _attribute(name: str, kind: int, value: int | str) -> bytes:
    return written(10, written(1, name) + written(kind, value))
