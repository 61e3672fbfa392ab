"""Traces as programs of jobs: messages as they are matched, collectives as their algorithms carry them out.

What is to begin with another op, or behind the calcs of its lane, comes after what that one comes after. Two messages between
two ranks that can be under way at once have a queue pair each, and so have two collectives; all others share one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from testbed.errors import ExperimentError
from testbed.experiment.sections import DEFAULT_SITES
from testbed.plan.ops import LONGEST_MESSAGE_BYTES
from testbed.replay.form import NO_LANE, Op, Trace
from testbed.replay.matching import Call, Matched, Message, Place, match
from testbed.replay.streamed import Streamed
from testbed.traffic import Calc, Collective, Recv, Schedule, Send, Shape
from testbed.traffic.program import CHANNELS, Drawn, Part, Program, Step, ends_of, lengths_alone
from testbed.traffic.schedule import Op as Planned

OF_COLLECTIVES = CHANNELS // 2
"""Channels of collectives; messages have those behind."""

MOST_RANKS = 1024
"""Of a collective whose messages grow with the square of its ranks: some two million of them, a gigabyte."""
_EACH_TO_EACH = ("ring", "pairwise", "hierarchical")
_NEVER = 2**80

Called = tuple[Collective, tuple[Shape, ...]]


@lru_cache(maxsize=256)
def schedule_of(collective: Collective, shape: Shape) -> Schedule:
    """Return what the ranks of a collective do; groups of one kind, and calls that repeat, share it."""
    schedule = collective.schedule(shape)
    return schedule if shape.payload else lengths_alone(schedule)


def program_of(trace: Trace, ranks: Sequence[int], repeat: int, start_ps: int) -> tuple[Program, list[Called | None]]:
    """Return a trace as a program on ranks of the schedule, and the collectives of its steps.

    Raises ExperimentError, with file and line, for messages that do not match and collectives that cannot be carried out.
    """
    matched = match(trace)
    expansion = _Expansion(trace, matched)
    graphs = tuple(expansion.graph(rank) for rank in range(len(trace.ranks)))
    program = Program(tuple(ranks), tuple(expansion.steps), repeat, start_ps, graphs)
    return program, list(expansion.called)


def talks_of_trace(trace: Trace, ranks: Sequence[int], job: int) -> list[tuple[int, int, int]]:
    """Return sender, receiver and channel of the messages of a trace on disk, on ranks of the schedule; none of any other."""
    sends = trace.sends if isinstance(trace, Streamed) else []
    first = job * CHANNELS + OF_COLLECTIVES
    return [(ranks[source], ranks[target], first + channel) for source, target, channel in sends]


def ops_of_trace(trace: Trace) -> int:
    """Return how many ops an iteration of a trace comes to."""
    total = len(trace.ranks)
    for ops in trace.ranks:
        for op in ops:
            if op.kind == "calc":
                total += 1
            elif op.kind in ("send", "recv"):
                total += 2 + max(1, -(-op.amount // LONGEST_MESSAGE_BYTES))
            else:
                try:
                    planned = schedule_of(*_call(trace, op))
                except ValueError:
                    continue  # `program_of` says what is wrong with it
                total += 2 + max(map(len, (ranked.ops for ranked in planned.ranks)))
    return total


def _call(trace: Trace, op: Op) -> tuple[Collective, Shape]:
    """Return how a collective is carried out; raises ValueError where its algorithm cannot."""
    collective = trace.algorithm(op.kind)
    ranks = len(trace.groups[op.peer])
    if ranks > MOST_RANKS and collective.algorithm in _EACH_TO_EACH:
        raise ValueError(f"{ranks} ranks send each other more messages than memory holds; at most {MOST_RANKS} do so")
    kind = Shape(
        ranks=ranks,
        count=1,
        dtype="uint8",  # so that every size is a whole number of elements
        payload=False,
        sites=DEFAULT_SITES,
        root=op.tag,
    )
    return collective, collective.sized(kind, op.amount)


@dataclass
class _Block:
    """What an op of the trace becomes in the graph of its rank: where it begins and ends there."""

    first: int
    last: int


class _Expansion:
    def __init__(self, trace: Trace, matched: Matched) -> None:
        self.trace = trace
        self.matched = matched
        self.channels = _channels(trace, matched.messages.values())
        self.calls: dict[Place, int] = {}
        self.steps: list[Step] = []
        self.called: list[Called] = []
        self.of_calls = _channels_of_calls(trace, matched.calls)
        for number, call in enumerate(matched.calls):
            self._plan(number, call)

    def _plan(self, number: int, call: Call) -> None:
        rank, position = next(iter(call.places.items()))
        try:
            collective, shape = _call(self.trace, self.trace.ranks[rank][position])
            schedule = schedule_of(collective, shape)
        except ValueError as error:
            raise ExperimentError([self.trace.fault(rank, position, str(error))]) from None
        self.calls |= dict.fromkeys(call.places.items(), number)
        self.steps.append(Step(parts=(Part(self.trace.groups[call.group], schedule),)))
        self.called.append((collective, (shape,)))

    def graph(self, rank: int) -> tuple[Drawn, ...]:
        """Return the graph of a rank, in an order in which the messages of each queue pair are in turn."""
        graph: list[Drawn] = []
        blocks: dict[int, _Block] = {}
        order = sorted(self.matched.order[rank], key=lambda position: self._turn((rank, position)))
        for position in order:
            first = len(graph)
            graph += self._entries((rank, position))
            blocks[position] = _Block(first, len(graph) - 1)
        starts = self._starts(rank, blocks)
        for position, block in blocks.items():
            waits = starts[position]
            message = self.matched.received.get((rank, position))
            for index in range(block.first, block.last + 1):
                entry = graph[index]
                own = tuple(block.first + required for required in entry.op.requires)
                if index == block.first:
                    own = waits
                elif index == block.last and message is not None and message.source[0] == rank:
                    own = (block.first, blocks[message.source[1]].last)
                graph[index] = entry._replace(op=replace(entry.op, requires=own))
        return tuple(graph)

    def _starts(self, rank: int, blocks: dict[int, _Block]) -> dict[int, tuple[int, ...]]:
        """Return what each op of a rank comes after, in the order in which they began."""
        starts: dict[int, tuple[int, ...]] = {}
        for position in self.matched.order[rank]:
            op = self.trace.ranks[rank][position]
            waits = [blocks[other].last for other in op.after]
            for other in op.begun:
                if self.trace.ranks[rank][other].kind == "calc":
                    waits += starts[other]
                else:
                    waits.append(blocks[other].first)
            before = self.matched.lanes.get((rank, position))
            if before is not None:
                waits.append(blocks[before].last)
            starts[position] = tuple(dict.fromkeys(waits))
        return starts

    def _turn(self, place: Place) -> int:
        message = self.matched.messages.get(place) or self.matched.received.get(place)
        if message is not None:
            return message.turn
        number = self.calls.get(place)
        return 0 if number is None else self.matched.calls[number].turn

    def _entries(self, place: Place) -> list[Drawn]:
        """Return what an op becomes; its entries require each other, counted from the first."""
        op = self.trace.ranks[place[0]][place[1]]
        if op.kind == "calc":
            return [Drawn(Calc(op.amount))]
        number = self.calls.get(place)
        if number is not None:
            return list(self._collective(place[0], number))
        step = len(self.steps) + place[1]
        begin, end = Drawn(Calc(0), "begin", step), Drawn(Calc(0, (0,)), "end", step)
        message = self.matched.messages.get(place) or self.matched.received[place]
        if message.source[0] == message.target:
            return [begin, end]
        channel = self.channels[message.source]
        between: Planned = Recv(message.source[0], 0, op.amount, requires=(0,), channel=channel)
        if op.kind == "send":
            between = Send(message.target, 0, op.amount, 0, requires=(0,), channel=channel)
        return [begin, Drawn(between), end._replace(op=Calc(0, (1,)))]

    def _collective(self, rank: int, number: int) -> Iterator[Drawn]:
        part = self.steps[number].parts[0]
        ops = part.schedule.ranks[part.ranks.index(rank)].ops
        yield Drawn(Calc(0), "begin", number)
        for op in ops:
            requires = tuple(1 + required for required in op.requires) or (0,)
            if isinstance(op, Send):
                peer = part.ranks[op.peer]
                op = Send(peer, 0, op.bytes, 0, requires=requires, channel=self.of_calls[number])
            elif isinstance(op, Recv):
                op = Recv(part.ranks[op.peer], 0, op.bytes, requires=requires, channel=self.of_calls[number])
            else:
                op = replace(op, requires=requires)
            yield Drawn(op)
        ends = tuple(1 + index for index in ends_of(ops)) or (0,)
        yield Drawn(Calc(0, ends), "end", number)


def _channels(trace: Trace, messages: Iterable[Message]) -> dict[Place, int]:
    """Return the channel of each message: that of its lane, or the first whose last message had ended when it began.

    Receives of one queue pair end in their order, so that none may wait for one behind it.
    """
    free: dict[tuple[int, int], list[int]] = {}
    lanes: dict[tuple[int, int, int], int] = {}
    channels: dict[Place, int] = {}
    for message in sorted(messages, key=lambda each: each.turn):
        rank, position = message.source
        lane = trace.ranks[rank][position].lane
        ends = free.setdefault((rank, message.target), [])
        chosen = next((number for number, end in enumerate(ends) if end < message.first), len(ends))
        if lane != NO_LANE:
            chosen = lanes.get((rank, message.target, lane), len(ends))
        if chosen == CHANNELS - OF_COLLECTIVES:
            text = f"more than {chosen} messages to rank {message.target} can be under way at once"
            raise ExperimentError([trace.fault(rank, position, text)])
        if chosen == len(ends):
            ends.append(0)
        if lane != NO_LANE:
            lanes[rank, message.target, lane] = chosen
        ends[chosen] = message.end if lane == NO_LANE else _NEVER
        channels[message.source] = OF_COLLECTIVES + chosen
    return channels


def _channels_of_calls(trace: Trace, calls: Sequence[Call]) -> list[int]:
    """Return the channel of each collective: the first that none of its ranks uses for another meanwhile."""
    busy: dict[tuple[int, int], int] = {}
    channels = [0] * len(calls)
    for number, call in sorted(enumerate(calls), key=lambda each: each[1].turn):
        members = trace.groups[call.group]
        chosen = 0
        while chosen < OF_COLLECTIVES - 1 and any(busy.get((rank, chosen), -1) >= call.first for rank in members):
            chosen += 1
        for rank in members:
            busy[rank, chosen] = max(call.end, busy.get((rank, chosen), -1))
        channels[number] = chosen
    return channels
