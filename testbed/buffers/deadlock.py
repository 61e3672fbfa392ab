"""Buffers that can wait for each other in a circle, found in a plan before anything runs.

A lossless priority of a port stops when the buffer behind its link is full, and that buffer empties through other ports of
its switch. So a port waits for every port by which frames leave that came in over its link: a dependency between directed
links, made by the routes. Where dependencies close a circle, all of its ports can stop for good: a deadlock needs such a
circle (Dally and Seitz, "Deadlock-free message routing in multiprocessor interconnection networks", 1987), and one alone
does not make a deadlock. Links that lose rather than wait take no part.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from testbed.contract.plan import Plan, Station, group_of
from testbed.contract.routes import tables_of
from testbed.errors import Fault
from testbed.schema.source import Source, dotted

Pair = tuple[int, int]
Place = tuple[int, int]
Dependencies = dict[int, list[int]]

PORTS_NAMED = 12


def around(ports: Sequence[str]) -> str:
    """Write a circle of ports so that it comes back to its beginning, a long one with its first ports alone."""
    named = ports if len(ports) <= PORTS_NAMED else (*ports[:PORTS_NAMED], "…")
    return " → ".join([*named, ports[0]])


class Cycle(NamedTuple):
    """Ports that can wait for each other on one priority, each for the next and the last for the first.

    `link` is the index of the link that leaves the first port.
    """

    priority: int
    ports: tuple[str, ...]
    link: int

    def __str__(self) -> str:
        return f"buffers can wait in a circle on priority {self.priority}: {around(self.ports)}"

    def fault(self, source: Source) -> Fault:
        """Return this cycle as a fault of the lab that `source` is, at the link that leaves its first port."""
        path = ("topology", "links", self.link, "endpoints")
        return Fault(source.file, source.line(path), dotted(path), str(self))


def find_cycles(plan: Plan, priorities: Collection[int], pairs: Iterable[Pair] | None = None) -> list[Cycle]:
    """Return one shortest cycle for each knot of ports that can wait for each other, the first port first.

    `pairs` are those of stations (sender, receiver) that talk; None: every NIC to every other. Each of the equal ways
    that frames may take counts. Cost: for each switch with hosts one pass over the links that lead to it.
    """
    fabric = _Fabric(plan)
    dependencies = fabric.dependencies(_sources(plan, pairs))
    cycles = []
    known: dict[frozenset[int], list[list[int]]] = {}
    for priority in sorted(priorities):
        waiting = frozenset(link for link in range(len(fabric.ends)) if fabric.waits(link, priority))
        if waiting not in known:
            kept = {
                link: [on for on in onward if on in waiting] for link, onward in dependencies.items() if link in waiting
            }
            known[waiting] = sorted(shortest_cycle(knot, kept) for knot in knots(kept))
        for cycle in known[waiting]:
            cycles.append(Cycle(priority, tuple(fabric.name(link) for link in cycle), cycle[0] // 2))
    return cycles


def _sources(plan: Plan, pairs: Iterable[Pair] | None) -> dict[int, set[Place]]:
    """Return, by receiving station, the ports of the stations that send to it."""
    stations = plan["stations"]
    nics = [index for index, station in enumerate(stations) if station["kind"] == "nic"]
    if pairs is None:
        everyone = {_place(stations[index]) for index in nics}
        return {index: everyone - {_place(stations[index])} for index in nics}
    sources: dict[int, set[Place]] = {}
    for sender, receiver in pairs:
        sources.setdefault(receiver, set()).add(_place(stations[sender]))
    return sources


def _place(station: Station) -> Place:
    return station["node"], station["port"]


class _Fabric:
    """The links of a plan by direction: link i from its end a is 2i, from b it is 2i + 1."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ends: list[tuple[list[int], list[int]]] = []
        for link in plan["links"]:
            self.ends += [(link["a"], link["b"]), (link["b"], link["a"])]
        self.leaving: dict[Place, int] = {(start[0], start[1]): number for number, (start, _) in enumerate(self.ends)}
        self.tables = tables_of(plan)
        self.groups = [
            {(group["port"], group["priority"]) for group in node["priority_groups"]}
            if node["kind"] == "switch" and node["pfc"]
            else set()
            for node in plan["nodes"]
        ]

    def name(self, link: int) -> str:
        """Return the port that a direction leaves."""
        node, port = self.ends[link][0]
        entry = self.plan["nodes"][node]
        return f"{entry['name']}:{entry['ports'][port]['name']}"

    def waits(self, link: int, priority: int) -> bool:
        """Return whether frames of a priority wait for room at the far end of a direction that joins switches."""
        (node, _), (far, port) = self.ends[link]
        if any(self.plan["nodes"][end]["kind"] != "switch" for end in (node, far)):
            return False
        entry = self.plan["links"][link // 2]
        control = entry.get("flow_control", "pfc")
        if control == "credit":
            return any(grant["priority"] == priority for grant in entry["credits"][link % 2])
        there = self.plan["nodes"][far]
        return control == "pfc" and there["kind"] == "switch" and (port, group_of(there, priority)) in self.groups[far]

    def dependencies(self, sources: Mapping[int, set[Place]]) -> Dependencies:
        """Return, for each direction, the directions by which frames go on that arrive over it."""
        # Stations behind one switch mostly share all routes: what they need is gathered together.
        together: dict[tuple[Any, ...], tuple[int, set[Place]]] = {}
        keys: dict[int, tuple[Any, ...]] = {}
        for station, senders in sources.items():
            leaf = self._neighbour(_place(self.plan["stations"][station]))
            first = self._alike[station]
            if first not in keys:
                keys[first] = (leaf, *(tuple(table[first]) for index, table in self.tables.items() if index != leaf))
            together.setdefault(keys[first], (station, set()))[1].update(senders)
        onward: dict[int, set[int]] = {}
        for (leaf, *_), (station, senders) in together.items():
            self._gather(station, leaf, senders, onward)
        return {link: sorted(onward[link]) for link in sorted(onward)}

    @cached_property
    def _alike(self) -> list[int]:
        """Return, by station, the first of those in succession behind one switch to which all others forward alike."""
        # The switches whose ports change at a station, one of them where there are several, and how many.
        changes: dict[int, tuple[int, int]] = {}
        for index, table in self.tables.items():
            for station in table.changes():
                changes[station] = (index, changes.get(station, (0, 0))[1] + 1)
        alike: list[int] = []
        behind = -1
        for station, entry in enumerate(self.plan["stations"]):
            leaf = self._neighbour(_place(entry))
            same = leaf == behind and (station not in changes or changes[station] == (leaf, 1))
            alike.append(alike[-1] if same else station)
            behind = leaf
        return alike

    def _neighbour(self, place: Place) -> int:
        return self.ends[self.leaving[place]][1][0]

    def _gather(self, station: int, leaf: int, senders: Collection[Place], onward: dict[int, set[int]]) -> None:
        """Follow what the ports `senders` send to a station until it is on the `leaf` of that station."""
        frontier = sorted({self._neighbour(place) for place in senders})
        leaving: dict[int, list[int]] = {}
        arriving: list[tuple[int, int]] = []
        for node in frontier:
            entry = self.plan["nodes"][node]
            if node == leaf or node in leaving or entry["kind"] != "switch":
                continue
            leaving[node] = [self.leaving[node, port] for port in self.tables[node][station]]
            for link in leaving[node]:
                arriving.append((link, far := self.ends[link][1][0]))
                frontier.append(far)
        for link, node in arriving:
            if node in leaving:
                onward.setdefault(link, set()).update(leaving[node])


def knots(graph: Mapping[int, Sequence[int]]) -> list[set[int]]:
    """Return the sets of nodes that all reach each other (Tarjan 1972), nodes alone only if they reach themselves."""
    knots: list[set[int]] = []
    number: dict[int, int] = {}
    lowest: dict[int, int] = {}
    path: list[int] = []
    on_path: set[int] = set()
    for root in graph:
        work = [(root, iter(graph[root]))] if root not in number else []
        while work:
            node, rest = work[-1]
            if node not in number:
                number[node] = lowest[node] = len(number)
                path.append(node)
                on_path.add(node)
            for other in rest:
                if other not in number and other in graph:
                    work.append((other, iter(graph[other])))
                    break
                if other in on_path:
                    lowest[node] = min(lowest[node], number[other])
            else:
                work.pop()
                if work:
                    lowest[work[-1][0]] = min(lowest[work[-1][0]], lowest[node])
                if lowest[node] == number[node]:
                    knot = set()
                    while node not in knot:
                        knot.add(path.pop())
                    on_path -= knot
                    if len(knot) > 1 or node in graph[node]:
                        knots.append(knot)
    return knots


def shortest_cycle(knot: Collection[int], graph: Mapping[int, Sequence[int]]) -> list[int]:
    """Return a shortest cycle within a knot, its least node first; of several the one found from the least node on."""
    best: list[int] = []
    for start in sorted(knot):
        before: dict[int, int] = {}
        depth = {start: 0}
        queue = deque([start])
        while queue and start not in before:
            node = queue.popleft()
            if best and depth[node] + 1 >= len(best):
                break
            for other in graph[node]:
                if other in knot and other not in before:
                    before[other] = node
                    depth.setdefault(other, depth[node] + 1)
                    queue.append(other)
        if start in before:
            cycle = [before[start]]
            while cycle[-1] != start:
                cycle.append(before[cycle[-1]])
            best = cycle[::-1]
    least = best.index(min(best))
    return best[least:] + best[:least]
