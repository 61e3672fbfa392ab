"""Who paused whom, and why: the records of the data plane joined into a graph. Pure.

A node is an interval in which an egress queue stood still because of PAUSE, or waited for credit of the far end. Its cause is
what filled the priority group that asked for the pause: an egress queue of that switch that holds a share of the group's bytes
and stood still itself is an upstream cause, an edge; a queue that did not is a root, as is a host that asks for pauses. The
main cause is the largest share, and following main causes from any interval leads to exactly one root.

A port that waits for credit waits for the bytes that its far end holds when it grants more. Where these are less than half of
what it grants in all, the credits are under way, and the port is a root itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from testbed.contract.pauses import PausedInterval, Pauses, StopRequest
from testbed.contract.plan import Plan, hosts_of, receivers_of
from testbed.contract.report import FoundDeadlock
from testbed.lab.endpoints import name_of
from testbed.units import PS_PER_NS, PS_PER_SECOND

STORM, SLOW_RECEIVER, DEADLOCK, DISTANCE, HEADROOM = "storm", "slow receiver", "deadlock", "distance", "headroom"
CREDITS = "credits"
_ASKED_BY_HOST = {0: SLOW_RECEIVER, 1: STORM, 2: STORM}
_CONTROL_BITS = 84 * 8
"""Of a control frame on the line: the shortest frame, its preamble, and the gap behind it."""


class RootKey(NamedTuple):
    """What started pauses: why, at which port, of which priority."""

    reason: str
    at: str
    priority: int


@dataclass(slots=True)
class Interval:
    """A node of the graph; `main` is the index of the interval that is its main cause, `root` what that leads to.

    `reason` is why frames wait where it hangs on a root itself. `end_ps` is None while it still stands still.
    """

    port: str
    priority: int
    start_ps: int
    end_ps: int | None
    by: str
    causes: list[tuple[int, float]] = field(default_factory=list)
    reason: str | None = None
    main: int | None = None
    root: RootKey | None = None
    request: StopRequest | None = None
    credits: bool = False


class _Wiring:
    """What of a plan says how the ends of links belong together."""

    def __init__(self, plan: Plan) -> None:
        self.peers: dict[str, str] = {}
        self.delays_ps: dict[str, int] = {}
        for link in plan["links"]:
            ends = (name_of(plan, link["a"]), name_of(plan, link["b"]))
            for near, far in (ends, ends[::-1]):
                self.peers[near] = far
                self.delays_ps[near] = link["delay_ps"]
        self.hosts = {host["name"]: dict(receivers_of(host)) for host in hosts_of(plan)}
        self.control_ps = {
            f"{node['name']}:{port['name']}": -(-_CONTROL_BITS * PS_PER_SECOND // port["rate_bps"])
            for node in plan["nodes"]
            for port in node["ports"]
        }
        self.responses_ps = {
            f"{node['name']}:{port['name']}": port["response_ps"] for node in plan["nodes"] for port in node["ports"]
        }

    def is_host(self, port: str) -> bool:
        return port.partition(":")[0] in self.hosts

    def drains(self, port: str) -> bool:
        """Return whether the NIC behind a port of a host takes in no more than a rate."""
        node, _, name = port.partition(":")
        return self.hosts[node].get(name) is not None

    def is_slow(self, port: str, priority: int) -> bool:
        """Return whether the NIC behind a port of a host asks for pauses of a priority when its buffer fills."""
        node, _, name = port.partition(":")
        receive = self.hosts[node].get(name)
        return receive is not None and receive.get("priority") == priority


class Graph:
    """The intervals of a run, by time, port and priority, each with its causes."""

    def __init__(self, plan: Plan, records: Pauses, deadlocks: Sequence[FoundDeadlock]) -> None:
        self._wiring = _Wiring(plan)
        self.records = records
        rows = sorted(records["intervals"], key=lambda row: (row["from_ps"], row["port"], row["priority"]))
        self.intervals = [
            Interval(
                row["port"],
                row["priority"],
                row["from_ps"],
                row["to_ps"],
                self._wiring.peers.get(row["port"], ""),
                credits=row["credits"],
            )
            for row in rows
        ]
        self._by_queue: dict[tuple[str, int], list[int]] = defaultdict(list)
        for index, interval in enumerate(self.intervals):
            self._by_queue[interval.port, interval.priority].append(index)
        self._requests: dict[tuple[str, int], list[StopRequest]] = defaultdict(list)
        for request in sorted(records["requests"], key=lambda request: request["from_ps"]):
            for priority in request["named"]:
                self._requests[request["port"], priority].append(request)
        self.circles: dict[RootKey, list[str]] = {}
        self.senders: dict[RootKey, int] = {}
        for interval, row in zip(self.intervals, rows, strict=True):
            self._explain(interval, row)
        self._mark_deadlocks(deadlocks)
        for interval in self.intervals:
            self._settle(interval)

    def peer(self, port: str) -> str:
        """Return the port at the other end of a link; empty where there is none."""
        return self._wiring.peers.get(port, "")

    def is_host(self, port: str) -> bool:
        """Return whether a port is that of a host."""
        return self._wiring.is_host(port)

    def _explain(self, interval: Interval, row: PausedInterval) -> None:
        """Give an interval its causes, and its reason where it hangs on a root."""
        if not interval.by:
            return
        if interval.credits:
            self._explain_wait(interval)
            return
        if self._wiring.is_host(interval.by):
            interval.reason = self._of_host(interval, row)
            interval.root = RootKey(interval.reason, interval.by, interval.priority)
            return
        interval.request = self._asked(interval, row)
        if interval.request is not None:
            self._follow(interval, interval.request)

    def _explain_wait(self, interval: Interval) -> None:
        """Give a wait for credit its causes: a NIC that takes in too little, bytes that a switch holds, or credits under way."""
        if self._wiring.is_host(interval.by):
            if self._wiring.drains(interval.by):
                interval.reason = SLOW_RECEIVER
                interval.root = RootKey(SLOW_RECEIVER, interval.by, interval.priority)
                return
        elif interval.by in self.records["requests_omitted"]:
            return
        else:
            interval.request = self._granted(interval)
            if interval.request is not None:
                self._follow(interval, interval.request)
                return
        interval.reason = CREDITS
        interval.root = RootKey(CREDITS, interval.port, interval.priority)

    def _granted(self, interval: Interval) -> StopRequest | None:
        """Return the grant that ended a wait, of one that is not over the last grant; None if the far end held little then."""
        requests = self._requests.get((interval.by, interval.priority), [])
        if interval.end_ps is None:
            return requests[-1] if requests else None
        sent_ps = interval.end_ps - self._wiring.delays_ps[interval.port]
        before = bisect_right(requests, sent_ps, key=lambda request: request["from_ps"])
        took_ps = self._wiring.control_ps[interval.by]
        return requests[before - 1] if before and sent_ps - requests[before - 1]["from_ps"] <= took_ps else None

    def _of_host(self, interval: Interval, row: PausedInterval) -> str:
        asked = {_ASKED_BY_HOST[number] for number in (row["first"], row["last"]) if number in _ASKED_BY_HOST}
        if asked:
            return STORM if STORM in asked else SLOW_RECEIVER
        return SLOW_RECEIVER if self._wiring.is_slow(interval.by, interval.priority) else STORM

    def _asked(self, interval: Interval, row: PausedInterval) -> StopRequest | None:
        """Return what the switch at the other end asked for: by the number in the frame, or else the latest before it left."""
        omitted, number = self.records["requests_omitted"].get(interval.by), row["first"]
        if omitted is not None and (number is None or number >= omitted):
            return None
        latest: StopRequest | None = None
        for priority in row.get("named") or [interval.priority]:
            requests = self._requests.get((interval.by, priority), [])
            if number is not None:
                before = bisect_right(requests, number, key=lambda request: request["number"])
            else:
                sent_ps = interval.start_ps - self._wiring.responses_ps[interval.port]
                sent_ps -= self._wiring.delays_ps[interval.port]
                before = bisect_right(requests, sent_ps, key=lambda request: request["from_ps"])
            if before and (latest is None or requests[before - 1]["from_ps"] > latest["from_ps"]):
                latest = requests[before - 1]
        return latest

    def _follow(self, interval: Interval, request: StopRequest) -> None:
        held = sum(share["bytes"] for share in request["shares"])
        most = max(request["shares"], key=lambda share: share["bytes"], default=None)
        for share in request["shares"]:
            cause = self._standing(share["port"], share["priority"], request["from_ps"]) if share["stood"] else None
            if cause is not None:
                interval.causes.append((cause, share["bytes"] / held))
                if share is most:
                    self._hang_on(interval, cause, request)
        interval.causes.sort(key=lambda edge: (-edge[1], edge[0]))
        if most is not None and request["backlog"] is not None:
            interval.reason = request["backlog"]
            interval.root = RootKey(interval.reason, most["port"], most["priority"])
            self.senders[interval.root] = max(self.senders.get(interval.root, 0), request["senders"])

    def _standing(self, port: str, priority: int, at_ps: int) -> int | None:
        """Return the latest interval of a queue that had begun by then; None where later ones are omitted."""
        omitted_ps = self.records["intervals_omitted_from_ps"].get(port.partition(":")[0])
        if omitted_ps is not None and omitted_ps <= at_ps:
            return None
        indices = self._by_queue.get((port, priority), [])
        before = bisect_right(indices, at_ps, key=lambda index: self.intervals[index].start_ps)
        return indices[before - 1] if before else None

    def _hang_on(self, interval: Interval, cause: int, request: StopRequest) -> None:
        """Let an interval follow from another, or from the distance: that stood still longer for XON to arrive than for need."""
        interval.main = cause
        above = self.intervals[cause]
        asked = above.request
        if above.credits or asked is None or asked["to_ps"] is None:
            return
        if request["from_ps"] - asked["to_ps"] > asked["to_ps"] - asked["from_ps"]:
            interval.reason = DISTANCE
            interval.root = RootKey(DISTANCE, above.port, above.priority)

    def _settle(self, interval: Interval) -> None:
        """Let an interval and all that it follows from have the root that main causes lead to.

        Waits for credit may lead in a circle that is no deadlock, as it dissolves: its first port is the root then.
        """
        chain: dict[int, Interval] = {}
        while interval.root is None and interval.main is not None and id(interval) not in chain:
            chain[id(interval)] = interval
            interval = self.intervals[interval.main]
        root = interval.root
        if root is None and id(interval) in chain:
            root = RootKey(CREDITS, interval.port, interval.priority)
        for each in chain.values():
            each.root = root

    def _mark_deadlocks(self, deadlocks: Sequence[FoundDeadlock]) -> None:
        """Make the intervals of a circle, as the data plane proved it, roots of their own."""
        for deadlock in deadlocks:
            priority, at_ps = deadlock["priority"], deadlock["at_ns"] * PS_PER_NS
            if priority is None:
                continue
            key = RootKey(DEADLOCK, deadlock["ports"][0], priority)
            self.circles[key] = deadlock["ports"]
            for port in deadlock["ports"]:
                index = self._standing(port, priority, at_ps)
                if index is None:
                    continue
                interval = self.intervals[index]
                if interval.end_ps is None or interval.end_ps >= at_ps:
                    interval.reason, interval.main, interval.root = DEADLOCK, None, key


def shifted(records: Pauses, by_ps: int) -> Pauses:
    """Return records with their times moved."""

    def moved(at_ps: int | None) -> int | None:
        return None if at_ps is None else at_ps + by_ps

    return {
        **records,
        "now_ps": records["now_ps"] + by_ps,
        "intervals": [
            {**row, "from_ps": row["from_ps"] + by_ps, "to_ps": moved(row["to_ps"])} for row in records["intervals"]
        ],
        "intervals_omitted_from_ps": {
            node: at_ps + by_ps for node, at_ps in records["intervals_omitted_from_ps"].items()
        },
        "requests": [
            {**row, "from_ps": row["from_ps"] + by_ps, "to_ps": moved(row["to_ps"])} for row in records["requests"]
        ],
        "paths": [
            {
                **path,
                "active": [{"from_ps": row["from_ps"] + by_ps, "to_ps": moved(row["to_ps"])} for row in path["active"]],
            }
            for path in records["paths"]
        ],
    }


def combined(parts: Sequence[Pauses]) -> Pauses:
    """Return the records of several agents in one, their times being of one clock."""
    return {
        "now_ps": parts[0]["now_ps"],
        "intervals": [row for part in parts for row in part["intervals"]],
        "intervals_omitted": sum(part["intervals_omitted"] for part in parts),
        "intervals_omitted_from_ps": {
            node: at for part in parts for node, at in part["intervals_omitted_from_ps"].items()
        },
        "omitted_ps": sum(part["omitted_ps"] for part in parts),
        "requests": [row for part in parts for row in part["requests"]],
        "requests_omitted": {port: number for part in parts for port, number in part["requests_omitted"].items()},
        "paths": [path for part in parts for path in part["paths"]],
        "paths_omitted": sum(part["paths_omitted"] for part in parts),
    }
