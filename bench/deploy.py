"""Time what it takes to build and to destroy a lab of 100 namespaces and 180 links (a 10 × 10 grid). Needs root.

A round is one deploy and one destroy of the whole lab through the netns driver, in this process. 40 of the nodes are
hosts whose kernels have addresses, neighbours and shaping.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

from testbed.drivers.netns import NetnsDriver

SIDE = 10
HOSTS = 40
ROUNDS = 10
GOAL_SECONDS = 1.5


def grid(lab: str, side: int = SIDE, hosts: int = HOSTS) -> dict[str, Any]:
    """Return the plan of a side × side grid whose first `hosts` nodes also run a kernel station on their first port."""
    ports: list[list[dict[str, Any]]] = [[] for _ in range(side * side)]
    links = []

    def port(node: int) -> list[int]:
        number = len(ports[node])
        mac = f"02:00:00:{node:02x}:00:{number:02x}"
        ports[node].append({"name": f"eth{number + 1}", "mac": mac, "rate_bps": 100_000_000_000})
        return [node, number]

    for row in range(side):
        for column in range(side):
            here = row * side + column
            for there in ([here + 1] if column + 1 < side else []) + ([here + side] if row + 1 < side else []):
                links.append({"a": port(here), "b": port(there), "medium": "veth"})
    kind = ["host" if node < hosts else "switch" for node in range(side * side)]
    stations = [
        {"name": f"n{node}", "kind": "kernel", "mac": f"02:00:01:00:00:{node:02x}", "ip": f"198.18.1.{node + 1}"}
        | {"node": node, "port": 0}
        for node in range(hosts)
    ]
    nodes = [{"name": f"n{node}", "kind": kind[node], "ports": ports[node]} for node in range(side * side)]
    return {"schema": 1, "lab": lab, "seed": 1, "stations": stations, "nodes": nodes, "links": links}


def measure(rounds: int = ROUNDS) -> dict[str, float | int]:
    """Build and destroy the grid `rounds` times; return medians and maxima in seconds. Raises DriverError without root."""
    driver = NetnsDriver()
    lab = f"bench-{os.getpid()}"
    plan = grid(lab)
    build, destroy = [], []
    try:
        for _ in range(rounds):
            start = time.perf_counter_ns()
            driver.deploy(plan, dilation=1000)
            middle = time.perf_counter_ns()
            driver.destroy(lab)
            destroy.append((time.perf_counter_ns() - middle) / 1e9)
            build.append((middle - start) / 1e9)
    finally:
        driver.destroy(lab)
    return {
        "nodes": len(plan["nodes"]),
        "links": len(plan["links"]),
        "rounds": rounds,
        "seconds_100_nodes": statistics.median(build),
        "seconds_100_nodes_max": max(build),
        "destroy_seconds_100_nodes": statistics.median(destroy),
        "destroy_seconds_100_nodes_max": max(destroy),
    }
