"""testbed sweep: one experiment under every combination of some settings."""

from __future__ import annotations

import enum
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import typer
from rich.console import RenderableType
from rich.measure import Measurement

from testbed.commands import completion
from testbed.commands.beginning import INTERRUPTED
from testbed.commands.common import (
    ForceOption,
    SeedOption,
    SetOption,
    TopologyOption,
    console,
    keep_existing,
    print_note,
    read_experiment,
)
from testbed.commands.means import (
    CacheOption,
    CollectOption,
    JobsOption,
    NoCacheOption,
    SchedulerOption,
    ShardOption,
    means_of,
    print_counts,
    print_going_on,
)
from testbed.commands.pages import FILE_NAME as REPORT_NAME
from testbed.commands.pages import NoReportOption, write_report
from testbed.commands.progress import ProgressOption, Style, counted, style_of
from testbed.commands.recording import SeriesOption, series_settings, write_series
from testbed.commands.results import result_directory
from testbed.commands.run_options import ColumnsOption, read_columns
from testbed.errors import HostError, TestbedError, UsageError
from testbed.experiment import axes
from testbed.exports.tables import arrow, parquet_bytes
from testbed.lab.topology import load_lab
from testbed.report import sweep as sweep_report
from testbed.report.tables import with_columns
from testbed.run import result
from testbed.study import sweep
from testbed.study.combinations import Combination, Finished, combine, run_combinations
from testbed.study.means import Means
from testbed.system import output

FILE_NAME = "sweep.json"
ResultsOption = Annotated[
    Path | None, typer.Option("--out", help="directory for the results", show_default="a new one below results")
]


class SweepFormat(enum.StrEnum):
    """How the rows are written on standard output."""

    table = "table"
    json = "json"
    csv = "csv"
    parquet = "parquet"


WhatArgument = Annotated[
    str | None,
    typer.Argument(
        help="experiment file or name, or a collective",
        metavar="EXPERIMENT|COLLECTIVE",
        autocompletion=completion.experiment,
    ),
]
OverOption = Annotated[
    list[str] | None,
    typer.Option(
        "--over",
        autocompletion=completion.setting,
        help="setting and its values: transport.mtu=1024,4096 or topology.length=1km,80km",
    ),
]
BestByOption = Annotated[
    str | None,
    typer.Option("--best-by", help="settings, with commas: name the best of the others for each of their values"),
]
FormatOption = Annotated[
    SweepFormat,
    typer.Option("--format", help="table for people; json, csv or parquet on standard output, and nothing else"),
]


def run_sweep(
    context: typer.Context,
    what: WhatArgument = None,
    over: OverOption = None,
    topology: TopologyOption = None,
    set_: SetOption = None,
    series: SeriesOption = None,
    best_by: BestByOption = None,
    seed: SeedOption = None,
    jobs: JobsOption = None,
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    shard: ShardOption = None,
    collect: CollectOption = False,
    scheduler: SchedulerOption = None,
    out: ResultsOption = None,
    force: ForceOption = False,
    no_report: NoReportOption = False,
    columns: ColumnsOption = None,
    progress: ProgressOption = Style.auto,
    format_: FormatOption = SweepFormat.table,
) -> None:
    """Run an experiment under every combination of some settings, and say which wins where (virtual clock)."""
    overrides = [*series_settings(series), *(set_ or [])]
    # Labs that vary need none besides them.
    varied = next((axis.values[0] for axis in map(axes.read_axis, over or []) if axis.key == axes.LAB), None)
    base = read_experiment(what, topology or varied, overrides, seed)
    chosen = _axes(base.sweep, over or [], overrides, seed)
    named = _best_by(best_by, base.sweep, chosen)

    def replay(lab: str, settings: list[str]) -> str:
        options = [word for setting in [*overrides, *settings] for word in ("--set", setting)]
        command = ["testbed", "run", *([what] if what else []), "-t", lab, "--clock", "virtual", *options]
        seeded = any(setting.startswith("seed=") for setting in settings)
        return shlex.join([*command, *([] if seeded else ["--seed", str(base.seed)])])

    if format_ is SweepFormat.parquet:
        _check_parquet()
    work = combine(base, chosen, replay)
    used = means_of(jobs, cache, no_cache, shard, collect, scheduler)
    if used.shard is not None:
        raise typer.Exit(run_share(work, used, style_of(context, format_, progress)))
    lab = next((one.trial.lab.name for one in work if one.trial), None) or load_lab(base.topology).name
    directory = context.with_resource(result_directory(out, f"{lab}-sweep"))
    page = [directory / REPORT_NAME] if format_ is SweepFormat.table and not no_report else []
    keep_existing([directory / FILE_NAME, *sorted(directory.glob(f"row-*/{result.FILE_NAME}")), *page], force)
    faults: list[TestbedError] = []
    rows = run_rows(work, directory, faults, used, style_of(context, format_, progress), sweep.run)
    whole = result.replay_command(sys.argv[1:], base.seed)
    document = sweep.assemble(base, lab, chosen, rows, named, whole)
    with noted(faults):
        places = [f"result: {result.write_text(document.to_json(), directory, FILE_NAME)}"]
        if page:
            places.append(f"report: {write_report(document, directory)}")
    _print(document, format_, read_columns(columns))
    print_counts(used)
    if faults:
        raise HostError(str(faults[0]))
    print_note(", ".join(places))
    raise typer.Exit(document.exit_code)


def _check_parquet() -> None:
    """Raise what keeps rows from being written as Parquet: before the runs, not after them."""
    arrow()
    if sys.stdout.isatty():
        raise UsageError("--format parquet writes no text: lead it into a file or a pipe")


def _print(document: sweep.SweepResult, format_: SweepFormat, columns: Sequence[str]) -> None:
    """Print the rows in the form that was asked for."""
    if format_ is SweepFormat.table:
        print_whole(sweep_report.render(document), columns)
    elif format_ is SweepFormat.json:
        output.write_json(document.to_json())
    elif format_ is SweepFormat.csv:
        sys.stdout.write(sweep_report.as_csv(document))
    else:
        output.write_raw(parquet_bytes(sweep_report.as_rows(document)))


def _axes(
    section: axes.Sweep | None, over: Sequence[str], overrides: Sequence[str], seed: int | None
) -> list[axes.Axis]:
    """Return what varies: what the experiment says, and the options in place of it."""
    fixed = [override.partition("=")[0].strip() for override in overrides]
    changed = [axes.read_axis(text) for text in over]
    both = next((axis.key for axis in changed if axis.key in fixed or (axis.key == "seed" and seed is not None)), None)
    if both is not None:
        raise UsageError(f"{both} is given and also varied with --over; choose one")
    merged = axes.merge(axes.axes_of(section), changed, [*fixed, *(["seed"] if seed is not None else [])])
    if not merged:
        raise UsageError("nothing varies: name a setting and its values with --over transport.mtu=1024,4096")
    return merged


def _best_by(option: str | None, section: axes.Sweep | None, chosen: Sequence[axes.Axis]) -> list[str]:
    known = [axis.key for axis in chosen]
    if option is None:
        # What the file names may have been fixed since.
        return [key for key in section.best_by if key in known] if section else []
    named = [key.strip() for key in option.split(",")]
    try:
        axes.check_best_by(named, known)
    except ValueError as error:
        raise UsageError(f"--{error}") from None
    return named


@contextmanager
def noted(faults: list[TestbedError]) -> Iterator[None]:
    """Note that something could not be written: what was measured is not lost for that."""
    try:
        yield
    except (HostError, UsageError) as error:
        faults.append(error)


Row = TypeVar("Row")


class RunAll(Protocol[Row]):
    """What runs combinations by some means, and hands each over as it is finished."""

    def __call__(
        self, work: Sequence[Combination], means: Means, progress: Callable[[int, Finished], None]
    ) -> list[Row]: ...


def run_rows(
    work: Sequence[Combination],
    directory: Path,
    faults: list[TestbedError],
    used: Means,
    style: Style,
    run_all: RunAll[Row],
) -> list[Row]:
    """Run combinations, write the result of each as it comes, and leave with exit code 130 when interrupted.

    What cannot be written is noted among `faults`.
    """
    digits = len(str(len(work) - 1))

    def finished(number: int, finished: Finished) -> None:
        if finished.result is not None:
            with noted(faults):
                row = directory / f"row-{number:0{digits}}"
                result.write(finished.result, row)
                write_series(finished.result, finished.series, row)

    try:
        with counted(style) as follower:
            return run_all(work, used.following(follower), finished)
    except KeyboardInterrupt:
        print_note(f"interrupted; what was finished is in {directory}")
        print_going_on(used)
        raise typer.Exit(INTERRUPTED) from None


def run_share(work: Sequence[Combination], used: Means, style: Style) -> int:
    """Run one share of the combinations into the cache, and return the exit code: 0 when each of them was run, 3 after a defect.

    Whether what was expected held is told when all are collected.
    """
    defects: list[str] = []

    def finished(_: int, finished: Finished) -> None:
        if finished.row.verdict == "defect":
            defects.extend(finished.row.reasons)

    try:
        with counted(style) as follower:
            run_combinations(work, used.following(follower), finished)
    except KeyboardInterrupt:
        print_note("interrupted")
        print_going_on(used)
        return INTERRUPTED
    print_counts(used)
    for defect in dict.fromkeys(defects):
        print_note(defect)
    return HostError.exit_code if defects else 0


def print_whole(report: RenderableType, columns: Sequence[str] = ()) -> None:
    """Print tables that fit the terminal, of some columns alone if these are named; in a pipe they have the room they need."""
    out = console()
    if columns:
        report, headings = with_columns(report, columns)
        if missing := sorted(set(columns) - headings):
            print_note(f"note: --columns: no table has {', '.join(missing)}")
    if not sys.stdout.isatty():
        needed = Measurement.get(out, out.options.update(max_width=10_000), report).maximum
        out.width = max(out.width, needed)
    out.print(report, crop=False)
