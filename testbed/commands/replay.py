"""testbed replay: traces of applications and of other tools, as jobs on a lab."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from testbed.commands.common import (
    DilationOption,
    DriverOption,
    EmulationOption,
    ForceOption,
    Format,
    FormatOption,
    SeedOption,
    SetOption,
    TopologyOption,
    print_note,
    print_notes,
    real_clock_settings,
    target,
)
from testbed.commands.pages import NoReportOption
from testbed.commands.progress import ProgressOption, Style, measured, style_of
from testbed.commands.run import RunOptions, run_trial
from testbed.commands.run_options import (
    ClockOption,
    ColumnsOption,
    CoresOption,
    MetricsOption,
    ResultOption,
    RunClockOption,
    TraceOption,
)
from testbed.errors import UsageError
from testbed.experiment import placements
from testbed.experiment.file import experiment_from
from testbed.experiment.flows import LONGEST_FLOW_BYTES, MAX_FLOWS
from testbed.importers.draft import Imported, safe_name
from testbed.lab.ranks import expand, ranks_on
from testbed.lab.topology import Lab, lab_from, lab_source
from testbed.replay.form import MAX_RANKS, Trace
from testbed.replay.lines import Reading
from testbed.replay.made import flows_of
from testbed.replay.reading import FORMATS, Options, format_of, read_traces
from testbed.replay.streamed import SMALLEST_BYTES, read_streamed
from testbed.run.trial import Trial, with_settings
from testbed.schema.source import Source

_OUTSIDE_BRACKETS = re.compile(r",(?![^\[]*\])")


class StartUnit(enum.StrEnum):
    """Units that connection matrices are written in."""

    ps = "ps"
    ns = "ns"
    us = "us"
    ms = "ms"
    s = "s"


FormatNameOption = Annotated[
    str | None,
    typer.Option("--as", help=f"format of the files: {', '.join(FORMATS)}", show_default="recognised from each file"),
]
AlgorithmOption = Annotated[
    list[str] | None,
    typer.Option("--algorithm", help="algorithm of collectives: ring, or all_reduce=double-tree; may be repeated"),
]
ScaleOption = Annotated[
    float, typer.Option("--scale-compute", min=0, max=1e6, help="factor on the time of computing: 0.5 is twice as fast")
]
StartUnitOption = Annotated[
    StartUnit | None, typer.Option("--start-unit", help="unit of starts in connection matrices of htsim")
]
GroupsOption = Annotated[
    Path | None, typer.Option("--groups", help='process groups of a Chakra trace: {"0": [0, 1], "1": [2, 3]}')
]
GpusOption = Annotated[
    int | None, typer.Option("--gpus", min=1, max=MAX_RANKS, help="ranks of a SimAI text that names none")
]
PlaceOption = Annotated[
    str | None,
    typer.Option("--place", help="policy that places traces that no --ranks does: random, spread, …; see schedule"),
]
AloneOption = Annotated[bool, typer.Option("--alone", help="run each trace alone too, and say how much slower it was")]


def replay(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="traces; files of a rank each make one together")],
    topology: TopologyOption = None,
    as_: FormatNameOption = None,
    algorithm: AlgorithmOption = None,
    scale_compute: ScaleOption = 1,
    iterations: Annotated[int, typer.Option("--iterations", min=1, help="times that each trace is run")] = 1,
    ranks: Annotated[
        list[str] | None,
        typer.Option("--ranks", help="ranks of a trace in its order, h[1-8] or h3,h1; once for each trace"),
    ] = None,
    place: PlaceOption = None,
    start_unit: StartUnitOption = None,
    gpus: GpusOption = None,
    groups: GroupsOption = None,
    clock: RunClockOption = None,
    dilation: DilationOption = None,
    emulation: EmulationOption = None,
    driver: DriverOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    pcap: Annotated[bool, typer.Option("--pcap", help="write every frame into capture.pcapng")] = False,
    out: ResultOption = None,
    force: ForceOption = False,
    keep: Annotated[bool, typer.Option("--keep", help="leave the lab up (real clock)")] = False,
    cores: CoresOption = "auto",
    strict: Annotated[
        bool,
        typer.Option("--strict", help="fail if anything is left out, or buffers can wait for each other in a circle"),
    ] = False,
    alone: AloneOption = False,
    metrics: MetricsOption = None,
    trace: TraceOption = None,
    progress: ProgressOption = Style.auto,
    no_report: NoReportOption = False,
    columns: ColumnsOption = None,
    format_: FormatOption = Format.table,
) -> None:
    """Replay traces of applications as jobs on a lab: what ranks computed, sent and received, and their collectives."""
    if topology is None:
        raise UsageError("no lab given: name one with -t, for example -t clos")
    is_virtual = clock in (None, ClockOption.virtual)
    is_plain = is_virtual and iterations == 1 and not alone and place is None and scale_compute == 1
    readings = list(_from_disk(files, as_, style_of(context, format_, progress))) if is_plain else []
    readings = readings or read_traces(files, as_, Options(start_unit and start_unit.value, gpus, groups))
    traces = [_adapted(reading, algorithm or [], scale_compute, strict) for reading in readings]
    source = lab_source(topology)
    print_notes(source)
    lab = lab_from(source)
    jobs = list(_jobs(traces, lab, ranks or [], place is not None, iterations))
    is_job = alone or iterations > 1 or len(traces) > 1 or place is not None
    listed = None if is_job else _flows(traces[0], jobs[0]["ranks"])
    data: dict[str, Any] = {"topology": topology, **({"jobs": jobs} if listed is None else {"flows": {"list": listed}})}
    data |= _placement(place, ranks or []) | ({} if seed is None else {"seed": seed})
    experiment = experiment_from(Source("command line", data))
    experiment = with_settings(experiment, [*real_clock_settings(emulation, driver), *(set_ or [])])
    options = RunOptions(
        clock, dilation, emulation, driver, keep, cores, pcap, out, force, strict, alone, format_, metrics, progress,
        columns, report=not no_report, trace=trace,
    )  # fmt: skip
    run_trial(context, target(context), Trial(experiment, lab, written=source.data), options)


def _from_disk(files: Sequence[Path], as_: str | None, style: Style) -> Iterator[Reading]:
    """Yield one long file of GOAL as a trace that stays on disk, and nothing of any others."""
    if len(files) != 1 or not files[0].is_file() or files[0].stat().st_size < SMALLEST_BYTES:
        return
    name = as_ or format_of(files[0])
    if name in ("goal", "goal-binary"):
        with measured(("MB read", "ops matched"), style) as (read, matched):
            yield read_streamed(
                files[0],
                is_binary=name == "goal-binary",
                reading=lambda done, total: read(done // 10**6, total // 10**6),
                matching=matched,
            )


def _adapted(reading: Reading, algorithms: Sequence[str], scale: float, strict: bool) -> Trace:
    """Print what was taken of a file, and return its trace as options want it; where `strict`, nothing may be left out."""
    file = reading.trace.files[0]
    taken = Imported(Source(file, {}), reading.took, reading.left, reading.notes)
    if strict:
        taken.require_all()
    print_note(f"{file}: {taken.summary()}")
    trace = reading.trace.by(algorithms) if algorithms else reading.trace
    return trace if scale == 1 else trace.scaled(scale)


def _placement(policy: str | None, chosen: Sequence[str]) -> dict[str, str]:
    """Return the policy that places traces as an experiment names it, if an option does."""
    if policy is None:
        return {}
    if chosen:
        raise UsageError("--ranks and --place: name one of them")
    return {"placement": placements.read_placement(policy, Path())}


def _jobs(
    traces: Sequence[Trace], lab: Lab, chosen: Sequence[str], is_placed: bool, iterations: int
) -> Iterator[dict[str, Any]]:
    """Yield each trace as a job on ranks of the lab that no other has, unless an option gives them to several."""
    if len(chosen) not in (0, len(traces)):
        raise UsageError(f"--ranks is given {len(chosen)} times, for {len(traces)} traces")
    free = [str(rank) for host in lab.hosts for rank in ranks_on(host)]
    needed = sum(len(trace.ranks) for trace in traces)
    if not chosen and needed > len(free):
        raise UsageError(f"the traces have {needed} ranks, and lab {lab.name} has {len(free)}")
    names: list[str] = []
    for number, trace in enumerate(traces):
        stem = safe_name(Path(trace.files[0]).name.split(".")[0]) or "trace"
        name = stem if stem not in names else f"{stem[:50]}-{number + 1}"
        names.append(name)
        if chosen:
            own = _OUTSIDE_BRACKETS.split(chosen[number])
        else:
            own, free = free[: len(trace.ranks)], free[len(trace.ranks) :]
        yield {"name": name, "repeat": iterations, "trace": trace, **({} if is_placed else {"ranks": own})}


def _flows(trace: Trace, ranks: Sequence[str]) -> list[dict[str, Any]] | None:
    """Return a trace of flows alone as an experiment lists them; None of any other, and of flows that it cannot list."""
    flows = flows_of(trace)
    names = [rank for pattern in ranks for rank in expand(pattern)]
    if not flows or len(flows) > MAX_FLOWS or len(names) != len(trace.ranks):
        return None
    hosts = [name.partition("/")[0] for name in names]
    listed = []
    for flow in flows:
        if not 1 <= flow.bytes <= LONGEST_FLOW_BYTES or hosts[flow.source] == hosts[flow.target]:
            return None
        ends = {"from": names[flow.source], "to": names[flow.target]}
        listed.append({**ends, "bytes": flow.bytes, "start": f"{flow.start_ps}ps"})
    return listed
