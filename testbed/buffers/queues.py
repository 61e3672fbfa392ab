"""How much the queues of a workload can hold, read off a plan: what feeds each of them, and what stops those who do.

A queue for a port holds frames of the priority groups by whose ports they came. Each of those groups takes its XOFF before
it pauses its peer, and its headroom after that; one with credits what was granted. Without either, the queue has its limit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from testbed.contract.plan import Plan, Switch, group_of, queue_of
from testbed.contract.routes import tables_of
from testbed.lab.endpoints import name_of
from testbed.lab.thresholds import settled

Place = tuple[int, int]


@dataclass(frozen=True)
class Reach:
    """A queue: its port, by how many ports it is fed, what it holds before those are paused and at most, and its kmin."""

    port: str
    inputs: int
    unpaused_bytes: int
    most_bytes: int
    kmin_bytes: int


def deepest_queue(plan: Plan, priority: int, pairs: Iterable[tuple[int, int]]) -> Reach | None:
    """Return the queue that comes nearest to its kmin of all that pairs of stations use; None where nothing marks.

    Each pair counts both ways. Cost: for each receiver one pass over the links that lead to it, if any switch marks.
    """
    if not any(node.get("ecn") or node.get("queue_ecn") for node in plan["nodes"] if node["kind"] == "switch"):
        return None
    depths = [
        _reach(switch, name_of(plan, place), inputs, priority, kmin)
        for place, inputs in _feeding(plan, pairs).items()
        if (switch := plan["nodes"][place[0]])["kind"] == "switch"
        if (kmin := _kmin(switch, place[1], priority)) is not None
    ]
    return max(
        depths, key=lambda reach: (Fraction(reach.most_bytes, max(1, reach.kmin_bytes)), reach.port), default=None
    )


def _feeding(plan: Plan, pairs: Iterable[tuple[int, int]]) -> dict[Place, set[int]]:
    """Return, by (node, port) of a switch, the ports by which frames come that leave there."""
    far: dict[Place, Place] = {}
    for link in plan["links"]:
        a, b = (link["a"][0], link["a"][1]), (link["b"][0], link["b"][1])
        far[a], far[b] = b, a
    senders: dict[int, set[int]] = {}
    for one, other in pairs:
        senders.setdefault(one, set()).add(other)
        senders.setdefault(other, set()).add(one)
    tables = tables_of(plan)
    feeding: dict[Place, set[int]] = {}
    for station, others in senders.items():
        senders_at = [plan["stations"][other] for other in others]
        arrivals = [far[sender["node"], sender["port"]] for sender in senders_at]
        seen = set(arrivals)
        for node, port in arrivals:
            if node not in tables:
                continue
            for leaving in tables[node][station]:
                feeding.setdefault((node, leaving), set()).add(port)
                onward = far[node, leaving]
                if onward not in seen:
                    seen.add(onward)
                    arrivals.append(onward)
    return feeding


def _reach(node: Switch, port: str, inputs: set[int], priority: int, kmin: int) -> Reach:
    groups = {
        group["port"]: group for group in node["priority_groups"] if group["priority"] == group_of(node, priority)
    }
    feeding = [groups[number] for number in sorted(inputs) if number in groups]
    dynamic = [(group, alpha) for group in feeding if (alpha := group.get("alpha_log2")) is not None]
    unpaused = sum(group.get("xoff_bytes", 0) for group in feeding)
    if dynamic:
        unpaused += settled(node["pool_bytes"], [alpha for _, alpha in dynamic])
        unpaused += sum(group["reserve_bytes"] for group, _ in dynamic)
    headroom = sum(group["headroom_bytes"] for group in feeding)
    most = unpaused + (min(headroom, node.get("headroom_pool_bytes") or headroom))
    if len(feeding) < len(inputs):
        # Frames that belong to no group stand in the queue up to its limit.
        lossy = node["buffer_bytes"] if "lossy_alpha_log2" in node else node["lossy_queue_bytes"]
        unpaused, most = unpaused + lossy, most + lossy
    return Reach(port, len(inputs), unpaused, most, kmin)


def _kmin(node: Switch, port: int, priority: int) -> int | None:
    """Return the kmin of a lossless egress queue; None where nothing is marked."""
    own = (
        mark
        for mark in node.get("queue_ecn", ())
        if (mark["port"], mark["priority"]) == (port, queue_of(node, priority))
    )
    mark = next(own, node.get("ecn"))
    return None if mark is None else mark["kmin_bytes"]
