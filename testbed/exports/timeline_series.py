"""What was recorded over time, for Perfetto: counters of ports and queue pairs, and the steps of each rank as slices."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from testbed.run.result import RunResult
from testbed.units import PS_PER_NS, PS_PER_SECOND

if TYPE_CHECKING:
    from testbed.timeseries import Key, TimeSeries

MOST_CHANGES = 250_000
"""That a timeline carries: series with more are shown at twice the period, and so on."""
_FEWEST_POINTS = 16

_UNITS = {
    "queue_bytes": ("queue", "bytes"),
    "shared_bytes": ("shared buffer", "bytes"),
    "headroom_bytes": ("headroom", "bytes"),
    "rate_bps": ("rate", "bit/s"),
}
# Counted since the start: shown as what was added from one point to the next. Whether a queue is paused, slices tell exactly.
_ADDED = {"bytes_tx": ("sent", "bit/s"), "marked": ("marked", "frames")}


class Counter(NamedTuple):
    """Values of something at a node, each from an instant on, in ns."""

    node: str
    name: str
    unit: str
    values: Sequence[tuple[int, int]]


class Steps(NamedTuple):
    """What a rank did: from when to when, in ns, it worked on which ops of its schedule."""

    node: str
    track: str
    slices: Sequence[tuple[str, int, int]]


def thinned(series: TimeSeries) -> TimeSeries:
    """Return series with no more changes than a timeline carries."""
    while series.points > _FEWEST_POINTS and series.rows > MOST_CHANGES:
        series = series.halved()
    return series


def counters(series: TimeSeries) -> Iterator[Counter]:
    """Yield the counters of ports, and of queue pairs as they are named, in the order of their keys."""
    for key, points, values in series.tracks():
        changes = [(int(point), int(value)) for point, value in zip(points, values, strict=True)]
        if key.quantity in _UNITS:
            name, unit = _UNITS[key.quantity]
            yield Counter(*_named(key, name), unit, [(_at_ns(series, at), value) for at, value in changes])
        elif key.quantity in _ADDED:
            name, unit = _ADDED[key.quantity]
            yield Counter(*_named(key, name), unit, list(_added(series, changes, unit)))


def steps(series: TimeSeries, result: RunResult) -> Iterator[Steps]:
    """Yield the steps of each rank: an op, or several that ended within one period, from one point to another."""
    homes = _homes(result)
    for key, points, values in series.tracks():
        if key.quantity != "step":
            continue
        node, track = homes.get(int(key.name), ("ranks", f"rank {key.name}"))
        changes = [(int(point), int(value)) for point, value in zip(points, values, strict=True)]
        yield Steps(node, track, list(_slices(series, changes)))


def _homes(result: RunResult) -> Mapping[int, tuple[str, str]]:
    """Return the node and the track of each rank."""
    if result.jobs:
        names = [(rank, job.name) for job in result.jobs for rank in job.ranks]
        return {number: (rank.partition("/")[0], f"rank {rank} of {job}") for number, (rank, job) in enumerate(names)}
    return {place.rank: (place.host, f"rank {place.rank} of {result.collective.name}") for place in result.ranks}


def _named(key: Key, name: str) -> tuple[str, str]:
    """Return the process and the name of a track."""
    if key.kind == "port":
        node, _, port = key.name.partition(":")
        return node, f"{port} priority {key.priority} {name}"
    return "queue pairs", f"{key.name} {name}"


def _added(series: TimeSeries, changes: Sequence[tuple[int, int]], unit: str) -> Iterator[tuple[int, int]]:
    """Yield what was added in each period, from its begin on; 0 from where nothing was."""
    before, ended = 0, None
    # What was counted at the very start is of the first period.
    for point, value in {max(1, point): value for point, value in changes}.items():
        if ended is not None and ended < point - 1:
            yield _at_ns(series, ended), 0
        more = value - before
        rate = more * 8 * PS_PER_SECOND // series.period_ps if unit == "bit/s" else more
        yield _at_ns(series, point - 1), rate
        before, ended = value, point
    if ended is not None:
        yield _at_ns(series, ended), 0


def _slices(series: TimeSeries, changes: Sequence[tuple[int, int]]) -> Iterator[tuple[str, int, int]]:
    """Yield what was under way between two changes: the ops that the later one counts. A fall begins another call."""
    falls = any(after <= before for (_, before), (_, after) in itertools.pairwise(changes))
    begun, done, call = 0, 0, 1
    for point, value in changes:
        if value <= done:
            call, done = call + 1, 0
        if value:
            ops = f"op {value}" if value == done + 1 else f"ops {done + 1} to {value}"
            yield f"call {call}: {ops}" if falls else ops, _at_ns(series, begun), _at_ns(series, point)
        begun, done = point, value


def _at_ns(series: TimeSeries, point: int) -> int:
    return point * series.period_ps // PS_PER_NS
