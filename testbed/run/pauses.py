"""The pauses of a run as run.json has them: intervals with their causes, and what started them, with the victims of each."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import Field

from testbed.buffers.deadlock import around
from testbed.contract.pauses import Pauses
from testbed.contract.plan import Plan, hosts_of, receivers_of
from testbed.contract.report import FoundDeadlock
from testbed.run.observed import Observed
from testbed.run.pause_graph import (
    CREDITS,
    DEADLOCK,
    DISTANCE,
    HEADROOM,
    SLOW_RECEIVER,
    STORM,
    Graph,
    Interval,
    RootKey,
)
from testbed.units import PS_PER_NS, format_rate

Json = dict[str, Any]

INTERVALS_LISTED = 1000
VICTIMS_LISTED = 12
_PORTS_NAMED = 2


class PausedQueue(Observed):
    """A time for which an egress queue stood still, by PAUSE or for want of credit, since the start of the first workload."""

    port: str = Field(description="port whose queue it is, `node:port`")
    priority: int = Field(description="priority, of a switch the queue")
    from_ps: int = Field(description="when the pause took hold; negative if that was before the start")
    to_ps: int | None = Field(description="when it ended; null: it stood still at the end of the run")
    by: str = Field(description="port at the other end: its PAUSE frames kept it, or it granted no credit")
    causes: list[tuple[int, float]] = Field(
        description="queues that stood still and so filled the group behind `by`: index in this list, and share of the bytes"
        " that the group held, the largest first"
    )
    reason: str | None = Field(
        description="why the largest share waited, where no pause held its queue up, or why a host asked; null: the first of"
        " `causes` is the main cause"
    )
    root: int | None = Field(description="index of what started it in `roots`; null: not known")
    credits: bool = Field(default=False, description="true: it waited for credit, and no PAUSE frame kept it")


class Victim(Observed):
    """A flow that was held up by pauses of a root, and never passed the queue that was congested."""

    src: str = Field(description="host that sends")
    dst: str = Field(description="host that receives")
    held_ps: int = Field(description="for how long queues on its path stood still while it was under way")


class Victims(Observed):
    """Flows that pauses of a root held up although they never pass what it congests."""

    flows: int = Field(default=0, description="how many there were")
    listed: list[Victim] = Field(default_factory=list, description="those that were held up longest")


class PauseRoot(Observed):
    """What started pauses. Each interval follows from one root; those of `headroom` follow from another root besides."""

    reason: str = Field(description="why, see the guide on results")
    at: str = Field(description="port of the congested queue, or of the host that asked for pauses, `node:port`")
    priority: int = Field(description="priority")
    from_ps: int = Field(description="when its first interval began")
    to_ps: int | None = Field(description="when its last interval ended; null: some queue still stood still")
    intervals: int = Field(description="how many intervals follow from it")
    ports: list[str] = Field(description="ports that stood still, in the order of time")
    paused_ps: int = Field(description="what those intervals come to in sum")
    victims: Victims = Field(description="flows that had no part in it")
    sentence: str = Field(description="all of that in a sentence")


class PauseGraph(Observed):
    """Who paused whom, and why."""

    intervals: list[PausedQueue] = Field(
        default_factory=list, description="the earliest intervals, by time, port, priority"
    )
    omitted: int = Field(default=0, description="intervals that are not listed")
    unrecorded: int = Field(default=0, description="those among them that no root counts, for want of memory")
    unrecorded_ps: int = Field(default=0, description="what the unrecorded ones come to, as far as they are over")
    roots: list[PauseRoot] = Field(default_factory=list, description="what started pauses, the longest in sum first")


class _Span(NamedTuple):
    start_ps: int
    end_ps: int


@dataclass(slots=True)
class _Root:
    """What belongs to one root so far."""

    key: RootKey
    intervals: list[Interval] = field(default_factory=list)
    lost: int = 0
    start_ps: int | None = None


def pauses_of(plan: Plan, records: Pauses, deadlocks: Sequence[FoundDeadlock], start_ps: int) -> Json:
    """Return the part `pauses` of run.json from the records of a run whose first workload started at `start_ps`."""
    graph = Graph(plan, records, deadlocks)
    roots = _by_root(graph)
    rows = [_root_row(plan, graph, root, start_ps) for root in roots.values()]
    order = sorted(range(len(rows)), key=lambda number: (-rows[number]["paused_ps"], rows[number]["at"], number))
    place = {key: order.index(number) for number, key in enumerate(roots)}
    listed = graph.intervals[:INTERVALS_LISTED]
    return {
        "intervals": [
            {
                "port": interval.port,
                "priority": interval.priority,
                "from_ps": interval.start_ps - start_ps,
                "to_ps": None if interval.end_ps is None else interval.end_ps - start_ps,
                "by": interval.by,
                "causes": [(index, round(share, 6)) for index, share in interval.causes],
                "reason": interval.reason,
                "root": None if interval.root is None else place[interval.root],
                "credits": interval.credits,
            }
            for interval in listed
        ],
        "omitted": len(graph.intervals) - len(listed) + records["intervals_omitted"],
        "unrecorded": records["intervals_omitted"],
        "unrecorded_ps": records["omitted_ps"],
        "roots": [rows[number] for number in order],
    }


def _by_root(graph: Graph) -> dict[RootKey, _Root]:
    """Return the roots, each with all that follows from it, in order of time; those of lost frames last."""
    roots: dict[RootKey, _Root] = {}
    for interval in graph.intervals:
        if interval.root is not None:
            roots.setdefault(interval.root, _Root(interval.root)).intervals.append(interval)
    late = defaultdict(list)
    for interval in graph.intervals:
        if interval.request is not None and interval.request["lost"]:
            late[interval.request["port"]].append(interval)
    for request in graph.records["requests"]:
        if request["lost"]:
            key = RootKey(HEADROOM, request["port"], request["named"][0])
            root = roots.setdefault(key, _Root(key, late[request["port"]], start_ps=request["from_ps"]))
            root.lost += request["lost"]
    return roots


def _root_row(plan: Plan, graph: Graph, root: _Root, start_ps: int) -> Json:
    now_ps = graph.records["now_ps"]
    starts = [interval.start_ps for interval in root.intervals]
    begun_ps = min(starts) if starts else root.start_ps or 0
    ends = [interval.end_ps for interval in root.intervals]
    open_end = None in ends
    last_ps = max((end for end in ends if end is not None), default=begun_ps)
    paused_ps = sum((now_ps if each.end_ps is None else each.end_ps) - each.start_ps for each in root.intervals)
    ports = list(dict.fromkeys(interval.port for interval in root.intervals))
    held = _victims(graph, root, now_ps)
    listed = sorted(held, key=lambda pair: (-held[pair], pair))[:VICTIMS_LISTED]
    return {
        "reason": root.key.reason,
        "at": root.key.at,
        "priority": root.key.priority,
        "from_ps": begun_ps - start_ps,
        "to_ps": None if open_end else last_ps - start_ps,
        "intervals": len(root.intervals),
        "ports": ports,
        "paused_ps": paused_ps,
        "victims": {
            "flows": len(held),
            "listed": [{"src": src, "dst": dst, "held_ps": held[src, dst]} for src, dst in listed],
        },
        "sentence": _sentence(plan, graph, root, ports, paused_ps, len(held)),
    }


def _congested(graph: Graph, key: RootKey) -> set[str]:
    """Return the ports whose egress queues are what a root congests; who passes one of them is no victim of it."""
    if key.reason == DEADLOCK:
        return set(graph.circles[key])
    is_asking = graph.is_host(key.at) and key.reason != CREDITS
    return {graph.peer(key.at) if is_asking or key.reason == HEADROOM else key.at}


def _victims(graph: Graph, root: _Root, now_ps: int) -> dict[tuple[str, str], int]:
    """Return how long flows were held up by pauses of a root that never passed what it congests, by source and destination."""
    congested = _congested(graph, root.key)
    standing: dict[tuple[str, int], list[_Span]] = defaultdict(list)
    for interval in root.intervals:
        end_ps = now_ps if interval.end_ps is None else interval.end_ps
        standing[interval.port, interval.priority].append(_Span(interval.start_ps, end_ps))
    still: dict[tuple[tuple[str, int], ...], _Stillness] = {}
    held: dict[tuple[str, str], int] = defaultdict(int)
    guilty: set[tuple[str, str]] = set()
    for path in graph.records["paths"]:
        pair = (path["src"], path["dst"])
        if any(queue["port"] in congested for queue in path["queues"]):
            guilty.add(pair)
            continue
        passed = ((queue["port"], queue["priority"]) for queue in path["queues"])
        queues = tuple(queue for queue in passed if queue in standing)
        if queues not in still:
            still[queues] = _Stillness(span for queue in queues for span in standing[queue])
        time_ps = sum(
            still[queues].during(active["from_ps"], now_ps if active["to_ps"] is None else active["to_ps"])
            for active in path["active"]
        )
        # Of several connections between two hosts the one that waited longest.
        held[pair] = max(held[pair], time_ps)
    return {pair: time_ps for pair, time_ps in held.items() if time_ps > 0 and pair not in guilty}


class _Stillness:
    """When at least one of several queues stood still."""

    def __init__(self, spans: Iterable[_Span]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._before: list[int] = [0]
        for start, end in sorted(spans):
            if self._ends and start <= self._ends[-1]:
                self._before[-1] += max(0, end - self._ends[-1])
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)
                self._before.append(self._before[-1] + end - start)

    def during(self, start_ps: int, end_ps: int) -> int:
        """Return for how long between two instants."""
        return max(0, self._until(end_ps) - self._until(start_ps))

    def _until(self, at_ps: int) -> int:
        index = bisect_right(self._starts, at_ps) - 1
        if index < 0:
            return 0
        return self._before[index] + min(at_ps, self._ends[index]) - self._starts[index]


def _sentence(plan: Plan, graph: Graph, root: _Root, ports: Sequence[str], paused_ps: int, victims: int) -> str:
    """Return a root in a sentence: what it is, whom it paused, what that came to, and who had no part in it."""
    parts = [_why(plan, graph, root)]
    if root.intervals and root.key.reason != HEADROOM:
        paused = "held up" if any(interval.credits for interval in root.intervals) else "paused"
        held = ports if root.key.reason != CREDITS else [port for port in ports if port != root.key.at]
        parts[0] += f": it {paused} {_chain(graph, root, held, paused)}" if held else ""
        count = f"{len(ports)} port{'s' if len(ports) > 1 else ''}"
        parts[0] += f"{' … ' if len(ports) > _PORTS_NAMED else '; '}{count}, {_span(paused_ps)} in sum"
    if victims:
        is_asking = graph.is_host(root.key.at) and root.key.reason != CREDITS
        passed = root.key.at.partition(":")[0] if is_asking else None
        never = f"never went to {passed}" if passed else f"never went through {root.key.at}"
        least = "at least " if graph.records["paths_omitted"] or graph.records["intervals_omitted"] else ""
        parts.append(f"victims: {least}{victims} flow{'s' if victims > 1 else ''} that {never}")
    return "; ".join(parts)


def _chain(graph: Graph, root: _Root, ports: Sequence[str], paused: str) -> str:
    """Return the first port of a root, and the first that followed from it."""
    first = next(
        (each.port for each in root.intervals if each.main is None or each.root != _root_above(graph, each)), ""
    )
    first = first if first in ports else ports[0]
    for interval in root.intervals:
        if interval.main is not None and graph.intervals[interval.main].port == first and interval.port != first:
            return f"{first}, which {paused} {interval.port}"
    return first


def _root_above(graph: Graph, interval: Interval) -> RootKey | None:
    return None if interval.main is None else graph.intervals[interval.main].root


def _why(plan: Plan, graph: Graph, root: _Root) -> str:
    reason, at, priority = root.key
    if reason == SLOW_RECEIVER:
        return _slow(plan, at)
    if reason == DEADLOCK:
        return f"{around(graph.circles[root.key])} wait for each other"
    if reason == HEADROOM:
        return (
            f"the headroom of {at} is too small: {root.lost:,} frame{'s' if root.lost > 1 else ''} of priority {priority}"
            f" lost after it had asked {graph.peer(at)} to stop"
        )
    return {
        STORM: f"{at} asks for pauses without need",
        DISTANCE: f"the XON to {at} was under way for longer than its far end had needed the pause",
        "incast": f"{max(graph.senders.get(root.key, 0), 1)} ports send into {at}, more than it sends on",
        "slow link": f"{at} sends on more slowly than one port sends into it",
        "other priorities": f"other priorities take the line of {at}",
        "failed link": f"{at} carries what links that failed do not",
        "drained": f"{at} is drained and starts nothing new",
        CREDITS: f"{at} waits for credits that are under way",
    }[reason]


def _slow(plan: Plan, at: str) -> str:
    """Return what a NIC takes in."""
    node, _, port = at.partition(":")
    host = next(host for host in hosts_of(plan) if host["name"] == node)
    receive = dict(receivers_of(host)).get(port)
    whose = f"{node}'s NIC" if len(host["ports"]) == 1 else f"the NIC at {at}"
    if receive is None:
        return f"{whose} takes in too little"
    rate = re.sub(r"([TGMK])$", r" \1b/s", format_rate(receive["drain_bps"]))
    return f"{whose} takes in {rate}"


def _span(time_ps: int) -> str:
    """Write a time to three digits."""
    for unit, factor in (("s", 10**12), ("ms", 10**9), ("us", 10**6)):
        if time_ps >= factor:
            return f"{time_ps / factor:.3g} {unit}"
    return f"{time_ps // PS_PER_NS} ns"
