"""Sweeps: one experiment under every combination of some settings, side by side, and which of them wins where.

Each combination is a trial of its own under the virtual clock. Where a trial runs, and beside which others, has no bearing
on what comes out, so the document is the same for any number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.errors import TestbedError, UsageError
from testbed.experiment.axes import Axis, Setting, combinations
from testbed.experiment.file import Experiment, check_axis
from testbed.lab.topology import Lab, load_lab, with_parameters
from testbed.plan.compile import ideal_busbw
from testbed.run import perform
from testbed.run.execution import Outcome
from testbed.run.judgement import conclude, unknown_names, unreached
from testbed.run.observed import NOT_LOSSLESS
from testbed.run.result import RunResult
from testbed.run.trial import Trial
from testbed.run.versions import versions
from testbed.study import parallel, preflight
from testbed.study.document import HELD, Document, Model, Verdict, exit_code_of

NEAR = 0.99
"""A row whose busbw is so much of the winner's is as good."""


class Figures(Model):
    """What a sweep compares. Bandwidths and time are those of the largest size; counts are of the whole run.

    Of jobs `time_us` is the makespan, algbw all that they sent in it, and busbw their mean. Of flows it is when the last of
    them had ended, algbw all that they were in it, and busbw the share of a host; slowdowns are of flows alone.

    `iteration_us` is how long an iteration of a job takes, and `exposed_us` the communication in it that no computing hides: the
    mean over all iterations of all jobs.

    `paused_ns` is of the port that was paused longest, `credit_wait_ns` of the one that waited longest for credit,
    `queue_bytes_max` and `headroom_bytes_max` of the fullest queue and priority group of a switch, `buffer_bytes` the deepest
    memory that a switch has. What links consume is null where none has a profile, and a cost where there are no prices; that
    of a step is of one iteration of the largest size.
    """

    time_us: float
    algbw_gbytes_per_s: float
    busbw_gbytes_per_s: float
    share_of_ideal: float
    lossless: bool
    drops: dict[str, int]
    packets_tx: int
    retransmitted: int
    timeouts: int
    pause_frames: int
    paused_ns: float
    credit_wait_ns: float = 0
    queue_bytes_max: int
    headroom_bytes_max: int
    buffer_bytes: int
    watts: float | None = None
    nominal_pj_per_bit: float | None = None
    useful_pj_per_bit: float | None = None
    joules_per_step: float | None = None
    cost_per_step: float | None = None
    slowdown_mean: float | None = None
    slowdown_p99: float | None = None
    iteration_us: float | None = None
    exposed_us: float | None = None


class SweepRow(Model):
    """One combination; `figures` is null if no size was completed."""

    settings: dict[str, str]
    verdict: Verdict
    reasons: list[str]
    figures: Figures | None
    event_log_hash: str | None
    replay: str


class Winner(Model):
    """The row with the best busbw where some settings have these values; rows count from 0.

    Of rows that come out alike, the one that lost nothing and then the first. `near` are the rows within 1 % of it.
    """

    where: dict[str, str]
    row: int | None
    near: list[int]


class SweepResult(Document):
    """The document sweep.json."""

    over: dict[str, list[str]]
    rows: list[SweepRow]
    best_by: list[str]
    best: list[Winner]

    @property
    def exit_code(self) -> int:
        """Return 0 if every row ran to its end and held what was expected, 3 after a defect, else 1.

        To lose frames is a finding of a sweep, and fails it only where the experiment expects otherwise.
        """
        return exit_code_of(row.verdict for row in self.rows)


@dataclass(frozen=True)
class Combination:
    """One combination of settings: its trial, or the fault that keeps it from being one, and whether jobs run alone too."""

    settings: tuple[Setting, ...]
    trial: Trial | None
    fault: str
    replay: str
    alone: bool = False


@dataclass(frozen=True)
class Finished:
    """What became of a combination, with the series that were recorded; no result if it is invalid."""

    row: SweepRow
    result: RunResult | None
    series: bytes = b""


class NothingToRunError(UsageError):
    """Every combination of a sweep is invalid."""


def combine(base: Experiment, axes: Sequence[Axis], replay: Callable[[str, list[str]], str]) -> list[Combination]:
    """Return every combination of an experiment's settings, in order.

    `replay(topology, overrides)` is the command that runs one. Raises UsageError for an axis that is none, and for too
    many combinations; values that a setting cannot have are faults of their combinations.
    """
    for axis in axes:
        check_axis(axis)
    parameters = {axis.parameter: axis.values[0] for axis in axes if axis.parameter is not None}
    if not any(axis.key == "topology" for axis in axes):
        with_parameters(base.topology, parameters)
    bare = base.model_copy(update={"sweep": None, "clock": "virtual"})
    labs: dict[str, Lab] = {}
    return [_combination(bare, settings, labs, replay) for settings in combinations(axes)]


def _combination(
    base: Experiment, settings: tuple[Setting, ...], labs: dict[str, Lab], replay: Callable[[str, list[str]], str]
) -> Combination:
    split = [(Axis(key, (text,)).parameter, key, text) for key, text in settings]
    parameters = {name: text for name, _, text in split if name is not None}
    overrides = [f"{key}={text}" for name, key, text in split if name is None]
    topology, fault, made = base.topology, "", None
    try:
        experiment = base.with_overrides(overrides)
        topology = with_parameters(experiment.topology, parameters)
        if topology not in labs:
            labs[topology] = load_lab(topology)
        made = Trial(experiment.model_copy(update={"topology": topology}), labs[topology])
    except TestbedError as error:
        fault = str(error)
    others = [text for text in overrides if not text.startswith("topology=")]
    return Combination(settings, made, fault, replay(topology, others))


def run_combination(combination: Combination) -> Finished:
    """Run one combination under the virtual clock; one that cannot be run is a row that says why."""
    subject = combination.trial
    if subject is None:
        return Finished(_row(combination, "invalid", combination.fault.splitlines()), None)
    try:
        preflight.check(subject)
        outcome = _run_virtual(subject)
        apart = perform.times_alone(subject, outcome, _run_virtual) if combination.alone else None
    except TestbedError as error:
        return Finished(_row(combination, "invalid", str(error).splitlines()), None)
    if outcome.interrupted:
        raise KeyboardInterrupt
    judged = conclude(subject, outcome, "virtual", 1, combination.replay, apart)
    missed = [str(fault) for fault in [*unreached(subject, outcome), *unknown_names(subject, judged)]]
    reasons = [*judged.verdict.reasons, *missed]
    row = _row(combination, "failed" if missed else verdict_of(judged), reasons)
    ended = judged.collective.rows or judged.makespan_us or (judged.flow_completion and judged.verdict.complete)
    figures = figures_of(judged, subject) if ended else None
    return Finished(
        row.model_copy(update={"figures": figures, "event_log_hash": judged.event_log_hash}), judged, outcome.series
    )


def _run_virtual(trial: Trial) -> Outcome:
    return perform.run_virtual(trial, None, lambda _: parallel.check_interrupt())


def _row(combination: Combination, verdict: Verdict, reasons: list[str]) -> SweepRow:
    settings = dict(combination.settings)
    return SweepRow(
        settings=settings,
        verdict=verdict,
        reasons=reasons,
        figures=None,
        event_log_hash=None,
        replay=combination.replay,
    )


def verdict_of(result: RunResult) -> Verdict:
    """Return the verdict on a row in one word."""
    verdict = result.verdict
    if verdict.passed:
        return "passed"
    if not verdict.complete:
        return "incomplete"
    lost_only = all(reason.startswith(NOT_LOSSLESS) for reason in verdict.reasons)
    return "lossy" if lost_only else "failed"


def figures_of(result: RunResult, subject: Trial) -> Figures:
    """Return what is compared of a result that has a row, or jobs that all ended."""
    time_us, algbw, busbw = _measured(result)
    switches = {switch.name for switch in subject.lab.switches}
    everywhere = [(name, counters) for name, port in result.ports.items() for counters in port.priorities.values()]
    inside = [counters for name, counters in everywhere if name.rpartition(":")[0] in switches]
    return Figures(
        time_us=time_us,
        algbw_gbytes_per_s=algbw,
        busbw_gbytes_per_s=busbw,
        share_of_ideal=busbw / ideal_busbw(subject.lab),
        lossless=result.verdict.lossless,
        drops={cause: count for cause, count in result.drops.model_dump().items() if isinstance(count, int)},
        packets_tx=sum(qp["packets_tx"] for qp in result.qps),
        retransmitted=sum(qp["retransmitted"] for qp in result.qps),
        timeouts=sum(qp["timeouts"] for qp in result.qps),
        pause_frames=sum(counters.pause_tx for _, counters in everywhere),
        paused_ns=max((counters.paused_ns for _, counters in everywhere), default=0),
        credit_wait_ns=max((counters.credit_wait_ns for _, counters in everywhere), default=0),
        queue_bytes_max=max((counters.queue_bytes_max for counters in inside), default=0),
        headroom_bytes_max=max((counters.headroom_bytes_max for counters in inside), default=0),
        buffer_bytes=max(
            (node["buffer_bytes"] for node in subject.plan["nodes"] if node["kind"] == "switch"), default=0
        ),
        **_consumed(result.energy, time_us),
        **_slowdowns(result),
        **_iterations(result),
    )


def _slowdowns(result: RunResult) -> dict[str, float]:
    slowdown = result.flow_completion.all.slowdown if result.flow_completion is not None else None
    return {} if slowdown is None else {"slowdown_mean": slowdown.mean, "slowdown_p99": slowdown.p99}


def _iterations(result: RunResult) -> dict[str, float]:
    times = [iteration.time_us for job in result.jobs for iteration in job.iterations]
    exposed_us = sum(job.exposed_us for job in result.jobs)
    return {"iteration_us": sum(times) / len(times), "exposed_us": exposed_us / len(times)} if times else {}


def _measured(result: RunResult) -> tuple[float, float, float]:
    """Return time, algbw and busbw of the largest size; of jobs the makespan, what it carried a second, and their mean busbw."""
    if result.collective.rows:
        last = result.collective.rows[-1]
        return last.time_us, last.algbw_gbytes_per_s, last.busbw_gbytes_per_s
    if result.flow_completion is not None:
        flows = result.flow_completion.flows
        end_us = max(flow.start_us + (flow.fct_us or 0.0) for flow in flows)
        algbw = sum(flow.bytes for flow in flows) / 1000 / end_us
        return end_us, algbw, algbw / result.collective.ranks
    makespan_us = result.makespan_us or 0.0
    rates = [job.busbw_gbytes_per_s for job in result.jobs if job.busbw_gbytes_per_s is not None]
    carried = sum(flow.bytes for flow in result.flows)
    return makespan_us, carried / 1000 / makespan_us if makespan_us else 0.0, sum(rates) / len(rates) if rates else 0.0


def _consumed(energy: Mapping[str, Any], time_us: float) -> dict[str, Any]:
    """Return what the links of a run consumed, altogether and over a step of so many microseconds."""
    if not energy:
        return {}
    kept = {key: energy[key] for key in ("watts", "nominal_pj_per_bit", "useful_pj_per_bit")}
    cost = energy.get("cost")
    share = time_us * 1000 / energy["duration_ns"]
    return {
        **kept,
        "joules_per_step": energy["joules"] * share,
        "cost_per_step": None if cost is None else cost * share,
    }


def run(
    work: Sequence[Combination],
    jobs: int,
    progress: Callable[[int, Finished], None],
) -> list[SweepRow]:
    """Run every combination and return their rows in order; `progress` is called as each is finished, in any order.

    Raises NothingToRunError if not one can be run.
    """
    rows: dict[int, SweepRow] = {}

    def done(number: int, outcome: Finished | parallel.Defect) -> None:
        if isinstance(outcome, parallel.Defect):
            outcome = Finished(_row(work[number], "defect", [f"internal error: {outcome.summary}"]), None)
        rows[number] = outcome.row
        progress(number, outcome)

    parallel.run_all(run_combination, work, jobs, done)
    finished_rows = [rows[number] for number in range(len(work))]
    if all(row.verdict == "invalid" for row in finished_rows):
        reasons = list(dict.fromkeys(reason for row in finished_rows for reason in row.reasons))
        raise NothingToRunError("no combination can be run:\n" + "\n".join(reasons[:8]))
    return finished_rows


def winners(rows: Sequence[SweepRow], best_by: Sequence[str]) -> list[Winner]:
    """Return for each combination of the values of `best_by`, in order, which row wins; rows that failed cannot."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(tuple(row.settings[key] for key in best_by), []).append(number)
    return [
        Winner(where=dict(zip(best_by, values, strict=True)), **_best(rows, members))
        for values, members in groups.items()
    ]


def _best(rows: Sequence[SweepRow], members: Sequence[int]) -> Mapping[str, Any]:
    held = [
        (number, figures) for number in members if (figures := rows[number].figures) and rows[number].verdict in HELD
    ]
    if not held:
        return {"row": None, "near": []}
    best, figures = max(held, key=lambda pair: (pair[1].busbw_gbytes_per_s, pair[1].lossless, -pair[0]))
    bound = NEAR * figures.busbw_gbytes_per_s
    near = [number for number, other in held if number != best and other.busbw_gbytes_per_s >= bound]
    return {"row": best, "near": near}


def assemble(
    base: Experiment, lab: str, axes: Sequence[Axis], rows: list[SweepRow], best_by: Sequence[str], replay: str
) -> SweepResult:
    """Return the document of a sweep."""
    return SweepResult(
        lab=lab,
        seed=base.seed,
        versions=versions(),
        replay=replay,
        over={axis.key: list(axis.values) for axis in axes},
        rows=rows,
        best_by=list(best_by),
        best=winners(rows, best_by) if best_by else [],
    )


def reasons_by_rows(rows: Sequence[SweepRow]) -> Iterator[tuple[str, list[int]]]:
    """Yield every reason with the rows that give it, in the order in which reasons first occur."""
    numbers: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        for reason in row.reasons:
            numbers.setdefault(reason, []).append(number)
    yield from numbers.items()
