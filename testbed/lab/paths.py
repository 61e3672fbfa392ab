"""Ways through a graph of switches towards one of them: shortest, or up and down an order so that no buffers wait in a circle.

A table of ways says for every switch by which ports it forwards to one target; it is all that a switch knows of a frame,
whatever port the frame came in by. Ways start at `order`: the target first, each switch after those it forwards to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Generic, Literal, Protocol, TypeVar

Policy = Literal["shortest", "up-down"]


class Way(Protocol):
    """One port of a switch and the node that it leads to."""

    @property
    def port(self) -> int:
        """The port's number among those of its node."""

    @property
    def node(self) -> str:
        """The node at the far end."""


W = TypeVar("W", bound=Way)
Graph = Mapping[str, Sequence[W]]
Target = tuple[str, int]
"""A port of a host: its name, and the port's number among those of the host."""
Stated = Mapping[str, Mapping[Target, tuple[int, ...]]]
"""By switch, by port of a host: the ports towards it, said outright."""
Ways = dict[str, tuple[W, ...]]
Rank = tuple[int, int]


def shortest(graph: Graph[W], target: str, ends: Collection[str]) -> Ways[W]:
    """Return the ways by which shortest paths to `target` begin; `ends` carry nothing on. Cost: one pass over the links."""
    distance = _distances(graph, [target], ends)
    return {
        node: tuple(way for way in graph[node] if distance.get(way.node) == distance[node] - 1) for node in distance
    }


def up_down(graph: Graph[W], target: str, ranks: Mapping[str, Rank]) -> Ways[W]:
    """Return the ways of up/down routing: no path goes up again after it went down.

    A link goes up to the node of lower rank. A switch that can reach the target by going down alone goes down, by the
    shortest such path; any other goes up, to where the rest is shortest. Having gone down, a frame is at a switch that
    can go down: so the rule needs no knowledge of where a frame came from, and every path is legal. A buffer then waits
    for one nearer the top on the way up and one nearer the bottom on the way down, never in a circle. Switches from
    which every legal path ends elsewhere are left out.
    """
    below = {target: 0}
    frontier = [target]
    for node in frontier:
        for way in graph[node]:
            if way.node in ranks and ranks[way.node] < ranks[node] and way.node not in below:
                below[way.node] = below[node] + 1
                frontier.append(way.node)
    left = dict(below)
    ways: Ways[W] = {}
    for node in sorted(ranks, key=ranks.__getitem__):
        if node in below:
            down = (way for way in graph[node] if way.node in ranks and ranks[way.node] > ranks[node])
            ways[node] = tuple(way for way in down if below.get(way.node) == below[node] - 1)
            continue
        up = [way for way in graph[node] if way.node in left and ranks[way.node] < ranks[node]]
        if up:
            nearest = min(left[way.node] for way in up)
            left[node] = nearest + 1
            ways[node] = tuple(way for way in up if left[way.node] == nearest)
    return {node: ways[node] for node in sorted(ways, key=left.__getitem__)}


def rank_switches(graph: Graph[W], ends: Collection[str], roots: Sequence[str] = ()) -> dict[str, Rank]:
    """Rank the switches for up/down routing: by distance from the nearest root, then in the order of the graph.

    Without roots each part of the graph that hangs together has its own: the switches that are farthest from hosts (the
    spines of a Clos), if all of it can be reached from all of it that way; else the one with the most links.
    """
    switches = [node for node in graph if node not in ends]
    chosen = roots or [root for part in _parts(graph, switches, ends) for root in _roots(graph, part, ends)]
    distance = _distances(graph, chosen, ends)
    position = {node: index for index, node in enumerate(switches)}
    return {node: (distance[node], position[node]) for node in switches if node in distance}


def _roots(graph: Graph[W], part: Sequence[str], ends: Collection[str]) -> Sequence[str]:
    leaves = [node for node in part if any(way.node in ends for way in graph[node])]
    height = _distances(graph, leaves, ends)
    top = [node for node in part if height.get(node, 0) == max(height.values(), default=0)]
    if len(top) < len(part):
        within = {node: graph[node] for node in part}
        ranks = rank_switches(within, [], top)
        if all(len(up_down(within, leaf, ranks)) == len(part) for leaf in leaves):
            return top
    return [max(part, key=lambda node: sum(way.node not in ends for way in graph[node]))]


def _parts(graph: Graph[W], switches: Sequence[str], ends: Collection[str]) -> list[list[str]]:
    """Return the switches in parts that hang together, each in the order of the graph."""
    part_of: dict[str, int] = {}
    parts: list[list[str]] = []
    for switch in switches:
        if switch not in part_of:
            part_of |= dict.fromkeys(_distances(graph, [switch], ends), len(parts))
            parts.append([])
        parts[part_of[switch]].append(switch)
    return parts


def settle(ways: Mapping[str, Sequence[W]], target: str) -> tuple[Ways[W], list[str]]:
    """Sort ways so that each switch comes after all it forwards to, and return them with the switches that have no such place.

    Those forward in a loop, or to a node that has no way to the target, or to one of these.
    """
    waiting = {node: len(onward) for node, onward in ways.items() if node != target and onward}
    towards: dict[str, list[str]] = {}
    for node, onward in ways.items():
        for way in onward if node != target else ():
            towards.setdefault(way.node, []).append(node)
    order = [target]
    for node in order:
        for other in towards.get(node, ()):
            waiting[other] -= 1
            if waiting[other] == 0:
                order.append(other)
    settled = {node: tuple(ways.get(node, ())) if node != target else () for node in order}
    return settled, [node for node in waiting if node not in settled]


def _distances(graph: Graph[W], starts: Sequence[str], ends: Collection[str]) -> dict[str, int]:
    """Return the number of links from the nearest of `starts`, nearer nodes first; `ends` carry nothing on."""
    distance = dict.fromkeys(starts, 0)
    order = list(distance)
    for node in order:
        for way in graph[node]:
            if way.node not in distance and way.node not in ends and way.node in graph:
                distance[way.node] = distance[node] + 1
                order.append(way.node)
    return distance


class Tables(Generic[W]):
    """The ways of a whole graph towards each port of its hosts, by a policy, and where a switch was told so, as it was told.

    Ports behind one switch share their ways through the fabric, so these are sought once for each switch that has hosts,
    and once for each port that some switch has ways of its own to. `gone`: ports of switches, by number, whose links to other
    switches have failed.
    """

    def __init__(
        self,
        graph: Graph[W],
        ends: Collection[str],
        policy: Policy,
        roots: Sequence[str],
        stated: Stated,
        gone: Collection[tuple[str, int]] = (),
    ) -> None:
        # Ranks are of the whole graph: what fails for a while must not turn paths down into paths up.
        self.ranks = rank_switches(graph, ends, roots) if policy == "up-down" else None
        if gone:
            graph = {node: tuple(way for way in ways if (node, way.port) not in gone) for node, ways in graph.items()}
        self.graph = graph
        self.ends = ends
        self.stated = stated
        self._told = {target for targets in stated.values() for target in targets}
        self._towards: dict[str | Target, Ways[W]] = {}
        self._by_policy: dict[str, Ways[W]] = {}

    def shared(self, target: Target) -> str | Target:
        """Return a key that is the same for ports with the same ways through the fabric."""
        return target if target in self._told else self.leaf(target)

    def leaf(self, target: Target) -> str:
        """Return the node that a port is plugged into."""
        host, port = target
        return self.graph[host][port].node

    def by_policy(self, leaf: str) -> Ways[W]:
        """Return the ways to a switch as if no switch had been told any."""
        if leaf not in self._by_policy:
            if self.ranks is None:
                ways = shortest(self.graph, leaf, self.ends)
            else:
                ways = up_down(self.graph, leaf, self.ranks) if leaf in self.ranks else {leaf: ()}
            self._by_policy[leaf] = ways
        return self._by_policy[leaf]

    def towards(self, target: Target) -> Ways[W]:
        """Return the ways to the switch of a port, none if it has no switch; those in a loop are left out."""
        key = self.shared(target)
        if key not in self._towards:
            leaf = self.leaf(target)
            if leaf in self.ends:
                self._towards[key] = {}
            else:
                self._towards[key] = self.by_policy(leaf) if key == leaf else settle(self.told(target), leaf)[0]
        return self._towards[key]

    def told(self, target: Target) -> Mapping[str, Sequence[W]]:
        """Return the ways to a port by policy, with those that switches were told in their place."""
        own = {
            switch: [way for way in self.graph[switch] if way.port in ports[target]]
            for switch, ports in self.stated.items()
            if target in ports
        }
        # Where all ports that a switch was told have failed, the policy decides.
        return {**self.by_policy(self.leaf(target)), **{switch: ways for switch, ways in own.items() if ways}}
