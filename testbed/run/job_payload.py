"""The data of jobs: what lies in the memory of ranks before a run, and what must lie there after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from testbed.plan.addressing import stable_hash
from testbed.plan.jobs import PlannedJobs
from testbed.run.engine import Engine
from testbed.run.execution import count_differences, write_elements
from testbed.traffic import Shape
from testbed.traffic.collective import random_vectors
from testbed.traffic.program import Part, Program, origins

Vector = Any


@dataclass(frozen=True, slots=True)
class Placed:
    """Elements in the memory of a rank of the schedule, `at` so many bytes."""

    rank: int
    at: int
    elements: Vector


def write(engine: Engine, planned: PlannedJobs, seed: int) -> None:
    """Write what the ranks of all jobs with payload begin with."""
    for job in range(len(planned.programs)):
        for before, _ in _steps(planned, job, seed):
            for placed in before:
                write_elements(engine, placed.rank, placed.at, placed.elements)


def wrong(engine: Engine, planned: PlannedJobs, job: int, seed: int) -> int | None:
    """Return how many elements are not what the steps of a job come to; None where nothing is compared."""
    counts = [
        count_differences(engine, placed.rank, placed.at, placed.elements)
        for _, after in _steps(planned, job, seed)
        for placed in after
    ]
    return sum(counts) if counts else None


def _steps(planned: PlannedJobs, job: int, seed: int) -> Iterator[tuple[list[Placed], list[Placed]]]:
    """Yield what lies in memory before and after each step, by iteration and group; nothing of jobs without payload."""
    program, calls = planned.programs[job], planned.calls[job]
    if program.graphs or not any(step.memory_bytes for step in program.steps):
        return
    start = origins(planned.programs, len(planned.ranks))[0][job]
    for iteration in range(program.repeat):
        for number, step in enumerate(program.steps):
            base = start + program.base_bytes(iteration, number)
            for group, part in enumerate(step.parts if step.memory_bytes else ()):
                drawn = stable_hash("payload", seed, job, iteration, number, group)
                call = calls[number]
                if call is None:
                    yield _of_message(program, part, base, drawn)
                else:
                    collective, shapes = call
                    shape = shapes[group]
                    ranks = [program.ranks[member] for member in part.ranks]
                    inputs = collective.inputs(shape, drawn)
                    before = [
                        Placed(ranks[i], base + collective.input_offset(shape, i), each)
                        for i, each in enumerate(inputs)
                    ]
                    after = [
                        Placed(ranks[i], base + collective.result_offset(shape, i), each)
                        for i, each in enumerate(collective.expected(shape, inputs))
                    ]
                    yield before, after


def _of_message(program: Program, part: Part, base: int, drawn: int) -> tuple[list[Placed], list[Placed]]:
    """Return what a message leaves where it is sent, and where it arrives."""
    source, target = (program.ranks[member] for member in part.ranks)
    elements = random_vectors(Shape(1, part.schedule.ranks[0].memory_bytes, "uint8"), drawn)[0]
    return [Placed(source, base, elements)], [Placed(target, base, elements)]
