"""Where the nodes of a lab stand in a picture: sites side by side, in each of them hosts below, and switches by their distance
from hosts above. Pure: a function of the lab alone.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from testbed import units
from testbed.lab.hosts import Host
from testbed.lab.topology import Lab, Link
from testbed.report.drawing import circle

# Links as long as a kilometre of fibre part sites; shorter ones are within one.
_SPAN_PS = units.fibre_delay_ps(10**6)
# More parts than this are no sites: it is a lab of long links.
_MOST_SITES = 26
_CHARACTER = 7.5
_PAD = 16
HEIGHT = 24
_COLUMN_GAP = 22
_GROUP_GAP = 20
_ROW_GAP = 10
_LAYER_GAP = 110
# Wide labs are drawn higher, too: about half as high as wide.
_HEIGHT_SHARE = 0.4
_SITE_GAP = 120
MARGIN = 40
# Arcs between nodes of a row: the shortest is so high, each longer kind higher by a line of text, below others not beyond a row.
_LOWEST_ARC = 40
_ARC_STEP = 30
_MOST_ARC_STEPS = 12
_HIGHEST_INNER_ARC = 80
# How far a cubic curve rises of the height of its control points.
ARC_SHARE = 0.75


@dataclass(frozen=True)
class Box:
    """A node in the picture: its middle, its width, its layer (0 is hosts) and its site, in pixels and numbers from 0."""

    x: float
    y: float
    width: float
    layer: int
    site: int


@dataclass(frozen=True)
class Layout:
    """A picture: a box for each node, the height where hosts begin, and how large it is.

    `rises` is, by the index of a link between nodes of one row, how high its arc goes; none where links are chords.
    """

    boxes: Mapping[str, Box]
    rises: Mapping[int, float]
    sites: int
    ground: float
    width: float
    height: float
    round: bool = False
    """Whether switches stand on a circle, and links are straight."""


def link_text(link: Link) -> str:
    """Say what a link is: its profile or rate, its length or delay, what it loses, what is not usual about it."""
    parts = [str(link.optics.profile) if link.optics else units.format_rate(link.rate_bps)]
    parts.append(units.format_time(link.delay_ps) if link.length_mm is None else units.format_length(link.length_mm))
    if any(link.loss):
        ways = link.loss if link.loss[0] != link.loss[1] else link.loss[:1]
        parts.append("loss " + "/".join(f"{ratio:g}" for ratio in ways))
    if link.flow_control != "pfc":
        parts.append({"credit": "credits", "none": "no flow control"}[link.flow_control])
    if not link.carrier:
        parts.append("down")
    return " ".join(parts)


def layers(lab: Lab) -> dict[str, int]:
    """Return how many links each node is from the nearest host; nodes that reach none are as far as the farthest."""
    found = {host.name: 0 for host in lab.hosts}
    front = list(found)
    while front:
        following = []
        for name in front:
            for neighbour in lab.adjacent[name]:
                if neighbour.node not in found:
                    found[neighbour.node] = found[name] + 1
                    following.append(neighbour.node)
        front = following
    top = max(found.values(), default=0)
    return {node.name: found.get(node.name, top) for node in lab.nodes}


def sites(lab: Lab) -> dict[str, int]:
    """Return the site of each node: what short links join is one; all is one where that makes no sense."""
    found: dict[str, int] = {}
    for node in lab.nodes:
        if node.name in found:
            continue
        number = len(set(found.values()))
        front = [node.name]
        while front:
            name = front.pop()
            found[name] = number
            front += [a.node for a in lab.adjacent[name] if a.link.delay_ps < _SPAN_PS and a.node not in found]
    alone = sum(count == 1 for count in Counter(found.values()).values())
    parts = len(set(found.values()))
    return found if parts <= _MOST_SITES and alone < parts else dict.fromkeys(found, 0)


def lay_out(lab: Lab) -> Layout:
    """Place every node. Hosts of one switch stand below it in a block, so that many of them make no endless row."""
    rank, place = layers(lab), sites(lab)
    if circle.fits(lab, rank):
        return _round(lab, rank)
    top = max(rank.values(), default=0)
    count = len(set(place.values()))
    members = [[node.name for node in lab.nodes if place[node.name] == site] for site in range(count)]
    placed = [_site(lab, names, rank) for names in members]
    width = sum(site.width for site in placed) + _SITE_GAP * (count - 1)
    gap = max(_LAYER_GAP, width * _HEIGHT_SHARE / max(top, 1))
    lefts = list(itertools.accumulate((site.width + _SITE_GAP for site in placed), initial=float(MARGIN)))
    xs = {name: left + x for left, site in zip(lefts, placed, strict=False) for name, (x, _, _) in site.places.items()}
    rises = _rises(lab, rank, xs)
    highest = max((rise for index, rise in rises.items() if rank[lab.links[index].a.node] == top), default=0.0)
    ground = MARGIN + ARC_SHARE * highest + HEIGHT / 2 + top * gap
    boxes: dict[str, Box] = {}
    for number, site in enumerate(placed):
        for name, (_, depth, wide) in site.places.items():
            boxes[name] = Box(xs[name], ground + depth - rank[name] * gap, wide, rank[name], number)
    height = max((box.y for box in boxes.values()), default=0) + HEIGHT / 2 + MARGIN
    ordered = {node.name: boxes[node.name] for node in lab.nodes}
    return Layout(ordered, rises, count, ground, width + 2 * MARGIN, height)


def _round(lab: Lab, rank: Mapping[str, int]) -> Layout:
    """Place the switches on a circle."""
    names = [node.name for node in lab.nodes]
    widths = {name: _width(name) for name in names}
    found = circle.place(lab, _blocks(lab, names), widths)
    boxes = {name: Box(*found.places[name], widths[name], rank[name], 0) for name in names}
    return Layout(boxes, {}, 1, found.side, found.side, found.side, round=True)


def _rises(lab: Lab, rank: Mapping[str, int], xs: Mapping[str, float]) -> dict[int, float]:
    """Return how high the arc of each link between nodes of a row goes: higher the farther, so that labels are apart."""
    spans = {
        index: round(abs(xs[link.a.node] - xs[link.b.node]))
        for index, link in enumerate(lab.links)
        if rank[link.a.node] == rank[link.b.node]
    }
    order = {span: place for place, span in enumerate(sorted(set(spans.values())))}
    squeeze = min(1.0, _MOST_ARC_STEPS / max(len(order), 1))
    top = max(rank.values(), default=0)
    rises = {index: _LOWEST_ARC + _ARC_STEP * order[span] * squeeze for index, span in spans.items()}
    return {
        index: rise if rank[lab.links[index].a.node] == top else min(rise, _HIGHEST_INNER_ARC)
        for index, rise in rises.items()
    }


def _width(name: str) -> float:
    return len(name) * _CHARACTER + _PAD


class _Site(NamedTuple):
    """Where the nodes of a site are: from its left edge, below the ground where hosts begin, and how wide."""

    places: dict[str, tuple[float, float, float]]
    width: float


def _site(lab: Lab, members: Sequence[str], rank: Mapping[str, int]) -> _Site:
    """Place the nodes of a site: blocks of hosts, and above them row by row the switches over what hangs on them."""
    blocks = _blocks(lab, members)
    rows = {layer: [n for n in members if rank[n] == layer] for layer in sorted({rank[n] for n in members} - {0})}
    widths = {switch: _block_width(switch, hosts) for switch, hosts in blocks.items()}
    width = max(
        sum(widths.values()) + _GROUP_GAP * (len(blocks) - 1),
        *(sum(_width(name) + _COLUMN_GAP for name in row) for row in rows.values()),
        0.0,
    )
    # Blocks share what the widest row of switches leaves over.
    gap = (width - sum(widths.values())) / max(len(blocks), 1)
    places: dict[str, tuple[float, float, float]] = {}
    left = gap / 2
    for switch, hosts in blocks.items():
        across = _columns(len(hosts))
        wide = max(map(_width, hosts))
        start = left + (widths[switch] - across * (wide + _COLUMN_GAP)) / 2
        for index, host in enumerate(hosts):
            x = start + (index % across + 0.5) * (wide + _COLUMN_GAP)
            places[host] = (x, index // across * (HEIGHT + _ROW_GAP), wide)
        left += widths[switch] + gap
    for row in rows.values():
        middles = {name: _middle(lab, name, places, rank) for name in row}
        row.sort(key=lambda name: middles[name])
        for name, x in zip(row, _spread(row, middles, width), strict=True):
            places[name] = (x, 0.0, _width(name))
    return _Site(places, width)


def _block_width(switch: str, hosts: Sequence[str]) -> float:
    return max(_columns(len(hosts)) * (max(map(_width, hosts)) + _COLUMN_GAP), _width(switch))


def _blocks(lab: Lab, members: Sequence[str]) -> dict[str, list[str]]:
    """Return the hosts of a site by the switch that they are on; a host on none is on itself."""
    hosts = {host.name for host in lab.hosts}
    found: dict[str, list[str]] = {}
    for name in members:
        if name in hosts:
            neighbour = next((a.node for a in lab.adjacent[name] if a.node not in hosts), name)
            found.setdefault(neighbour, []).append(name)
    return found


def _columns(count: int) -> int:
    """Return how many hosts stand side by side: few in a row, many in a block about twice as high as wide."""
    return count if count <= 3 else math.ceil(math.sqrt(count / 2))


def _middle(lab: Lab, name: str, placed: Mapping[str, tuple[float, float, float]], rank: Mapping[str, int]) -> float:
    """Return where a switch would like to stand: over the middle of what hangs on it."""
    below = [placed[a.node][0] for a in lab.adjacent[name] if a.node in placed and rank[a.node] < rank[name]]
    return (min(below) + max(below)) / 2 if below else 0.0


def _spread(row: Sequence[str], wanted: Mapping[str, float], width: float) -> Iterable[float]:
    """Return a place for each of a sorted row: where it wants to be if that leaves room for all, else evenly."""
    xs = [wanted[name] for name in row]
    room = [(_width(a) + _width(b)) / 2 + _COLUMN_GAP for a, b in itertools.pairwise(row)]
    if all(b - a >= gap for (a, b), gap in zip(itertools.pairwise(xs), room, strict=True)):
        return xs
    return [(index + 0.5) * width / len(row) for index in range(len(row))]


def is_host_link(lab: Lab, link: Link) -> bool:
    """Tell whether one end of a link is a host."""
    hosts = {host.name for host in lab.hosts}
    return link.a.node in hosts or link.b.node in hosts


def node_text(lab: Lab, name: str) -> str:
    """Say in a line what a node is."""
    node = next(node for node in lab.nodes if node.name == name)
    ports = f"{len(lab.ports[name])} port{'s' if len(lab.ports[name]) != 1 else ''}"
    if isinstance(node, Host):
        drain = f", takes in {units.format_rate(node.intake.drain_bps)}" if node.intake else ""
        return f"host, NIC {units.format_rate(node.nic_rate_bps)}{drain}, {ports}"
    buffer = units.format_size(node.buffer_bytes) if node.buffer_bytes is not None else "as much as its links need"
    lossless = ", ".join(map(str, node.lossless)) or "none"
    return f"switch, buffer {buffer}, lossless priorities {lossless}, {ports}"
