"""Switches that all have hosts and are linked among themselves, as those of a dragonfly: on a circle, their hosts outside.

In a row their links would be arcs over each other; across a circle they are chords. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from testbed.lab.topology import Lab

_FEWEST = 12
_GAP = 26
_HOSTS_AWAY = 84
_HOST_ROW = 40


class Circle(NamedTuple):
    """The middle of each node, and the side of the square that holds all of them."""

    places: Mapping[str, tuple[float, float]]
    side: float


def fits(lab: Lab, rank: Mapping[str, int]) -> bool:
    """Return whether a circle shows a lab better than rows: many switches in one row, and more links than a ring has."""
    switches = [switch.name for switch in lab.switches]
    inner = sum(rank[link.a.node] == rank[link.b.node] == 1 for link in lab.links)
    return len(switches) >= _FEWEST and inner > len(switches) and all(rank[name] == 1 for name in switches)


def place(lab: Lab, hosts: Mapping[str, Sequence[str]], widths: Mapping[str, float]) -> Circle:
    """Place the switches on a circle in the order of the lab, and outwards behind each its hosts, one behind another."""
    names = [switch.name for switch in lab.switches]
    rows = max((len(hosts.get(name, ())) for name in names), default=0)
    widest = max(widths.values())
    around = len(names) * (max(widths[name] for name in names) + _GAP)
    # Hosts at the sides stand one beside another, so they are as far apart as they are wide.
    step = max(_HOST_ROW, max((widths[host] for group in hosts.values() for host in group), default=0) + 6)
    radius = around / (2 * math.pi)
    reach = radius + (_HOSTS_AWAY + (rows - 1) * step if rows else 0)
    middle = reach + widest
    places: dict[str, tuple[float, float]] = {}

    def put(node: str, turn: float, distance: float) -> None:
        angle = 2 * math.pi * turn / len(names) - math.pi / 2
        places[node] = (middle + distance * math.cos(angle), middle + distance * math.sin(angle))

    for index, name in enumerate(names):
        put(name, index, radius)
        behind = hosts.get(name, ())
        for row, host in enumerate(behind):
            # Aside of each other by half of the switch's part of the circle, so that no link runs through another host.
            put(host, index + ((row + 0.5) / len(behind) - 0.5) / 2, radius + _HOSTS_AWAY + row * step)
    return Circle(places, 2 * middle)
