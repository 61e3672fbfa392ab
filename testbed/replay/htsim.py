"""Connection matrices of htsim, `.cm` and `.tm`: flows that begin at a time, or once others have ended.

Grammar: ultraethernet/uet-htsim, htsim/sim/datacenter/connection_matrix.cpp. Lines of one id and two hosts are messages of one
connection. Where a flow is triggered at another host than its source, a message of 0 bytes carries the trigger; in the simulator
that takes no time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from testbed.importers.draft import counted
from testbed.importers.text import shown
from testbed.replay.form import MAX_AMOUNT, MAX_RANKS, Op, Trace
from testbed.replay.lines import Lines, Reading

START_UNITS = {"ps": 1, "ns": 10**3, "us": 10**6, "ms": 10**9, "s": 10**12}
SMALLEST_SURE_PS = 10**6
"""From this number on a start can only be in ps: in us, the next unit that is in use, it would be a second at least."""
_HEAD = ("Nodes", "Connections", "Triggers", "Failures")
_KINDS = ("oneshot", "multishot", "barrier")
_ENDS = re.compile(r"(\d{1,9})->(\d{1,9})", re.ASCII)
_NUMBER = re.compile(r"\d{1,19}(?:\.\d{0,12})?", re.ASCII)
_USUAL_PRIORITY = 2_000_000


@dataclass
class _Connection:
    """A line: source, target and size of a flow, its start or trigger, and the triggers that it sets off."""

    line: int
    source: int
    target: int
    values: dict[str, int]
    start: str | None = None


@dataclass
class _Trigger:
    line: int
    kind: str
    count: int


@dataclass
class _Matrix:
    head: dict[str, tuple[int, int]] = field(default_factory=dict)
    connections: list[_Connection] = field(default_factory=list)
    triggers: dict[int, _Trigger] = field(default_factory=dict)
    failures: int = 0


def read_matrix(path: Path, start_unit: str | None = None) -> Reading:
    """Read a connection matrix. Raises ExperimentError, with the line, for counts that disagree and times in doubt."""
    reader = _Reader(Lines(path))
    matrix = reader.read()
    unit_ps, notes = reader.unit_of(matrix, start_unit)
    graph = _Graph(reader.lines, matrix, unit_ps)
    trace = Trace((str(path),), graph.ranks()).check()
    if graph.relayed:
        notes.append(f"{counted(graph.relayed, 'trigger')} at other hosts by a message of 0 bytes")
    took = [counted(len(trace.ranks), "node"), counted(len(matrix.connections), "flow")]
    if matrix.triggers:
        took.append(counted(len(matrix.triggers), "trigger"))
    return Reading(trace, tuple(took), reader.lines.remainder.all(), tuple(notes))


class _Reader:
    def __init__(self, lines: Lines) -> None:
        self.lines = lines

    def read(self) -> _Matrix:
        matrix = _Matrix()
        for line, text in self.lines.lines():
            words = text.split()
            if not words or words[0].startswith("#"):
                continue
            if "->" in words[0]:
                self.lines.count(line)
                matrix.connections.append(self._connection(line, words))
            elif words[0] == "trigger":
                self._trigger(line, words[1:], matrix)
            elif words[0] == "failure":
                matrix.failures += 1
                self.lines.leave("failures; write them into a timeline", line)
            elif words[0] in _HEAD and not matrix.connections:
                matrix.head[words[0]] = (line, self._whole(line, words[0], words[1:2], MAX_RANKS * 1024))
            elif matrix.connections:
                self.lines.fail(line, f'"{shown(text)}" is not a connection, trigger or failure')
            else:
                self.lines.leave(f"the word {shown(words[0])}", line)
        self._check(matrix)
        return matrix

    def _check(self, matrix: _Matrix) -> None:
        counts = (len(matrix.connections), len(matrix.triggers), matrix.failures)
        for name, count in zip(_HEAD[1:], counts, strict=True):
            line, stated = matrix.head.get(name, (0, 0))
            if stated != count:
                self.lines.fail(line, f"{name} {stated}, and there are {count}")
        nodes = matrix.head.get("Nodes", (0, 0))[1]
        if not 1 <= nodes <= MAX_RANKS:
            self.lines.fail(matrix.head.get("Nodes", (0, 0))[0], f"Nodes {nodes} is not from 1 to {MAX_RANKS}")
        for connection in matrix.connections:
            for node in (connection.source, connection.target):
                if node >= nodes:
                    self.lines.fail(connection.line, f"node {node} is not one of {nodes}, which count from 0")
            for key in ("trigger", "send_done_trigger", "recv_done_trigger"):
                if key in connection.values and connection.values[key] not in matrix.triggers:
                    self.lines.fail(connection.line, f"trigger {connection.values[key]} is not defined")

    def _connection(self, line: int, words: list[str]) -> _Connection:
        ends = _ENDS.fullmatch(words[0])
        if ends is None:
            self.lines.fail(line, f'"{shown(words[0])}" is not two nodes, like 0->1')
        connection = _Connection(line, int(ends[1]), int(ends[2]), {})
        at = 1
        while at < len(words):
            key, value = words[at], words[at + 1 : at + 2]
            at += 2
            if key == "addon" or (key == "msg" and not (value and value[0].isdecimal())):
                at -= 1
            elif key == "start":
                if not value or _NUMBER.fullmatch(value[0]) is None:
                    self.lines.fail(line, "start has no number")
                connection.start = value[0]
            elif key in ("size", "id", "msg", "trigger", "send_done_trigger", "recv_done_trigger", "prio"):
                connection.values[key] = self._whole(line, key, value, MAX_AMOUNT)
            else:
                self.lines.fail(line, f'"{shown(key)}" is not a key of a connection')
        self._check_connection(connection)
        return connection

    def _check_connection(self, connection: _Connection) -> None:
        line, values = connection.line, connection.values
        if (connection.start is None) == ("trigger" not in values):
            self.lines.fail(line, "a connection has either a start or a trigger")
        if "trigger" in values and "id" not in values:
            self.lines.fail(line, "a connection with a trigger has an id")
        for key in ("id", "msg", "trigger", "send_done_trigger", "recv_done_trigger"):
            if values.get(key) == 0:
                self.lines.fail(line, f"{key} 0; they count from 1")
        if not values.get("size"):
            self.lines.fail(line, "a size is missing or 0; flows without an end are not replayed")
        if values.get("prio", _USUAL_PRIORITY) != _USUAL_PRIORITY:
            self.lines.leave("prio of a connection", line)

    def _trigger(self, line: int, words: list[str], matrix: _Matrix) -> None:
        values, kind, at = dict[str, int](), None, 0
        while at < len(words):
            if words[at] in _KINDS:
                kind = words[at]
                at += 1
            elif words[at] in ("id", "count"):
                values[words[at]] = self._whole(line, words[at], words[at + 1 : at + 2], MAX_RANKS)
                at += 2
            else:
                self.lines.fail(line, f'"{shown(words[at])}" is not of a trigger: id N, count N, {", ".join(_KINDS)}')
        number = values.get("id", 0)
        if not number or kind is None:
            self.lines.fail(line, f"a trigger has an id from 1, and is one of {', '.join(_KINDS)}")
        if number in matrix.triggers:
            self.lines.fail(line, f"trigger {number} is defined twice")
        matrix.triggers[number] = _Trigger(line, kind, values.get("count", 0))

    def _whole(self, line: int, what: str, words: list[str], most: int) -> int:
        if (
            not words
            or not words[0].isascii()
            or not words[0].isdecimal()
            or len(words[0]) > 19
            or int(words[0]) > most
        ):
            self.lines.fail(line, f"{what} has no whole number up to {most}")
        return int(words[0])

    def unit_of(self, matrix: _Matrix, unit: str | None) -> tuple[int, list[str]]:
        """Return the unit of `start` in ps; refuse numbers that could be in two units."""
        if unit is not None:
            return START_UNITS[unit], []
        for connection in matrix.connections:
            value = float(connection.start or 0)
            if 0 < value < SMALLEST_SURE_PS:
                text = (
                    f"start {connection.start} is in ps for the simulator, but most authors mean us; give --start-unit"
                )
                self.lines.fail(connection.line, text)
        starts = any(float(connection.start or 0) for connection in matrix.connections)
        return 1, ["starts in ps"] if starts else []


class _Graph:
    """The flows of a matrix as ops of its nodes."""

    def __init__(self, lines: Lines, matrix: _Matrix, unit_ps: int) -> None:
        self.lines = lines
        self.matrix = matrix
        self.unit_ps = unit_ps
        self.relayed = 0
        self.ops: list[list[Op]] = [[] for _ in range(matrix.head["Nodes"][1])]
        self.sends: list[int] = []
        self.receives: list[int] = []

    def ranks(self) -> tuple[tuple[Op, ...], ...]:
        connections = self.matrix.connections
        lanes: dict[tuple[int, int, int], int] = {}
        for number, one in enumerate(connections):
            after: tuple[int, ...] = ()
            own, size = self.ops[one.source], one.values["size"]
            start_ps = round(float(one.start or 0) * self.unit_ps)
            if start_ps:
                own.append(Op("calc", start_ps, line=one.line))
                after = (len(own) - 1,)
            lane = lanes.setdefault((one.source, one.target, one.values.get("id", -number - 1)), len(lanes))
            self.sends.append(len(own))
            own.append(Op("send", size, one.target, number, lane, after, (), one.line))
            self.receives.append(len(self.ops[one.target]))
            self.ops[one.target].append(Op("recv", size, one.source, number, line=one.line))
        for number, trigger in self.matrix.triggers.items():
            self._hold(number, trigger)
        return tuple(map(tuple, self.ops))

    def _hold(self, number: int, trigger: _Trigger) -> None:
        """Have the flows of a trigger wait for the flows that set it off."""
        connections = self.matrix.connections
        waiting = [at for at, one in enumerate(connections) if one.values.get("trigger") == number]
        causes = []
        for at, one in enumerate(connections):
            if one.values.get("send_done_trigger") == number:
                causes.append((one.source, self.sends[at], one.line))
            if one.values.get("recv_done_trigger") == number:
                causes.append((one.target, self.receives[at], one.line))
        if not causes and waiting:
            self.lines.fail(trigger.line, f"no flow sets off trigger {number}")
        most = {"oneshot": 1, "barrier": trigger.count or len(causes), "multishot": len(causes)}[trigger.kind]
        if len(causes) != most:
            line = causes[most][2] if len(causes) > most else trigger.line
            self.lines.fail(line, f"trigger {number}, {trigger.kind}, is set off {len(causes)} times, not {most}")
        if trigger.kind == "multishot" and len(waiting) != len(causes):
            self.lines.fail(trigger.line, f"trigger {number} is set off {len(causes)} times for {len(waiting)} flows")
        for place, at in enumerate(waiting):
            for cause in causes[place : place + 1] if trigger.kind == "multishot" else causes:
                self._after(at, cause, number)

    def _after(self, connection: int, cause: tuple[int, int, int], trigger: int) -> None:
        rank, position, line = cause
        source = self.matrix.connections[connection].source
        if rank != source:
            self.relayed += 1
            tag = len(self.matrix.connections) + self.relayed
            self.ops[rank].append(Op("send", 0, source, tag, after=(position,), line=line))
            position = len(self.ops[source])
            self.ops[source].append(Op("recv", 0, rank, tag, line=line))
        own = self.ops[source]
        at = self.sends[connection]
        own[at] = own[at]._replace(after=(*own[at].after, position))
