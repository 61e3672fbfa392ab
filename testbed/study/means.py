"""By what means the points of a study come about: out of files, in this process or others, all of them or a share.

A study says what it computes and how that is written down (`PointKind`). Where and by whom it is computed (`Means`) has no
bearing on what comes out.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from testbed.errors import HostError, TestbedError, UsageError
from testbed.progress import Follower
from testbed.study import parallel
from testbed.study.parallel import Defect, Result, Task
from testbed.study.points import Json, Kept, Points, code_version

_SHARD = re.compile(r"(\d{1,7})/(\d{1,7})")
Value = TypeVar("Value")


@dataclass(frozen=True)
class PointKind(Generic[Task, Result]):
    """A kind of point: `work` computes it from a task, and is a function of a module, so that other processes find it.

    `key` names the point of a task, None where it cannot be told by its inputs; `pack` writes a result as JSON data, from which
    `unpack` makes it again; a result that is not `settled` is tried again where it can be.
    """

    work: Callable[[Task], Result]
    key: Callable[[Task], str | None]
    pack: Callable[[Result], Json]
    unpack: Callable[[Task, Json], Result]
    settled: Callable[[Result], bool] = lambda result: True


@dataclass(frozen=True)
class Missing:
    """What stands in the place of a point that was not computed, where none is."""


@dataclass(frozen=True)
class Shard:
    """One share of a study's points, counted from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def has(self, place: int) -> bool:
        """Return whether the point at this place, counted from 0, is in the share: they are dealt out in turn."""
        return place % self.count == self.number - 1


def read_shard(text: str) -> Shard:
    """Read `3/8`. Raises UsageError."""
    match = _SHARD.fullmatch(text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f'--shard "{text}": write which share of how many, as 3/8; the first is 1/8')
    return Shard(int(match[1]), int(match[2]))


class Runner(Protocol):
    """What computes tasks: `parallel.run_all` in processes of this machine, or a scheduler."""

    def __call__(
        self,
        work: Callable[[Task], Result],
        tasks: Sequence[Task],
        done: Callable[[int, Result | Defect], None],
    ) -> None:
        """Call `done` with the number and the result of every task, as they come; raise HostError where they cannot."""


def on_this_machine(jobs: int) -> Runner:
    """Return what runs so many tasks at a time in processes of this machine."""

    def run(
        work: Callable[[Task], Result], tasks: Sequence[Task], done: Callable[[int, Result | Defect], None]
    ) -> None:
        parallel.run_all(work, tasks, jobs, done)

    return run


@dataclass
class Counts:
    """How many points were computed, read, and missed, and what kept one from being written."""

    computed: int = 0
    read: int = 0
    missing: list[int] = field(default_factory=list)
    unwritten: TestbedError | None = None


@dataclass(frozen=True)
class Means:
    """Where points are kept and computed. Without `points` nothing is kept; `collect`: nothing is computed.

    With a `shard`, only its points are computed and handed over.
    """

    runner: Runner
    points: Points | None = None
    shard: Shard | None = None
    collect: bool = False
    follower: Follower = field(default_factory=Follower)
    counts: Counts = field(default_factory=Counts)

    def following(self, follower: Follower) -> Means:
        """Return these means with somebody who hears how it goes on."""
        return Means(self.runner, self.points, self.shard, self.collect, follower, self.counts)


@dataclass(frozen=True)
class _Computed(Generic[Value]):
    """A result with a record of how it came about; `code` is that of the process that computed it."""

    result: Value
    record: dict[str, Any]
    code: str


def _compute(work: Callable[[Task], Result], task: Task) -> _Computed[Result]:
    began, at = time.monotonic(), datetime.now(UTC)
    result = work(task)
    record = {
        "host": platform.node(),
        "process": os.getpid(),
        "began": at.isoformat(timespec="milliseconds"),
        "seconds": round(time.monotonic() - began, 3),
    }
    return _Computed(result, record, code_version())


def carry_out(
    kind: PointKind[Task, Result],
    tasks: Sequence[Task],
    means: Means,
    done: Callable[[int, Result | Defect | Missing], None],
) -> None:
    """Call `done` with the number and the result of every task, as they come: those that are kept first, in order.

    Tasks with the same key are one point, computed once. Raises UsageError where a task has no key and points have to be
    shared, HostError where none can be computed, and KeyboardInterrupt.
    """
    pending: list[list[int]] = []
    keys = [kind.key(task) if means.points else None for task in tasks]
    for place, numbers in enumerate(_by_key(keys, means)):
        if means.shard is not None and not means.shard.has(place):
            continue
        kept = _kept(means, keys[numbers[0]])
        if kept is not None:
            means.counts.read += 1
            for number in numbers:
                done(number, kind.unpack(tasks[number], kept.content))
        elif means.collect:
            means.counts.missing += numbers
            for number in numbers:
                done(number, Missing())
        else:
            pending.append(numbers)
    means.follower.begin(len(pending))

    def finished(place: int, outcome: _Computed[Result] | Defect) -> None:
        first, *others = pending[place]
        means.follower.advance()
        if isinstance(outcome, Defect):
            for number in pending[place]:
                done(number, outcome)
            return
        _require_same_code(outcome)
        content = kind.pack(outcome.result)
        _keep(means, keys[first], content, outcome.record, kind.settled(outcome.result))
        means.counts.computed += 1
        done(first, outcome.result)
        for number in others:
            done(number, kind.unpack(tasks[number], content))

    means.runner(partial(_compute, kind.work), [tasks[numbers[0]] for numbers in pending], finished)


def _by_key(keys: Sequence[str | None], means: Means) -> Iterator[list[int]]:
    """Yield the numbers of tasks that are one point, in the order of the first of them."""
    groups: dict[str | int, list[int]] = {}
    for number, key in enumerate(keys):
        if key is None and (means.collect or means.shard):
            raise UsageError("a trace that is replayed from disk cannot be shared: run without --shard and --collect")
        groups.setdefault(number if key is None else key, []).append(number)
    yield from groups.values()


def _kept(means: Means, key: str | None) -> Kept | None:
    kept = means.points.read(key) if means.points is not None and key is not None else None
    return kept if kept is not None and (kept.settled or means.collect) else None


def _keep(means: Means, key: str | None, content: Json, record: dict[str, Any], settled: bool) -> None:
    if means.points is None or key is None or means.counts.unwritten is not None:
        return
    try:
        means.points.write(key, content, record, settled)
    except TestbedError as error:
        if means.shard is not None:
            raise
        # What is computed is of use without: a full disk may still take the table.
        means.counts.unwritten = error


def _require_same_code(outcome: _Computed[Any]) -> None:
    if outcome.code != code_version():
        raise HostError(
            f"{outcome.record['host']} computes with testbed {outcome.code}, and this is {code_version()}: install the same"
        )
