"""Run the rows of a collective on an engine and check every result against numpy.

Each iteration loads the workload anew, writes the same seeded inputs, runs until all ranks are finished, and reads
the results back. So every iteration starts with idle queue pairs and is checked in full. The time of a row is that of
nccl-tests, in nominal time: from the start until the last rank has finished, which is when it has its result and may
use its buffers again, as the last of its sends is acknowledged; the mean over the iterations, and of calls that are made
at once, the share of one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from testbed.contract.pauses import Pauses
from testbed.contract.report import Report
from testbed.contract.workload import Rank, Workload
from testbed.run import flows
from testbed.run.engine import Engine
from testbed.run.gauge import Gauge
from testbed.run.series import Series
from testbed.traffic import Schedule, Shape, count_wrong
from testbed.traffic.vectors import Vector

Json = dict[str, Any]
CompileWorkload = Callable[[Schedule], Workload]

PIECE_ELEMENTS = 2**22
"""Of a vector so much is drawn, written, read back and compared at a time."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a series is; all numbers count from 0. `nominal_ps` and `share` are None where no gauge has read them."""

    row: int
    rows: int
    size_bytes: int
    in_place: bool
    iteration: int
    iterations: int
    nominal_ps: int | None = None
    share: float | None = None


@dataclass(slots=True)
class Outcome:
    """What a series gave. If not `complete`, `rows` is what was measured before and `reasons` says what stopped it.

    The report is of the series and nothing that was before it on the same fabric. `received_bits` is what the ports of
    links with a profile received, by port.

    `start_ps` is when the first workload started, `end_ps` when the last rank of the last one finished, None if it did
    not; `pauses` is what was recorded of pauses, `impairments` the log of a timeline, `storms` what watchdogs found,
    `jobs` what jobs took, `completions` when each flow of a program of flows ended. `series` is what was
    recorded, as `testbed.timeseries.decode` reads it. `capture_fault` says
    why a capture of it is not whole.
    """

    rows: list[Json] = field(default_factory=list)
    flows: list[Json] = field(default_factory=list)
    report: Report = field(default_factory=lambda: cast(Report, {}))
    pauses: Pauses | None = None
    complete: bool = True
    interrupted: bool = False
    reasons: list[str] = field(default_factory=list)
    received_bits: dict[str, int] = field(default_factory=dict)
    start_ps: int | None = None
    end_ps: int | None = None
    impairments: list[Json] = field(default_factory=list)
    storms: list[Json] = field(default_factory=list)
    jobs: list[Json] = field(default_factory=list)
    completions: list[Json] = field(default_factory=list)
    series: bytes = b""
    capture_fault: str | None = None


class Incomplete(Exception):
    """A workload did not come to its end; the text says why."""


@dataclass(frozen=True)
class _Run:
    """What every row of a run shares."""

    engine: Engine
    series: Series
    compile_workload: CompileWorkload
    progress: Callable[[Progress], None]
    here: Collection[int] | None
    outcome: Outcome
    gauge: Gauge


def _ignore(progress: Progress) -> None:
    """Show no progress."""


def execute(
    engine: Engine,
    series: Series,
    compile_workload: CompileWorkload,
    progress: Callable[[Progress], None] = _ignore,
    here: Collection[int] | None = None,
    changes: Sequence[Json] = (),
    gauge: Gauge | None = None,
) -> Outcome:
    """Run a series on an engine and return its rows, flows and the engine's last report.

    `here` are the ranks that this engine has; others run elsewhere, at the same time. None: all of them are here. `changes`
    of links are counted from the start of the first row, and so is all that is reported: not of what warms it up.

    `progress` is called before every `advance`, with what the gauge reads. A workload that stalls, and a KeyboardInterrupt, end
    the series early with an outcome that is not complete; neither is raised.
    """
    outcome = Outcome()
    run = _Run(engine, series, compile_workload, progress, here, outcome, gauge or Gauge(None))
    shapes = series.shapes()
    begun = False
    try:
        if series.warmup:
            _warm_up(run, max(shapes, key=lambda shape: shape.size_bytes), len(shapes))
        begun = True
        _begin(run, changes)
        for number, shape in enumerate(shapes):
            _run_row(run, shape, (number, len(shapes)))
    except Incomplete as error:
        outcome.complete = False
        outcome.reasons.append(str(error))
    except KeyboardInterrupt:
        outcome.complete = False
        outcome.interrupted = True
        outcome.reasons.append(f"interrupted after {len(outcome.rows)} of {len(shapes)} rows")
    if not begun:
        _begin(run, changes)
    outcome.report = json.loads(engine.report())
    if outcome.start_ps is None:
        outcome.start_ps = outcome.report["start_ps"]
    if outcome.complete:
        outcome.end_ps = end_of(outcome.report)
    return outcome


def _begin(run: _Run, changes: Sequence[Json]) -> None:
    """Have the timeline begin with the next workload, and reports with this moment."""
    if changes:
        run.engine.impair(json.dumps(changes))
    run.engine.begin_span(json.dumps(run.series.statistics()))


def _warm_up(run: _Run, shape: Shape, rows: int) -> None:
    """Run the largest row, out of place, and measure nothing."""
    workload = _compiled(run, shape)
    where = Progress(0, rows, shape.size_bytes, False, 0, run.series.warmup)
    for iteration in range(run.series.warmup):
        run.engine.load(workload)
        _run_to_end(run, replace(where, iteration=iteration))


def end_of(report: Report) -> int:
    """Return when the last rank finished, wherever it ran."""
    agents = report.get("agents")
    others = [] if agents is None else [report["start_ps"] + (other["finish_ps"] or 0) for other in agents["others"]]
    return max([*(rank["finish_ps"] or 0 for rank in report["ranks"]), *others])


def _run_row(run: _Run, shape: Shape, place: tuple[int, int]) -> None:
    """Measure one row both ways and append it to the outcome."""
    series, collective, outcome = run.series, run.series.collective, run.outcome
    inputs = collective.inputs(shape, series.seed) if shape.payload else []
    row: Json = {
        "size_bytes": shape.size_bytes,
        "count": shape.count // shape.ranks if collective.parts else shape.count,
        "type": shape.dtype,
        "redop": series.redop_of(shape),
        "root": series.root_of(shape),
    }
    for in_place in (False, True) if collective.in_place else (False,):
        call = replace(shape, in_place=in_place)
        rows: list[Json] = []
        now = Progress(*place, shape.size_bytes, in_place, 0, series.iterations)
        try:
            measured = _measure(run, call, inputs, now, rows)
        finally:
            # What agents saw of a flow is put together first, workload by workload.
            outcome.flows += rows if run.here is not None else flows.over_iterations(rows)
        if in_place:
            row["in_place"] = measured
        else:
            row |= {**measured, "in_place": None}
            outcome.rows.append(row)


def _compiled(run: _Run, call: Shape) -> str:
    """Return the workload of a call as the engine takes it, and have the gauge count its packets."""
    compiled = _part(run.compile_workload(run.series.schedule(call)), run.here)
    compiled["limit_ps"] = run.series.limit_ps
    run.gauge.expect(compiled)
    return json.dumps(compiled)


def weight_of(shape: Shape) -> float:
    """Return what a call takes of a run beside others: its bytes, and the time of the shortest."""
    return shape.size_bytes + 4096.0


def _measure(run: _Run, call: Shape, inputs: Sequence[Vector], first: Progress, rows: list[Json]) -> Json:
    """Run all iterations of one call and return what they took and how many elements were wrong.

    Adds the flows of each to `found`, those of one that does not come to its end included.
    """
    engine, series, outcome = run.engine, run.series, run.outcome
    collective = series.collective
    workload = _compiled(run, call)
    expected = _those(collective.expected(call, inputs) if call.payload else [], run.here)
    total_ps, wrong, checked = 0, 0, any(len(want) for _, want in expected)
    memories = [ranked.memory_bytes for ranked in collective.schedule(call).ranks] if series.aggregate > 1 else []
    for iteration in range(series.iterations):
        engine.load(workload)
        run.gauge.begin(weight_of(call))
        for rank, vector in _those(inputs, run.here):
            for base in _bases(series, memories, rank):
                write_elements(engine, rank, base + collective.input_offset(call, rank), vector)
        try:
            _run_to_end(run, replace(first, iteration=iteration))
        finally:
            report = json.loads(engine.report())
            if outcome.start_ps is None:
                outcome.start_ps = report["start_ps"]
            where = {"size_bytes": call.size_bytes, "in_place": call.in_place, "iteration": iteration}
            rows += flows.of_workload(report, outcome.start_ps or 0, **where)
        total_ps += end_of(report) - report["start_ps"]
        for rank, want in expected:
            offset = collective.result_offset(call, rank)
            wrong += sum(
                count_differences(engine, rank, base + offset, want) for base in _bases(series, memories, rank)
            )
    time_ps = total_ps // (series.iterations * series.aggregate)
    algbw, busbw = collective.bandwidth(call, time_ps)
    return {
        "time_us": time_ps / 10**6,
        "algbw_gbytes_per_s": algbw,
        "busbw_gbytes_per_s": busbw,
        "wrong": wrong if checked else None,
    }


def _bases(series: Series, memories: Sequence[int], rank: int) -> Iterable[int]:
    """Return where the memories of calls begin that are made at once, in that of a rank."""
    return [number * memories[rank] for number in range(series.aggregate)] if memories else [0]


def _run_to_end(run: _Run, now: Progress) -> None:
    """Advance until the workload of a row is over; raises Incomplete if it does not become complete."""
    where = f"{run.series.collective.name} of {now.size_bytes} bytes{', in place' if now.in_place else ''}"

    def show() -> None:
        read = run.gauge.read()
        run.progress(replace(now, nominal_ps=read.nominal_ps, share=read.share))

    run_to_end(run.engine, run.series.budget, run.series.limit_ps, where, show)


def run_to_end(engine: Engine, budget: int, limit_ps: int, where: str, progress: Callable[[], None]) -> None:
    """Advance until the loaded workload is over, and call `progress` before every step.

    Raises Incomplete if it does not become complete, which says `where` that was.
    """
    progress()
    # All ranks may have finished while frames are still under way; where a run ends must not depend on when it is asked.
    while not engine.advance(budget):
        progress()
    report: Report = json.loads(engine.report())
    if report["complete"]:
        return
    if report["expired"] and not report["stalled"]:
        raise Incomplete(
            f"{where}: not finished after {limit_ps / 10**9:g} ms of nominal time, its limit"
            " (--set limit=TIME gives it more)"
        )
    raise Incomplete(f"{where}: {_why(report)}")


def _why(report: Report) -> str:
    """Return what keeps a workload from completing."""
    broken = [f"QP {qp['qpn']} ({qp['a']} and {qp['b']}): {qp['error']}" for qp in report["qps"] if qp["error"]]
    waiting = sum(1 for rank in report["ranks"] if rank["finish_ps"] is None)
    stalled = f"stalled at {report['now_ps'] / 10**6:.3f} us, {waiting} of {len(report['ranks'])} ranks unfinished"
    return "; ".join([stalled, *broken])


def write_elements(engine: Engine, rank: int, offset: int, vector: Vector) -> None:
    """Set a rank's input, piece by piece: no second copy of it is ever whole."""
    for at in range(0, len(vector), PIECE_ELEMENTS):
        piece = vector[at : at + PIECE_ELEMENTS]
        engine.write_memory(rank, offset + at * piece.itemsize, piece.tobytes())


def count_differences(engine: Engine, rank: int, offset: int, wanted: Vector) -> int:
    """Compare a rank's result with what is expected, piece by piece; return how many elements differ."""
    wrong = 0
    for at in range(0, len(wanted), PIECE_ELEMENTS):
        piece = wanted[at : at + PIECE_ELEMENTS]
        wrong += count_wrong(engine.read_memory(rank, offset + at * piece.itemsize, piece.nbytes), piece)
    return wrong


def _those(vectors: Sequence[Vector], here: Collection[int] | None) -> list[tuple[int, Vector]]:
    """Return the vectors of ranks that are here, with their ranks."""
    return [(rank, vector) for rank, vector in enumerate(vectors) if here is None or rank in here]


def _part(workload: Workload, here: Collection[int] | None) -> Workload:
    """Return a workload in which ranks that run elsewhere do nothing here, and need no memory for it."""
    if here is None:
        return workload
    idle = [Rank(node=rank["node"], memory_bytes=0, ops=[]) for rank in workload["ranks"]]
    ranks = [rank if number in here else idle[number] for number, rank in enumerate(workload["ranks"])]
    return {**workload, "ranks": ranks}
