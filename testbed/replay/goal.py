"""GOAL, the group operation assembly language of LogGOPSim and ATLAHS, as text: read, and written.

Grammar: spcl/LogGOPSim, src/LogGOPSim/txt2bin.re. A line has one statement. Calcs of one cpu run one after another.
"""

from __future__ import annotations

import re
from pathlib import Path

from testbed.importers.draft import counted
from testbed.importers.text import shown
from testbed.replay.form import ANY, MAX_AMOUNT, MAX_RANKS, Op, Trace
from testbed.replay.lines import Lines, Reading

PS_PER_NS = 1000
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


def read_goal(path: Path) -> Reading:
    """Read GOAL text. Raises ExperimentError, with file and line, for what is not in the grammar, and ranks that are missing."""
    reader = _Reader(Lines(path))
    ranks = reader.read()
    trace = Trace((str(path),), ranks)
    took = (counted(len(ranks), "rank"), counted(reader.lines.ops, "op"))
    return Reading(trace.check(), took, reader.lines.remainder.all())


class _Reader:
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
                self.in_comment = comment.startswith("/*") and not comment.endswith("*/")
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


def write_goal(trace: Trace) -> str:
    """Return a trace of calcs and messages as GOAL text; times are rounded to ns. Raises ValueError for a collective."""
    lines = [f"num_ranks {len(trace.ranks)}"]
    for rank, ops in enumerate(trace.ranks):
        lines.append(f"rank {rank} {{")
        cpus = _cpus(ops)
        for position, op in enumerate(ops):
            if op.kind == "calc":
                lines.append(f"l{position}: calc {round(op.amount / PS_PER_NS)} cpu {cpus[position]}")
            elif op.kind in ("send", "recv"):
                way = "to" if op.kind == "send" else "from"
                lines.append(f"l{position}: {op.kind} {op.amount}b {way} {op.peer} tag {op.tag}")
            else:
                raise ValueError(f"GOAL has no {op.kind}")
        for position, op in enumerate(ops):
            lines += [f"l{position} requires l{other}" for other in op.after]
            lines += [f"l{position} irequires l{other}" for other in op.begun]
        lines.append("}")
    return "\n".join(lines) + "\n"


def _cpus(ops: tuple[Op, ...]) -> list[int]:
    """Return the cpu of each op: that of its lane, or for calcs that share none, one of those that are left over."""
    used = {op.lane for op in ops if op.kind == "calc" and op.lane >= 0}
    free = [cpu for cpu in range(_MOST_CPU + 1) if cpu not in used] or [0]
    cpus, count = [], 0
    for op in ops:
        cpus.append(op.lane if op.lane >= 0 else free[count % len(free)])
        count += op.kind == "calc" and op.lane < 0
    return cpus
