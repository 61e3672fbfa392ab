"""Independent tasks in parallel processes.

Tasks and results are pickled, and `work` is a function of a module. What a task raises, a panic of the data plane
included, is its result: one that fails does not take the others with it. An interrupt ends every worker: they look at
`check_interrupt`, which long tasks call now and then.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.synchronize import Event
from typing import Generic, TypeVar

from testbed.errors import HostError

# Nothing of a worker's is worth waiting for: what it had finished it has handed over.
_GRACE_S = 0.2

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Defect:
    """What a task raised: the last line of it, and all of it."""

    summary: str
    details: str


@dataclass(frozen=True)
class Guarded(Generic[Task, Result]):
    """Work whose exceptions are results; `sharing`: how many tasks share a machine's memory, where it cannot tell."""

    work: Callable[[Task], Result]
    sharing: int | None = None

    def __call__(self, task: Task) -> Result | Defect:
        if self.sharing is not None:
            _Workers.count = self.sharing
        try:
            return self.work(task)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  a panic of the data plane is no Exception
            return Defect(traceback.format_exception_only(error)[-1].strip(), traceback.format_exc())


class _Stop:
    """The wish of the parent process that workers end; None in the parent itself."""

    event: Event | None = None


class _Workers:
    """How many processes work side by side, this one included."""

    count: int = 1


def processes_here() -> int:
    """Return how many processes share this machine's memory for tasks of one kind: the workers, in a worker."""
    return _Workers.count


def check_interrupt() -> None:
    """Raise KeyboardInterrupt in a worker whose parent was interrupted."""
    if _Stop.event is not None and _Stop.event.is_set():
        raise KeyboardInterrupt


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def run_all(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    jobs: int,
    done: Callable[[int, Result | Defect], None],
) -> None:
    """Call `done` with the number and the result of every task, as they come.

    With one job, or one task, the tasks are run in this process. Raises HostError if a worker dies, and
    KeyboardInterrupt, once the workers have ended.
    """
    guarded = Guarded(work)
    if min(jobs, len(tasks)) <= 1:
        for number, task in enumerate(tasks):
            done(number, guarded(task))
        return
    with _executor(min(jobs, len(tasks))) as executor:
        numbers: dict[Future[Result | Defect], int] = {
            executor.submit(guarded, task): number for number, task in enumerate(tasks)
        }
        for future in as_completed(numbers):
            error = future.exception()
            if error is not None:
                raise HostError(f"a worker process ended unexpectedly: {error}")
            done(numbers[future], future.result())


@contextmanager
def _executor(jobs: int) -> Iterator[Executor]:
    # Spawned, not forked: a fork copies the locks of other threads, such as the one that draws the progress.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    executor = ProcessPoolExecutor(jobs, context, _begin, (stop, jobs))
    try:
        yield executor
    except BaseException:
        stop.set()
        _end_workers()
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _end_workers() -> None:
    """End the workers: those that have not noticed within a moment, as while they start or compute, by a signal."""
    deadline = time.monotonic() + _GRACE_S
    for worker in multiprocessing.active_children():
        worker.join(max(deadline - time.monotonic(), 0))
        worker.terminate()


def _begin(stop: Event, jobs: int) -> None:
    """Prepare a worker: interrupts are the parent's to handle, and a worker does not outlive it."""
    _Stop.event = stop
    _Workers.count = jobs
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
