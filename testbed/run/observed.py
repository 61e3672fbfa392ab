"""What the data plane says of switches in a result, beside the counters of their ports."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from testbed.buffers.deadlock import around
from testbed.contract.report import DropsByCause, FoundDeadlock, FoundStorm, Report

PLACES_NAMED = 6
NOT_LOSSLESS = "not lossless"
# Causes that count against a lossless priority, and in what words.
_BLAMED = {
    "headroom": "for lack of buffer",
    "buffer": "for lack of buffer",
    "watchdog": "by the watchdog",
    "receiver": "by NICs that take in too little",
}


class Observed(BaseModel):
    """What the data plane reports; it may say more than is named here, and nothing of it is lost.

    `undeclared` are the keys that it has beside the fields, which an expectation may name.
    """

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)
    undeclared: ClassVar[frozenset[str]] = frozenset()


class Watermarks(Observed):
    """The most that a switch's memory held: altogether, below thresholds, in headroom, and of lossy priorities.

    Where lossy frames are charged to the pool of the priority groups, `shared_bytes_max` counts them too.
    """

    buffer_bytes_max: int = 0
    shared_bytes_max: int = 0
    headroom_bytes_max: int = 0
    lossy_bytes_max: int = 0


class Deadlock(Observed):
    """Ports that waited for each other, each for the next in the list and the last for the first, and did not move.

    `at_ns` is when that was certain, `cured_ns` when one of them was seen to move again, null if none ever did; times
    since the start of the first workload. `cured_by` are those of its ports whose watchdog broke it.
    """

    at_ns: float
    cured_ns: float | None
    ports: list[str]
    priority: int
    cured_by: list[str] = []


class StormFound(Observed):
    """What a watchdog took for a storm, times since the start of the first workload; `cause` says what it was.

    storm: a host asked for it. slow receiver: a host needed it. long pause: a switch needed it. spread: a switch that
    somebody else kept from sending.
    deadlock: a circle of switches that waited for each other.
    """

    undeclared = frozenset({"action", "paused_since_ns"})

    port: str
    priority: int
    detected_ns: float
    restored_ns: float | None
    dropped: int
    cause: str
    explanation: str


class WatchdogSettings(Observed):
    """What the watchdog of a switch went by, nominal times: given ones as they are, defaults grown with the ports."""

    detection_ns: float
    restoration_ns: float
    poll_ns: float
    action: Literal["drop", "forward"]


def lost_by(drops: DropsByCause, cause: str) -> int:
    """Return how many frames were lost by a cause; none by one that the data plane does not tell of."""
    counts: Mapping[str, Any] = drops
    return int(counts.get(cause, 0))


def losses_of(report: Report, lossless: Collection[int]) -> list[str]:
    """Return how many frames switches and NICs lost on lossless priorities, why, and where most of them."""
    lost = report["drops"]["lossless"]
    if not lost:
        return []
    places = [
        (f"{name} priority {number}", {cause: lost_by(priority["drops"], cause) for cause in _BLAMED})
        for name, port in report["ports"].items()
        for number, priority in port["priorities"].items()
        if int(number) in lossless
    ]
    worst = sorted(
        (place for place in places if any(place[1].values())), key=lambda place: (-sum(place[1].values()), place[0])
    )
    causes = dict.fromkeys(_BLAMED[cause] for _, worst_place in worst for cause, count in worst_place.items() if count)
    named = [
        f"{place} ({', '.join(f'{cause} {count:,}' for cause, count in worst_place.items() if count)})"
        for place, worst_place in worst[:PLACES_NAMED]
    ]
    if len(worst) > PLACES_NAMED:
        named.append(f"{len(worst) - PLACES_NAMED} more")
    why = f" {' or '.join(causes)}" if causes else ""
    where = f", at {', '.join(named)}" if named else ""
    return [f"{NOT_LOSSLESS}: {lost:,} frames of lossless priorities dropped{why}{where}"]


def deadlocks_of(report: Report, start_ps: int | None) -> list[Deadlock]:
    """Return the deadlocks of a run that started at `start_ps`; those that were over before are others'."""
    start_ns = (start_ps or 0) / 1000
    deadlocks = []
    for entry in report.get("deadlocks", ()):
        cured_ns = entry["cured_ns"]
        if cured_ns is not None and cured_ns < start_ns:
            continue
        broke = [storm["port"] for storm in report.get("watchdog", ()) if is_storm_in(entry, storm)]
        times = {"at_ns": entry["at_ns"] - start_ns, "cured_ns": None if cured_ns is None else cured_ns - start_ns}
        deadlocks.append(Deadlock.model_validate({**entry, **times, "cured_by": sorted(broke)}))
    return deadlocks


def is_storm_in(deadlock: FoundDeadlock, storm: FoundStorm) -> bool:
    """Return whether what a watchdog took for a storm was this deadlock, both as the data plane reports them."""
    detected_ns, cured_ns = storm["detected_ps"] / 1000, deadlock["cured_ns"]
    lasted = deadlock["at_ns"] <= detected_ns and (cured_ns is None or detected_ns <= cured_ns)
    return lasted and storm["port"] in deadlock["ports"] and storm["priority"] == deadlock["priority"]


def deadlock_reasons(deadlocks: Sequence[Deadlock]) -> list[str]:
    """Return for each circle of ports when it stood still, and whether and by whom it was broken; once, however often."""
    circles: dict[tuple[int, tuple[str, ...]], list[Deadlock]] = {}
    for deadlock in deadlocks:
        circles.setdefault((deadlock.priority, tuple(deadlock.ports)), []).append(deadlock)
    reasons = []
    for (priority, _), (first, *others) in circles.items():
        again = f"; {len(others)} times more, the last {_fate(others[-1])}" if others else ""
        when = f"from {first.at_ns / 1e6:.3f} ms {_fate(first)}{again}"
        reasons.append(f"deadlock on priority {priority}: {around(first.ports)}, {when}")
    return reasons


def _fate(deadlock: Deadlock) -> str:
    if deadlock.cured_ns is None:
        return "for good"
    at = f"{deadlock.cured_ns / 1e6:.3f} ms"
    if not deadlock.cured_by:
        return f"until {at}"
    return f"until {at}, when the watchdog broke it at {', '.join(deadlock.cured_by)}"
