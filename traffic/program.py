"""Programs of jobs: steps of computing and communicating, repeated, and what they come to as a schedule.

Each rank goes through its program by itself: a step begins when the one before it has finished on this rank, whatever
others do. A step that runs `beside` does not hold up those behind it. One that says what it comes `after` begins when that
has finished, in place of the step before it. The next iteration begins on a rank when all steps of the last one have
finished there.

Only lengths travel. Between the ops of a schedule stand calcs that take no time; when they end, something else has begun or
ended. `Label` says what.
"""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True)
class Program:
    """What a job does on `ranks` of the schedule: its steps, `repeat` times, from `start_ps` on."""

    ranks: tuple[int, ...]
    steps: tuple[Step, ...]
    repeat: int = 1
    start_ps: int = 0


class Label(NamedTuple):
    """What a calc tells by its end, of a job: that it started, a step began or ended, or an iteration ended."""

    job: int
    kind: Literal["start", "compute", "begin", "end", "iteration"]
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
    return Schedule(tuple(RankSchedule(0, tuple(found)) for found in ops)), labels


def lengths_alone(schedule: Schedule) -> Schedule:
    """Return a schedule without what computes in memory; what waited for that waits for what it waited for."""
    return Schedule(tuple(RankSchedule(0, _without_memory(ranked.ops)) for ranked in schedule.ranks))


def _without_memory(ops: Sequence[Op]) -> tuple[Op, ...]:
    numbers: dict[int, int] = {}
    for index, op in enumerate(ops):
        if not isinstance(op, Copy | Reduce):
            numbers[index] = len(numbers)

    def kept(required: Sequence[int]) -> tuple[int, ...]:
        found: list[int] = []
        for index in required:
            found += [numbers[index]] if index in numbers else kept(ops[index].requires)
        return tuple(dict.fromkeys(found))

    return tuple(replace(op, requires=kept(op.requires)) for index, op in enumerate(ops) if index in numbers)


class _Writer:
    """Writes the ops of one rank of a job behind those that the rank has already."""

    def __init__(self, job: int, program: Program, place: int, ops: list[Op], labels: list[Label]) -> None:
        self.job, self.program, self.place = job, program, place
        self.ops, self.labels = ops, labels
        self.own = [self._own_parts(step) for step in program.steps]

    def _own_parts(self, step: Step) -> list[tuple[Part, int]]:
        """Return the parts of a step that this rank has a share in, and its place in each."""
        return [(part, part.ranks.index(self.place)) for part in step.parts if self.place in part.ranks]

    def write(self) -> None:
        start_ps = self.program.start_ps
        line = self._calc(start_ps, (), Label(self.job, "start", duration_ps=start_ps))
        for iteration in range(self.program.repeat):
            line = self._iteration(iteration, line)

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
        base, ops = len(self.ops), part.schedule.ranks[place].ops
        waited_for = {required for op in ops for required in op.requires}
        for op in ops:
            requires = tuple(base + required for required in op.requires) or begin
            if isinstance(op, Send | Recv):
                peer = self.program.ranks[part.ranks[op.peer]]
                self.ops.append(replace(op, peer=peer, channel=channel, requires=requires))
            else:
                self.ops.append(replace(op, requires=requires))
        return [base + index for index in range(len(ops)) if index not in waited_for]


def _joined(waits: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(index for wait in waits for index in wait))
