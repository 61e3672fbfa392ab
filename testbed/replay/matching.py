"""Which receive gets which message: the trace carried out once on a network in which nothing waits for anything else.

A message takes its bytes at one rate and is there; messages between two ranks stay in order. As in MPI a receive takes the
message that came first among those that its source and tag allow, and a message the receive that was posted first. What
matches here is matched on every network and both clocks: with named sources and tags in order that is what MPI says, and
where a receive takes any source, or the order of posting hangs on the network, it is one of the orders that MPI allows.

The order of events here is one in which everything can happen, so that whatever keeps to it cannot wait in a circle.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from testbed.errors import ExperimentError, Fault
from testbed.replay.form import ANY, NO_LANE, Op, Trace

PS_PER_BYTE = 80
"""That of 100 Gbit/s."""
_MOST_FAULTS = 10

Place = tuple[int, int]
"""A rank, and the position of an op in it."""


@dataclass
class Call:
    """A collective as its group carries it out: the op of each member, and in which events the first began and all ended."""

    group: int
    places: dict[int, int] = field(default_factory=dict)
    first: int = 0
    end: int = 0
    turn: int = 0


@dataclass
class Message:
    """A message: its send, its receive once it has one, its turn, and in which events the one began and the other ended."""

    source: Place
    target: int
    turn: int
    first: int
    end: int = 0
    receive: Place | None = None


@dataclass
class Matched:
    """What the trace came to: its messages by send and by receive, its collectives, the calc before each in its lane, and in
    which order the ops of each rank began.
    """

    messages: dict[Place, Message]
    received: dict[Place, Message]
    calls: list[Call]
    lanes: dict[Place, int]
    order: list[list[int]]


def match(trace: Trace) -> Matched:
    """Return which receive gets which message.

    Raises ExperimentError, with file and line, for ops that wait for ever and for sizes that differ.
    """
    execution = _Execution(trace)
    execution.run()
    return Matched(execution.messages, execution.received, execution.ended_calls, execution.lanes, execution.order)


class _Waiting:
    """Receives or messages that wait at a rank, by source and tag, each in its order."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[int, int], deque[tuple[int, Place]]] = {}
        self._count = 0

    def add(self, key: tuple[int, int], place: Place) -> None:
        """Enqueue an op under its source and tag."""
        self._count += 1
        self._lanes.setdefault(key, deque()).append((self._count, place))

    def first(self, keys: Iterable[tuple[int, int]]) -> Place | None:
        """Dequeue the op that has waited longest under any of these keys; None if none waits."""
        heads = [(self._lanes[key][0], key) for key in keys if key in self._lanes]
        if not heads:
            return None
        (_, place), key = min(heads)
        self._lanes[key].popleft()
        if not self._lanes[key]:
            del self._lanes[key]
        return place

    def like(self, source: int, tag: int) -> list[tuple[int, int]]:
        """Return the keys that a receive allows, which takes any source or any tag."""
        return [key for key in self._lanes if source in (ANY, key[0]) and tag in (ANY, key[1])]

    def all(self) -> list[Place]:
        """Return all ops that wait."""
        return [place for lane in self._lanes.values() for _, place in lane]


class _Execution:
    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.turn = 0
        self.now_ps = 0
        self.event = 0
        self.events: list[tuple[int, int, str, Place]] = []
        self.missing = [[len(op.after) + len(op.begun) for op in ops] for ops in trace.ranks]
        self.begun = [[False] * len(ops) for ops in trace.ranks]
        self.order: list[list[int]] = [[] for _ in trace.ranks]
        self.enders = [_waiters(ops, "after") for ops in trace.ranks]
        self.starters = [_waiters(ops, "begun") for ops in trace.ranks]
        self.messages: dict[Place, Message] = {}
        self.received: dict[Place, Message] = {}
        self.unexpected = [_Waiting() for _ in trace.ranks]
        self.posted = [_Waiting() for _ in trace.ranks]
        self.last_ps: dict[tuple[int, int], int] = {}
        self.queued: dict[tuple[int, int], deque[int]] = {}
        self.lanes: dict[Place, int] = {}
        self.last_of_lane: dict[tuple[int, int], int] = {}
        self.occurrences: dict[tuple[int, int], int] = {}
        self.calls: dict[tuple[int, int], Call] = {}
        self.ended_calls: list[Call] = []

    def run(self) -> None:
        for rank, missing in enumerate(self.missing):
            for position, count in enumerate(missing):
                if count == 0:
                    self._at(0, "begin", (rank, position))
        while self.events:
            self.now_ps, _, what, place = heapq.heappop(self.events)
            self.event += 1
            {"begin": self._begin, "end": self._end, "land": self._land, "call": self._end_call}[what](place)
        faults = self._stuck()
        if faults:
            raise ExperimentError(faults)

    def _at(self, at_ps: int, what: str, place: Place) -> None:
        self.turn += 1
        heapq.heappush(self.events, (at_ps, self.turn, what, place))

    def _begin(self, place: Place) -> None:
        rank, position = place
        op = self.trace.ranks[rank][position]
        if op.kind == "calc":
            if op.lane != NO_LANE:
                queue = self.queued.setdefault((rank, op.lane), deque())
                queue.append(position)
                if len(queue) > 1:
                    return
            self._begin_calc(rank, position, op)
            return
        self._mark_begun(rank, position)
        if op.kind == "send":
            self._send(place, op)
        elif op.kind == "recv":
            self._receive(place, op)
        else:
            self._call(place, op)

    def _begin_calc(self, rank: int, position: int, op: Op) -> None:
        if op.lane != NO_LANE:
            before = self.last_of_lane.get((rank, op.lane))
            if before is not None:
                self.lanes[rank, position] = before
            self.last_of_lane[rank, op.lane] = position
        self._mark_begun(rank, position)
        self._at(self.now_ps + op.amount, "end", (rank, position))

    def _mark_begun(self, rank: int, position: int) -> None:
        self.begun[rank][position] = True
        self.order[rank].append(position)
        self._release(rank, self.starters[rank].get(position, ()))

    def _release(self, rank: int, waiting: Sequence[int]) -> None:
        for other in waiting:
            self.missing[rank][other] -= 1
            if self.missing[rank][other] == 0:
                self._at(self.now_ps, "begin", (rank, other))

    def _end(self, place: Place) -> None:
        rank, position = place
        op = self.trace.ranks[rank][position]
        if op.kind == "recv":
            self.received[place].end = self.event
        if op.kind == "calc" and op.lane != NO_LANE:
            queue = self.queued[rank, op.lane]
            queue.popleft()
            if queue:
                self._begin_calc(rank, queue[0], self.trace.ranks[rank][queue[0]])
        self._release(rank, self.enders[rank].get(position, ()))

    def _send(self, place: Place, op: Op) -> None:
        ends = place[0], op.peer
        end_ps = max(self.now_ps + op.amount * PS_PER_BYTE, self.last_ps.get(ends, 0))
        self.last_ps[ends] = end_ps
        self.turn += 1
        self.messages[place] = Message(place, op.peer, self.turn, self.event)
        self._at(end_ps, "land", place)

    def _land(self, place: Place) -> None:
        message = self.messages[place]
        source, tag = place[0], self.trace.ranks[place[0]][place[1]].tag
        receive = self.posted[message.target].first([(source, tag), (source, ANY), (ANY, tag), (ANY, ANY)])
        if receive is None:
            self.unexpected[message.target].add((source, tag), place)
        else:
            self._match(message, receive)
        self._end(place)

    def _receive(self, place: Place, op: Op) -> None:
        waiting = self.unexpected[place[0]]
        allowed = [(op.peer, op.tag)] if ANY not in (op.peer, op.tag) else waiting.like(op.peer, op.tag)
        sent = waiting.first(allowed)
        if sent is None:
            self.posted[place[0]].add((op.peer, op.tag), place)
        else:
            self._match(self.messages[sent], place)

    def _match(self, message: Message, receive: Place) -> None:
        source, position = message.source
        sent, expected = self.trace.ranks[source][position], self.trace.ranks[receive[0]][receive[1]]
        if sent.amount != expected.amount:
            text = f"receives {expected.amount} bytes, and rank {source} sends {sent.amount} ({self._place(message.source)})"
            raise ExperimentError([self.trace.fault(*receive, text)])
        message.receive = receive
        self.received[receive] = message
        self._at(self.now_ps, "end", receive)

    def _place(self, place: Place) -> str:
        fault = self.trace.fault(*place, "")
        return f"{fault.file}:{fault.line}" if fault.line else f"{fault.file}, op {place[1]}"

    def _call(self, place: Place, op: Op) -> None:
        rank, group = place[0], op.peer
        number = self.occurrences.get((rank, group), 0)
        self.occurrences[rank, group] = number + 1
        call = self.calls.setdefault((group, number), Call(group, first=self.event))
        for other, position in call.places.items():
            known = self.trace.ranks[other][position]
            if (known.kind, known.amount, known.tag) != (op.kind, op.amount, op.tag):
                text = (
                    f"{op.kind} of {op.amount} bytes is call {number} of its group, which is {known.kind} of"
                    f" {known.amount} on rank {other} ({self._place((other, position))})"
                )
                raise ExperimentError([self.trace.fault(*place, text)])
            break
        call.places[rank] = place[1]
        if len(call.places) == len(self.trace.groups[group]):
            self.turn += 1
            call.turn = self.turn
            self._at(self.now_ps + op.amount * PS_PER_BYTE, "call", (group, number))

    def _end_call(self, place: Place) -> None:
        call = self.calls.pop(place)
        call.end = self.event
        self.ended_calls.append(call)
        for rank, position in call.places.items():
            self._end((rank, position))

    def _stuck(self) -> list[Fault]:
        """Return a fault for each op that never ends: messages that nobody receives first, then receives and collectives."""
        trace, faults = self.trace, list[Fault]()
        for waiting in self.unexpected:
            for place in waiting.all():
                op = trace.ranks[place[0]][place[1]]
                text = f"sends {op.amount} bytes with tag {op.tag} to rank {op.peer}, which does not receive them"
                faults.append(trace.fault(*place, text))
        for waiting in self.posted:
            for place in waiting.all():
                op = trace.ranks[place[0]][place[1]]
                source = "any rank" if op.peer == ANY else f"rank {op.peer}"
                tag = "any tag" if op.tag == ANY else f"tag {op.tag}"
                text = f"receives {op.amount} bytes with {tag} from {source}, and no rank sends them"
                faults.append(trace.fault(*place, text))
        for call in self.calls.values():
            missing = [rank for rank in trace.groups[call.group] if rank not in call.places]
            rank, position = next(iter(call.places.items()))
            names = ", ".join(map(str, missing[:8]))
            faults.append(
                trace.fault(rank, position, f"{trace.ranks[rank][position].kind} never begins on ranks {names}")
            )
        if not faults:
            faults = [
                trace.fault(rank, position, "waits for itself, through the ops that it comes after")
                for rank, begun in enumerate(self.begun)
                for position in [at for at, done in enumerate(begun) if not done][:1]
            ]
        return faults[:_MOST_FAULTS]


def _waiters(ops: Sequence[Op], key: str) -> dict[int, list[int]]:
    """Return which ops wait for the end (`after`) or for the start (`begun`) of each."""
    waiters: dict[int, list[int]] = {}
    for position, op in enumerate(ops):
        for required in op.after if key == "after" else op.begun:
            waiters.setdefault(required, []).append(position)
    return waiters
