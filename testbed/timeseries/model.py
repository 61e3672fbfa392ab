"""Series in memory: of each what it is of, and its changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.int64]
Values = npt.NDArray[np.int64]

QUANTITIES = {
    "bytes_tx": "bytes that left by the port, FCS included, since the start of the first workload",
    "queue_bytes": "bytes that wait in the egress queue",
    "shared_bytes": "bytes of the ingress priority group below its threshold, in the shared buffer",
    "headroom_bytes": "bytes of the ingress priority group in its headroom",
    "paused": "1 while the peer keeps the priority from being sent, else 0",
    "paused_ns": "ns for which the priority was paused, since the start of the first workload",
    "marked": "frames that got a congestion mark here, since the start of the first workload",
    "rate_bps": "bit/s that DCQCN lets an end of a queue pair send",
    "step": "ops of its schedule that a rank has finished, of the workload that runs",
}
"""What is recorded, and what it means."""


class Key(NamedTuple):
    """Of what a series is: `kind` "port", "qp" or "rank"; `priority` is -1 where there is none.

    `name` is node:port, the number of a queue pair with the end that sends and the one that receives, or the number of a rank.
    """

    kind: str
    name: str
    priority: int
    quantity: str


class TimeSeries:
    """The series of a run, by `Key`: `points` of them, `period_ns` apart. A series that does not exist is 0 throughout."""

    def __init__(self, period_ps: int, points: int, tracks: Mapping[Key, tuple[Points, Values]]) -> None:
        self.period_ps = period_ps
        self.points = points
        self._tracks = dict(sorted(tracks.items()))

    @property
    def period_ns(self) -> float:
        """Nanoseconds from one point to the next."""
        return self.period_ps / 1000

    @property
    def rows(self) -> int:
        """How many changes all series have."""
        return sum(len(points) for points, _ in self._tracks.values())

    def __iter__(self) -> Iterator[Key]:
        return iter(self._tracks)

    def keys(self) -> list[Key]:
        """Return what there are series of, sorted."""
        return list(self._tracks)

    def changes(self, key: Key) -> tuple[Points, Values]:
        """Return the points at which a series changes, and the values from there on."""
        return self._tracks.get(key, (np.empty(0, np.int64), np.empty(0, np.int64)))

    def values(self, key: Key) -> Values:
        """Return the value of a series at each point."""
        points, values = self.changes(key)
        place = np.searchsorted(points, np.arange(self.points), side="right")
        result: Values = np.concatenate([np.zeros(1, np.int64), values])[place]
        return result

    def tracks(self) -> Iterator[tuple[Key, Points, Values]]:
        """Yield every series with its changes, in the order of the keys."""
        for key, (points, values) in self._tracks.items():
            yield key, points, values

    def halved(self) -> TimeSeries:
        """Return the same at twice the period."""
        tracks = {key: _halved(points, values) for key, points, values in self.tracks()}
        kept = {key: track for key, track in tracks.items() if len(track[0])}
        return TimeSeries(2 * self.period_ps, -(-(self.points - 1) // 2) + 1, kept)

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, TimeSeries) or self.keys() != other.keys():
            return False
        same = (self.period_ps, self.points) == (other.period_ps, other.points)
        pairs = [(a, b) for key in self.keys() for a, b in zip(self.changes(key), other.changes(key), strict=True)]
        return same and all(np.array_equal(a, b) for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]


def _halved(points: Points, values: Values) -> tuple[Points, Values]:
    """Return changes at twice the period: of two that meet the later one, and none that changes nothing."""
    points = (points + 1) // 2
    last = np.append(points[1:] != points[:-1], True)[: len(points)]
    points, values = points[last], values[last]
    changed = np.diff(values, prepend=0) != 0
    return points[changed], values[changed]
