"""The routes of a lab: shortest paths or up/down ones, all of equal length kept, and what its switches were told outright.

Paths lead from one port of a host to one of another. Hosts end paths, they never carry them on. Ports behind one switch
share their way through the fabric.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, groupby
from typing import Any, NamedTuple

from testbed.contract import plan as contract
from testbed.lab.paths import Tables, Target, Ways
from testbed.lab.spread import Towards, spread
from testbed.lab.topology import Adjacency, Lab, Link, far_end

UNLIMITED = 2**63
MOST_LISTED = 256
"""Ports of hosts up to which the tables of a plan have an entry for each; for more, one for as many as share it."""


class PathCost(NamedTuple):
    """What a link costs, or the worst over all equal paths between ports of two hosts.

    The longest round trip, the lowest rate of a line, the lowest rate that credits carry, the bytes for which the links of a
    path grant credits: `UNLIMITED` if one of them runs none; and the most links.
    """

    round_trip_ps: int
    rate_bps: int
    carried_bps: int
    held_bytes: int
    links: int = 1

    def then(self, other: PathCost) -> PathCost:
        """Return the cost of what leads over both."""
        return PathCost(
            self.round_trip_ps + other.round_trip_ps,
            min(self.rate_bps, other.rate_bps),
            min(self.carried_bps, other.carried_bps),
            self.held_bytes + other.held_bytes,
            self.links + other.links,
        )

    def worse(self, other: PathCost) -> PathCost:
        """Return the worst of both, by each figure."""
        return PathCost(
            max(self.round_trip_ps, other.round_trip_ps),
            min(self.rate_bps, other.rate_bps),
            min(self.carried_bps, other.carried_bps),
            max(self.held_bytes, other.held_bytes),
            max(self.links, other.links),
        )


class Routing:
    """The paths of a lab. Cost: some passes over the links between switches; of other routes than shortest ones, and of
    those that a switch was told, one for every switch with hosts.

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
        self._known: dict[str, tuple[list[int], list[list[int]]]] = {}

    def towards(self, target: Target) -> Ways[Adjacency]:
        """Return, for every switch that reaches a port of a host, the ways by which it forwards to it, by port.

        A switch comes after all that it forwards to; the port's own is the first, without a way.
        """
        return self.tables.towards(target)

    def ways(self, node: str, target: Target) -> Sequence[Adjacency] | None:
        """Return the ways by which a switch forwards to a port of a host, None if it does not reach it."""
        key = self.tables.shared(target)
        if key not in self._bit_of_leaf:
            return self.towards(target).get(node)
        if node == key:
            return ()
        runs = self._runs(node)
        if runs is None:
            return None
        ends, rows = runs
        adjacent = self.adjacent[node]
        return [adjacent[port] for port in rows[bisect_right(ends, self._bit_of_leaf[key])]] or None

    def routes(self, switch: str) -> list[list[int]]:
        """Return, for every port of a host in the order of `Lab.nics`, the ports by which a switch forwards to it."""
        return [row for row, count in self.table(switch) for _ in range(count)]

    def table(self, switch: str) -> list[tuple[list[int], int]]:
        """Return the same in fewer rows: the ports, and for how many ports of hosts in succession they are."""
        first, behind = self._first, self._behind.get(switch, 0)
        table: list[tuple[list[int], int]] = []
        start = 0
        for end, ports in zip(*(self._runs(switch) or ((), ())), strict=True):
            if behind >> start & 1:
                table += [([self._plugged[target]], 1) for target in self.targets[first[start] : first[end]]]
            else:
                table.append((ports, first[end] - first[start]))
            start = end
        return table

    def _runs(self, switch: str) -> tuple[list[int], list[list[int]]] | None:
        """Return the ports of a switch for runs of stretches, and the stretch that each run ends before; None of a host.

        A stretch behind the switch itself is a run of its own.
        """
        if switch in self._known or switch not in self._by_port:
            return self._known.get(switch)
        by_port, count = self._by_port[switch].items(), len(self._stretches)
        # Where a bit is set the next stretch is another row, or this one is behind the switch itself.
        behind = self._behind.get(switch, 0)
        changes = behind | behind >> 1 | 1 << count >> 1
        for _, bits in by_port:
            changes |= bits ^ bits >> 1
        ends: list[int] = []
        rows: list[list[int]] = []
        start = 0
        while start < count:
            later = changes >> start
            rows.append([port for port, bits in by_port if bits >> start & 1])
            start += (later & -later).bit_length()
            ends.append(start)
        self._known[switch] = ends, rows
        return ends, rows

    def planned(self, switch: str) -> contract.Routes:
        """Return the table of a switch as a plan has it, by station: kernels are reached as the NICs of their ports are."""
        table = self.table(switch)
        if len(self.targets) <= MOST_LISTED:
            listed = [ports for ports, count in table for _ in range(count)]
            return {"routes": [*listed, *listed]}
        rows, counts = [ports for ports, _ in table], [count for _, count in table]
        return {"routes": [*rows, *rows], "route_counts": [*counts, *counts]}

    @cached_property
    def _stretches(self) -> list[tuple[str | Target, Target]]:
        """What ports of hosts in succession share that have the same ways, and the first port of each such stretch."""
        return [(key, next(ports)) for key, ports in groupby(self.targets, self.tables.shared)]

    @cached_property
    def _first(self) -> list[int]:
        """The number of the first port of a host of each stretch, and of all of them."""
        counts = (sum(1 for _ in ports) for _, ports in groupby(self.targets, self.tables.shared))
        return [0, *accumulate(counts)]

    @cached_property
    def _leaves(self) -> list[str]:
        return [self.tables.leaf(target) for _, target in self._stretches]

    @cached_property
    def _behind(self) -> Mapping[str, int]:
        """By switch, the stretches that are behind it, as bits."""
        return _bits(self._leaves)

    @cached_property
    def _plugged(self) -> Mapping[Target, int]:
        """By port of a host, the port of the switch that it is plugged into."""
        plugged = {}
        for host, number in self.targets:
            far = far_end(self.adjacent[host][number].link, host)
            plugged[host, number] = self._port_numbers[far.node, far.port]
        return plugged

    @cached_property
    def _port_numbers(self) -> Mapping[tuple[str, str], int]:
        return {(node, port): number for node, ports in self.lab.ports.items() for number, port in enumerate(ports)}

    @cached_property
    def _bit_of_leaf(self) -> Mapping[str | Target, int]:
        """By switch whose hosts are reached by shortest paths alone, a stretch behind it; none in a lab of other routes."""
        if self.tables.ranks is not None:
            return {}
        keys = (key for key, _ in self._stretches)
        return {key: bit for bit, key in enumerate(keys) if isinstance(key, str) and key not in self.hosts}

    @cached_property
    def _by_port(self) -> Towards:
        """By switch, by port in ascending order: the stretches that it leads to, as bits."""
        switches = {node: ways for node, ways in self.tables.graph.items() if node not in self.hosts}
        by_leaf = {
            leaf: bits for leaf, bits in _bits(key for key, _ in self._stretches).items() if leaf in self._bit_of_leaf
        }
        by_port = spread(switches, by_leaf)
        for bit, (key, target) in enumerate(self._stretches):
            if key not in self._bit_of_leaf:
                for node, ways in self.towards(target).items():
                    for way in ways:
                        by_port[node][way.port] = by_port[node].get(way.port, 0) | 1 << bit
        return {node: dict(sorted(ports.items())) for node, ports in by_port.items()}


def _bits(keys: Iterable[str | Target]) -> dict[Any, int]:
    """Return, by key, the places at which it stands, as bits."""
    places: dict[str | Target, int] = {}
    for bit, key in enumerate(keys):
        places[key] = places.get(key, 0) | 1 << bit
    return places


_last: list[Routing] = []


def routing_of(lab: Lab) -> Routing:
    """Return the paths of a lab, the same as the last time if it is the same lab: its plan and every workload ask for them."""
    if not (_last and _last[0].lab is lab):
        _last[:] = [Routing(lab)]
    return _last[0]


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
        middle = self._from(first.node, b)
        if middle is None:
            return None
        return start.then(middle).then(self.cost(last.link))

    def _from(self, start: str, target: Target) -> PathCost | None:
        """Return the worst cost from a switch to that of a port. Each switch on the way is looked at once, last ones first."""
        costs = self._costs.setdefault(self.routing.tables.shared(target), {})
        waiting = [(start, self.routing.ways(start, target))]
        while waiting:
            node, ways = waiting[-1]
            if ways is None:
                return None
            ahead = () if node in costs else [way.node for way in ways if way.node not in costs]
            if ahead:
                waiting += [(onward, self.routing.ways(onward, target)) for onward in ahead]
                continue
            if node not in costs:
                costs[node] = _worst([(self.cost(way.link), costs[way.node]) for way in ways])
            waiting.pop()
        return costs[start]


def _worst(ahead: Sequence[tuple[PathCost, PathCost]]) -> PathCost:
    """Return the worst by each figure of what a link costs and what comes behind it; nothing where nothing is ahead."""
    return PathCost(
        max((own.round_trip_ps + cost.round_trip_ps for own, cost in ahead), default=0),
        min((min(own.rate_bps, cost.rate_bps) for own, cost in ahead), default=UNLIMITED),
        min((min(own.carried_bps, cost.carried_bps) for own, cost in ahead), default=UNLIMITED),
        max((own.held_bytes + cost.held_bytes for own, cost in ahead), default=0),
        max((own.links + cost.links for own, cost in ahead), default=0),
    )
