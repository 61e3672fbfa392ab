"""What flows took: each of them against the empty network, and all of them by classes of sizes. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from testbed.contract.report import Report
from testbed.experiment.file import Experiment
from testbed.lab.topology import Lab
from testbed.plan.flows import PlannedFlows
from testbed.plan.ops import slices
from testbed.plan.packets import Hop, alone_ps, paths_between
from testbed.plan.routing import Routing
from testbed.run.execution import Outcome
from testbed.sizes import LINE_OVERHEAD_BYTES
from testbed.units import PS_PER_SECOND

Json = dict[str, Any]

CLASSES = (10_000, 100_000, 1_000_000, 10_000_000)
"""Where one class of sizes ends and the next begins, in bytes."""

_PS_PER_US = 10**6


def completions(planned: PlannedFlows, report: Report, qps: int = 1) -> list[Json]:
    """Return when each flow was posted and when its last byte had arrived, from the start of the workload, in planned order.

    A flow is one message, or with `qps` slices of one, each a message on a queue pair of its own.

    The data plane tells of messages by their ends, their length, their priority and when they were posted; flows that agree
    in all of these are told in the order in which they ended.
    """
    start_ps = report["start_ps"]
    times_of: dict[tuple[str, str, int, int | None], list[tuple[int, int | None]]] = {}
    for message in report["flows"]:
        ended = message["completion_ps"]
        times = message["start_ps"] - start_ps, None if ended is None else ended - start_ps
        key = (message["src"], message["dst"], message["bytes"], message.get("priority"))
        times_of.setdefault(key, []).append(times)
    for seen in times_of.values():
        seen.sort(key=lambda times: (times[0], math.inf if times[1] is None else times[1]), reverse=True)
    rows = []
    for flow in planned.flows:
        src, dst = (planned.ranks[rank].host for rank in (flow.source, flow.target))
        parts = [times_of.get((src, dst, length, flow.priority), []) for _, length in slices(flow.bytes, qps)]
        seen_of = [each.pop() if each else (None, None) for each in parts]
        posted_ps = min((posted for posted, _ in seen_of if posted is not None), default=None)
        ends = [ended for _, ended in seen_of]
        ended_ps = None if None in ends else max(end for end in ends if end is not None)
        rows.append({"src": src, "dst": dst, "bytes": flow.bytes, "posted_ps": posted_ps, "ended_ps": ended_ps})
    return rows


def told(lab: Lab, experiment: Experiment, planned: PlannedFlows, outcome: Outcome) -> Json:
    """Return what a result says of flows."""
    assert experiment.flows is not None
    alone = _alone(lab, experiment)
    rows = []
    for flow, seen in zip(planned.flows, outcome.completions, strict=True):
        own_ps = alone(flow.source, flow.target, flow.bytes, planned)
        fct_ps = None if seen["ended_ps"] is None else seen["ended_ps"] - flow.start_ps
        rows.append(
            {
                "src": seen["src"],
                "dst": seen["dst"],
                "priority": experiment.lossless.priority if flow.priority is None else flow.priority,
                "bytes": flow.bytes,
                "start_us": flow.start_ps / _PS_PER_US,
                "fct_us": None if fct_ps is None else fct_ps / _PS_PER_US,
                "alone_us": own_ps / _PS_PER_US,
                "slowdown": None if fct_ps is None else fct_ps / own_ps,
            }
        )
    ends = [0, *CLASSES]
    classes = [
        [row for row in rows if least < row["bytes"] <= most]
        for least, most in zip(ends, [*CLASSES, 2**63], strict=True)
    ]
    return {
        "sizes": experiment.flows.sizes.name if experiment.flows.sizes is not None else "list",
        "load": _load(lab, planned, outcome.report),
        "all": _class(rows),
        "by_size": [_class(members) for members in classes if members],
        "flows": rows,
    }


def _alone(lab: Lab, experiment: Experiment) -> Callable[[int, int, int, PlannedFlows], int]:
    """Return what says how long a flow takes in the empty network, on the best of all shortest paths."""
    routing = Routing(lab)

    @cache
    def paths(source: str, target: str) -> tuple[tuple[Hop, ...], ...]:
        ports = ((a, b) for a in range(len(lab.ports[source])) for b in range(len(lab.ports[target])))
        return tuple(path for a, b in ports for path in paths_between(routing, (source, a), (target, b)))

    def alone(source: int, target: int, length: int, planned: PlannedFlows) -> int:
        ends = (planned.ranks[rank].host for rank in (source, target))
        return min(alone_ps(length, hops, experiment.transport) for hops in paths(*ends))

    return alone


def _load(lab: Lab, planned: PlannedFlows, report: Report) -> Json | None:
    """Return what share of the sources' links flows were to take, and what their frames took."""
    if planned.load is None or planned.offered is None or not planned.until_ps:
        return None
    bits, room = 0, 0.0
    for host in planned.sources:
        for name in lab.ports[host]:
            figures = report["ports"].get(f"{host}:{name}")
            if figures is None:
                continue
            room += figures["rate_bps"] * planned.until_ps / PS_PER_SECOND
            for counters in figures["priorities"].values():
                bits += 8 * (counters["bytes_tx"] + LINE_OVERHEAD_BYTES * counters["frames_tx"])
    return {"asked": planned.load, "offered": planned.offered, "on_the_wire": bits / room if room else 0.0}


def _class(rows: Sequence[Json]) -> Json:
    sizes = [row["bytes"] for row in rows]
    ended = [row for row in rows if row["fct_us"] is not None]
    return {
        "least_bytes": min(sizes),
        "most_bytes": max(sizes),
        "count": len(rows),
        "finished": len(ended),
        "fct_us": spread(row["fct_us"] for row in ended),
        "slowdown": spread(row["slowdown"] for row in ended),
    }


def spread(values: Iterable[float]) -> Json | None:
    """Return the mean, percentiles by nearest rank, and the largest of some values; None of none."""
    ordered = sorted(values)
    if not ordered:
        return None

    def percentile(percent: int) -> float:
        return ordered[max(0, math.ceil(percent * len(ordered) / 100) - 1)]

    mean = math.fsum(ordered) / len(ordered)
    return {"mean": mean, "p50": percentile(50), "p95": percentile(95), "p99": percentile(99), "max": ordered[-1]}
