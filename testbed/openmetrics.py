"""OpenMetrics text: the families of metrics that results and running labs have in common, and how samples are written.

What NCCL's Inspector has a name for has that name; the rest is called `testbed_…`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
FAMILIES: Mapping[str, tuple[str, str]] = {
    "nccl_bus_bandwidth_gbs": ("gauge", "bus bandwidth of a collective, GB/s"),
    "nccl_collective_exec_time_microseconds": ("gauge", "time of a collective"),
    "testbed_passed": ("gauge", "1 if all expectations and invariants held"),
    "testbed_trusted": ("gauge", "1 if the emulation was faithful"),
    "testbed_lab_running": ("gauge", "1 for each lab that has a data plane"),
    "testbed_lab_busy": ("gauge", "1 while a run uses a lab"),
    "testbed_ranks": ("gauge", "ranks of the workload that a lab runs, or ran last"),
    "testbed_ranks_finished": ("gauge", "those of them that have finished"),
    "testbed_flow_slowdown_p99": ("gauge", "99th percentile of the slowdowns of flows"),
    "testbed_job_seconds": ("gauge", "time from the start of a job until its end"),
    "testbed_pfc_pause_seconds": ("counter", "nominal time for which a port was paused"),
    "testbed_pfc_pause_frames": ("counter", "PAUSE frames that a port received"),
    "testbed_link_bytes": ("counter", "bytes that a port sent"),
    "testbed_ecn_marked_frames": ("counter", "frames that a port marked"),
    "testbed_queue_peak_bytes": ("gauge", "most that an egress queue held"),
    "testbed_headroom_peak_bytes": ("gauge", "most headroom that an ingress priority used"),
    "testbed_drops": ("counter", "frames lost, by cause"),
}
"""Kind and meaning of each family, by its name, in the order in which they are written."""

_CAPITALS = {
    "all_reduce": "AllReduce",
    "all_gather": "AllGather",
    "reduce_scatter": "ReduceScatter",
    "all_to_all": "AlltoAll",
}

Labels = dict[str, str]
Sample = tuple[str, Labels, float]


def text_of(samples: Iterable[Sample]) -> str:
    """Return samples in the text form of OpenMetrics 1.0."""
    families: dict[str, list[str]] = {name: [] for name in FAMILIES}
    for name, labels, value in samples:
        total = "_total" if FAMILIES[name][0] == "counter" else ""
        pairs = ",".join(f'{key}="{_escaped(each)}"' for key, each in labels.items())
        families[name].append(f"{name}{total}{{{pairs}}} {value:.17g}")
    lines = []
    for name, written in families.items():
        if written:
            kind, about = FAMILIES[name]
            lines += [f"# TYPE {name} {kind}", f"# HELP {name} {about}", *written]
    return "\n".join([*lines, "# EOF", ""])


def samples_of_port(lab: str, name: str, priorities: Mapping[str, Mapping[str, Any]]) -> Iterator[Sample]:
    """Yield what the priorities of a port, `node:port`, have counted."""
    node, _, own = name.partition(":")
    for priority, counters in priorities.items():
        labels = {"lab": lab, "switch": node, "port": own, "priority": priority}
        yield "testbed_pfc_pause_seconds", labels, counters["paused_ns"] / 10**9
        yield "testbed_pfc_pause_frames", labels, float(counters["pause_rx"])
        yield "testbed_link_bytes", labels, float(counters["bytes_tx"])
        yield "testbed_ecn_marked_frames", labels, float(counters["ecn_marked"])
        yield "testbed_queue_peak_bytes", labels, float(counters["queue_bytes_max"])
        yield "testbed_headroom_peak_bytes", labels, float(counters["headroom_bytes_max"])


def samples_of_drops(lab: str, drops: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield how many frames were lost, by cause."""
    for cause, count in drops.items():
        yield "testbed_drops", {"lab": lab, "cause": cause}, float(count)


def called(collective: str) -> str:
    """Return how NCCL's Inspector calls a collective."""
    return _CAPITALS.get(collective, collective.title().replace("_", ""))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
