"""What is run on a lab: the clock, the lossless settings, the transport, the workload, and what is expected of it.

Each section of an experiment file is one model, in a file beside this one. A section that comes later is one more model
and one more field with a default; nothing else here changes for it.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from testbed.errors import ExperimentError, Fault, UsageError, nearest
from testbed.experiment import expectations, placements, traces
from testbed.experiment import flows as flow_section
from testbed.experiment import jobs as job_section
from testbed.experiment.axes import Axis, Sweep, axes_of
from testbed.experiment.fast import Tolerance
from testbed.experiment.flows import Flows
from testbed.experiment.impairments import MAX_ENTRIES, Span, TimelineEntry
from testbed.experiment.jobs import Jobs, check_names
from testbed.experiment.sections import Lossless, Workload
from testbed.experiment.transport import Transport
from testbed.lab.spec import split_spec
from testbed.optics.energy import Prices
from testbed.schema import fields
from testbed.schema.fields import AUTO, Auto, FileModel, Seed, Time, TimeOrAuto
from testbed.schema.source import KeyPath, Source, dotted, parse_yaml, read_yaml
from testbed.timeseries.limits import check_period, check_points
from testbed.units import PS_PER_SECOND, format_time

LIMIT_PS = 60 * PS_PER_SECOND
"""Nominal time after which a workload is given up, unless an experiment says otherwise."""
SMALLEST_WINDOW_PS = 10**6
PRESET = "preset"
# Sections that may also be true or false as a whole.
_SWITCHED = (["lossless", "watchdog"],)
_FIXED_IN_SWEEPS = ("clock", "dilation", "emulation", "sweep")


def _whole_or_auto(low: int, high: int) -> Any:
    def read(value: object) -> object:
        if value == AUTO:
            return value
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{value!r} is not a whole number from {low} to {high}, nor auto")
        return value

    schema = {"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, {"const": AUTO}]}
    return BeforeValidator(read), WithJsonSchema(schema)


def _window(time_ps: int) -> int:
    if time_ps < SMALLEST_WINDOW_PS:
        raise ValueError(f"a window is at least {format_time(SMALLEST_WINDOW_PS)} long")
    return time_ps


def _series_period(period_ps: int | Auto) -> int | Auto:
    check_period(period_ps)
    return period_ps


def _expectation(text: str) -> str:
    expectations.parse(text)
    return text


def _known_axes(sweep: Sweep) -> Sweep:
    try:
        for axis in axes_of(sweep):
            check_axis(axis)
    except UsageError as error:
        raise ValueError(str(error)) from None
    return sweep


@dataclass(frozen=True)
class _Origin:
    """Where an experiment was written down; no part of what it says, so any two are equal."""

    source: Source = field(default_factory=lambda: Source("experiment"), compare=False)
    replaced: frozenset[KeyPath] = field(default=frozenset(), compare=False)
    """Keys whose values were given with --set."""

    def fault(self, path: KeyPath, message: str) -> Fault:
        """Return a fault at `path`, with the line of the nearest key that a file has."""
        if any(path[: len(key)] == key for key in self.replaced):
            return Fault("--set", 0, dotted(path), message)
        return self.source.fault_at(path, message)


class Experiment(FileModel):
    """An experiment; `topology` is what `load_lab` takes.

    `emulation`: who imposes delay and loss under the real clock. `auto` is the kernel's netem where there is one, and the
    data plane (`native`) where there is none or a link asks for what netem cannot do. `driver`: what a node is there, a
    network namespace or a container. `prices` make the result say what a petabyte costs. `sweep` is for `testbed sweep`
    alone. `jobs` or `flows` are run in place of a workload. `limit`: a workload, which is one iteration of a row, or all jobs
    or flows together, is given up when it is not complete so long after its start, in nominal time.

    `warmup`: so long after the start of the first workload the run counts as settled, and its statistics are told once more
    from there on; `window` tells them also in windows of that length, at least 1 us. Neither changes what the run comes to.
    """

    topology: str
    """Lab file, or the name of a lab with its parameters, as two-dc:hosts=4,length=300km."""
    clock: Literal["virtual", "real"] = "virtual"
    """Virtual, exact and without root, or real, with packets in namespaces or containers."""
    seed: Seed = 1
    """Seed of everything that is drawn at random."""
    dilation: Annotated[int | Auto, *_whole_or_auto(1, 10**6)] = AUTO
    """Wall seconds of one nominal second under the real clock; `auto` is measured on this machine."""
    emulation: Literal["auto", "netem", "native"] = AUTO
    """What imposes delay and loss under the real clock: the kernel's netem, the data plane (`native`), or `auto`."""
    driver: Literal["netns", "docker"] = "netns"
    """What a node is under the real clock: a network namespace or a container."""
    lossless: Lossless = Lossless.model_construct()
    """How switches keep a priority from losing frames."""
    transport: Transport = Transport.model_construct()
    """How reliable connections behave."""
    workload: Workload = Workload.model_construct()
    """What is sent."""
    jobs: Annotated[Jobs, AfterValidator(check_names)] = ()
    """Jobs that run at once, in place of `workload`; left out, there are none."""
    placement: str | None = None
    """Policy, or several with + between them, that places jobs, shifts and prioritises them, or the name of a file (.conf) of
    Slurm's that has their nodes; left out, `packed` places them."""
    flows: Flows | None = None
    """Flows, listed or drawn, in place of `workload`; left out, there are none."""
    limit: Span = LIMIT_PS
    """Nominal time after its start at which an iteration that is not complete is given up; left out, 60 s."""
    warmup: Time | None = None
    """Nominal time after which a run counts as settled, for statistics of that state; left out, there are none."""
    window: Annotated[Span, AfterValidator(_window)] | None = None
    """Length of the windows, at least 1 us, in which statistics are told as well; left out, there are none."""
    series: Annotated[TimeOrAuto, AfterValidator(_series_period)] | None = None
    """Period, 100 ns or more, at which values of ports, queue pairs and ranks are recorded; `auto`: 2,000 to 4,000 points; left
    out, nothing is recorded."""
    fast: Tolerance | None = None
    """How far figures may be off, 0% to 10%, where the virtual clock skips what recurs (docs/guides/fast-forward.md); left
    out, every event is run."""
    prices: Prices | None = None
    """Prices from which the cost of a petabyte follows; left out, no cost is told."""
    timeline: Annotated[tuple[TimelineEntry, ...], Field(max_length=MAX_ENTRIES)] = ()
    """What is wrong with links and hosts, and when; left out, nothing."""
    expect: tuple[Annotated[str, AfterValidator(_expectation)], ...] = ()
    """Expressions over the result that must hold; left out, results, losses and invariants alone decide."""
    sweep: Annotated[Sweep, AfterValidator(_known_axes)] | None = None
    """Settings that `testbed sweep` varies; left out, they are given by `--over`."""
    _origin: _Origin = PrivateAttr(default_factory=_Origin)

    @model_validator(mode="after")
    def _has_one_kind_of_traffic(self) -> Self:
        given = [
            name for name in ("workload", "jobs", "flows") if name in self.model_fields_set and getattr(self, name)
        ]
        if len(given) > 1:
            raise ValueError(f"give {given[0]} or {given[1]}, not both")
        if isinstance(self.series, int) and "limit" in self.model_fields_set:
            check_points(self.series, self.limit)
        if self.placement is not None and not self.jobs:
            raise ValueError("placement is of jobs, and there are none")
        return self

    def fault(self, path: KeyPath, message: str) -> Fault:
        """Return a fault at `path` of this experiment, with the file and line that it was read from, if any."""
        return self._origin.fault(path, message)

    def data(self) -> dict[str, Any]:
        """Return what was said, and nothing that was not, in a form that can be written to a file and read again."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def with_overrides(self, overrides: Sequence[str]) -> Experiment:
        """Return this experiment with `section.key=value` settings replaced, values being read as YAML.

        Raises UsageError for a key that does not exist, ExperimentError for a value that it cannot have.
        """
        data = copy.deepcopy(self.data())
        for override in overrides:
            _override(data, override)
        if not overrides:
            return self
        changed = experiment_from(Source("--set", data))
        paths = {tuple(override.partition("=")[0].strip().split(".")) for override in overrides}
        origin = self._origin
        changed._origin = _Origin(origin.source, origin.replaced | paths)
        return changed


def check_axis(axis: Axis) -> None:
    """Raise UsageError unless a sweep can vary this setting. Parameters of a lab are not looked at."""
    if axis.parameter is not None:
        return
    check_setting(axis.key)
    for value in axis.values:
        _check_section(axis.key, parse_yaml(value, axis.key, ExperimentError).data)
    if axis.key.partition(".")[0] in _FIXED_IN_SWEEPS:
        raise UsageError(f'"{axis.key}" cannot be varied: sweeps are run under the virtual clock')


def check_setting(path: str) -> None:
    """Raise UsageError unless `path` is the dotted key of one setting of an experiment."""
    keys = path.split(".")
    for depth, key in enumerate(keys):
        known = fields.known_keys(Experiment, keys[:depth])
        if key not in known and key not in fields.other_names(Experiment, keys[:depth]):
            raise UsageError(f'no setting is called "{path}": unknown key "{key}"{nearest(key, known)}')


def _check_section(path: str, value: Any) -> None:
    """Raise UsageError if a section is given something else than its keys, or the name of a preset where it has them."""
    keys = path.split(".")
    members = fields.known_keys(Experiment, keys)
    if members and PRESET not in members and keys not in _SWITCHED and not (isinstance(value, dict) and value):
        example = f"{path}={{{members[0]}: …}}"
        raise UsageError(f'"{path}" is a section; set one of its keys: {", ".join(members)}; or several: {example}')


def _override(data: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not text.strip():
        raise UsageError(f'"{override}" is not a setting; write it like lossless.pfc=false')
    check_setting(path.strip())
    keys = path.strip().split(".")
    section = data
    for key in keys[:-1]:
        inner = section.get(key)
        # A section that was given by the name of a preset is spelled out before a key of it changes.
        section[key] = {PRESET: inner} if isinstance(inner, str) else inner or {}
        section = section[key]
    source = parse_yaml(text, f"--set {path}", ExperimentError)
    if source.faults:
        # An argument has no lines.
        raise ExperimentError(replace(fault, line=0) for fault in source.faults)
    _check_section(path.strip(), source.data)
    section[keys[-1]] = source.data
    # A size and a range of sizes exclude each other, and the later word counts.
    replaced = {"size": ("minbytes", "maxbytes"), "minbytes": ("size",), "maxbytes": ("size",)}
    for other in replaced.get(keys[-1], ()) if keys[0] == "workload" else ():
        section.pop(other, None)


def experiment_from(source: Source) -> Experiment:
    """Build an experiment from the data of a file; raise ExperimentError with every fault in it."""
    faults = list(source.faults)
    try:
        experiment = Experiment.model_validate(source.data)
    except ValidationError as error:
        raise ExperimentError([*faults, *fields.model_faults(error, Experiment, source)]) from None
    if faults:
        raise ExperimentError(faults)
    experiment._origin = _Origin(Source(source.file, lines=source.lines, files=source.files))
    return experiment


def new_experiment(topology: str, collective: str) -> Experiment:
    """Make the experiment that runs one collective on a lab, all else at its default."""
    data = {"topology": topology, "workload": {"collective": collective}}
    return experiment_from(Source("command line", data))


def load_experiment(path: str | Path) -> Experiment:
    """Load an experiment file; a lab given by a relative path is sought beside it.

    Traces that a timeline names are read from beside it. Raises ExperimentError with every fault, each with its line.
    """
    source = read_yaml(Path(path), ExperimentError)
    traces.inline(source, Path(path).parent)
    flow_section.inline(source, Path(path).parent)
    job_section.inline(source, Path(path).parent)
    placements.inline(source, Path(path).parent)
    experiment = experiment_from(source)
    lab, changed = split_spec(experiment.topology)
    beside = Path(path).parent / lab
    if lab.endswith((".yaml", ".yml")) and os.path.isfile(beside):
        return experiment.model_copy(update={"topology": f"{beside}:{changed}" if changed else str(beside)})
    return experiment


def experiment_schema() -> dict[str, Any]:
    """Return the JSON Schema of an experiment file."""
    return Experiment.model_json_schema(by_alias=True)
