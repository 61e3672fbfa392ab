"""Where the nodes of a lab stand in a picture: sites side by side, in each of them hosts below, and switches by their distance
from hosts above. Pure: a function of the lab alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from testbed import units
from testbed.drawing import circle
from testbed.drawing.blocks import HEIGHT, host_blocks, node_widths, place_site
from testbed.lab.endpoints import Endpoint
from testbed.lab.hosts import Host
from testbed.lab.sites import sites
from testbed.lab.topology import Lab, Link, Switch

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
    """A picture: a box for each node, the heights of the first and the last row of hosts, and how large it is.

    `rises` is, by the index of a link between nodes of one row, how high its arc goes; none where links are chords.
    """

    boxes: Mapping[str, Box]
    rises: Mapping[int, float]
    sites: int
    ground: float
    floor: float
    width: float
    height: float
    ends: Mapping[Endpoint, float] = field(default_factory=dict)
    """Where links meet a host that has several ports in one fabric; other links meet the middle of their node."""
    rails: Mapping[Endpoint, int] = field(default_factory=dict)
    """Of hosts with several scale-out ports, the place of each among them, from 0."""
    round: bool = False
    """Whether switches stand on a circle, and links are straight."""

    def end(self, end: Endpoint) -> float:
        """Return where a link meets its node."""
        return self.ends.get(end, self.boxes[end.node].x)


def link_text(link: Link) -> str:
    """Return what a link is: its profile or rate, its length or delay, what it loses, what is not usual about it."""
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
    """Return how many links each node is from the nearest host; nodes that reach none are as far as the farthest.

    Switches of a scale-up domain are below the hosts: their distance is negative.
    """
    layer = {host.name: 0 for host in lab.hosts}
    front = list(layer)
    while front:
        following = []
        for name in front:
            for neighbour in lab.adjacent[name]:
                if neighbour.node not in layer:
                    layer[neighbour.node] = layer[name] + 1
                    following.append(neighbour.node)
        front = following
    top = max(layer.values(), default=0)
    domains = {switch.name for switch in lab.switches if switch.domain is not None}
    return {node.name: layer.get(node.name, top) * (-1 if node.name in domains else 1) for node in lab.nodes}


def lay_out(lab: Lab) -> Layout:
    """Place every node. Hosts of one switch stand below it in a block, so that many of them make no endless row."""
    rank, place = layers(lab), sites(lab)
    if circle.fits(lab, rank):
        return _round(lab, rank)
    top = max(rank.values(), default=0)
    count = len(set(place.values()))
    members = [[node.name for node in lab.nodes if place[node.name] == site] for site in range(count)]
    widths = node_widths(lab)
    placed = [place_site(lab, names, rank, widths) for names in members]
    width = sum(site.width for site in placed) + _SITE_GAP * (count - 1)
    gap = max(_LAYER_GAP, width * _HEIGHT_SHARE / max(top, 1))
    lefts = list(itertools.accumulate((site.width + _SITE_GAP for site in placed), initial=float(MARGIN)))
    xs = {name: left + x for left, site in zip(lefts, placed, strict=False) for name, (x, _, _) in site.places.items()}
    rises = _rises(lab, rank, xs)
    highest = max((rise for index, rise in rises.items() if rank[lab.links[index].a.node] == top), default=0.0)
    ground = MARGIN + ARC_SHARE * highest + HEIGHT / 2 + top * gap
    # Below hosts, which stand in rows, are the switches of their domains.
    floor = max((depth for site in placed for _, depth, _ in site.places.values()), default=0.0)
    boxes: dict[str, Box] = {}
    for number, site in enumerate(placed):
        for name, (_, depth, wide) in site.places.items():
            y = ground + depth - rank[name] * gap if rank[name] >= 0 else ground + floor - rank[name] * _LAYER_GAP
            boxes[name] = Box(xs[name], y, wide, rank[name], number)
    height = max((box.y for box in boxes.values()), default=0) + HEIGHT / 2 + MARGIN
    ordered = {node.name: boxes[node.name] for node in lab.nodes}
    ends, rails = _ports(lab, boxes)
    return Layout(ordered, rises, count, ground, ground + floor, width + 2 * MARGIN, height, ends, rails)


def _ports(lab: Lab, boxes: Mapping[str, Box]) -> tuple[dict[Endpoint, float], dict[Endpoint, int]]:
    """Return where the ports of hosts with several are along their edge, and the rail of each scale-out port."""
    ends: dict[Endpoint, float] = {}
    rails: dict[Endpoint, int] = {}
    for host in lab.hosts:
        box = boxes[host.name]
        for ports in (host.scale_out, host.scale_up):
            for index, port in enumerate(ports if len(ports) > 1 else ()):
                ends[Endpoint(host.name, port)] = box.x + ((index + 0.5) / len(ports) - 0.5) * box.width
                if ports is host.scale_out:
                    rails[Endpoint(host.name, port)] = index
    return ends, rails


def _round(lab: Lab, rank: Mapping[str, int]) -> Layout:
    """Place the switches on a circle."""
    names = [node.name for node in lab.nodes]
    widths = node_widths(lab)
    place = circle.place(lab, host_blocks(lab, names), widths)
    boxes = {name: Box(*place.places[name], widths[name], rank[name], 0) for name in names}
    return Layout(boxes, {}, 1, place.side, place.side, place.side, place.side, round=True)


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


def is_host_link(lab: Lab, link: Link) -> bool:
    """Return whether one end of a link is a host."""
    hosts = {host.name for host in lab.hosts}
    return link.a.node in hosts or link.b.node in hosts


def node_text(lab: Lab, name: str) -> str:
    """Return in a line what a node is."""
    node = next(node for node in lab.nodes if node.name == name)
    ports = f"{len(lab.ports[name])} port{'s' if len(lab.ports[name]) != 1 else ''}"
    if isinstance(node, Host):
        drain = f", takes in {units.format_rate(node.receive.drain_bps)}" if node.receive else ""
        several = f", {node.accelerators} accelerators" if node.accelerators > 1 else ""
        return f"host, NIC {units.format_rate(node.nic_rate_bps)}{drain}, {ports}{several}{_domain(node)}"
    buffer = units.format_size(node.buffer_bytes) if node.buffer_bytes is not None else "as much as its links need"
    lossless = ", ".join(map(str, node.lossless)) or "none"
    return f"switch, buffer {buffer}, lossless priorities {lossless}, {ports}{_domain(node)}"


def _domain(node: Host | Switch) -> str:
    return f", domain {node.domain}" if node.domain else ""
