"""Programs of jobs: steps of computing and communicating, repeated, and what they come to as a schedule.

Each rank goes through its program by itself: a step begins when the one before it has finished on this rank, whatever
others do. A step that runs `beside` does not hold up those behind it. One that says what it comes `after` begins when that
has finished, in place of the step before it. The next iteration begins on a rank when all steps of the last one have
finished there.

A job may also have a graph for each rank in place of steps that all go through: what has run before, as a trace has it.

Each step has memory of its own in each iteration, where data travels. Between the ops of a schedule stand calcs that take no
time; when they end, something else has begun or ended. `Label` says what.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from testbed.traffic.schedule import Calc, Copy, Op, RankSchedule, Recv, Reduce, Schedule, Send

CHANNELS = 1 << 12
"""Channels of a job: steps in order share the first, each that runs beside has one of its own, and rings have more."""
_ALIGNED_BYTES = 64


@dataclass(frozen=True, slots=True)
class Part:
    """What the ranks of one process group do in a step; rank i of the schedule is the i-th of `ranks` of the job."""

    ranks: tuple[int, ...]
    schedule: Schedule


@dataclass(frozen=True, slots=True)
class Step:
    """One step: computing if it has `compute_ps`, communicating in `parts`, or only waiting for what it comes `after`.

    `after` has positions of earlier steps; None: the step before. A step that only waits also waits for the step before.
    """

    compute_ps: int | None = None
    parts: tuple[Part, ...] = ()
    after: tuple[int, ...] | None = None
    beside: bool = False

    @property
    def memory_bytes(self) -> int:
        """The memory of a rank in one iteration of it; 0 where lengths are sent."""
        needed = max((ranked.memory_bytes for part in self.parts for ranked in part.schedule.ranks), default=0)
        return -(-needed // _ALIGNED_BYTES) * _ALIGNED_BYTES

    @property
    def channels(self) -> int:
        """How many channels its messages take."""
        ops = (op for part in self.parts for ranked in part.schedule.ranks for op in ranked.ops)
        return 1 + max((op.channel for op in ops if isinstance(op, Send | Recv)), default=0)


Kind = Literal["start", "compute", "begin", "end", "iteration"]


class Drawn(NamedTuple):
    """An op of a rank's graph, which requires others of the graph by position. `tells` is of a calc: what its end tells.

    Its peer is a rank of the job, its channel one of the job's.
    """

    op: Op
    tells: Kind = "compute"
    step: int = 0


@dataclass(frozen=True, slots=True)
class Program:
    """What a job does on `ranks` of the schedule: its steps, `repeat` times, from `start_ps` on.

    With `graphs`, one for each rank, those are what it does, and steps are the collectives in them, by their numbers.
    """

    ranks: tuple[int, ...]
    steps: tuple[Step, ...]
    repeat: int = 1
    start_ps: int = 0
    graphs: tuple[tuple[Drawn, ...], ...] = ()

    def base_bytes(self, iteration: int, step: int) -> int:
        """Return where the memory of a step begins in an iteration, from where that of the program does."""
        sizes = [each.memory_bytes for each in self.steps]
        return iteration * sum(sizes) + sum(sizes[:step])


def channels_of_steps(steps: Sequence[tuple[bool, int]]) -> list[tuple[int, ...]]:
    """Return the channels of each step, given whether it runs beside the others, and how many it has.

    The first is that of steps in order, or the step's own; further ones are for steps in order together, and for each beside
    by itself. Raises ValueError for more than a job has.
    """
    free = 1 + len(steps)
    shared = range(free, free + max((count for beside, count in steps if not beside), default=1) - 1)
    free, channels = free + len(shared), list[tuple[int, ...]]()
    for number, (beside, count) in enumerate(steps):
        own = range(free, free + count - 1) if beside else shared[: count - 1]
        free += len(own) if beside else 0
        channels.append((1 + number if beside else 0, *own))
    if any(channel >= CHANNELS for each in channels for channel in each):
        raise ValueError(f"steps beside each other and their channels come to more than {CHANNELS}")
    return channels


def origins(programs: Sequence[Program], ranks: int) -> tuple[list[int], list[int]]:
    """Return where the memory of each program begins in that of its ranks, and how much each rank needs, in bytes."""
    starts, needed = list[int](), [0] * ranks
    for program in programs:
        start = max((needed[rank] for rank in program.ranks), default=0)
        starts.append(start)
        if length := sum(step.memory_bytes for step in program.steps) * program.repeat:
            for rank in program.ranks:
                needed[rank] = start + length
    return starts, needed


class Label(NamedTuple):
    """What a calc tells by its end, of a job: that it started, a step began or ended, or an iteration ended."""

    job: int
    kind: Kind
    iteration: int = 0
    step: int = 0
    duration_ps: int = 0


def unrolled(programs: Sequence[Program], ranks: int) -> tuple[Schedule, list[list[Label]]]:
    """Return the schedule of all programs side by side on so many ranks, and the labels of each rank's calcs in order.

    Raises ValueError for a step after one that is not earlier.
    """
    ops: list[list[Op]] = [[] for _ in range(ranks)]
    labels: list[list[Label]] = [[] for _ in range(ranks)]
    starts, needed = origins(programs, ranks)
    for job, program in enumerate(programs):
        layout = _Layout.of(program, starts[job])
        for place, rank in enumerate(program.ranks):
            writer = _Writer(job, program, place, layout, ops[rank], labels[rank])
            writer.write()
    return Schedule(tuple(RankSchedule(size, tuple(own)) for size, own in zip(needed, ops, strict=True))), labels


def lengths_alone(schedule: Schedule) -> Schedule:
    """Return a schedule without what computes in memory; what waited for that waits for what it waited for."""
    return _without(schedule, lambda op: isinstance(op, Copy | Reduce))


def without_marks(schedule: Schedule) -> Schedule:
    """Return a schedule of lengths without the calcs that take no time."""
    return _without(schedule, lambda op: isinstance(op, Calc) and op.duration_ps == 0)


def _without(schedule: Schedule, is_left_out: Callable[[Op], bool]) -> Schedule:
    """Return a schedule without some of its ops; what waited for one of those waits for what it waited for."""
    return Schedule(tuple(RankSchedule(0, _kept(ranked.ops, is_left_out)) for ranked in schedule.ranks))


def _kept(ops: Sequence[Op], is_left_out: Callable[[Op], bool]) -> tuple[Op, ...]:
    numbers: dict[int, int] = {}
    for index, op in enumerate(ops):
        if not is_left_out(op):
            numbers[index] = len(numbers)
    known: dict[int, tuple[int, ...]] = {}

    def kept(index: int) -> tuple[int, ...]:
        """Return what an op waits for, each as a number among those that stay."""
        stack = [index]
        while stack:
            inner = [one for one in ops[stack[-1]].requires if one not in numbers and one not in known]
            stack += inner
            if not inner:
                at = stack.pop()
                parts = ((numbers[one],) if one in numbers else known[one] for one in ops[at].requires)
                known[at] = tuple(dict.fromkeys(number for part in parts for number in part))
        return known[index]

    return tuple(replace(op, requires=kept(index)) for index, op in enumerate(ops) if index in numbers)


def _moved(op: Op, by: int) -> Op:
    """Return an op on memory that begins so many bytes later, on all ranks."""
    if not by or isinstance(op, Calc):
        return op
    if isinstance(op, Send):
        return replace(op, offset=op.offset + by, remote_offset=op.remote_offset + by)
    if isinstance(op, Recv):
        return replace(op, offset=op.offset + by)
    if isinstance(op, Copy):
        return replace(op, dst=op.dst + by, src=op.src + by)
    return replace(op, dst=op.dst + by, lhs=op.lhs + by, rhs=op.rhs + by)


@dataclass(frozen=True, slots=True)
class _Layout:
    """What all ranks of a program share: where its memory starts, how much an iteration takes, and by step where it begins
    there and its channels."""

    start: int
    iteration: int
    steps: tuple[int, ...]
    channels: Sequence[tuple[int, ...]]

    @classmethod
    def of(cls, program: Program, start: int) -> _Layout:
        if program.graphs:
            return cls(start, 0, (), ())
        sizes = [step.memory_bytes for step in program.steps]
        channels = channels_of_steps([(step.beside, step.channels) for step in program.steps])
        return cls(start, sum(sizes), tuple(sum(sizes[:number]) for number in range(len(sizes))), channels)


class _Writer:
    """Writes the ops of one rank of a job behind those that the rank has already."""

    def __init__(
        self, job: int, program: Program, place: int, layout: _Layout, ops: list[Op], labels: list[Label]
    ) -> None:
        self.job, self.program, self.place, self.layout = job, program, place, layout
        self.ops, self.labels = ops, labels
        self.own = [] if program.graphs else [self._own_parts(step) for step in program.steps]

    def _own_parts(self, step: Step) -> list[tuple[Part, int]]:
        """Return the parts of a step that this rank has a share in, and its place in each."""
        return [(part, part.ranks.index(self.place)) for part in step.parts if self.place in part.ranks]

    def write(self) -> None:
        start_ps = self.program.start_ps
        line = self._calc(start_ps, (), Label(self.job, "start", duration_ps=start_ps))
        for iteration in range(self.program.repeat):
            line = self._graph(iteration, line) if self.program.graphs else self._iteration(iteration, line)

    def _calc(self, duration_ps: int, requires: tuple[int, ...], label: Label) -> tuple[int, ...]:
        self.ops.append(Calc(duration_ps, requires))
        self.labels.append(label)
        return (len(self.ops) - 1,)

    def _iteration(self, iteration: int, begin: tuple[int, ...]) -> tuple[int, ...]:
        line, ends = begin, list[tuple[int, ...]]()
        for number, step in enumerate(self.program.steps):
            waits = line
            if step.after is not None:
                if any(not 0 <= earlier < number for earlier in step.after):
                    raise ValueError(f"step {number} comes after one that is not earlier: {step.after}")
                waits = _joined([ends[earlier] for earlier in step.after])
                if step.compute_ps is None and not step.parts:
                    waits = _joined([line, waits])
            done = self._step(iteration, number, step, waits)
            ends.append(done)
            if not step.beside:
                line = done
        label = Label(self.job, "iteration", iteration)
        return self._calc(0, _joined([begin, line, *ends]), label)

    def _step(self, iteration: int, number: int, step: Step, waits: tuple[int, ...]) -> tuple[int, ...]:
        """Write a step that begins when `waits` have finished, and return what it ends with."""
        if step.compute_ps is not None:
            label = Label(self.job, "compute", iteration, number, step.compute_ps)
            return self._calc(step.compute_ps, waits, label)
        parts = self.own[number]
        if not parts:
            return waits
        begin = self._calc(0, waits, Label(self.job, "begin", iteration, number))
        channels = [self.job * CHANNELS + channel for channel in self.layout.channels[number]]
        memory = self.layout.start + self.layout.iteration * iteration + self.layout.steps[number]
        last = list(begin)
        for part, place in parts:
            last += self._embed(part, place, begin, channels, memory)
        return self._calc(0, tuple(last), Label(self.job, "end", iteration, number))

    def _embed(self, part: Part, place: int, begin: tuple[int, ...], channels: Sequence[int], memory: int) -> list[int]:
        """Write what this rank does in a part, and return the ops that nothing else in it waits for."""
        ops = part.schedule.ranks[place].ops
        ends = ends_of(ops)
        base = len(self.ops)
        for op in ops:
            channel = channels[op.channel] if isinstance(op, Send | Recv) else 0
            self._append(_moved(op, memory), base, begin, lambda peer: part.ranks[peer], channel)
        return [base + index for index in ends]

    def _graph(self, iteration: int, begin: tuple[int, ...]) -> tuple[int, ...]:
        """Write an iteration of this rank's graph, and return what it ends with."""
        base, graph = len(self.ops), self.program.graphs[self.place]
        for op, tells, step in graph:
            if isinstance(op, Calc):
                self.labels.append(Label(self.job, tells, iteration, step, op.duration_ps))
            channel = self.job * CHANNELS + (op.channel if isinstance(op, Send | Recv) else 0)
            self._append(op, base, begin, lambda peer: peer, channel)
        ends = tuple(base + index for index in ends_of([entry.op for entry in graph]))
        return self._calc(0, (*begin, *ends), Label(self.job, "iteration", iteration))

    def _append(self, op: Op, base: int, begin: tuple[int, ...], member: Callable[[int], int], channel: int) -> None:
        """Write an op whose requirements count from `base`, and whose peer is a `member` of the job."""
        requires = tuple(base + required for required in op.requires) or begin
        if isinstance(op, Send | Recv):
            peer = self.program.ranks[member(op.peer)]
            self.ops.append(replace(op, peer=peer, channel=channel, requires=requires))
        else:
            self.ops.append(replace(op, requires=requires))


def ends_of(ops: Sequence[Op]) -> list[int]:
    """Return the ops that no other waits for."""
    waited_for = {required for op in ops for required in op.requires}
    return [index for index in range(len(ops)) if index not in waited_for]


def _joined(waits: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(index for wait in waits for index in wait))
