"""Tasks on Dask: on workers of this machine, or on those of a scheduler that runs somewhere.

A worker that ends before its task is done leaves the task to another: Dask sees to that, three times.
"""

from __future__ import annotations

import importlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from testbed.errors import HostError, UsageError
from testbed.study.means import Runner
from testbed.study.parallel import Defect, Guarded, Result, Task

LOCAL = "dask"
"""What is named for workers of this machine."""
SCHEMES = ("tcp://", "tls://")
_CONNECT_S = 10


def check_address(text: str) -> str:
    """Return the name of a scheduler. Raises UsageError for what is none."""
    if text != LOCAL and not text.startswith(SCHEMES):
        raise UsageError(
            f'--scheduler "{text}": write dask for workers of this machine, or the address of a scheduler, tcp://host:8786'
        )
    return text


def on_dask(scheduler: str, jobs: int) -> Runner:
    """Return what runs tasks by a scheduler: `dask` for so many workers of this machine, else its address.

    Raises HostError where Dask is not installed, or no scheduler answers.
    """

    def run(
        work: Callable[[Task], Result], tasks: Sequence[Task], done: Callable[[int, Result | Defect], None]
    ) -> None:
        if not tasks:
            return
        distributed = _distributed()
        with _client(distributed, scheduler, min(jobs, len(tasks))) as client:
            guarded = Guarded(work, _tasks_a_machine(client))
            futures = client.map(guarded, tasks, pure=False)
            numbers = {future.key: number for number, future in enumerate(futures)}
            for future in distributed.as_completed(futures):
                done(numbers[future.key], _result(future))

    return run


def _result(future: Any) -> Any:
    if future.status == "error":
        # The task itself raises nothing: its workers have ended, each in the middle of it.
        return Defect(f"its workers ended one after the other: {future.exception()}", "")
    if future.status == "cancelled":
        raise HostError("the Dask scheduler is gone; the same command goes on from there")
    # A worker that ends takes results along that nobody has fetched; they are computed anew, and waited for.
    return future.result()


def _distributed() -> Any:
    try:
        return importlib.import_module("distributed")
    except ImportError:
        raise HostError("Dask is not installed: pip install 'lossless-testbed[sweep]'") from None


@contextmanager
def _client(distributed: Any, scheduler: str, jobs: int) -> Iterator[Any]:
    # What it has to tell is told here.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if scheduler != LOCAL:
        try:
            client = distributed.Client(scheduler, timeout=_CONNECT_S)
        except (OSError, ValueError) as error:
            raise HostError(f"no Dask scheduler answers at {scheduler}: {error}") from None
        with client:
            yield client
        return
    with (
        distributed.LocalCluster(
            n_workers=jobs, threads_per_worker=1, memory_limit=0, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def _tasks_a_machine(client: Any) -> int:
    """Return how many tasks share the memory of the machine that has most."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    threads: Counter[str] = Counter()
    for worker in workers:
        threads[worker["host"]] += worker["nthreads"]
    return max(threads.values(), default=1)
