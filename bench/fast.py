"""Fast-forward beside exact runs: a ring all-reduce whose steps are long messages, lengths alone."""

from __future__ import annotations

import time
from typing import Any

from bench import BenchError
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.run.perform import run_virtual
from testbed.run.trial import Trial

LAB = "clos:spines=4,leaves=4,hosts=16"
SIZE, EXACT_SIZE = "8GiB", "64MiB"
GOAL_RATIO = 50.0


def measure(size: str = SIZE, exact_size: str = EXACT_SIZE, topology: str = LAB) -> dict[str, Any]:
    """Run one size exactly and a larger one fast; return processor time and the ratio of frame-hops in a second.

    The exact run is short, since the other would take minutes. Raises BenchError where nothing is skipped, or the fast run of
    the small size is not the exact one.
    """
    small_s, small = _run(topology, exact_size, True)
    exact_s, exact = _run(topology, exact_size, False)
    if small.pop("fast") is None or small.pop("event_log_hash") == exact.pop("event_log_hash") or small != exact:
        raise BenchError(f"fast-forward changes a run of {exact_size}")
    fast_s, fast = _run(topology, size, True)
    if not fast["fast"]["skips"]:
        raise BenchError(f"fast-forward skips nothing of {size}")
    rate, exact_rate = fast["frame_hops"] / fast_s, exact["frame_hops"] / exact_s
    return {
        "size": size,
        "frame_hops": fast["frame_hops"],
        "seconds": fast_s,
        "skipped": fast["fast"]["skipped_frame_hops"] / fast["frame_hops"],
        "ratio": rate / exact_rate,
        "exact_frame_hops_per_s": exact_rate,
        "ratio_small": exact_s / small_s,
        "exact_size": exact_size,
    }


def _run(topology: str, size: str, is_fast: bool) -> tuple[float, dict[str, Any]]:
    """Return the seconds of processor time of a run, and its report."""
    settings = [f"workload.size={size}", "workload.payload=false", "workload.in-place=false", "workload.algorithm=ring"]
    experiment = new_experiment(topology, "all_reduce").with_overrides([*settings, *(["fast=1%"] if is_fast else [])])
    trial = Trial(experiment, load_lab(topology))
    began = time.process_time()
    outcome = run_virtual(trial, None, lambda _: None)
    if not outcome.complete:
        raise BenchError("; ".join(outcome.reasons))
    return time.process_time() - began, dict(outcome.report)
