"""Run the rows of a collective on an engine and check every result against numpy.

Each iteration loads the workload anew, writes the same seeded inputs, runs until all ranks are finished, and reads
the results back. So every iteration starts with idle queue pairs and is checked in full. The time of a row is that of
nccl-tests, in nominal time: from the start until the last rank has finished, which is when it has its result and may
use its buffers again, as the last of its sends is acknowledged; the mean over the iterations.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from testbed.contract.workload import Rank, Workload
from testbed.errors import UsageError
from testbed.experiment.file import LIMIT_PS
from testbed.run import flows
from testbed.run.engine import Engine
from testbed.traffic import Collective, Schedule, Shape, count_wrong
from testbed.traffic.vectors import Vector

Json = dict[str, Any]
CompileWorkload = Callable[[Schedule], Workload]

MAX_ROWS = 64

PIECE_ELEMENTS = 2**22
"""Of a vector so much is drawn, written, read back and compared at a time."""


@dataclass(frozen=True, slots=True)
class Series:
    """The rows to run: sizes from `min_bytes` to `max_bytes`, each `step_factor` times the last.

    A row is measured out of place and then, if the collective can, in place, `iterations` times each. `budget` is what
    `Engine.advance` is given. A workload that is not complete `limit_ps` of nominal time after its start is given up then.
    From `warmup_ps` after the start of the first workload on statistics are told once more, and with `window_ps` in
    windows of that length.
    Raises UsageError for sizes, steps or iterations that make no rows, or too many.
    """

    collective: Collective
    ranks: int
    min_bytes: int
    max_bytes: int
    step_factor: int = 2
    iterations: int = 1
    dtype: str = "float"
    seed: int = 1
    slice_bytes: int | None = None
    payload: bool = True
    sites: int = 1
    budget: int = 200_000
    limit_ps: int = LIMIT_PS
    warmup_ps: int | None = None
    window_ps: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.min_bytes <= self.max_bytes:
            raise UsageError(f"sizes from {self.min_bytes} to {self.max_bytes} bytes make no row")
        if self.step_factor < 2 and self.min_bytes != self.max_bytes:
            raise UsageError(f"a step factor of {self.step_factor} never reaches {self.max_bytes} bytes")
        if self.iterations < 1:
            raise UsageError("a row needs at least 1 iteration")
        if len(self.sizes()) > MAX_ROWS:
            raise UsageError(f"{len(self.sizes())} rows are more than {MAX_ROWS}")
        try:
            self.shapes()
        except ValueError as error:
            raise UsageError(str(error)) from error

    def statistics(self) -> Json | None:
        """Return what is to be told apart of the run, for `Engine.begin_span`."""
        if self.warmup_ps is None and self.window_ps is None:
            return None
        return {"warmup_ps": self.warmup_ps or 0, "window_ps": self.window_ps}

    def sizes(self) -> list[int]:
        """Return the sizes asked for, in bytes."""
        sizes = [self.min_bytes]
        while sizes[-1] * self.step_factor <= self.max_bytes and self.step_factor > 1:
            sizes.append(sizes[-1] * self.step_factor)
        return sizes

    def shapes(self) -> list[Shape]:
        """Return the shape of every row, out of place.

        Sizes are rounded down to whole elements, of which each part that the collective needs has as many, but not to none.
        Raises ValueError for what the collective cannot take.
        """
        unit = self.ranks if self.collective.parts else 1
        width = Shape(self.ranks, 1, self.dtype).element_bytes * unit
        found = [self.shape(max(1, size // width) * unit, in_place=False) for size in self.sizes()]
        for shape in found:
            self.collective.check(shape)
        return found

    def shape(self, count: int, in_place: bool) -> Shape:
        """Return one call of this series."""
        return Shape(self.ranks, count, self.dtype, in_place, self.slice_bytes, self.payload, self.sites)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a series is; all numbers count from 0."""

    row: int
    rows: int
    size_bytes: int
    in_place: bool
    iteration: int
    iterations: int


@dataclass(slots=True)
class Outcome:
    """What a series gave. If not `complete`, `rows` is what was measured before and `reasons` says what stopped it.

    The report is of the series and nothing that was before it on the same fabric. `received_bits` is what the ports of
    links with a profile received, by port.

    `start_ps` is when the first workload started, `end_ps` when the last rank of the last one finished, None if it did
    not; `impairments` is the log of a timeline, `storms` what watchdogs found. `capture_fault` says why a capture of it is not
    whole.
    """

    rows: list[Json] = field(default_factory=list)
    flows: list[Json] = field(default_factory=list)
    report: Json = field(default_factory=dict)
    complete: bool = True
    interrupted: bool = False
    reasons: list[str] = field(default_factory=list)
    received_bits: dict[str, int] = field(default_factory=dict)
    start_ps: int | None = None
    end_ps: int | None = None
    impairments: list[Json] = field(default_factory=list)
    storms: list[Json] = field(default_factory=list)
    capture_fault: str | None = None


class _Incomplete(Exception):
    """A workload did not come to its end; the text says why."""


def _ignore(progress: Progress) -> None:
    """Show no progress."""


def execute(
    engine: Engine,
    series: Series,
    compile_workload: CompileWorkload,
    progress: Callable[[Progress], None] = _ignore,
    here: Collection[int] | None = None,
) -> Outcome:
    """Run a series on an engine and return its rows, flows and the engine's last report.

    `here` are the ranks that this engine has; others run elsewhere, at the same time. None: all of them are here.

    `progress` is called before every `advance`. A workload that stalls, and a KeyboardInterrupt, end the series early
    with an outcome that is not complete; neither is raised.
    """
    outcome = Outcome()
    shapes = series.shapes()
    engine.begin_span(json.dumps(series.statistics()))
    try:
        for number, shape in enumerate(shapes):
            _run_row(engine, series, compile_workload, outcome, shape, (number, len(shapes)), progress, here)
    except _Incomplete as error:
        outcome.complete = False
        outcome.reasons.append(str(error))
    except KeyboardInterrupt:
        outcome.complete = False
        outcome.interrupted = True
        outcome.reasons.append(f"interrupted after {len(outcome.rows)} of {len(shapes)} rows")
    outcome.report = json.loads(engine.report())
    if outcome.start_ps is None:
        outcome.start_ps = outcome.report["start_ps"]
    if outcome.complete:
        outcome.end_ps = _end(outcome.report)
    return outcome


def _end(report: Json) -> int:
    """Return when the last rank finished, wherever it ran."""
    others = [int(report["start_ps"] + other["finish_ps"]) for other in report.get("agents", {}).get("others", ())]
    return max([*(int(rank["finish_ps"]) for rank in report["ranks"]), *others])


def _run_row(
    engine: Engine,
    series: Series,
    compile_workload: CompileWorkload,
    outcome: Outcome,
    shape: Shape,
    place: tuple[int, int],
    progress: Callable[[Progress], None],
    here: Collection[int] | None,
) -> None:
    """Measure one row both ways and append it to the outcome."""
    collective = series.collective
    inputs = collective.inputs(shape, series.seed) if shape.payload else []
    count = shape.count // shape.ranks if collective.parts else shape.count
    row: Json = {"size_bytes": shape.size_bytes, "count": count, "type": shape.dtype, "redop": collective.redop}
    for in_place in (False, True) if collective.in_place else (False,):
        call = series.shape(shape.count, in_place)
        found: list[Json] = []
        now = Progress(*place, shape.size_bytes, in_place, 0, series.iterations)
        try:
            measured = _measure(engine, series, compile_workload, outcome, call, inputs, now, progress, here, found)
        finally:
            # What agents saw of a flow is put together first, workload by workload.
            outcome.flows += found if here is not None else flows.over_iterations(found)
        if in_place:
            row["in_place"] = measured
        else:
            row |= {**measured, "in_place": None}
            outcome.rows.append(row)


def _measure(
    engine: Engine,
    series: Series,
    compile_workload: CompileWorkload,
    outcome: Outcome,
    call: Shape,
    inputs: Sequence[Vector],
    first: Progress,
    progress: Callable[[Progress], None],
    here: Collection[int] | None,
    found: list[Json],
) -> Json:
    """Run all iterations of one call and return what they took and how many elements were wrong.

    Adds the flows of each to `found`, those of one that does not come to its end included.
    """
    collective = series.collective
    compiled = _part(compile_workload(collective.schedule(call)), here)
    compiled["limit_ps"] = series.limit_ps
    workload = json.dumps(compiled)
    expected = _those(collective.expected(call, inputs) if call.payload else [], here)
    total_ps, wrong, checked = 0, 0, any(len(want) for _, want in expected)
    for iteration in range(series.iterations):
        engine.load(workload)
        for rank, vector in _those(inputs, here):
            _write(engine, rank, collective.input_offset(call, rank), vector)
        try:
            _run_to_end(engine, series, replace(first, iteration=iteration), progress)
        finally:
            report = json.loads(engine.report())
            if outcome.start_ps is None:
                outcome.start_ps = report["start_ps"]
            where = {"size_bytes": call.size_bytes, "in_place": call.in_place, "iteration": iteration}
            found += flows.of_workload(report, outcome.start_ps or 0, **where)
        total_ps += _end(report) - report["start_ps"]
        wrong += _wrong(engine, collective, call, expected)
    time_ps = total_ps // series.iterations
    algbw, busbw = collective.bandwidth(call, time_ps)
    return {
        "time_us": time_ps / 10**6,
        "algbw_gbytes_per_s": algbw,
        "busbw_gbytes_per_s": busbw,
        "wrong": wrong if checked else None,
    }


def _run_to_end(engine: Engine, series: Series, now: Progress, progress: Callable[[Progress], None]) -> None:
    """Advance until the workload is over; raises _Incomplete if it does not become complete."""
    where = f"{series.collective.name} of {now.size_bytes} bytes{', in place' if now.in_place else ''}"
    progress(now)
    # All ranks may have finished while frames are still under way; where a run ends must not depend on when it is asked.
    while not engine.advance(series.budget):
        progress(now)
    report: Json = json.loads(engine.report())
    if report["complete"]:
        return
    if report["expired"] and not report["stalled"]:
        raise _Incomplete(
            f"{where}: not finished after {series.limit_ps / 10**9:g} ms of nominal time, its limit"
            " (--set limit=TIME gives it more)"
        )
    raise _Incomplete(f"{where}: {_why(report)}")


def _why(report: Json) -> str:
    """Say what keeps a workload from completing."""
    broken = [f"QP {qp['qpn']} ({qp['a']} and {qp['b']}): {qp['error']}" for qp in report["qps"] if qp["error"]]
    waiting = sum(1 for rank in report["ranks"] if rank["finish_ps"] is None)
    stalled = f"stalled at {report['now_ps'] / 10**6:.3f} us, {waiting} of {len(report['ranks'])} ranks unfinished"
    return "; ".join([stalled, *broken])


def _write(engine: Engine, rank: int, offset: int, vector: Vector) -> None:
    """Set a rank's input, piece by piece: no second copy of it is ever whole."""
    for at in range(0, len(vector), PIECE_ELEMENTS):
        piece = vector[at : at + PIECE_ELEMENTS]
        engine.write_memory(rank, offset + at * piece.itemsize, piece.tobytes())


def _wrong(engine: Engine, collective: Collective, call: Shape, expected: Sequence[tuple[int, Vector]]) -> int:
    """Compare the results of all ranks with what is expected, piece by piece; return how many elements differ."""
    wrong = 0
    for rank, wanted in expected:
        offset = collective.result_offset(call, rank)
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
