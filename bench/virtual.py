"""Count the frame-hops per second of the virtual clock: every frame that crosses a link is one.

On one core, hosts on a three-tier clos of switches with PFC, marking and DCQCN on; all links have 100 Gbit/s and 1 µs, and
each host writes to the one half of the lab away in packets of 4096 B, each acknowledged on its own. With 16 hosts the
fabric fits the caches, with 128 it does not.
The same lab, all hosts writing to one: what the record of pauses and their causes costs.
With series at `auto` and without, in turns: what recording costs.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench import BenchError
from testbed._dataplane import VirtualFabric
from testbed.contract.plan import Plan
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.plan.compile import chosen_ranks, compile_fabric
from testbed.plan.workload import compile_workload
from testbed.run.length import of_schedule
from testbed.timeseries import decode
from testbed.timeseries.limits import plan_series
from testbed.traffic import RankSchedule, Recv, Schedule, Send
from testbed.traffic.point_to_point import permutation

ROUNDS = 5
BUDGET_EVENTS = 1 << 24
SETTINGS = (
    "transport.ack-every=1",
    "transport.mtu=4096",
    "transport.congestion-control=dcqcn",
    "lossless.ecn=hpcc-ns3",
)
# Without marks nothing but pauses slows senders down.
INCAST_SETTINGS = ("transport.ack-every=1", "transport.mtu=4096")

GOAL_FRAME_HOPS_PER_S = 3_000_000
GOAL_CAUSES_COST = 0.02
GOAL_SERIES_COST = 0.10


@dataclass(frozen=True)
class Permutation:
    """A lab, and how much each of its hosts writes to the one that is half of them further."""

    topology: str
    hosts: int
    flow_bytes: int


SMALL = Permutation("clos:tiers=3,rate=100G,delay=1us", 16, 64 << 20)
LARGE = Permutation("clos:tiers=3,radix=8,rate=100G,delay=1us", 128, 4 << 20)
PAUSED = Permutation("clos:tiers=3,rate=100G,delay=1us", 16, 8 << 20)
SPAN = Permutation("two-dc:hosts=8,length=300km", 16, 16 << 20)


def measure(rounds: int = ROUNDS, work: Permutation = SMALL) -> dict[str, Any]:
    """Run a permutation `rounds` times; return the median rate, the best, and what proves that the runs were right.

    `seconds` is the wall time of the median run. Raises BenchError if a run is incomplete, breaks an invariant, or
    differs from the first.
    """
    plan, workload = compile_permutation(work)
    seconds: list[float] = []
    first: dict[str, Any] = {}
    for _ in range(rounds):
        took, report = _run(plan, workload, 1)
        seconds.append(took)
        first = first or report
        check_same(first, report)
    hops = first["frame_hops"]
    return {
        "hosts": work.hosts,
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


def measure_large(rounds: int = 3) -> dict[str, Any]:
    """Do as `measure` with 128 hosts."""
    return measure(rounds, LARGE)


def measure_causes(rounds: int = 2 * ROUNDS, work: Permutation = PAUSED) -> dict[str, Any]:
    """Run an incast with and without the record of pauses, in turns; return what share of the speed the record costs.

    It is so little that processor time counts, which a busy machine disturbs less. `cost` is one less the ratio of the
    medians, `cost_best` of the best. Raises BenchError if the record changes the run.
    """
    plan, workload = compile_permutation(work, incast=True)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    first: dict[str, Any] = {}
    for number in range(rounds):
        for causes in (True, False) if number % 2 else (False, True):
            took, report = _run(plan, workload, 1, causes, time.process_time_ns)
            seconds[causes].append(took)
            first = first or report
            check_same(first, report)
    priorities = [port["priorities"].get("3", {}) for port in first["ports"].values()]
    return {
        "cost": 1 - statistics.median(seconds[False]) / statistics.median(seconds[True]),
        "cost_best": 1 - min(seconds[False]) / min(seconds[True]),
        "rounds": rounds,
        "frame_hops": first["frame_hops"],
        "pauses": sum(counters.get("pause_rx", 0) for counters in priorities),
    }


def measure_series(rounds: int = ROUNDS, work: Permutation = SMALL) -> dict[str, Any]:
    """Run a permutation with series at `auto` and without, in turns; return by how much the first is slower.

    Raises BenchError if the two are not the same run, or nothing was recorded.
    """
    plan, workload = compile_permutation(work)
    recorded = plan_series("auto", json.loads(plan), partial(_least_ps, work, json.loads(plan)))
    seconds: dict[bool, list[float]] = {False: [], True: []}
    first: dict[str, Any] = {}
    points = rows = 0
    for _ in range(rounds):
        for records, taken in seconds.items():
            fabric = VirtualFabric(plan, 1)
            if records:
                fabric.record_series(json.dumps(recorded))
            took, report = advance(fabric, workload, time.process_time_ns)
            taken.append(took)
            first = first or report
            check_same(first, report)
            if records:
                series = decode(fabric.series())
                if series is None or series.rows == 0:
                    raise BenchError("nothing was recorded")
                points, rows = series.points, series.rows
    plain, with_series = (statistics.median(taken) for taken in seconds.values())
    return {
        "cost": with_series / plain - 1,
        "cost_best": min(seconds[True]) / min(seconds[False]) - 1,
        "rounds": rounds,
        "points": points,
        "rows": rows,
        "seconds": plain,
        "seconds_with_series": with_series,
    }


def compile_permutation(work: Permutation, incast: bool = False) -> tuple[str, str]:
    """Return plan and workload of a permutation, or of all hosts writing to the last, as JSON."""
    lab = load_lab(work.topology)
    settings = INCAST_SETTINGS if incast else SETTINGS
    experiment = new_experiment(work.topology, "permutation").with_overrides(settings)
    schedule = _to_last(work) if incast else _permuted(work)
    return json.dumps(compile_fabric(lab, experiment)), json.dumps(compile_workload(lab, experiment, schedule))


def _permuted(work: Permutation) -> Schedule:
    return permutation(work.hosts, work.flow_bytes, work.hosts // 2)


def _least_ps(work: Permutation, plan: Plan) -> int:
    """Return how long a permutation takes at least."""
    lab = load_lab(work.topology)
    return of_schedule(_permuted(work), chosen_ranks(lab, new_experiment(work.topology, "permutation")), plan)


def _to_last(work: Permutation) -> Schedule:
    """Let all hosts but the last write to it, lengths only."""
    last = work.hosts - 1
    sending = RankSchedule(0, (Send(last, 0, work.flow_bytes, 0),))
    receiving = RankSchedule(0, tuple(Recv(sender, 0, work.flow_bytes) for sender in range(last)))
    return Schedule((*(sending for _ in range(last)), receiving))


def _run(
    plan: str, workload: str, cores: int, causes: bool = True, clock_ns: Callable[[], int] = time.perf_counter_ns
) -> tuple[float, dict[str, Any]]:
    """Return the seconds of a run, of wall time unless another clock is given, and its report."""
    return advance(VirtualFabric(plan, cores, causes), workload, clock_ns)


def advance(fabric: VirtualFabric, workload: str, clock_ns: Callable[[], int]) -> tuple[float, dict[str, Any]]:
    """Run a workload to its end; return the seconds of that, and the report. Raises BenchError where the run broke."""
    fabric.load(workload)
    start = clock_ns()
    while not fabric.advance(BUDGET_EVENTS):
        pass
    took = (clock_ns() - start) / 1e9
    report: dict[str, Any] = json.loads(fabric.report())
    _check(report)
    return took, report


def check_same(first: dict[str, Any], report: dict[str, Any]) -> None:
    """Raise BenchError unless two reports are of the same run."""
    if report["event_log_hash"] != first["event_log_hash"]:
        raise BenchError("two runs of one seed have different event logs")


def _check(report: dict[str, Any]) -> None:
    """Raise BenchError unless the run is complete, lost nothing and broke no invariant."""
    frames = report["conservation"]
    if not report["complete"] or report["violations"]:
        raise BenchError(f"the run broke: complete {report['complete']}, violations {report['violations']}")
    if frames["sent"] != frames["delivered"] or frames["dropped"] or frames["in_flight"]:
        raise BenchError(f"a lossless run does not conserve frames: {frames}")
