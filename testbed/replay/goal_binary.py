"""GOAL in its binary form, which LogGOPSim's txt2bin writes: read, and written.

Little-endian and packed: a head, where the block of each rank begins and ends, and the blocks. Layout: spcl/LogGOPSim,
src/LogGOPSim/Parser.hpp and Goal.hpp.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from testbed.replay.form import Op, Trace
from testbed.replay.goal_reading import PS_PER_NS, Heard, read_whole, unheard
from testbed.replay.lines import Reading

MAGIC = 4223
USED_UP = 2342
_BASE = 8
_HEAD = struct.Struct("<QIBB")
_RANGE = struct.Struct("<QQ")
_COUNTS = struct.Struct("<II")
_RECORD = struct.Struct("<IBIQIBBIIII")
_KINDS = {1: "send", 2: "recv", 3: "calc"}


def read_goal_binary(path: Path, progress: Heard = unheard) -> Reading:
    """Read binary GOAL. Raises ExperimentError, with the byte, for what does not agree with itself."""
    return read_whole(path, is_binary=True, progress=progress)


def write_goal_binary(trace: Trace) -> bytes:
    """Return a trace of calcs and messages in binary, to the byte as txt2bin makes it. Raises ValueError for a collective."""
    blocks = [_block(ops) for ops in trace.ranks]
    at = _HEAD.size - _BASE + _RANGE.size * len(blocks)
    ranges = b""
    for block in blocks:
        ranges += _RANGE.pack(at, at + len(block))
        at += len(block)
    highest = max((max(op.lane, 0) for ops in trace.ranks for op in ops if op.kind == "calc"), default=0)
    return _HEAD.pack(MAGIC, len(blocks), highest, 0) + ranges + b"".join(blocks)


def _block(ops: Sequence[Op]) -> bytes:
    kinds = {name: number for number, name in _KINDS.items()}
    dependants: list[tuple[list[int], list[int]]] = [([], []) for _ in ops]
    for node, op in enumerate(ops):
        if op.kind not in kinds:
            raise ValueError(f"GOAL has no {op.kind}")
        for which, others in enumerate((op.after, op.begun)):
            for other in others:
                dependants[other][which].append(node)
    records, links = b"", list[int]()
    for node, op in enumerate(ops):
        places = []
        for waiting in dependants[node]:
            places += [len(waiting), len(links)]
            links += waiting
        is_calc = op.kind == "calc"
        amount = round(op.amount / PS_PER_NS) if is_calc else op.amount
        cpu = max(op.lane, 0) if is_calc else 0
        peer, tag = (0, 0) if is_calc else (op.peer % 2**32, op.tag % 2**32)
        waits = len(op.after) + len(op.begun)
        records += _RECORD.pack(waits, kinds[op.kind], peer, amount, tag, cpu, 0, *places)
    roots = [node for node, op in enumerate(ops) if not op.after and not op.begun]
    return (
        _COUNTS.pack(len(ops), len(roots))
        + struct.pack(f"<{len(roots)}I", *roots)
        + records
        + struct.pack(f"<{len(links)}I", *links)
    )
