"""GOAL in its binary form, which LogGOPSim's txt2bin writes: read, and written.

Little-endian and packed: a head, where the block of each rank begins and ends, and the blocks. Layout: spcl/LogGOPSim,
src/LogGOPSim/Parser.hpp and Goal.hpp.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from testbed.errors import ExperimentError
from testbed.importers.draft import Remainder, counted
from testbed.replay.form import ANY, MAX_AMOUNT, MAX_OPS, MAX_RANKS, Op, Trace
from testbed.replay.goal import PS_PER_NS
from testbed.replay.lines import Reading, whole_bytes

MAGIC = 4223
USED_UP = 2342
_BASE = 8
_HEAD = struct.Struct("<QIBB")
_RANGE = struct.Struct("<QQ")
_COUNTS = struct.Struct("<II")
_RECORD = struct.Struct("<IBIQIBBIIII")
_KINDS = {1: "send", 2: "recv", 3: "calc"}
_ANY = 2**32 - 1


def read_goal_binary(path: Path) -> Reading:
    """Read binary GOAL. Raises ExperimentError, with the byte, for what does not agree with itself."""
    reader = _Reader(str(path), whole_bytes(path))
    ranks = reader.read()
    trace = Trace((str(path),), ranks)
    ops = sum(map(len, ranks))
    return Reading(trace.check(), (counted(len(ranks), "rank"), counted(ops, "op")), reader.remainder.all())


class _Reader:
    def __init__(self, file: str, raw: bytes) -> None:
        self.file = file
        self.raw = raw
        self.remainder = Remainder()

    def _fail(self, at: int, message: str) -> NoReturn:
        raise ExperimentError.at(self.file, f"byte {at}", message)

    def _unpack(self, kind: struct.Struct, at: int, what: str) -> tuple[int, ...]:
        if at + kind.size > len(self.raw):
            self._fail(at, f"the file ends within {what}")
        return kind.unpack_from(self.raw, at)

    def read(self) -> tuple[tuple[Op, ...], ...]:
        magic, ranks, _, _ = self._unpack(_HEAD, 0, "its head")
        if magic == USED_UP:
            self._fail(0, "an earlier run has used up this file in place; convert the text again")
        if magic != MAGIC:
            self._fail(0, f"magic number {magic} is not {MAGIC}")
        if not 1 <= ranks <= MAX_RANKS:
            self._fail(8, f"{ranks} ranks; a trace has 1 to {MAX_RANKS}")
        expected = _HEAD.size - _BASE + ranks * _RANGE.size
        found, count = [], 0
        for rank in range(ranks):
            at = _HEAD.size + rank * _RANGE.size
            start, end = self._unpack(_RANGE, at, "the places of blocks")
            if start != expected or end < start or _BASE + end > len(self.raw):
                self._fail(at, f"the block of rank {rank} is from {start} to {end}, and is to begin at {expected}")
            ops = self._block(rank, ranks, _BASE + start, _BASE + end)
            count += len(ops)
            if count > MAX_OPS:
                self._fail(at, f"more than {MAX_OPS} ops; replay a part of the trace")
            found.append(ops)
            expected = end
        if _BASE + expected != len(self.raw):
            self._fail(_BASE + expected, "something follows the last block")
        return tuple(found)

    def _block(self, rank: int, ranks: int, at: int, end: int) -> tuple[Op, ...]:
        nodes, roots = self._unpack(_COUNTS, at, f"the block of rank {rank}")
        records = at + _COUNTS.size + 4 * roots
        appendix = records + _RECORD.size * nodes
        if roots > nodes or appendix > end or (end - appendix) % 4:
            self._fail(at, f"{nodes} ops, {roots} of them first, do not fit the {end - at} bytes of rank {rank}")
        links = struct.unpack_from(f"<{(end - appendix) // 4}I", self.raw, appendix)
        after: list[list[int]] = [[] for _ in range(nodes)]
        begun: list[list[int]] = [[] for _ in range(nodes)]
        ops, opened = list[Op](), list[int]()
        for node in range(nodes):
            place = records + _RECORD.size * node
            waits, kind, peer, amount, tag, cpu, nic, *dependants = _RECORD.unpack_from(self.raw, place)
            ops.append(self._op(place, ranks, kind, peer, amount, tag, cpu))
            opened.append(waits)
            if nic:
                self.remainder.add("nic of a message, whose port the lab says", self.file, 0)
            for lists, (number, first) in ((after, dependants[:2]), (begun, dependants[2:])):
                if number and first + number > len(links):
                    self._fail(place, "its dependants lie outside the block")
                for other in links[first : first + number] if number else ():
                    if other >= nodes:
                        self._fail(place, f"op {other} depends on it, and the rank has {nodes}")
                    lists[other].append(node)
        for node, waits in enumerate(opened):
            if waits != len(after[node]) + len(begun[node]):
                self._fail(records + _RECORD.size * node, f"{waits} dependencies, and others say {len(after[node])}")
        return tuple(op._replace(after=tuple(after[node]), begun=tuple(begun[node])) for node, op in enumerate(ops))

    def _op(self, at: int, ranks: int, kind: int, peer: int, amount: int, tag: int, cpu: int) -> Op:
        name = _KINDS.get(kind)
        if name is None:
            self._fail(at, f"op of kind {kind}; there are 1 send, 2 recv and 3 calc")
        if name == "calc":
            if amount * PS_PER_NS > MAX_AMOUNT:
                self._fail(at, f"the time {amount} ns is longer than {MAX_AMOUNT} ps")
            return Op(name, amount * PS_PER_NS, lane=cpu)
        if amount > MAX_AMOUNT:
            self._fail(at, f"the size {amount} is larger than {MAX_AMOUNT}")
        if name == "recv":
            peer, tag = (ANY if value == _ANY else value for value in (peer, tag))
        if peer >= ranks:
            self._fail(at, f"rank {peer} is not one of {ranks}, which count from 0")
        return Op(name, amount, peer, tag)


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
