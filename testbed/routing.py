"""Shortest paths by number of links, all of equal length kept; hosts end paths, they never carry them on.

Hosts behind one switch share their way through the fabric, so paths are sought once for each switch that has hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from testbed.topology import Endpoint, Lab, Link

_UNLIMITED = 2**63


class Adjacency(NamedTuple):
    """What lies behind one port: its number among the node's ports, the node at the far end, and the link."""

    port: int
    node: str
    link: Link


class PathCost(NamedTuple):
    """The worst over all equal paths between two hosts: the longest round trip and the lowest rate."""

    round_trip_ps: int
    rate_bps: int


class Routing:
    """The paths of a lab. Cost: for every switch with hosts, one pass over the links between switches."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        far: dict[Endpoint, tuple[str, Link]] = {}
        for link in lab.links:
            far[link.a] = (link.b.node, link)
            far[link.b] = (link.a.node, link)
        self.adjacent: Mapping[str, tuple[Adjacency, ...]] = {
            node: tuple(Adjacency(index, *far[Endpoint(node, port)]) for index, port in enumerate(ports))
            for node, ports in lab.ports.items()
        }
        self.hosts = frozenset(host.name for host in lab.hosts)
        self._towards: dict[str, Mapping[str, tuple[Adjacency, ...]]] = {}

    def towards(self, target: str) -> Mapping[str, tuple[Adjacency, ...]]:
        """Return, for every switch that reaches the switch `target`, the ways that start a shortest path, by port.

        Nearer switches come first; `target` itself is the first, without a way.
        """
        if target not in self._towards:
            self._towards[target] = self._search(target)
        return self._towards[target]

    def _search(self, target: str) -> dict[str, tuple[Adjacency, ...]]:
        distance = {target: 0}
        order = [target]
        for node in order:
            for way in self.adjacent[node]:
                if way.node not in distance and way.node not in self.hosts:
                    distance[way.node] = distance[node] + 1
                    order.append(way.node)
        return {
            node: tuple(way for way in self.adjacent[node] if distance.get(way.node) == distance[node] - 1)
            for node in order
        }

    def routes(self, switch: str) -> list[list[int]]:
        """Return, for every host of the lab in order, the ports of a switch that begin a shortest path to it."""
        local: dict[str, list[int]] = {way.node: [way.port] for way in self.adjacent[switch]}
        shared: dict[str, list[int]] = {}
        result = []
        for host in self.lab.hosts:
            leaf = self.adjacent[host.name][0].node
            if leaf == switch:
                result.append(local[host.name])
                continue
            if leaf not in shared:
                ways = {} if leaf in self.hosts else self.towards(leaf)
                shared[leaf] = [way.port for way in ways.get(switch, ())]
            result.append(shared[leaf])
        return result


class PathCosts:
    """Round trips and rates between hosts; `round_trip` says what one link adds to a round trip, in ps."""

    def __init__(self, routing: Routing, round_trip: Callable[[Link], int]) -> None:
        self.routing = routing
        self.round_trip = round_trip
        self._costs: dict[str, dict[str, PathCost]] = {}

    def between(self, a: str, b: str) -> PathCost | None:
        """Return the worst cost over the shortest paths between two hosts, or None if there is no path."""
        first, last = self.routing.adjacent[a][0], self.routing.adjacent[b][0]
        start = PathCost(self.round_trip(first.link), first.link.rate_bps)
        if first.node == b:
            return start
        if first.node in self.routing.hosts or last.node in self.routing.hosts:
            return None
        middle = self._towards(last.node).get(first.node)
        if middle is None:
            return None
        return PathCost(
            start.round_trip_ps + middle.round_trip_ps + self.round_trip(last.link),
            min(start.rate_bps, middle.rate_bps, last.link.rate_bps),
        )

    def _towards(self, target: str) -> dict[str, PathCost]:
        if target not in self._costs:
            costs: dict[str, PathCost] = {}
            for node, ways in self.routing.towards(target).items():
                ahead = [(self.round_trip(way.link), way.link.rate_bps, costs[way.node]) for way in ways]
                costs[node] = PathCost(
                    max((own + cost.round_trip_ps for own, _, cost in ahead), default=0),
                    min((min(rate, cost.rate_bps) for _, rate, cost in ahead), default=_UNLIMITED),
                )
            self._costs[target] = costs
        return self._costs[target]
