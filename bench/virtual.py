"""Count the frame-hops per second of the virtual clock on one core: every frame that crosses a link is one.

16 hosts on a three-tier clos of 4-port switches, all links 100 Gbit/s and 1 µs, PFC on; host i writes 64 MiB to host
i + 8 (mod 16) in packets of 4096 B, each acknowledged on its own.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

from bench import BenchError
from testbed._dataplane import VirtualFabric
from testbed.experiment import new_experiment
from testbed.plan import compile_fabric
from testbed.topology import load_lab
from testbed.workload import compile_workload
from traffic.point_to_point import permutation

TOPOLOGY = "clos:tiers=3,rate=100G,delay=1us"
HOSTS = 16
SHIFT = 8
FLOW_BYTES = 64 << 20
ROUNDS = 5
BUDGET_EVENTS = 1 << 24

GOAL_FRAME_HOPS_PER_S = 3_000_000


def measure(rounds: int = ROUNDS, flow_bytes: int = FLOW_BYTES) -> dict[str, Any]:
    """Run the permutation `rounds` times; return the median rate, the best, and what proves that the runs were right.

    `seconds` is the wall time of the median run. Raises BenchError if a run is incomplete, breaks an invariant, or
    differs from the first.
    """
    lab = load_lab(TOPOLOGY)
    experiment = new_experiment(TOPOLOGY, "permutation").with_overrides(["transport.ack-every=1", "transport.mtu=4096"])
    plan = json.dumps(compile_fabric(lab, experiment))
    workload = json.dumps(compile_workload(lab, experiment, permutation(HOSTS, flow_bytes, SHIFT)))
    seconds: list[float] = []
    first: dict[str, Any] = {}
    for _ in range(rounds):
        fabric = VirtualFabric(plan)
        fabric.load(workload)
        start = time.perf_counter_ns()
        while not fabric.advance(BUDGET_EVENTS):
            pass
        seconds.append((time.perf_counter_ns() - start) / 1e9)
        report = json.loads(fabric.report())
        _check(report)
        first = first or report
        if report["event_log_hash"] != first["event_log_hash"]:
            raise BenchError("two runs of one seed have different event logs")
    hops = first["frame_hops"]
    return {
        "frame_hops_per_s": hops / statistics.median(seconds),
        "frame_hops_per_s_best": hops / min(seconds),
        "rounds": rounds,
        "seconds": statistics.median(seconds),
        "frame_hops": hops,
        "events": first["events"],
        "nominal_ns": first["now_ps"] // 1000,
        "event_log_hash": first["event_log_hash"],
        "conservation": first["conservation"],
        "violations": first["violations"],
    }


def _check(report: dict[str, Any]) -> None:
    """Raise BenchError unless the run is complete, lost nothing and broke no invariant."""
    frames = report["conservation"]
    if not report["complete"] or report["violations"]:
        raise BenchError(f"the run broke: complete {report['complete']}, violations {report['violations']}")
    if frames["sent"] != frames["delivered"] or frames["dropped"] or frames["in_flight"]:
        raise BenchError(f"a lossless run does not conserve frames: {frames}")
