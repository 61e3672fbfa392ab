"""Shortest ways towards many targets at once: a target is a bit of an integer, and one step spreads them all.

A fabric of thousands of switches has as many targets as switches with hosts. To seek the ways to each of them takes a pass
over all links; sets of targets that are integers take as many passes as the longest way has links.
"""

from __future__ import annotations

from collections.abc import Mapping

from testbed.lab.paths import Graph, W

Towards = dict[str, dict[int, int]]
"""By switch, by port: the targets, as bits, that the port leads to by a shortest way."""


def spread(graph: Graph[W], targets: Mapping[str, int]) -> Towards:
    """Return the ways by which shortest paths to every target begin. `targets`: by switch, the bits of what is behind it.

    `graph` has switches alone as keys; what is not among them carries nothing on, as in `paths.shortest`.
    """
    towards: Towards = {node: {} for node in graph}
    known = {node: targets.get(node, 0) for node in graph}
    frontier = {node: bits for node, bits in known.items() if bits}
    while frontier:
        arrived: dict[str, int] = {}
        for node, ways in graph.items():
            seen, mine, own = known[node], 0, towards[node]
            for way in ways:
                if (bits := frontier.get(way.node, 0)) and (new := bits & ~seen):
                    own[way.port] = own.get(way.port, 0) | new
                    mine |= new
            if mine:
                arrived[node] = mine
        for node, bits in arrived.items():
            known[node] |= bits
        frontier = arrived
    return towards
