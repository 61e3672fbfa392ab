"""The minimal labs that cases are run on where the user names none: one switch, testers around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.conformance.case import Lab

CELL_BYTES = 208


def star(ports: int, *settings: str, rates: tuple[str, ...] = (), delay: str = "1us", **switch: Any) -> Lab:
    """Return a switch with so many ports at 100G, or at these rates, each with a host a delay away."""
    hosts = {f"h{number}": {"kind": "host"} for number in range(1, ports + 1)}
    links = [
        {"endpoints": [f"h{number}:eth1", f"leaf:eth{number}"], "delay": delay, "rate": rate}
        for number, rate in enumerate(rates or ("100G",) * ports, start=1)
    ]
    nodes: Mapping[str, Any] = {**hosts, "leaf": {"kind": "switch", **switch}}
    return Lab({"name": "conformance", "topology": {"nodes": nodes, "links": links}}, settings)


SMALL: Mapping[str, Any] = {"lossless": [3, 4], "cell": CELL_BYTES, "thresholds": {"xoff": 60_000, "xon": 40_000}}
"""A small static threshold, so that it is soon reached."""

PAIR = star(2, **SMALL)
_MAPS: Mapping[str, Any] = {
    "dscp": {"26": 4, "46": 3, "10": 5},
    "queues": {"3": 5, "5": 3},
    "groups": {"1": 4, "3": 3, "4": 1, "5": 5},
}
MAPPED = star(2, **SMALL, **_MAPS)
"""Lossless priorities 3 and 4, of which one has another queue and one another group."""
SHARED_GROUP = star(2, **SMALL, groups={"4": 3})
"""Lossless priorities 3 and 4 in queues of their own, counted in one group."""
BYTES = star(2, lossless=[3], thresholds={"xoff": 50_001, "xon": 30_003, "headroom": 90_005})
"""Thresholds in bytes, of no round number."""
TRIO = star(3, **SMALL)
TRIO_SHORT_QUEUES = star(3, **{**SMALL, "lossy-queue": "60KB"})
QUARTET = star(4, **SMALL)
FIVE = star(5, **SMALL)
MIXED = star(3, rates=("400G", "400G", "100G"), **SMALL)
WEIGHTED = star(3, **{**SMALL, "weights": {0: 1, 3: 2, 4: 4}})
MARKING = star(3, "lossless.ecn={kmin: 60KB, kmax: 200KB, pmax: 0.4}", lossless=[3], thresholds={"xoff": 250_000})
WATCHED = star(3, "lossless.watchdog={detection: 400us, restoration: 300us, poll: 100us}", **SMALL)
SHARING: Mapping[str, Any] = {
    "lossless": [3],
    "buffer": "2MB",
    "cell": CELL_BYTES,
    "pool": "1MB",
    "headroom-pool": "200KB",
    "thresholds": {"alpha": "1/4", "reserve": 2080, "xon-offset": 4160, "headroom": "90KB"},
}
"""A pool that groups share up to a dynamic threshold, and a pool of headroom that cannot hold all of theirs."""
POOLED = star(4, **SHARING)
