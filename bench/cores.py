"""How much sooner several cores are done with a run than one, and how much sooner more of them than there are would be.

Two cores are measured: two sites of eight hosts 300 km apart with all flows across the span, and labs with links of 1 µs,
where threads meet a thousand times in a nominal millisecond. For more cores the parts are measured as they would be: the
events of the busiest part of each turn, and what an event takes. What a meeting takes is assumed.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.virtual import SMALL, SPAN, Permutation, advance, check_same, compile_permutation
from testbed._dataplane import VirtualFabric

ROUNDS = 5
MEETING_S = 4e-6
"""What a meeting of two threads takes that spin; each further thread adds MEETING_EACH_S, a cache line that changes hands."""
MEETING_EACH_S = 0.15e-6


@dataclass(frozen=True)
class Comparison:
    """A permutation, and how many times as fast it is to be on two cores."""

    work: Permutation
    goal: float


TWO_CORES = {
    "virtual_cores": Comparison(SPAN, 1.8),
    "virtual_cores_16": Comparison(Permutation(SMALL.topology, 16, 16 << 20), 1.5),
    "virtual_cores_256": Comparison(
        Permutation("clos:spines=8,leaves=16,hosts=16,rate=100G,delay=1us", 256, 1 << 20), 1.8
    ),
    "virtual_cores_1024": Comparison(Permutation("clos:tiers=3,radix=16,rate=100G,delay=1us", 1024, 256 << 10), 1.8),
}
MODELLED = (16, 64)


def measure(comparison: Comparison, rounds: int = ROUNDS) -> dict[str, Any]:
    """Run a lab on one core and on two, in turns; return how many times as fast the second is.

    Raises BenchError if the two are not the same run.
    """
    plan, workload = compile_permutation(comparison.work)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    first: dict[str, Any] = {}
    turns: dict[str, Any] = {}
    for _ in range(rounds):
        for cores, taken in seconds.items():
            fabric = VirtualFabric(plan, cores)
            took, report = advance(fabric, workload, time.perf_counter_ns)
            taken.append(took)
            first = first or report
            check_same(first, report)
            turns = json.loads(fabric.turns())
    one, two = (statistics.median(taken) for taken in seconds.values())
    return {
        "hosts": comparison.work.hosts,
        "goal": comparison.goal,
        "ratio": one / two,
        "ratio_best": min(seconds[1]) / min(seconds[2]),
        "rounds": rounds,
        "frame_hops": first["frame_hops"],
        "frame_hops_per_s_one": first["frame_hops"] / one,
        "frame_hops_per_s_two": first["frame_hops"] / two,
        "turns": turns,
    }


def model(comparison: Comparison, cores: tuple[int, ...] = MODELLED) -> dict[str, Any]:
    """Reckon how many times as fast a lab would be on so many cores, of which this machine need have one.

    It takes the turns of that many parts, one after the other, and what an event takes on one core. Raises BenchError if
    the runs are not the same.
    """
    plan, workload = compile_permutation(comparison.work)
    took, first = advance(VirtualFabric(plan, 1), workload, time.process_time_ns)
    event_s = took / first["events"]
    parts = {}
    for number in cores:
        fabric = VirtualFabric(plan, number)
        check_same(first, advance(fabric, workload, time.process_time_ns)[1])
        turns = json.loads(fabric.turns())
        meeting_s = MEETING_S + MEETING_EACH_S * number
        busiest_s = turns["longest_events"] * event_s
        parts[str(number)] = {
            "shards": turns["shards"],
            "events_a_turn": turns["events"] / turns["turns"],
            "share": turns["longest_events"] / turns["events"],
            "ratio": turns["events"] * event_s / (busiest_s + turns["turns"] * meeting_s),
        }
    return {"hosts": comparison.work.hosts, "event_ns": event_s * 1e9, "parts": parts}


BENCHMARKS = {name: partial(measure, comparison) for name, comparison in TWO_CORES.items()}
MODELS = {f"cores_model_{hosts}": partial(model, TWO_CORES[f"virtual_cores_{hosts}"]) for hosts in (256, 1024)}
