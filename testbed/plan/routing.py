"""The routes of a lab: shortest paths or up/down ones, all of equal length kept, and what its switches were told outright.

Paths lead from one port of a host to one of another. Hosts end paths, they never carry them on. Ports behind one switch
share their way through the fabric.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from testbed.lab.paths import Tables, Target, Ways
from testbed.lab.topology import Adjacency, Lab, Link, far_end

UNLIMITED = 2**63


class PathCost(NamedTuple):
    """What a link costs, or the worst over all equal paths between ports of two hosts.

    The longest round trip, the lowest rate of a line, the lowest rate that credits carry, and the bytes for which the links of
    a path grant credits: `UNLIMITED` if one of them runs none.
    """

    round_trip_ps: int
    rate_bps: int
    carried_bps: int
    held_bytes: int

    def then(self, other: PathCost) -> PathCost:
        """Return the cost of what leads over both."""
        return PathCost(
            self.round_trip_ps + other.round_trip_ps,
            min(self.rate_bps, other.rate_bps),
            min(self.carried_bps, other.carried_bps),
            self.held_bytes + other.held_bytes,
        )

    def worse(self, other: PathCost) -> PathCost:
        """Return the worst of both, by each figure."""
        return PathCost(
            max(self.round_trip_ps, other.round_trip_ps),
            min(self.rate_bps, other.rate_bps),
            min(self.carried_bps, other.carried_bps),
            max(self.held_bytes, other.held_bytes),
        )


class Routing:
    """The paths of a lab. Cost: for every switch with hosts, one pass over the links between switches.

    `failed`: indices of links between switches that carry nothing.
    """

    def __init__(self, lab: Lab, failed: Collection[int] = ()) -> None:
        self.lab = lab
        self.adjacent = lab.adjacent
        self.hosts = frozenset(host.name for host in lab.hosts)
        self.targets: list[Target] = [
            (host.name, port) for host in lab.hosts for port in range(len(lab.ports[host.name]))
        ]
        ends = (end for index in failed for end in (lab.links[index].a, lab.links[index].b))
        gone = {(end.node, lab.ports[end.node].index(end.port)) for end in ends}
        self.tables = Tables(self.adjacent, self.hosts, lab.routing, lab.roots, lab.stated_routes, gone)

    def towards(self, target: Target) -> Ways[Adjacency]:
        """Return, for every switch that reaches a port of a host, the ways by which it forwards to it, by port.

        A switch comes after all that it forwards to; the port's own is the first, without a way.
        """
        return self.tables.towards(target)

    def routes(self, switch: str) -> list[list[int]]:
        """Return, for every port of a host in the order of `Lab.nics`, the ports by which a switch forwards to it."""
        local = {far_end(way.link, switch): [way.port] for way in self.adjacent[switch]}
        shared: dict[str | Target, list[int]] = {}
        result = []
        for end, target in zip(self.lab.nics, self.targets, strict=True):
            if end in local:
                result.append(local[end])
                continue
            key = self.tables.shared(target)
            if key not in shared:
                shared[key] = [way.port for way in self.towards(target).get(switch, ())]
            result.append(shared[key])
        return result


class PathCosts:
    """Round trips and rates between ports of hosts; `cost` says what one link costs."""

    def __init__(self, routing: Routing, cost: Callable[[Link], PathCost]) -> None:
        self.routing = routing
        self.cost = cost
        self._costs: dict[str | Target, dict[str, PathCost]] = {}

    def between(self, a: Target, b: Target) -> PathCost | None:
        """Return the worst cost over the paths between ports of two hosts, or None if there is none.

        The way back may be another than the way there. What the longer of them takes twice is no less than both take.
        """
        there, back = self._one_way(a, b), self._one_way(b, a)
        if there is None or back is None:
            return None
        return there.worse(back)

    def _one_way(self, a: Target, b: Target) -> PathCost | None:
        first, last = (self.routing.adjacent[host][port] for host, port in (a, b))
        start = self.cost(first.link)
        if first.link is last.link:
            return start
        middle = self._towards(b).get(first.node)
        if middle is None:
            return None
        return start.then(middle).then(self.cost(last.link))

    def _towards(self, target: Target) -> dict[str, PathCost]:
        key = self.routing.tables.shared(target)
        if key not in self._costs:
            costs: dict[str, PathCost] = {}
            for node, ways in self.routing.towards(target).items():
                ahead = [(self.cost(way.link), costs[way.node]) for way in ways]
                costs[node] = PathCost(
                    max((own.round_trip_ps + cost.round_trip_ps for own, cost in ahead), default=0),
                    min((min(own.rate_bps, cost.rate_bps) for own, cost in ahead), default=UNLIMITED),
                    min((min(own.carried_bps, cost.carried_bps) for own, cost in ahead), default=UNLIMITED),
                    max((own.held_bytes + cost.held_bytes for own, cost in ahead), default=0),
                )
            self._costs[key] = costs
        return self._costs[key]
