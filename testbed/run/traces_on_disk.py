"""A trace on disk as the one job of a run: given to the engine, and what it came to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from testbed.errors import ExperimentError
from testbed.experiment.file import Experiment
from testbed.replay.streamed import Streamed
from testbed.run.engine import Engine
from testbed.run.execution import Outcome
from testbed.run.job_times import PS_PER_US

if TYPE_CHECKING:
    from testbed._dataplane import VirtualFabric


def of_experiment(experiment: Experiment) -> Streamed | None:
    """Return the trace on disk that a run is of, if it is. Raises ExperimentError where it is run with what it cannot be."""
    traces = [job.trace for job in experiment.jobs if isinstance(job.trace, Streamed)]
    if not traces:
        return None
    (job, *others) = experiment.jobs
    cannot = [
        (("clock",), "under the real clock", experiment.clock == "real"),
        (("jobs",), "beside other jobs", bool(others)),
        (("jobs", 0, "repeat"), "more than once", job.repeat > 1),
        (("jobs", 0, "start"), "from a time on", job.start > 0),
        (("transport", "qps"), "by several queue pairs", experiment.transport.qps > 1),
        (("workload", "late"), "with late ranks", bool(experiment.workload.late)),
    ]
    faults = [
        experiment.fault(path, f"a trace of {traces[0].files[0]}'s size is replayed from disk, and not {what}")
        for path, what, is_asked in cannot
        if is_asked
    ]
    if faults:
        raise ExperimentError(faults)
    return traces[0]


def loader(trace: Streamed) -> Callable[[Engine, str], None]:
    """Return what gives a workload of the trace to an engine, which is one of this process."""

    def load(engine: Engine, workload: str) -> None:
        assert trace.goal is not None
        cast("VirtualFabric", engine).load_trace(workload, trace.goal)

    return load


def share(engine: Engine, trace: Streamed) -> float:
    """Return the share of the ops of a trace that have ended."""
    assert trace.goal is not None
    return cast("VirtualFabric", engine).finished_ops() / max(1, trace.goal.ops())


def complete(engine: Engine, outcome: Outcome) -> None:
    """Put into the row of the job for how long its ranks communicated; say so where the trace could not be read on."""
    fabric = cast("VirtualFabric", engine)
    if fault := fabric.trace_fault():
        outcome.complete = False
        outcome.reasons.append(f"the trace cannot be read on: {fault}")
    spent = fabric.communication()
    exposed, hidden = (sum(one[which] for one in spent) / max(1, len(spent)) / PS_PER_US for which in (0, 1))
    for row in outcome.jobs:
        for part in (row, *row["iterations"]) if row["iterations"] else ():
            cast(dict[str, Any], part).update({"exposed_us": exposed, "hidden_us": hidden})
