"""A timeline as the list of changes that the data plane makes, and the log of what it made of them.

Each entry of a timeline lays values over a link for a span of time. What holds at any moment is, for each setting, the
value laid last of those that have not ended: so the end of one entry uncovers what was there before, whatever was laid
and lifted in between. Ramps, flaps and traces are many short spans.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from testbed.contract.report import Report
from testbed.errors import ExperimentError, Fault, nearest
from testbed.experiment.file import Experiment
from testbed.experiment.impairments import LOSSES, Flap, Ramp, Storm, TimelineEntry, TracePoint
from testbed.lab.topology import Lab
from testbed.run.link_state import (
    Alteration,
    SettingError,
    State,
    altered_by,
    ends_of,
    find_port,
    losses,
    state_of,
    ways_of,
)
from testbed.schema.source import KeyPath
from testbed.units import LARGEST, format_time

Json = dict[str, Any]

MAX_SPANS = 100_000
"""Of all entries together: bounds the work for a file from a stranger."""


@dataclass(frozen=True, slots=True)
class _Span:
    """A value of one field from `start` to `end` (None: for good), laid by an entry."""

    start: int
    end: int | None
    entry: int
    field: str
    value: Any


@dataclass(slots=True)
class _Layers:
    """What lies on one direction of a link: by field, the spans that have begun and not ended."""

    active: dict[str, list[_Span]] = field(default_factory=lambda: defaultdict(list))

    def asked(self) -> Alteration:
        """Return the uppermost values. Spans are added in order, so the last of those that began latest is on top."""
        return {name: max(spans, key=_began).value for name, spans in self.active.items() if spans}


def _began(span: _Span) -> tuple[int, int]:
    return span.start, span.entry


def expand(lab: Lab, experiment: Experiment) -> list[Json]:
    """Return the changes that a timeline comes to, in the order of time, link and way (docs/internals/engine.md).

    Raises ExperimentError with every entry that names no port, ends after any run could, or asks for what its link
    cannot have.
    """
    spans: defaultdict[tuple[int, int], list[_Span]] = defaultdict(list)
    faults: list[Fault] = []
    limit_ps = _longest(experiment)
    total = 0
    for number, entry in enumerate(experiment.timeline):
        faults += _outside(experiment, number, entry, limit_ps)
        try:
            places = list(_places(lab, entry))
        except SettingError as error:
            faults.append(experiment.fault(("timeline", number, error.key), str(error)))
            continue
        laid = list(_spans(number, entry, experiment.lossless.priority))
        total += len(laid) * len(places)
        for place in places:
            spans[place] += laid
    if total > MAX_SPANS:
        raise ExperimentError([experiment.fault(("timeline",), f"more than {MAX_SPANS} steps")])
    changes: list[Json] = []
    for (link, way), laid in spans.items():
        changes += _changes(lab, experiment, (link, way), laid, faults)
    if faults:
        raise ExperimentError(faults)
    return sorted(changes, key=lambda change: (change["at_ps"], change["link"], change["way"]))


def _longest(experiment: Experiment) -> int:
    """Return the nominal time after which the last workload is given up."""
    workload = experiment.workload
    return experiment.limit * len(workload.sizes) * workload.iterations * (2 if workload.in_place else 1)


def _outside(experiment: Experiment, number: int, entry: TimelineEntry, limit_ps: int) -> Iterator[Fault]:
    times: list[tuple[KeyPath, int]] = [(("at",), entry.at), (("for",), entry.at + (entry.for_ or 0))]
    if entry.impair is not None and (flap := entry.impair.flap) is not None and flap.count is not None:
        times.append((("impair", "flap", "period"), entry.at + (flap.count - 1) * flap.period))
    for key, time_ps in times:
        if time_ps > min(limit_ps, LARGEST):
            message = (
                f"timeline outside the run: {format_time(time_ps)}, and a run is given up after {format_time(limit_ps)}"
            )
            yield experiment.fault(("timeline", number, *key), message)
            return


def _places(lab: Lab, entry: TimelineEntry) -> Iterator[tuple[int, int]]:
    """Yield the directions of links that an entry is about; raise SettingError if there are none."""
    if entry.node is not None and entry.impair is not None:
        names = [node.name for node in lab.nodes]
        if entry.node not in names:
            raise SettingError("node", f'no node is called "{entry.node}"{nearest(entry.node, names)}')
        for index, link in enumerate(lab.links):
            if entry.node in (link.a.node, link.b.node):
                yield from ((index, 0), (index, 1))
        return
    link_index, way_out = find_port(lab, entry.link or _port_of(lab, entry.node or ""))
    for way in ways_of(way_out, "out" if entry.storm else entry.direction):
        yield link_index, way


def _port_of(lab: Lab, node: str) -> str:
    """Return the port of a host that is named, or its one port; raise SettingError if there is no such host or port."""
    names = [host.name for host in lab.hosts]
    host, colon, port = node.partition(":")
    if host not in names:
        raise SettingError("node", f'no host is called "{host}"{nearest(host, names)}')
    ports = lab.ports[host]
    if colon and port not in ports:
        raise SettingError("node", f"{host} has no link on {port}{nearest(port, ports)}")
    if not colon and len(ports) > 1:
        raise SettingError("node", f"{host} has {len(ports)} ports; say which, like {host}:{ports[0]}")
    return f"{host}:{port or ports[0]}"


def _spans(number: int, entry: TimelineEntry, priority: int) -> Iterator[_Span]:
    """Yield what an entry lays: plain settings first, so that steps of the same moment lie on top of them."""
    end = None if entry.for_ is None else entry.at + entry.for_
    if entry.storm is not None:
        yield _Span(entry.at, end, number, "storm", _storm(entry.storm, priority))
    impair = entry.impair
    if impair is None:
        return
    for name, value in altered_by(impair).items():
        yield _Span(entry.at, end, number, name, value)
    steps: list[tuple[int, int | None, str, Any]] = []
    if impair.ramp is not None:
        steps += _ramp(entry.at, impair.ramp, impair.ramp.over or entry.for_ or 0, impair.burst)
    if impair.flap is not None:
        steps += _flaps(entry.at, impair.flap, entry.for_)
    if impair.trace is not None:
        steps += _trace(entry.at, impair.trace)
    for start, stop, name, value in steps:
        # Where there are more steps than picoseconds, some of them last no time.
        if start != stop and (end is None or start < end):
            yield _Span(start, end if stop is None or (end is not None and stop > end) else stop, number, name, value)


def _storm(storm: Storm, priority: int) -> Json:
    """Return a storm as the data plane has it."""
    plan: Json = {"priorities": list(storm.priorities or (priority,)), "quanta": storm.quanta}
    if storm.period is not None:
        plan |= {"period_ps": storm.period, "on_ps": storm.on_ps(storm.period)}
    return plan


def _ramp(at: int, ramp: Ramp, over: int, burst: float | None) -> Iterator[tuple[int, int | None, str, Any]]:
    for name, (first, last) in ramp.fields().items():
        for step in range(ramp.steps + 1):
            if isinstance(first, int):
                value = first + (last - first) * step // ramp.steps
            else:
                # The ends exactly as they were given, whatever rounding does between.
                value = last if step == ramp.steps else first + (last - first) * step / ramp.steps
            start = at + over * step // ramp.steps
            stop = at + over * (step + 1) // ramp.steps if step < ramp.steps else None
            yield start, stop, *_named(name, value, burst)


def _named(name: str, value: Any, burst: float | None) -> tuple[str, Any]:
    return ("losses", losses(name, value, burst)) if name in LOSSES else (name, value)


def _flaps(at: int, flap: Flap, lasting: int | None) -> Iterator[tuple[int, int | None, str, Any]]:
    down = max(1, round(flap.period * flap.duty))
    count = flap.count if flap.count is not None else -(-(lasting or 0) // flap.period)
    for number in range(count):
        start = at + number * flap.period
        yield start, start + down, "carrier", False


def _trace(at: int, points: Sequence[TracePoint]) -> Iterator[tuple[int, int | None, str, Any]]:
    for name in ("rate", "delay", "jitter", "loss"):
        steps = [(at + point.time, value) for point in points if (value := getattr(point, name)) is not None]
        ends = [*(start for start, _ in steps[1:]), None]
        for (start, value), stop in zip(steps, ends, strict=False):
            yield start, stop, *_named(name, value, None)


def _changes(
    lab: Lab, experiment: Experiment, place: tuple[int, int], spans: Sequence[_Span], faults: list[Fault]
) -> Iterator[Json]:
    """Yield what changes on one direction of a link, moment by moment; note what it cannot be."""
    index, way = place
    link = lab.links[index]
    starts: defaultdict[int, list[_Span]] = defaultdict(list)
    ends: defaultdict[int, list[_Span]] = defaultdict(list)
    for span in spans:
        starts[span.start].append(span)
        if span.end is not None:
            ends[span.end].append(span)
    layers = _Layers()
    before = state_of(lab, link, way, {})
    for moment in sorted(starts.keys() | ends.keys()):
        for span in ends[moment]:
            layers.active[span.field].remove(span)
        for span in starts[moment]:
            layers.active[span.field].append(span)
        try:
            now = state_of(lab, link, way, layers.asked())
        except SettingError as error:
            # What ends cannot be wrong, but it can uncover what was wrong already and is noted.
            for number in sorted({span.entry for span in starts[moment]}):
                faults.append(_misfit(experiment, number, error))
            continue
        if changed := difference(before, now):
            yield {"link": index, "way": way, "at_ps": moment, **changed, "label": _label(starts[moment], ends[moment])}
        before = now


def _misfit(experiment: Experiment, number: int, error: SettingError) -> Fault:
    """Blame the setting if the entry has it as such, else the ramp or trace that came to it."""
    impair = experiment.timeline[number].impair
    if impair is None:
        return experiment.fault(("timeline", number, "storm"), str(error))
    plain = getattr(impair, error.key.replace("-", "_"), None) is not None
    inner = next((name for name in ("ramp", "trace") if getattr(impair, name) is not None), None)
    path = (error.key,) if plain or inner is None else (inner, error.key) if inner == "ramp" else (inner,)
    return experiment.fault(("timeline", number, "impair", *path), str(error))


def difference(before: State, now: State) -> State:
    """Return the keys whose values differ, with their values now."""
    return {key: value for key, value in now.items() if value != before[key]}


def _label(starts: Sequence[_Span], ends: Sequence[_Span]) -> str:
    begun = {span.entry for span in starts}
    over = {span.entry for span in ends} - begun
    return ", ".join([*(f"timeline[{n}]" for n in sorted(begun)), *(f"timeline[{n}] over" for n in sorted(over))])


def log(lab: Lab, changes: Sequence[Json], report: Report, start_ps: int, end_ps: int | None = None) -> list[Json]:
    """Return what was asked of links and when it took place, for run.json: in the order of that, the rest in the end.

    Times count from `start_ps`, the start of the first workload. A change that did not take place before `end_ps`, the
    end of the last one, has `at_ns` null.
    """
    waiting = [_key(change, change["at_ps"]) for change in changes]
    rows = []
    for entry in report.get("impairments", ()):
        if entry["at_ps"] < start_ps or (end_ps is not None and entry["at_ps"] > end_ps):
            continue
        key = _key(entry, entry["asked_ps"] - start_ps)
        if key in waiting:
            waiting.remove(key)
        rows.append(_row(lab, entry, entry["asked_ps"] - start_ps, entry["at_ps"] - start_ps))
    missed = [change for change in changes if _key(change, change["at_ps"]) in waiting]
    return [*rows, *(_row(lab, change, change["at_ps"], None) for change in missed)]


def _key(change: Mapping[str, Any], asked_ps: int) -> tuple[int, int, int]:
    return change["link"], change["way"], asked_ps


def _row(lab: Lab, change: Mapping[str, Any], asked_ps: int, at_ps: int | None) -> Json:
    source, target = ends_of(lab.links[change["link"]], change["way"])
    return {
        "link": source,
        "to": target,
        "asked_ns": asked_ps / 1000,
        "at_ns": None if at_ps is None else at_ps / 1000,
        "set": described(change),
        "label": change.get("label", ""),
    }


def described(state: Mapping[str, Any]) -> Json:
    """Return the settings in a change or a state as run.json has them."""
    names = {"delay_ps": "delay_ns", "jitter_ps": "jitter_ns", "loss_process": "loss"}
    if state.get("storm"):
        state = {**state, "storm": described_storm(state["storm"])}
    if "routes" in state:
        state = {**state, "rerouted": len(state["routes"])}
    return {
        names.get(key, key): state[key] / 1000 if key.endswith("_ps") else state[key]
        for key in ("delay_ps", "jitter_ps", "loss_process", "rate_bps", "up", "drain", "weights", "storm", "rerouted")
        if key in state
    }


def described_storm(storm: Json) -> Json:
    """Return a storm as run.json has it."""
    return {key.replace("_ps", "_ns"): value / 1000 if key.endswith("_ps") else value for key, value in storm.items()}


def never_reached(experiment: Experiment, rows: Sequence[Json]) -> list[Fault]:
    """Return a fault for each entry of a timeline of which nothing took place: it lies outside the run."""
    reached = {row["label"] for row in rows if row["at_ns"] is not None}
    names = {name.removesuffix(" over") for label in reached for name in label.split(", ")}
    labels = {name for row in rows for name in row["label"].split(", ")}
    return [
        experiment.fault(
            ("timeline", number, "at"), f"timeline outside the run: it was over before {format_time(entry.at)}"
        )
        for number, entry in enumerate(experiment.timeline)
        if f"timeline[{number}]" in labels - names
    ]


def cut_off(lab: Lab, rows: Sequence[Json]) -> list[str]:
    """Return which directions of links were left down or drained, one line each, with the time since when."""
    since: dict[tuple[str, str], str] = {
        ends_of(link, way): "down from the beginning" for link in lab.links for way in (0, 1) if not link.carrier
    }
    for row in rows:
        place = row["link"], row["to"]
        for key, value, what in (("up", False, "down"), ("drain", True, "drained")):
            if row["at_ns"] is None or key not in row["set"]:
                continue
            if row["set"][key] is value:
                since[place] = f"{what} since {row['at_ns'] / 1e6:g} ms ({row['label']})"
            elif since.get(place, "").startswith(what):
                del since[place]
    return [f"link {source} to {target} is {what}" for (source, target), what in since.items()]
