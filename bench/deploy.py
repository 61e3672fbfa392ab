"""Time what it takes to build and to destroy a lab of 100 namespaces and 180 links (a 10 × 10 grid), and one of 1000 and 2000
(a torus of 25 × 40). Needs root.

A round is one deploy and one destroy of the whole lab through the netns driver, in this process. Four nodes of ten are
hosts whose kernels have addresses, neighbours and shaping. Of a grid Mininet builds the same nodes and links, in turns with
this, where it is installed.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass
from typing import Any, cast

from bench import mininet
from testbed.contract.plan import Plan
from testbed.drivers.netns import NetnsDriver

ROUNDS = 10
# Mininet takes a hundred times as long.
MININET_ROUNDS = 2
GOAL_SECONDS = 1.5
GOAL_DESTROY_SECONDS = 2.0
GOAL_LARGE_SECONDS = 20.0


@dataclass(frozen=True)
class Grid:
    """Rows and columns of nodes, each linked to its neighbours; in a torus the last to the first, too."""

    rows: int
    columns: int
    torus: bool = False


SMALL = Grid(10, 10)
LARGE = Grid(25, 40, torus=True)


def grid(lab: str, shape: Grid = SMALL) -> Plan:
    """Return the plan of a grid, four tenths of whose nodes also run a kernel station on their first port."""
    count = shape.rows * shape.columns
    hosts = count * 4 // 10
    ports: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    links = []

    def port(node: int) -> list[int]:
        number = len(ports[node])
        mac = f"02:00:00:{_octets(node, ':', '02x')}:{number:02x}"
        ports[node].append({"name": f"eth{number + 1}", "mac": mac, "rate_bps": 100_000_000_000})
        return [node, number]

    for row in range(shape.rows):
        for column in range(shape.columns):
            for down, right in ((row, column + 1), (row + 1, column)):
                if shape.torus or (down < shape.rows and right < shape.columns):
                    there = down % shape.rows * shape.columns + right % shape.columns
                    links.append({"a": port(row * shape.columns + column), "b": port(there), "medium": "veth"})
    kind = ["host" if node < hosts else "switch" for node in range(count)]
    stations = [
        {"name": f"n{node}", "kind": "kernel", "mac": f"02:00:01:00:{_octets(node, ':', '02x')}"}
        | {"ip": f"198.18.{_octets(node + 256, '.', 'd')}"}
        | {"node": node, "port": 0}
        for node in range(hosts)
    ]
    nodes = [{"name": f"n{node}", "kind": kind[node], "ports": ports[node]} for node in range(count)]
    # What a driver alone reads.
    return cast(Plan, {"schema": 1, "lab": lab, "seed": 1, "stations": stations, "nodes": nodes, "links": links})


def _octets(number: int, separator: str, form: str) -> str:
    return f"{number // 256:{form}}{separator}{number % 256:{form}}"


def measure_large(rounds: int = 1) -> dict[str, Any]:
    """Do as `measure` with 1000 namespaces and 2000 links."""
    return measure(rounds, LARGE)


def measure(rounds: int = ROUNDS, shape: Grid = SMALL) -> dict[str, Any]:
    """Build and destroy a grid `rounds` times; return medians and maxima in seconds. Raises DriverError without root."""
    driver = NetnsDriver()
    lab = f"bench-{os.getpid()}"
    plan = grid(lab, shape)
    count = len(plan["nodes"])
    build, destroy = [], []
    theirs: list[tuple[float, float]] = []
    compared = not shape.torus and mininet.installed()
    try:
        for number in range(rounds):
            start = time.perf_counter_ns()
            driver.deploy(plan, dilation=1000)
            middle = time.perf_counter_ns()
            driver.destroy(lab)
            destroy.append((time.perf_counter_ns() - middle) / 1e9)
            build.append((middle - start) / 1e9)
            if compared and number < MININET_ROUNDS:
                theirs.append(mininet.build(plan))
    finally:
        driver.destroy(lab)
    return {
        "nodes": count,
        "links": len(plan["links"]),
        "rounds": rounds,
        f"seconds_{count}_nodes": statistics.median(build),
        f"seconds_{count}_nodes_max": max(build),
        f"destroy_seconds_{count}_nodes": statistics.median(destroy),
        f"destroy_seconds_{count}_nodes_max": max(destroy),
        "rival": _rival(theirs),
    }


def _rival(theirs: list[tuple[float, float]]) -> dict[str, Any]:
    if not theirs:
        return {"install": mininet.INSTALL}
    build, destroy = (statistics.median(each) for each in zip(*theirs, strict=True))
    return {"name": "Mininet", "seconds": build, "destroy_seconds": destroy}
