"""Run jobs on an engine: all of them at once, as one workload."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from testbed.contract.workload import Workload
from testbed.plan.jobs import PlannedJobs
from testbed.run import flows, job_times
from testbed.run.engine import Engine
from testbed.run.execution import Incomplete, Outcome, Progress, end_of, run_to_end
from testbed.run.series import statistics

Json = dict[str, Any]


def execute_jobs(
    engine: Engine,
    planned: PlannedJobs,
    names: Sequence[str],
    workload: Workload,
    progress: Callable[[Progress], None],
    budget: int,
    spans: tuple[int | None, int | None],
    changes: Sequence[Json] = (),
) -> Outcome:
    """Run a workload that was made of jobs and return what each of them took, flows and the engine's report.

    `spans` are the warm-up and the window of statistics, in ps. As `execute`, it returns an outcome that is not complete
    for a workload that stalls and for a KeyboardInterrupt.
    """
    outcome = Outcome()
    if changes:
        engine.impair(json.dumps(changes))
    engine.begin_span(json.dumps(statistics(*spans)))
    engine.load(json.dumps(workload))
    now = Progress(0, 1, 0, False, 0, 1)
    try:
        run_to_end(engine, budget, workload.get("limit_ps") or 0, "jobs", lambda: progress(now))
    except Incomplete as error:
        outcome.complete = False
        outcome.reasons.append(str(error))
    except KeyboardInterrupt:
        outcome.complete = False
        outcome.interrupted = True
        outcome.reasons.append("interrupted before all jobs had ended")
    report = outcome.report = json.loads(engine.report())
    outcome.start_ps = report["start_ps"]
    outcome.end_ps = end_of(report) if outcome.complete else None
    of_workload = flows.of_workload(report, report["start_ps"], size_bytes=0, in_place=False, iteration=0)
    outcome.flows = flows.over_iterations(of_workload)
    outcome.jobs = job_times.rows(planned, names, workload, report)
    return outcome
