"""GOAL once more, in Python: what the reader of the data plane is held against. By regular expressions, and whole into memory."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import NoReturn

from testbed.errors import ExperimentError
from testbed.importers.draft import Remainder, counted
from testbed.importers.text import shown
from testbed.replay.form import ANY, MAX_AMOUNT, MAX_OPS, MAX_RANKS, Op, Trace
from testbed.replay.goal import PS_PER_NS
from testbed.replay.goal_binary import MAGIC, USED_UP
from testbed.replay.lines import Lines, Reading, whole_bytes

_LABEL = r"(?:(?P<label>[A-Za-z][A-Za-z0-9_]*)\s*:\s*)?"
_END = r"(?:\s*tag\s*(?P<tag>-1|\d{1,20}))?(?:\s*cpu\s*(?P<cpu>\d{1,20}))?(?:\s*nic\s*(?P<nic>\d{1,20}))?"
_SEND = re.compile(rf"{_LABEL}send\s*(?P<amount>\d{{1,20}})\s*b\s*to\s*(?P<peer>\d{{1,20}}){_END}", re.ASCII)
_RECV = re.compile(rf"{_LABEL}recv\s*(?P<amount>\d{{1,20}})\s*b\s*from\s*(?P<peer>-1|\d{{1,20}}){_END}", re.ASCII)
_CALC = re.compile(rf"{_LABEL}calc\s*(?P<amount>\d{{1,20}})(?:\s*cpu\s*(?P<cpu>\d{{1,20}}))?", re.ASCII)
_REQUIRES = re.compile(r"([A-Za-z][A-Za-z0-9_]*)\s+(i?)requires\s+([A-Za-z][A-Za-z0-9_]*)", re.ASCII)
_HEADER = re.compile(r"num_ranks\s*(\d{1,20})", re.ASCII)
_RANK = re.compile(r"rank\s*(\d{1,20})\s*\{", re.ASCII)
_RESERVED = ("send", "recv", "calc", "rank", "num_ranks")
_COMMENT = re.compile(r"/\*.*?(?:\*/|$)|//.*")
_MOST_TAG, _MOST_CPU = 2**32 - 1, 255


_BASE = 8
_HEAD = struct.Struct("<QIBB")
_RANGE = struct.Struct("<QQ")
_COUNTS = struct.Struct("<II")
_RECORD = struct.Struct("<IBIQIBBIIII")
_KINDS = {1: "send", 2: "recv", 3: "calc"}
_ANY = 2**32 - 1


def read_goal(path: Path) -> Reading:
    """Read GOAL text. Raises ExperimentError, with file and line, for what is not in the grammar, and ranks that are missing."""
    reader = _Statements(Lines(path))
    ranks = reader.read()
    trace = Trace((str(path),), ranks)
    took = (counted(len(ranks), "rank"), counted(reader.lines.ops, "op"))
    return Reading(trace.check(), took, reader.lines.remainder.all())


class _Statements:
    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.size: int | None = None
        self.ranks: list[tuple[Op, ...]] = []
        self.ops: list[Op] | None = None
        self.labels: dict[str, int] = {}
        self.waits: dict[int, tuple[list[int], list[int]]] = {}
        self.in_comment = False

    def read(self) -> tuple[tuple[Op, ...], ...]:
        number = 0
        for number, text in self.lines.lines():
            statement = self._uncommented(text)
            if statement:
                self._statement(number, statement)
        if self.in_comment:
            self.lines.fail(number, "the file ends within a comment")
        if self.size is None:
            self.lines.fail(number, "no ranks: the file begins with num_ranks N")
        if self.ops is not None:
            self._close()  # the last brace may be missing
        if len(self.ranks) < self.size:
            self.lines.fail(number, f"rank {len(self.ranks)} is missing; num_ranks is {self.size}")
        return tuple(self.ranks)

    def _uncommented(self, text: str) -> str:
        if self.in_comment:
            _, ended, text = text.partition("*/")
            if not ended:
                return ""
            self.in_comment = False
        if "/" in text:
            for comment in _COMMENT.findall(text):
                self.in_comment = comment.startswith("/*") and (len(comment) < 4 or not comment.endswith("*/"))
            text = _COMMENT.sub(" ", text)
        return text.strip()

    def _statement(self, line: int, text: str) -> None:
        if self.size is None:
            header = _HEADER.fullmatch(text)
            if header is None:
                self.lines.fail(line, f'"{shown(text)}" stands before num_ranks N')
            self.size = int(header[1])
            if not 1 <= self.size <= MAX_RANKS:
                self.lines.fail(line, f"num_ranks {self.size} is not a whole number from 1 to {MAX_RANKS}")
        elif self.ops is None:
            opened = _RANK.match(text)
            if opened is None:
                self.lines.fail(line, f'"{shown(text)}" stands outside a rank')
            self._open(line, int(opened[1]))
            if rest := text[opened.end() :].strip():
                self._statement(line, rest)
        elif text == "}":
            self._close()
        else:
            self._in_rank(line, text)

    def _open(self, line: int, rank: int) -> None:
        if rank != len(self.ranks) or rank >= (self.size or 0):
            wanted = (
                f"rank {len(self.ranks)} comes next" if len(self.ranks) < (self.size or 0) else "all ranks were there"
            )
            self.lines.fail(line, f"rank {rank} of {self.size}, where {wanted}")
        self.ops, self.labels, self.waits = [], {}, {}

    def _close(self) -> None:
        ops = self.ops or []
        for position, (after, begun) in self.waits.items():
            ops[position] = ops[position]._replace(after=tuple(after), begun=tuple(begun))
        self.ranks.append(tuple(ops))
        self.ops = None

    def _in_rank(self, line: int, text: str) -> None:
        for kind, pattern in (("send", _SEND), ("recv", _RECV), ("calc", _CALC)):
            if found := pattern.fullmatch(text):
                self._op(line, kind, found)
                return
        if found := _REQUIRES.fullmatch(text):
            first, second = self._labelled(line, found[1]), self._labelled(line, found[3])
            self.waits.setdefault(first, ([], []))[1 if found[2] else 0].append(second)
            return
        self.lines.fail(line, f'"{shown(text)}" is not a send, recv, calc or requires')

    def _op(self, line: int, kind: str, found: re.Match[str]) -> None:
        assert self.ops is not None
        said = found.groupdict()
        label, nic = said["label"], said.get("nic")
        amount = self._whole(line, "the size" if kind != "calc" else "the time", said["amount"], MAX_AMOUNT)
        if kind == "calc":
            amount *= PS_PER_NS
            if amount > MAX_AMOUNT:
                self.lines.fail(line, f"the time {said['amount']} ns is longer than {MAX_AMOUNT} ps")
        peer = int(said.get("peer") or 0)
        if peer >= (self.size or 0):
            self.lines.fail(line, f"rank {peer} is not one of {self.size}, which count from 0")
        tag = self._whole(line, "the tag", said.get("tag") or "0", _MOST_TAG)
        cpu = self._whole(line, "the cpu", said["cpu"] or "0", _MOST_CPU)
        if nic is not None and self._whole(line, "the nic", nic, _MOST_CPU):
            self.lines.leave("nic of a message, whose port the lab says", line)
        if kind == "send" and tag == ANY:
            tag = _MOST_TAG
        if label is not None:
            if label in _RESERVED:
                self.lines.fail(line, f'"{label}" cannot be a label')
            self.labels.setdefault(label, len(self.ops))
        self.lines.count(line)
        self.ops.append(Op(kind, amount, peer, tag, cpu if kind == "calc" else -1, (), (), line))

    def _whole(self, line: int, what: str, text: str, most: int) -> int:
        value = int(text)
        if value > most:
            self.lines.fail(line, f"{what} {text} is larger than {most}")
        return value

    def _labelled(self, line: int, label: str) -> int:
        if label not in self.labels:
            self.lines.fail(line, f'no op above in this rank has the label "{shown(label)}"')
        return self.labels[label]


def read_goal_binary(path: Path) -> Reading:
    """Read binary GOAL. Raises ExperimentError, with the byte, for what does not agree with itself."""
    reader = _Blocks(str(path), whole_bytes(path))
    ranks = reader.read()
    trace = Trace((str(path),), ranks)
    ops = sum(map(len, ranks))
    return Reading(trace.check(), (counted(len(ranks), "rank"), counted(ops, "op")), reader.remainder.all())


class _Blocks:
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
        ops, opened, used = list[Op](), list[int](), 0
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
                used += number
                if used > len(links):
                    self._fail(place, "its dependants are counted twice in the block")
                for other in links[first : first + number] if number else ():
                    if other >= nodes:
                        self._fail(place, f"op {other} depends on it, and the rank has {nodes}")
                    lists[other].append(node)
        for node, waits in enumerate(opened):
            said = len(after[node]) + len(begun[node])
            if waits != said:
                self._fail(records + _RECORD.size * node, f"{waits} dependencies, and others say {said}")
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
