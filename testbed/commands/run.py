"""testbed run: an experiment from its file to its verdict."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed import pcapng
from testbed.buffers.thresholds import pool_notes
from testbed.bus.messages import RunStep
from testbed.commands import nccl_options
from testbed.commands.beginning import INTERRUPTED
from testbed.commands.common import (
    DilationOption,
    DriverChoice,
    DriverOption,
    EmulationChoice,
    EmulationOption,
    ForceOption,
    Format,
    FormatOption,
    LabNameOption,
    PlacementOption,
    SeedOption,
    SetOption,
    StrictOption,
    TopologyOption,
    console,
    interruptible,
    keep_existing,
    mind_cycles,
    print_note,
    read_dilation,
    read_named,
    real_clock_settings,
    target,
)
from testbed.commands.doctor import real_clock_obstacle
from testbed.commands.pages import NoReportOption
from testbed.commands.progress import ProgressOption, Style, followed, style_of
from testbed.commands.recording import SeriesOption, series_files, series_settings, write_series
from testbed.commands.results import result_directory
from testbed.commands.run_options import (
    ClockOption,
    ColumnsOption,
    CoresOption,
    FastOption,
    MetricsOption,
    ResultOption,
    RunClockOption,
    TraceOption,
    WhatArgument,
    fast_settings,
    read_columns,
)
from testbed.commands.written import Written
from testbed.errors import ExperimentError, HostError, UsageError
from testbed.plan.dilation import larger_dilation
from testbed.report import run as report
from testbed.run import fidelity, perform, result
from testbed.run.execution import Outcome, Progress
from testbed.run.judgement import conclude, unknown_names, unreached
from testbed.run.provenance import Provenance, Stopwatch
from testbed.run.trial import Clock, Trial
from testbed.schema.fields import AUTO
from testbed.study import preflight
from testbed.system import output

if TYPE_CHECKING:
    from testbed.control.verbs import Follow, Target

MAX_CORES = 1024
_CAPTURE = f"capture{pcapng.SUFFIX}"


def run(
    context: typer.Context,
    what: WhatArgument = None,
    topology: TopologyOption = None,
    name: LabNameOption = None,
    clock: RunClockOption = None,
    dilation: DilationOption = None,
    emulation: EmulationOption = None,
    driver: DriverOption = None,
    minbytes: nccl_options.MinbytesOption = None,
    maxbytes: nccl_options.MaxbytesOption = None,
    stepfactor: nccl_options.StepfactorOption = None,
    stepbytes: nccl_options.StepbytesOption = None,
    iters: nccl_options.ItersOption = None,
    warmup: nccl_options.WarmupOption = None,
    aggregate: nccl_options.AggregateOption = None,
    check: nccl_options.CheckOption = None,
    datatype: nccl_options.DatatypeOption = None,
    operation: nccl_options.OperationOption = None,
    root: nccl_options.RootOption = None,
    records: nccl_options.RecordFormatOption = None,
    record_file: nccl_options.RecordFileOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    series: SeriesOption = None,
    pcap: Annotated[bool, typer.Option("--pcap", help="write every frame into capture.pcapng")] = False,
    out: ResultOption = None,
    force: ForceOption = False,
    placement: PlacementOption = None,
    keep: Annotated[bool, typer.Option("--keep", help="leave the lab up (real clock)")] = False,
    cores: CoresOption = "auto",
    fast: FastOption = None,
    strict: StrictOption = False,
    alone: Annotated[
        bool, typer.Option("--alone", help="run each job alone too, and say how much slower it was")
    ] = False,
    metrics: MetricsOption = None,
    trace: TraceOption = None,
    progress: ProgressOption = Style.auto,
    no_report: NoReportOption = False,
    columns: ColumnsOption = None,
    format_: FormatOption = Format.table,
) -> None:
    """Run an experiment, or one collective on a lab, and judge it."""
    # Their values are those of the parameters above; --set comes last, since it may say the same more precisely.
    settings = nccl_options.settings(context.params)
    settings += [*real_clock_settings(emulation, driver), *series_settings(series), *fast_settings(fast), *(set_ or [])]
    where = target(context, placement)
    subject = read_named(where, name, what, topology, settings, seed)
    options = RunOptions(
        clock=clock,
        dilation=dilation,
        emulation=emulation,
        driver=driver,
        keep=keep,
        cores=cores,
        pcap=pcap,
        out=out,
        force=force,
        strict=strict,
        alone=alone,
        format_=format_,
        metrics=metrics,
        trace=trace,
        progress=progress,
        columns=columns,
        records=records,
        record_file=record_file,
        report=not no_report,
    )
    run_trial(context, where, subject, options)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What options say of how a trial is run, and where its result goes."""

    clock: ClockOption | None
    dilation: str | None
    emulation: EmulationChoice | None
    driver: DriverChoice | None
    keep: bool
    cores: str
    pcap: bool
    out: Path | None
    force: bool
    strict: bool
    alone: bool
    format_: Format
    metrics: Path | None = None
    progress: Style = Style.auto
    columns: str | None = None
    records: nccl_options.RecordFormat | None = None
    record_file: Path | None = None
    report: bool = True
    trace: Path | None = None


def run_trial(context: typer.Context, where: Target, subject: Trial, options: RunOptions) -> None:
    """Run a trial on the clock that is chosen for it, write and show its result, and exit with its exit code."""
    chosen = _choose_clock(options.clock, subject)
    dilation = options.dilation
    subject = subject.under(chosen, _given(dilation) if chosen == "real" else None)
    preflight.check(subject, here=chosen == "virtual" or where.is_local)
    if chosen == "virtual":
        _refuse_options_of_labs(context, options)
    spread = _read_cores(options.cores, chosen)
    _print_notes(subject, options.strict)
    directory = context.with_resource(result_directory(options.out, f"{subject.lab.name}-{subject.name}"))
    capture = directory / _CAPTURE if options.pcap else None
    has_report = options.report and options.format_ is Format.table
    written = Written(
        directory,
        capture,
        options.format_,
        options.records,
        options.record_file,
        options.metrics,
        has_report,
        read_columns(options.columns),
        options.trace,
    )
    keep_existing([*written.paths, *series_files(directory, subject.experiment.series)], options.force)
    factor = read_dilation(dilation, subject, where) if chosen == "real" else 1
    chooses = (subject.experiment.dilation if dilation is None else dilation) == AUTO
    watch = Stopwatch()
    style = style_of(context, options.format_, options.progress)
    with followed(style, factor if chosen == "real" else None) as show:

        def carry_out(part: Trial, capture: Path | None) -> tuple[Outcome, int]:
            if chosen == "virtual":
                return _run_virtual(part, capture, show, spread, style is not Style.none), factor
            place = directory / result.FILE_NAME
            return _run_real(where, part, factor, chooses, options.keep, capture, show, place)

        outcome, factor = carry_out(subject, written.capture)
        apart = _alone(subject, outcome, lambda part: carry_out(part, None)[0]) if options.alone else {}
    _conclude(subject, outcome, chosen, factor, written, apart, watch.provenance())


def _alone(subject: Trial, outcome: Outcome, carry_out: Callable[[Trial], Outcome]) -> dict[str, float | None]:
    """Run each job while the others do nothing; return what it took, in us. Raises UsageError where there are no jobs."""
    if not subject.experiment.jobs:
        raise UsageError("--alone: the experiment has no jobs")
    return perform.times_alone(subject, outcome, carry_out)


def _refuse_options_of_labs(context: typer.Context, options: RunOptions) -> None:
    """Raise UsageError for options that mean nothing under the virtual clock.

    Where nobody asked for it, a dilation and network namespaces are only noted to have no effect.
    """
    is_auto = options.clock is ClockOption.auto
    if options.keep:
        raise UsageError("--keep: under the virtual clock there is no lab to keep")
    if options.driver is DriverChoice.docker:
        raise UsageError("--driver: under the virtual clock there are no containers")
    if options.emulation is not None:
        raise UsageError("--emulation: under the virtual clock there is no kernel between the nodes")
    if (context.obj or {}).get("agent", (None,))[0] is not None:
        raise UsageError("--agent, --broker: the virtual clock runs in this process, not with agents; add --clock real")
    if options.driver is not None and not is_auto:
        raise UsageError("--driver: under the virtual clock nothing is built in the system; add --clock real")
    if options.dilation is not None and not is_auto:
        raise UsageError("--dilation: under the virtual clock time is not held against a wall clock; add --clock real")
    for option, given in (("--driver", options.driver), ("--dilation", options.dilation)):
        if given is not None:
            print_note(f"note: {option} has no effect under the virtual clock")


def _given(dilation: str | None) -> int | None:
    """Return the dilation that the option gives, which says it as well as the experiment would; None where it gives none."""
    from testbed.machine import calibration

    return None if dilation in (None, AUTO) else calibration.read_dilation(str(dilation))


def _print_notes(subject: Trial, strict: bool) -> None:
    """Print what has no effect, and what of the lab could stand still; raises what `mind_cycles` does."""
    for note in (*pool_notes(subject.plan), *(f"note: {hint}" for hint in subject.hints)):
        print_note(note)
    mind_cycles(subject.cycles, subject.experiment.topology, strict)


def _read_cores(option: str, clock: Clock) -> int:
    """Return how many cores a run may use, 0 for auto; under the real clock the option is noted."""
    if clock == "real" and option != "auto":
        print_note("note: --cores has no effect under the real clock")
    if option == "auto":
        return 0
    if not option.isdecimal() or not 1 <= int(option) <= MAX_CORES:
        raise UsageError(f"--cores {option}: a whole number from 1 to {MAX_CORES}, or auto")
    return int(option)


def _choose_clock(option: ClockOption | None, subject: Trial) -> Clock:
    """Return the clock of the option, else of the experiment file, else the virtual one; say which where no option does."""
    experiment = subject.experiment
    if option is ClockOption.auto and experiment.fast is not None:
        chosen: Clock = "virtual"
        why = "the real one skips nothing"
    elif option is ClockOption.auto:
        obstacle = real_clock_obstacle()
        chosen = "real" if obstacle is None else "virtual"
        why = "this machine can make network namespaces"
        if obstacle is not None:
            why = f"this machine cannot run the real one, {obstacle}"
    elif option is not None:
        return "real" if option is ClockOption.real else "virtual"
    elif "clock" in experiment.model_fields_set:
        chosen, why = experiment.clock, "the experiment says so"
    else:
        chosen, why = "virtual", "the default; --clock real or auto runs in network namespaces"
    print_note(f"{chosen} clock: {why}")
    return chosen


def _run_virtual(subject: Trial, capture: Path | None, show: Follow, cores: int, is_followed: bool) -> Outcome:
    """Run in this process and return the outcome."""

    def follow(at: Progress) -> None:
        show(RunStep.model_validate(at))

    return perform.run_virtual(subject, capture, follow, cores, is_followed=is_followed)


def _run_real(
    chosen: Target,
    subject: Trial,
    dilation: int,
    chooses: bool,
    keep: bool,
    capture: Path | None,
    show: Follow,
    place: Path,
) -> tuple[Outcome, int]:
    """Run under the real clock and return the outcome with its dilation.

    A run that cannot be trusted is repeated once at a larger dilation, if it `chooses` its dilation by itself. A lab that was up
    before stays as it is: its dilation is its owner's. `place` is where the result is written.
    """
    import asyncio

    from testbed.control import verbs

    if capture is not None and not chosen.is_local:
        raise UsageError("--pcap: the agent is on another machine; use `testbed capture` there")

    def once(factor: int) -> Outcome:
        with interruptible() as fate:
            work = verbs.run(chosen, subject, factor, keep=keep, pcap=capture, on_step=show, fate=fate, result=place)
            return asyncio.run(work)

    lab = subject.lab.name
    stands = chooses and asyncio.run(verbs.is_up(chosen, lab))
    outcome = once(dilation)
    figures = outcome.report["fidelity"]
    larger = larger_dilation(dilation, fidelity.shortfall(figures, subject.bounds))
    doubts = fidelity.judge_fidelity(figures, subject.bounds)
    if not chooses or stands or not doubts or outcome.interrupted or larger == dilation:
        return outcome, dilation
    for doubt in doubts:
        print_note(doubt)
    print_note(f"this machine could not carry the run at dilation {dilation}; repeating it once at {larger}")
    if keep:
        asyncio.run(verbs.destroy(chosen, lab))
    return once(larger), larger


def _conclude(
    subject: Trial,
    outcome: Outcome,
    clock: Clock,
    dilation: int,
    written: Written,
    alone_us: Mapping[str, float | None],
    provenance: Provenance,
) -> None:
    """Judge an outcome, write it down, and print it whether it could be written or not."""
    replay = result.replay_command(sys.argv[1:], subject.experiment.seed)
    judged = conclude(subject, outcome, clock, dilation, replay, alone_us).of(provenance)
    faults = [] if outcome.capture_fault is None else [HostError(outcome.capture_fault)]
    places = [] if written.capture is None else [f"capture: {written.capture}"]
    try:
        if (series := write_series(judged, outcome.series, written.directory)) is not None:
            places.append(f"series: {series}")
        written.write(judged, places)
    except (HostError, UsageError) as error:
        # A finished run is not lost for want of a place to keep it.
        faults.insert(0, HostError(str(error)))
    if written.format_ is Format.json:
        output.write_json(judged.to_json())
        for hint in judged.hints[len(subject.hints) :]:
            print_note(f"note: {hint.key}: {hint.text}")
    else:
        if missing := report.show(judged, console(), written.columns):
            print_note(f"note: --columns: no table has {', '.join(sorted(missing))}")
        if written.records is not None and written.record_file is None:
            console().print(written.rows(judged), end="", markup=False, highlight=False, soft_wrap=True)
    print_note(", ".join(places))
    if outcome.interrupted:
        for fault in faults:
            print_note(f"testbed: {fault}")
        raise typer.Exit(INTERRUPTED)
    if faults:
        raise HostError("; ".join(map(str, faults)))
    if named := [*unreached(subject, outcome), *unknown_names(subject, judged)]:
        raise ExperimentError(named)
    raise typer.Exit(judged.exit_code)
