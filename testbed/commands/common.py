"""What the commands share: options, output on the right stream, and how an experiment is put together."""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer
from rich.console import Console

from testbed import topologies, traffic
from testbed.buffers.deadlock import Cycle
from testbed.bus.messages import is_name
from testbed.commands import completion
from testbed.commands.beginning import INTERRUPTED
from testbed.errors import ExperimentError, InputError, TopologyError, UsageError, cannot_write, nearest
from testbed.experiment import placements
from testbed.experiment.axes import LAB
from testbed.experiment.file import Experiment, experiment_from, load_experiment, new_experiment
from testbed.lab.topology import lab_from, lab_source, load_lab, renamed
from testbed.plan.placement import How, order
from testbed.run.layout import laid_out
from testbed.run.trial import Trial, with_settings
from testbed.schema.fields import AUTO, check_name
from testbed.schema.source import Source
from testbed.system import output

if TYPE_CHECKING:
    from testbed.control.interruption import Fate
    from testbed.control.target import Target

DEFAULT_COLLECTIVE = "all_reduce"
_PIPE_COLUMNS = 200


class Format(enum.StrEnum):
    """How a result is written on standard output."""

    table = "table"
    json = "json"


FormatOption = Annotated[
    Format, typer.Option("--format", help="table for people, json for one JSON document on standard output")
]
TopologyOption = Annotated[
    str | None,
    typer.Option(
        "--topology",
        "-t",
        help="lab file, or name with parameters: two-dc:hosts=4,length=300km",
        autocompletion=completion.topology,
    ),
]


def _safe(name: str | None) -> str | None:
    if name is not None and not is_name(name):
        raise typer.BadParameter(f"{name!r} is no name: letters, digits and ._- only")
    return name


OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="file to write; standard output without it")]
ForceOption = Annotated[bool, typer.Option("--force", help="replace files that are there already")]
NameOption = Annotated[
    str | None, typer.Option("--name", callback=_safe, help="name of a lab", autocompletion=completion.lab)
]
LabNameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        callback=_safe,
        autocompletion=completion.lab,
        help="name of the lab; without -t, the running lab of that name",
    ),
]
LabFile = Annotated[
    str | None,
    typer.Argument(
        metavar="LAB.yaml", autocompletion=completion.topology, help="lab file, or name with parameters, as with -t"
    ),
]
LabName = Annotated[str, typer.Option("--name", callback=_safe, help="name of the lab", autocompletion=completion.lab)]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="change one setting of the experiment: lossless.pfc=false", autocompletion=completion.setting
    ),
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", help="seed of everything random", show_default="the experiment's, else 1")
]
DilationOption = Annotated[
    str | None,
    typer.Option(
        "--dilation",
        help="wall seconds of one nominal second, or auto (real clock)",
        show_default="the experiment's, else auto",
    ),
]


class EmulationChoice(enum.StrEnum):
    """Who imposes delay and loss under the real clock."""

    auto = "auto"
    netem = "netem"
    native = "native"


EmulationOption = Annotated[
    EmulationChoice | None,
    typer.Option(
        "--emulation",
        help="what imposes delay and loss: the kernel's netem, the data plane (native), or netem where it is there (auto)",
        show_default="the experiment's, else auto",
    ),
]


class DriverChoice(enum.StrEnum):
    """What a node is under the real clock."""

    netns = "netns"
    docker = "docker"


DriverOption = Annotated[
    DriverChoice | None,
    typer.Option(
        "--driver",
        help="what each node is: a network namespace, or a container",
        show_default="the experiment's, else netns",
    ),
]


class PlacementChoice(enum.StrEnum):
    """Which of several agents has a node that names none."""

    spread = "spread"
    pack = "pack"


PlacementOption = Annotated[
    PlacementChoice | None,
    typer.Option(
        "--placement",
        help="how several agents share nodes that name none: evenly, or on as few agents as possible",
        show_default="spread",
    ),
]


def console() -> Console:
    """Return where results for people go. In a pipe there is no edge to wrap lines at."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS, highlight=False)


def print_note(text: str) -> None:
    """Print what is not the result: on standard error."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def interruptible() -> Iterator[Fate]:
    """Print what stands of a lab when the verb on it is interrupted, and end the command."""
    from testbed.control.interruption import Fate

    fate = Fate(print_note)
    try:
        yield fate
    except KeyboardInterrupt:
        print_note(f"interrupted; {fate.stands}")
        raise typer.Exit(INTERRUPTED) from None


def print_notes(source: Source) -> None:
    """Print what became of a lab that a file of another tool describes."""
    for note in source.notes:
        print_note(note)


def print_json(document: Any) -> None:
    """Write one JSON document, and nothing else, on standard output."""
    output.write_json(laid_out(document))


def keep_existing(paths: Iterable[Path], force: bool) -> None:
    """Raise UsageError if a file that is to be written is there already, unless `force` allows to replace it."""
    existing = [] if force else [path for path in paths if os.path.isfile(path)]
    if existing:
        more = f" and {len(existing) - 1} more files are" if len(existing) > 1 else " is"
        raise UsageError(f"{existing[0]}{more} there already; choose another path, or replace with --force")


def open_new(path: Path, force: bool) -> BinaryIO:
    """Open a file for writing; without `force` one that another command has made meanwhile is not taken. Raises OSError."""
    # What is there and no file, as a named pipe, is written to.
    is_taken_as_it_is = force or (path.exists() and not path.is_file())
    return path.open("wb" if is_taken_as_it_is else "xb")


def write_out(text: str, path: Path | None) -> None:
    """Write a result into a file, or on standard output if none is named. Raises what `errors.cannot_write` makes of it."""
    if path is None:
        sys.stdout.write(text)
        return
    write_bytes(text.encode(), path)


def write_bytes(raw: bytes, path: Path) -> None:
    """Write a result into a file. Raises what `errors.cannot_write` makes of a failure."""
    try:
        path.write_bytes(raw)
    except OSError as error:
        raise cannot_write(path, error) from None


def target(context: typer.Context, placement: PlacementChoice | None = None) -> Target:
    """Return the agent that the global options name, or the agents, and how nodes are placed among them.

    Raises UsageError for a placement where there is one agent.
    """
    from testbed.bus.address import broker_address
    from testbed.control.target import Target

    url, names, credentials, ca_file = (context.obj or {}).get("agent", (None, None, None, None))
    first, *others = order(names.split(",")) if url is not None else [""]
    if placement is not None and not others:
        raise UsageError("--placement has no effect with one agent; name several with --agent a,b")
    if url is None:
        return Target()
    how: How = "spread" if placement is None else placement.value
    return Target(broker_address(url, credentials, ca_file), first, tuple(others), how)


def is_file_name(text: str) -> bool:
    """Tell a file from the name of a collective."""
    return text.endswith((".yaml", ".yml")) or os.sep in text or os.path.isfile(text)


def read_experiment(
    what: str | None, topology: str | None, overrides: Sequence[str], seed: int | None = None
) -> Experiment:
    """Make an experiment of a file, a name or a collective, a lab, and settings that replace what they say.

    A name is that of an experiment in topologies/, unless a collective is called the same.
    """
    named = _named_lab(overrides)
    topology = named if named is not None else topology
    stored = {} if what is None or what in traffic.COLLECTIVES else topologies.experiments()
    if what is not None and (what in stored or is_file_name(what)):
        experiment = load_experiment(stored.get(what, what))
        if topology is not None:
            experiment = experiment.model_copy(update={"topology": topology})
    elif what is not None and what not in traffic.COLLECTIVES:
        known = {*topologies.experiments(), *traffic.COLLECTIVES}
        raise UsageError(f'no experiment or collective is called "{what}"{nearest(what, known)}')
    elif topology is None:
        raise UsageError("no lab given: name one with -t, for example -t two-dc")
    else:
        experiment = new_experiment(topology, what or DEFAULT_COLLECTIVE)
    settings = [*map(placements.as_setting, overrides), *([f"seed={seed}"] if seed is not None else [])]
    return with_settings(experiment, settings)


def _named_lab(overrides: Sequence[str]) -> str | None:
    """Return the lab that settings name, the last of them."""
    named = [setting.partition("=")[2].strip() for setting in overrides if setting.partition("=")[0].strip() == LAB]
    return named[-1] if named else None


def read_trial(what: str | None, topology: str | None, overrides: Sequence[str], seed: int | None = None) -> Trial:
    """Make a trial, not checked yet: `preflight.check` raises what is wrong with it on the clock that is chosen for it."""
    experiment = read_experiment(what, topology, overrides, seed)
    source = read_lab(experiment, named=topology is not None or _named_lab(overrides) is not None)
    print_notes(source)
    return Trial(experiment, lab_from(source), written=source.data)


def read_lab(experiment: Experiment, named: bool) -> Source:
    """Return the data of an experiment's lab. `named`: on the command line, where whoever did so knows it stands."""
    try:
        return lab_source(experiment.topology)
    except UsageError as error:
        # Faults inside a lab file stand at its own lines. That it is no lab file at all is a fault of the line that names it.
        inside = isinstance(error, InputError) and any(fault.key for fault in error.faults)
        if inside or named:
            raise
        raise ExperimentError([experiment.fault((LAB,), str(error))]) from None


StrictOption = Annotated[bool, typer.Option("--strict", help="fail if buffers can wait for each other in a circle")]


def mind_cycles(cycles: Sequence[Cycle], topology: str, strict: bool) -> None:
    """Warn of buffers that can wait in a circle, or raise TopologyError with the place of each in the lab."""
    faults = [cycle.fault(lab_source(topology)) for cycle in cycles]
    if faults and strict:
        raise TopologyError(faults)
    for fault in faults:
        print_note(f"warning: {fault}")


def real_clock_settings(emulation: EmulationChoice | None, driver: DriverChoice | None) -> list[str]:
    """Return the options as settings of the experiment."""
    given = {"emulation": emulation, "driver": driver}
    return [f"{key}={value}" for key, value in given.items() if value is not None]


def read_dilation(option: str | None, trial: Trial, where: Target | None = None) -> int:
    """Return the dilation of a run under the real clock: as asked for, else by calibration.

    Where none is asked for, a lab that is up `where` it is meant keeps its own.
    """
    import asyncio

    from testbed.control import verbs
    from testbed.machine import calibration

    dilation = trial.experiment.dilation if option is None else option
    if option is None and dilation == AUTO and where is not None:
        running = asyncio.run(verbs.dilation_of(where, trial.lab.name))
        if running is not None:
            return running
    factor = calibration.resolve_dilation(dilation, trial.plan)
    if dilation == AUTO and sys.stderr.isatty():
        print_note(f"dilation {factor}: {calibration.describe(calibration.load_or_measure())}")
    return factor


def read_named(
    where: Target, name: str | None, what: str | None, topology: str | None, overrides: Sequence[str], seed: int | None
) -> Trial:
    """Make a trial like `read_trial`, on a lab that is called `name`; without a topology, on the running lab of that name."""
    if name is None:
        return read_trial(what, topology, overrides, seed)
    try:
        check_name(name)
    except ValueError as error:
        raise UsageError(f"--name: {error}") from None
    if topology is not None or (what is not None and what not in traffic.COLLECTIVES):
        experiment = read_experiment(what, topology, overrides, seed)
        source = renamed(read_lab(experiment, named=topology is not None or _named_lab(overrides) is not None), name)
        print_notes(source)
        return Trial(experiment, lab_from(source), written=source.data)
    import asyncio

    from testbed.control import inspection

    written = asyncio.run(inspection.describe(where, name))["written"]
    if written is None:
        raise UsageError(f"lab {name} was deployed without its file; name one with -t")
    source = Source(f"lab {name}", written["lab"])
    settings = [*([f"workload.collective={what}"] if what else []), *overrides]
    settings += [f"seed={seed}"] if seed is not None else []
    experiment = with_settings(experiment_from(Source(f"lab {name}", written["experiment"])), settings)
    return Trial(experiment, lab_from(source), written=source.data)


def one_lab(name: str | None, topology: str | None) -> str:
    """Return the name of the lab that is meant by --name or -t."""
    if (name is None) == (topology is None):
        raise UsageError("name one lab: --name LAB or -t TOPOLOGY")
    return name if name is not None else load_lab(str(topology)).name
