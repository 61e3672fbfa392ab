"""What jobs did, as run.json has it."""

from __future__ import annotations

from testbed.run.verdict import ResultModel


class Iteration(ResultModel):
    """One iteration of a job: from the end of the last one, on all ranks, to its own, and its communication.

    Communication is the mean over the ranks: what fell while a rank computed is hidden, the rest exposed.
    """

    time_us: float
    exposed_us: float
    hidden_us: float


class StepResult(ResultModel):
    """A step of a job that is a collective: means over its iterations and its groups, each from first begin to last end."""

    step: int
    collective: str
    algorithm: str
    size_bytes: int
    groups: int
    time_us: float
    busbw_gbytes_per_s: float


class JobResult(ResultModel):
    """A job: when it began and ended, counted from the start of the run, and what it did.

    `end_us` is null if it did not end. `busbw_gbytes_per_s` is that of its collectives, each counted by its time; null
    without any. `alone_us` is how long it took alone, and `slowdown` how many times that it took here; null where it was not
    run alone. `wrong` is how many elements are not what its steps come to; null where lengths alone were sent.
    """

    name: str
    ranks: list[str]
    start_us: float | None
    end_us: float | None
    iterations: list[Iteration]
    exposed_us: float
    hidden_us: float
    busbw_gbytes_per_s: float | None
    steps: list[StepResult]
    wrong: int | None = None
    alone_us: float | None = None
    slowdown: float | None = None
