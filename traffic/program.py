"""Programs of jobs: steps of computing and communicating, repeated, and what they come to as a schedule.

Each rank goes through its program by itself: a step begins when the one before it has finished on this rank, whatever
others do. A step that runs `beside` does not hold up those behind it. One that says what it comes `after` begins when that
has finished, in place of the step before it. The next iteration begins on a rank when all steps of the last one have
finished there.

A job may also have a graph for each rank in place of steps that all go through: what has run before, as a trace has it.

Only lengths travel. Between the ops of a schedule stand calcs that take no time; when they end, something else has begun or
ended. `Label` says what.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from testbed.traffic.schedule import Calc, Copy, Op, RankSchedule, Recv, Reduce, Schedule, Send

CHANNELS = 1 << 12
"""Channels of a job: steps in order share the first, and each that runs beside has one of its own."""


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
    for job, program in enumerate(programs):
        for place, rank in enumerate(program.ranks):
            writer = _Writer(job, program, place, ops[rank], labels[rank])
            writer.write()
    return Schedule(tuple(RankSchedule(0, tuple(own)) for own in ops)), labels


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


class _Writer:
    """Writes the ops of one rank of a job behind those that the rank has already."""

    def __init__(self, job: int, program: Program, place: int, ops: list[Op], labels: list[Label]) -> None:
        self.job, self.program, self.place = job, program, place
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
        channel = self.job * CHANNELS + (1 + number if step.beside else 0)
        last = list(begin)
        for part, place in parts:
            last += self._embed(part, place, begin, channel)
        return self._calc(0, tuple(last), Label(self.job, "end", iteration, number))

    def _embed(self, part: Part, place: int, begin: tuple[int, ...], channel: int) -> list[int]:
        """Write what this rank does in a part, and return the ops that nothing else in it waits for."""
        ops = part.schedule.ranks[place].ops
        ends = ends_of(ops)
        base = len(self.ops)
        for op in ops:
            self._append(op, base, begin, lambda peer: part.ranks[peer], channel)
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
