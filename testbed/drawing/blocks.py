"""The nodes of one site: hosts in blocks, and row by row the switches over or under what hangs on them. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from testbed.lab.topology import Lab

HEIGHT = 24
_CHARACTER = 7.5
_PAD = 16
_PORT_GAP = 12
_COLUMN_GAP = 22
_GROUP_GAP = 20
_DOMAIN_GAP = 44
_ROW_GAP = 10
# Few servers with several ports stand in one row, so that the way of each link can be followed.
_MOST_IN_A_ROW = 12


class SitePlaces(NamedTuple):
    """Where the nodes of a site are: from its left edge, below the ground where hosts begin, and how wide."""

    places: dict[str, tuple[float, float, float]]
    width: float


def node_widths(lab: Lab) -> dict[str, float]:
    """Return the width of each node: of its name, and of a host of the ports that it has in one fabric."""
    node_widths = {node.name: len(node.name) * _CHARACTER + _PAD for node in lab.nodes}
    for host in lab.hosts:
        ports = max(len(host.scale_out), len(host.scale_up))
        if ports > 1:
            node_widths[host.name] = max(node_widths[host.name], (ports + 1) * _PORT_GAP)
    return node_widths


def host_blocks(lab: Lab, members: Iterable[str]) -> dict[str, list[str]]:
    """Return the hosts of a site in blocks, each by the node that it hangs on.

    That is the first scale-up switch of a domain; else the host's switch; of hosts with several ports, or without a
    switch, the host itself.
    """
    hosts = {host.name: host for host in lab.hosts}
    switches = {switch.domain: switch.name for switch in reversed(lab.switches)}
    host_blocks: dict[str, list[str]] = {}
    rails = sum(len(host.scale_out) > 1 for host in lab.hosts) <= _MOST_IN_A_ROW
    for name in members:
        if (host := hosts.get(name)) is None:
            continue
        over = next((a.node for a in lab.adjacent[name] if a.node not in hosts), name)
        if len(host.scale_out) > 1 and rails:
            over = name
        host_blocks.setdefault(switches.get(host.domain, over) if host.domain else over, []).append(name)
    return host_blocks


def place_site(lab: Lab, members: Sequence[str], rank: Mapping[str, int], widths: Mapping[str, float]) -> SitePlaces:
    """Place the nodes of a site; `rank` is how many links each is above the hosts, or below them if negative."""
    blocks = host_blocks(lab, members)
    domains = {node.name: node.domain for node in lab.nodes}
    across = {over: _columns(lab, hosts, domains) for over, hosts in blocks.items()}
    rows = {
        layer: [n for n in members if rank[n] == layer] for layer in sorted({rank[n] for n in members} - {0}, key=abs)
    }
    wide = {over: max(widths[host] for host in hosts) for over, hosts in blocks.items()}
    spans = {over: max(across[over] * (wide[over] + _COLUMN_GAP), widths[over]) for over in blocks}
    between = _DOMAIN_GAP if any(domains[name] for name in members) else _GROUP_GAP
    width = max(
        sum(spans.values()) + between * (len(blocks) - 1),
        *(sum(widths[name] + _COLUMN_GAP for name in row) for row in rows.values()),
        0.0,
    )
    # Blocks share what the widest row of switches leaves over.
    gap = (width - sum(spans.values())) / max(len(blocks), 1)
    places: dict[str, tuple[float, float, float]] = {}
    left = gap / 2
    for over, hosts in blocks.items():
        start = left + (spans[over] - across[over] * (wide[over] + _COLUMN_GAP)) / 2
        for index, host in enumerate(hosts):
            x = start + (index % across[over] + 0.5) * (wide[over] + _COLUMN_GAP)
            places[host] = (x, index // across[over] * (HEIGHT + _ROW_GAP), wide[over])
        left += spans[over] + gap
    for row in rows.values():
        middles = {name: _middle(lab, name, places, rank) for name in row}
        row.sort(key=lambda name: middles[name])
        for name, x in zip(row, _spread(row, middles, widths, width), strict=True):
            places[name] = (x, 0.0, widths[name])
    return SitePlaces(places, width)


def _columns(lab: Lab, hosts: Sequence[str], domains: Mapping[str, str | None]) -> int:
    """Return how many hosts stand side by side: few in a row, many in a block about twice as high as wide."""
    if len(lab.hosts) <= _MOST_IN_A_ROW and any(domains[host] for host in hosts):
        return len(hosts)
    return len(hosts) if len(hosts) <= 3 else math.ceil(math.sqrt(len(hosts) / 2))


def _middle(lab: Lab, name: str, placed: Mapping[str, tuple[float, float, float]], rank: Mapping[str, int]) -> float:
    """Return where a switch would like to stand: over the middle of what hangs on it."""
    nearer = [placed[a.node][0] for a in lab.adjacent[name] if a.node in placed and abs(rank[a.node]) < abs(rank[name])]
    return (min(nearer) + max(nearer)) / 2 if nearer else 0.0


def _spread(
    row: Sequence[str], wanted: Mapping[str, float], widths: Mapping[str, float], width: float
) -> Iterable[float]:
    """Return a place for each of a sorted row: where it wants to be if that leaves room for all, else evenly."""
    xs = [wanted[name] for name in row]
    room = [(widths[a] + widths[b]) / 2 + _COLUMN_GAP for a, b in itertools.pairwise(row)]
    if all(b - a >= gap for (a, b), gap in zip(itertools.pairwise(xs), room, strict=True)):
        return xs
    return [(index + 0.5) * width / len(row) for index in range(len(row))]
