"""A trial performed on an engine, in this process or in that of the agent that owns the lab: from rows to an outcome."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testbed.contract.report import Report
from testbed.contract.workload import Workload
from testbed.errors import ExperimentError, HostError, UsageError, cannot_write
from testbed.plan.workload import compile_workload
from testbed.run import flow_times, job_payload, job_times, storms, timeline, traces_on_disk
from testbed.run.engine import Engine
from testbed.run.execution import Outcome, Progress, execute, weight_of
from testbed.run.gauge import Gauge, Meter, ReportMeter
from testbed.run.program_execution import execute_program
from testbed.run.trial import Clock, Trial
from testbed.traffic import Schedule

Document = dict[str, Any]

# What no bytes are on the bus.
_NOTHING = base64.b64encode(zlib.compress(b"")).decode()

# Between two looks at progress and interrupts: some 20 ms of computing, and 20 ms of waiting.
_BUDGET: dict[Clock, int] = {"virtual": 50_000, "real": 20}


def perform(
    trial: Trial,
    engine: Engine,
    clock: Clock,
    progress: Callable[[Progress], None],
    agent: str | None = None,
    budget: int | None = None,
    meter: Meter | None = None,
) -> Outcome:
    """Run every row on an engine that holds this trial's plan; its timeline starts with the first of them.

    Of a lab that several agents have, what `agent` has: the others run the rest. Directions of links that were left down
    are named among the reasons of an outcome that is not complete. `budget` is what `Engine.advance` is given. With a
    `meter`, `progress` hears of nominal time and of the share that is done.
    """

    def compile_schedule(schedule: Schedule) -> Workload:
        return compile_workload(trial.lab, trial.experiment, schedule)

    if trial.series_plan is not None:
        engine.record_series(json.dumps(trial.series_plan))
    try:
        if trial.program is not None:
            outcome = _perform_program(trial, trial.program, engine, progress, budget or _BUDGET[clock], meter)
        else:
            series = dataclasses.replace(trial.series, budget=budget or _BUDGET[clock])
            calls = series.iterations * (2 if series.collective.in_place else 1)
            gauge = Gauge(meter, calls * sum(map(weight_of, series.shapes())))
            outcome = execute(engine, series, compile_schedule, progress, trial.ranks_of(agent), trial.changes, gauge)
    except MemoryError as error:
        # Others took since what was there when it was reckoned.
        message = (
            f"the machine ran out of memory{f': {error}' if str(error) else ''}; send lengths alone (payload: false)"
        )
        raise ExperimentError([trial.experiment.fault(("workload",), message)]) from error
    outcome.pauses = json.loads(engine.pauses())
    outcome.series = engine.series() if trial.series_plan is not None else b""
    outcome.received_bits = _received_bits(trial, outcome.report)
    outcome.impairments = timeline.log(trial.lab, trial.changes, outcome.report, outcome.start_ps or 0, outcome.end_ps)
    outcome.storms = list(storms.explain(trial.plan, outcome.report, outcome.impairments, outcome.start_ps or 0))
    if not outcome.complete and not outcome.interrupted:
        outcome.reasons += timeline.cut_off(trial.lab, outcome.impairments)
    return outcome


def _perform_program(
    trial: Trial,
    program: Schedule,
    engine: Engine,
    progress: Callable[[Progress], None],
    budget: int,
    meter: Meter | None,
) -> Outcome:
    """Run the jobs or the flows of a trial."""
    experiment = trial.experiment
    what = "jobs" if trial.jobs is not None else "flows"
    trial.check_agents()
    workload = compile_workload(trial.lab, experiment, program)
    workload["limit_ps"] = experiment.limit
    spans = (experiment.warmup, experiment.window)
    jobs, seed = trial.jobs, experiment.seed

    def fill(engine: Engine) -> None:
        if jobs is not None:
            job_payload.write(engine, jobs, seed)

    on_disk = traces_on_disk.of_experiment(experiment)
    load = {} if on_disk is None else {"load": traces_on_disk.loader(on_disk)}
    gauge = Gauge(meter)
    if on_disk is not None:
        gauge.follow(lambda: traces_on_disk.share(engine, on_disk))
    outcome = execute_program(engine, workload, what, progress, budget, spans, trial.changes, fill, gauge, **load)
    if jobs is not None:
        names = [job.name for job in experiment.jobs]
        outcome.jobs = job_times.rows(jobs, names, workload, outcome.report)
        for row in outcome.jobs:
            number = names.index(row["name"])
            row["wrong"] = job_payload.wrong(engine, jobs, number, seed) if outcome.complete else None
    if on_disk is not None:
        traces_on_disk.complete(engine, outcome)
    if trial.flows is not None:
        settings = experiment.transport
        qps = settings.qps if settings.spread == "slices" else 1
        outcome.completions = flow_times.completions(trial.flows, outcome.report, qps)
    return outcome


def times_alone(trial: Trial, outcome: Outcome, carry_out: Callable[[Trial], Outcome]) -> dict[str, float | None]:
    """Run each job while the others do nothing, if all of them together came to their end; return what it took, in us."""
    alone: dict[str, float | None] = {}
    for job in trial.experiment.jobs if outcome.complete else ():
        unrecorded = trial.experiment.model_copy(update={"series": None})
        by_itself = carry_out(dataclasses.replace(trial, experiment=unrecorded, only=job.name))
        if by_itself.interrupted:
            break
        for row in by_itself.jobs:
            alone[row["name"]] = None if row["end_us"] is None else row["end_us"] - row["start_us"]
    return alone


def _received_bits(trial: Trial, report: Report) -> dict[str, int]:
    """Return what each end of a link with a profile has received."""
    ends = [str(end) for link in trial.lab.links if link.optics for end in (link.a, link.b)]
    ports = report["ports"]
    return {
        end: sum(8 * counters["bytes_rx"] for counters in ports[end]["priorities"].values())
        for end in ends
        if end in ports
    }


def outcome_data(outcome: Outcome) -> Document:
    """Return an outcome as JSON data, for `outcome_from`."""
    return {**dataclasses.asdict(outcome), "series": base64.b64encode(zlib.compress(outcome.series)).decode()}


def outcome_from(data: Document) -> Outcome:
    """Read an outcome that an agent sent."""
    return Outcome(**{**data, "series": zlib.decompress(base64.b64decode(data.get("series", _NOTHING)))})


def run_virtual(
    trial: Trial,
    pcap: Path | None,
    progress: Callable[[Progress], None],
    cores: int = 1,
    budget: int | None = None,
    is_followed: bool = False,
) -> Outcome:
    """Run a trial under the virtual clock, in this process, on so many cores; 0: on more than one where it pays.

    One that skips what recurs (`fast`) takes one core.

    The outcome depends neither on `cores` nor on `budget`, the events between two looks at progress. Raises UsageError or
    HostError when the capture cannot be begun; where it cannot be ended, the outcome says so.
    """
    from testbed._dataplane import VirtualFabric

    if pcap and trial.experiment.transport.frames is not None:
        raise UsageError("a capture holds frames of RoCEv2, and transport.frames has other sizes")
    fabric = VirtualFabric(json.dumps(trial.plan), cores)
    if trial.experiment.fast is not None:
        fabric.fast_forward(trial.experiment.fast)
    try:
        fabric.capture(str(pcap) if pcap else None)
    except OSError as error:
        raise captured_error(pcap, error) from error
    meter = ReportMeter(fabric) if is_followed else None
    outcome = perform(trial, fabric, "virtual", progress, budget=budget, meter=meter)
    try:
        fabric.capture(None)
    except OSError as error:
        outcome.capture_fault = f"{captured_error(pcap, error)}; it ends before the run"
    return outcome


def captured_error(pcap: object, error: OSError) -> UsageError | HostError:
    """Return what `errors.cannot_write` makes of an error of the data plane, in the system's own words."""
    return cannot_write(pcap, OSError(error.errno, os.strerror(error.errno)) if error.errno else error)
