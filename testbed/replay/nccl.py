"""Logs of NCCL with NCCL_DEBUG=INFO and NCCL_DEBUG_SUBSYS=INIT,COLL: which collectives were called, on which communicators.

Lines: NVIDIA/nccl, src/enqueue.cc and src/init.cc. Counts are of elements: of the whole for all-reduce, broadcast and reduce, of
one rank's part for the others. A log does not say how long anything computed: calls of one stream follow one another at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from testbed.errors import ExperimentError
from testbed.importers.draft import Remainder, counted
from testbed.replay.form import MAX_AMOUNT, MAX_OPS, MAX_RANKS, Op, Trace
from testbed.replay.lines import Lines, Reading

_LINE = re.compile(r"(?:\[[^\]]*\] )?([^\s:]+):(\d{1,9}):\d{1,9} \[(\d{1,4})\] NCCL INFO (.*)", re.ASCII)
_INIT = re.compile(
    r".*\bcomm (0x[0-9a-f]{1,16}) rank (\d{1,6}) nranks (\d{1,6}) .*commId (0x[0-9a-f]{1,16}) - Init (?:START|COMPLETE)",
    re.ASCII,
)
_CALL = re.compile(
    r"(\w+): opCount ([0-9a-f]{1,16}) .*count (\d{1,19}) datatype (\d{1,3}) op (\d{1,6}) root (-?\d{1,6})"
    r" comm (0x[0-9a-f]{1,16})(?: \[nranks=(\d{1,6})\])?.*?stream (\S+)",
    re.ASCII,
)
_BYTES = (1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1)
"""Of an element, by the number of its type."""
_COLLECTIVES = {
    "AllReduce": "all_reduce",
    "AllGather": "all_gather",
    "ReduceScatter": "reduce_scatter",
    "Broadcast": "broadcast",
    "Reduce": "reduce",
    "AlltoAll": "all_to_all",
    "AllToAll": "all_to_all",
    "Gather": "gather",
    "Scatter": "scatter",
}
_OF_PARTS = ("all_gather", "reduce_scatter", "all_to_all", "gather", "scatter")
_ROOTED = ("broadcast", "reduce", "gather", "scatter")
_MESSAGES = {"Send": "send", "Recv": "recv"}


class _Process(NamedTuple):
    """A GPU as a log names it: host, process, device."""

    host: str
    pid: str
    device: str


class _Call(NamedTuple):
    file: str
    line: int
    kind: str
    number: str
    bytes: int
    root: int
    communicator: str
    stream: str


@dataclass
class _Communicator:
    size: int
    members: dict[int, _Process] = field(default_factory=dict)


@dataclass
class _Log:
    communicators: dict[str, _Communicator] = field(default_factory=dict)
    ids: dict[tuple[_Process, str], str] = field(default_factory=dict)
    calls: dict[_Process, list[_Call]] = field(default_factory=dict)


def read_nccl(paths: Sequence[Path]) -> Reading:
    """Read the logs of one run as one trace.

    The ranks are those of the largest communicator. Ranks without a log do the same as the first that has one, which needs every
    communicator to be of all ranks, and no message from one rank to another. Raises ExperimentError, with the line, for
    communicators of which too little is known.
    """
    log, remainder = _Log(), Remainder()
    for path in paths:
        lines = Lines(path, remainder)
        for line, text in lines.lines():
            _read_line(lines, line, text, log)
    if not log.communicators or not log.calls:
        raise ExperimentError.at(str(paths[0]), "", "no communicator, or no call; log with NCCL_DEBUG_SUBSYS=INIT,COLL")
    ranks = _Ranks(str(paths[0]), log)
    trace = Trace((str(paths[0]),), tuple(ranks.ranks()), tuple(ranks.groups))
    calls = sum(map(len, log.calls.values()))
    took = (counted(len(trace.ranks), "rank"), counted(calls, "call"), counted(len(log.communicators), "communicator"))
    notes = ["a log has no computing: calls of a stream follow one another at once"]
    if ranks.mirrored:
        notes.append(f"{counted(ranks.mirrored, 'rank')} without a log do the same as the first that has one")
    return Reading(trace.check(), took, remainder.all(), tuple(notes))


def _read_line(lines: Lines, line: int, text: str, log: _Log) -> None:
    """Read a line about a communicator or a call; skip any other."""
    entry = _LINE.match(text)
    if entry is None:
        return
    process = _Process(entry[1], entry[2], entry[3])
    if init := _INIT.fullmatch(entry[4]):
        rank, size = int(init[2]), int(init[3])
        known = log.communicators.setdefault(init[4], _Communicator(size))
        if not rank < size <= MAX_RANKS or known.size != size or known.members.setdefault(rank, process) != process:
            lines.fail(line, f"rank {rank} of {size} in communicator {init[4]}, but an earlier line says otherwise")
        log.ids[process, init[1]] = init[4]
    elif call := _CALL.match(entry[4]):
        _read_call(lines, line, call, process, log)


def _read_call(lines: Lines, line: int, call: re.Match[str], process: _Process, log: _Log) -> None:
    name, number, count, datatype, _, root, local, ranks, stream = call.groups()
    kind = _COLLECTIVES.get(name) or _MESSAGES.get(name)
    if kind is None:
        lines.leave(f"calls of {name}", line)
        return
    communicator = log.ids.get((process, local))
    if communicator is None:
        lines.fail(line, f"communicator {local} is not initialised in the log; log with NCCL_DEBUG_SUBSYS=INIT,COLL")
    size = log.communicators[communicator].size
    if ranks is not None and int(ranks) != size:
        lines.fail(line, f"nranks={ranks}, but the communicator has {size}")
    if int(datatype) >= len(_BYTES):
        lines.fail(line, f"datatype {datatype} is not known")
    length = int(count) * _BYTES[int(datatype)] * (size if kind in _OF_PARTS else 1)
    if length > MAX_AMOUNT:
        lines.fail(line, f"{count} elements are more than {MAX_AMOUNT} bytes")
    if kind in (*_ROOTED, *_MESSAGES.values()) and not 0 <= int(root) < size:
        lines.fail(line, f"root {root} is not one of {size} ranks")
    lines.count(line)
    parsed = _Call(lines.file, line, kind, number, length, int(root), communicator, stream)
    log.calls.setdefault(process, []).append(parsed)


class _Ranks:
    """The calls of a log as ops of the ranks of its largest communicator."""

    def __init__(self, file: str, log: _Log) -> None:
        self.file = file
        self.log = log
        self.world = max(log.communicators.values(), key=lambda one: one.size)
        self.places = {process: rank for rank, process in self.world.members.items()}
        self.mirrored = self.world.size - len(self.world.members)
        self.groups: list[tuple[int, ...]] = []
        self.numbers: dict[str, int] = {}

    def _group(self, call: _Call) -> int:
        """Return the number of the group of a call's communicator."""
        if call.communicator not in self.numbers:
            known = self.log.communicators[call.communicator]
            ranks = tuple(range(known.size))
            if known is not self.world and (known.size < self.world.size or not self.mirrored):
                places = [self.places.get(known.members[rank]) if rank in known.members else None for rank in ranks]
                if None in places:
                    text = f"{len(known.members)} of {known.size} ranks of communicator {call.communicator} have a log"
                    raise ExperimentError.at(
                        call.file, "", f"{text}, not all of them with a place in the largest", call.line
                    )
                ranks = tuple(place for place in places if place is not None)
            self.numbers[call.communicator] = len(self.groups)
            self.groups.append(ranks)
        return self.numbers[call.communicator]

    def ranks(self) -> Iterator[tuple[Op, ...]]:
        """Yield the ops of each rank."""
        first = min(self.world.members)
        if self.world.size * max(map(len, self.log.calls.values())) > MAX_OPS:
            raise ExperimentError.at(self.file, "", f"more than {MAX_OPS} ops; replay a part of the log")
        for rank in range(self.world.size):
            process = self.world.members.get(rank, self.world.members[first])
            yield tuple(self._ops(self.log.calls.get(process, ())))

    def _ops(self, calls: Sequence[_Call]) -> list[Op]:
        ops: list[Op] = []
        streams: dict[str, tuple[tuple[int, ...], tuple[int, ...], str]] = {}
        for call in calls:
            group = self._group(call)
            members = self.groups[group]
            before, last, number = streams.get(call.stream, ((), (), ""))
            is_message = call.kind in _MESSAGES.values()
            # Messages of one group call have one number, and are under way together.
            key = f"{group} {call.number}" if is_message else ""
            if not (is_message and key == number):
                before, last = last, ()
            if is_message:
                if self.mirrored:
                    text = "messages between two ranks need the logs of all"
                    raise ExperimentError.at(call.file, "", text, call.line)
                op = Op(call.kind, call.bytes, members[call.root], group, after=before, line=call.line)
            else:
                root = call.root if call.kind in _ROOTED else 0
                op = Op(call.kind, call.bytes, group, root, after=before, line=call.line)
            ops.append(op)
            streams[call.stream] = (before, (*last, len(ops) - 1), key)
        return ops
