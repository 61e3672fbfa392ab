"""Run one workload on an engine, all of it at once: jobs, or flows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from testbed.contract.workload import Workload
from testbed.run import flows
from testbed.run.engine import Engine
from testbed.run.execution import Incomplete, Outcome, Progress, end_of, run_to_end
from testbed.run.gauge import Gauge
from testbed.run.series import statistics

Json = dict[str, Any]


def execute_program(
    engine: Engine,
    workload: Workload,
    what: str,
    progress: Callable[[Progress], None],
    budget: int,
    spans: tuple[int | None, int | None],
    changes: Sequence[Json] = (),
    prepare: Callable[[Engine], None] = lambda engine: None,
    gauge: Gauge | None = None,
    load: Callable[[Engine, str], None] = lambda engine, workload: engine.load(workload),
) -> Outcome:
    """Run a workload of `what`, jobs or flows, and return the flows between its hosts and the engine's report.

    `load` gives the workload to the engine, and `prepare` is called before it starts, to fill memory.

    `spans` are the warm-up and the window of statistics, in ps. As `execute`, it returns an outcome that is not complete
    for a workload that stalls and for a KeyboardInterrupt.
    """
    outcome = Outcome()
    if changes:
        engine.impair(json.dumps(changes))
    engine.begin_span(json.dumps(statistics(*spans)))
    load(engine, json.dumps(workload))
    prepare(engine)
    gauge = gauge or Gauge(None)
    gauge.expect(workload)
    gauge.begin()

    def show() -> None:
        progress(Progress(0, 1, 0, False, 0, 1, *gauge.read()))

    try:
        run_to_end(engine, budget, workload.get("limit_ps") or 0, what, show)
    except Incomplete as error:
        outcome.complete = False
        outcome.reasons.append(str(error))
    except KeyboardInterrupt:
        outcome.complete = False
        outcome.interrupted = True
        outcome.reasons.append(f"interrupted before all {what} had ended")
    report = outcome.report = json.loads(engine.report())
    outcome.start_ps = report["start_ps"]
    outcome.end_ps = end_of(report) if outcome.complete else None
    of_workload = flows.of_workload(report, report["start_ps"], size_bytes=0, in_place=False, iteration=0)
    outcome.flows = flows.over_iterations(of_workload)
    return outcome
