"""LCMP's eight data centres: 2,774 flows of WebSearch under ECMP and DCQCN, held against the times of the paper's simulator.

The files are not part of this project: they lie beside the checkout, or the topic is left out.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed._dataplane import VirtualFabric
from testbed.contract.workload import Op, QueuePair, Workload
from testbed.experiment.file import Experiment, experiment_from
from testbed.importers.hpcc import read_hpcc
from testbed.importers.hpcc_config import read_config
from testbed.importers.text import read_text
from testbed.lab.topology import Lab, lab_from
from testbed.plan.addressing import stable_hash
from testbed.plan.compile import SCHEMA, compile_fabric, dscp_of
from testbed.plan.queue_pairs import FIRST_QPN, Talk
from testbed.plan.workload import queue_pairs_of, transport_of
from testbed.schema.source import Source
from testbed.units import PS_PER_NS, PS_PER_SECOND
from validation.case import Case, Figures, Measured, Quantity, Topic
from validation.fabric import finish

FILES = Path(__file__).resolve().parents[2] / "shared" / "data" / "lcmp"
FIRST_S = 2
"""When the first flow of the file starts."""
PRIORITY = 3
HOSTS = 128
SITE_HOSTS = 16
REPLY_BYTES = 1
PORTS = 65_535
SEEDS = tuple(range(1, 11))


@dataclass(frozen=True)
class Flow:
    """One flow: hosts by number, bytes, and its start after the first one could begin."""

    source: int
    destination: int
    size_bytes: int
    start_ps: int


@dataclass(frozen=True)
class Setting:
    """Runs by these seeds, of all flows or of some that meet nobody."""

    seeds: tuple[int, ...]
    alone: bool = False


def flows() -> list[Flow]:
    """Return the flows of the file: `source destination priority port bytes start`, behind their number."""
    lines = [line.words for line in read_text(FILES / "flows-websearch-0.3.txt").lines()][1:]
    return [
        Flow(int(a), int(b), int(size), round((float(start) - FIRST_S) * PS_PER_SECOND))
        for a, b, _, _, size, start in lines
    ]


def published() -> Mapping[tuple[int, int, int], tuple[float, float]]:
    """Return completion time and time alone in ns of each flow, by source, destination and bytes."""
    times = {}
    for line in read_text(FILES / "fct-ecmp-dcqcn-0.3.txt").lines():
        source, destination, _, _, size, _, took, alone = line.words
        times[_host(source), _host(destination), int(size)] = float(took), float(alone)
    return times


def _host(address: str) -> int:
    return (int(address, 16) >> 8) & 0xFFFF


def some() -> list[Flow]:
    """Return flows between the sites at either end and those between them, to which one span leads; a second apart."""
    within = [flow for flow in flows() if flow.source // SITE_HOSTS in (0, 7) and _neighbours(flow)]
    chosen = {flow.destination // SITE_HOSTS: flow for flow in reversed(within)}
    return [
        Flow(f.source, f.destination, f.size_bytes, index * PS_PER_SECOND) for index, f in enumerate(chosen.values())
    ]


def _neighbours(flow: Flow) -> bool:
    """Return whether a flow leads from the first or the last site to one between them, to which one span leads."""
    return 0 < flow.destination // SITE_HOSTS < 7


def expect(setting: Setting) -> Figures:
    """Return what the simulator's slowdowns come to; those of flows alone are 1."""
    if setting.alone:
        return {"mean": 1, "median": 1, "pauses": 0}
    return {**_statistics([took / alone for took, alone in published().values()]), "pauses": 0}


def _statistics(slowdowns: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(slowdowns, n=100, method="inclusive")
    return {
        "mean": statistics.mean(slowdowns),
        "median": statistics.median(slowdowns),
        "p95": cuts[94],
        "p99": cuts[98],
    }


def measure(setting: Setting) -> Measured:
    """Run the flows by each seed; figures are means of the runs."""
    return summary([slowdowns(seed, setting.alone) for seed in setting.seeds])


def slowdowns(seed: int, alone: bool = False) -> dict[str, float]:
    """Return what the slowdowns of one run come to, and its PAUSE frames."""
    lab, experiment = _lab_and_experiment()
    chosen, times = (some() if alone else flows()), published()
    took, pauses = _run(lab, experiment, chosen, seed)
    usual = [times[flow.source, flow.destination, flow.size_bytes][1] for flow in chosen]
    return {**_statistics([one / other for one, other in zip(took, usual, strict=True)]), "pauses": pauses}


def summary(runs: Sequence[Mapping[str, float]]) -> Measured:
    """Return the means of runs, and what chance leaves in them."""
    means = {key: statistics.mean(run[key] for run in runs) for key in runs[0]}
    if len(runs) == 1:
        return Measured(means)
    error = {key: statistics.stdev(run[key] for run in runs) / len(runs) ** 0.5 for key in ("mean", "median")}
    return Measured(means, {key: each / means[key] for key, each in error.items()})


def _lab_and_experiment() -> tuple[Lab, Experiment]:
    """Return the fabric as it was run, its marks as the configuration has them, and buffers that never end."""
    config = read_config(read_text(FILES / "config.txt"))
    imported = read_hpcc(read_text(FILES / "topology-8dc-as-run.txt"), config)
    body = imported.source.data["topology"]
    for entry in (*body["nodes"].values(), body["kinds"]["switch"]):
        if entry.get("kind") != "host":
            entry["buffer"] = "auto"
    settings = {
        "topology": "lcmp",
        "lossless": {"priority": PRIORITY, "xoff": "8GB", "headroom": "200KB"},
        "transport": {
            "mtu": 1024,
            "ack-every": 1,
            "window": "4GB",
            "timeout": "8s",
            "congestion-control": "dcqcn",
            "dcqcn": imported.experiment["transport"]["dcqcn"],
        },
    }
    return lab_from(imported.source), experiment_from(Source("lcmp", settings))


def _run(lab: Lab, experiment: Experiment, chosen: Sequence[Flow], seed: int) -> tuple[list[float], int]:
    """Return how long each flow took in ns, until its sender knew, and how many PAUSE frames there were."""
    fabric = VirtualFabric(json.dumps(compile_fabric(lab, experiment)))
    fabric.load(json.dumps(_workload(lab, experiment, chosen, seed)))
    report = finish(fabric, budget=10**7)
    assert report["complete"] and report["drops"]["lossless"] == 0 and report["violations"] == []
    # A port that carried nothing has no counters of the priority.
    counters = (port["priorities"].get(str(PRIORITY), {}) for port in report["ports"].values())
    pauses = sum(counts.get("pause_tx", 0) for counts in counters)
    begun = report["start_ps"]
    sent = {
        (flow["src"], flow["dst"], flow["bytes"], flow["start_ps"]): flow["completion_ps"] for flow in report["flows"]
    }
    took = []
    for flow in chosen:
        a, b = f"h{flow.source}", f"h{flow.destination}"
        start = begun + flow.start_ps
        arrived = sent[a, b, flow.size_bytes, start]
        took.append((sent[b, a, REPLY_BYTES, arrived] - start) / PS_PER_NS)
    return took, pauses


def _workload(lab: Lab, experiment: Experiment, chosen: Sequence[Flow], seed: int) -> Workload:
    """Give each flow a queue pair of its own, a start, and a reply of one byte, which takes the place of the last ACK."""
    ops: list[list[Op]] = [[] for _ in range(HOSTS)]
    pairs: list[QueuePair] = []
    for index, flow in enumerate(chosen):
        entropy = 1 + stable_hash("lcmp", seed, index) % PORTS
        pairs.append({"a": flow.source, "b": flow.destination, "qpn": FIRST_QPN + index, "entropy": entropy})
        here, there = ops[flow.source], ops[flow.destination]
        here.append({"kind": "calc", "duration_ps": flow.start_ps, "requires": []})
        here.append(_send(index, flow.size_bytes, [len(here) - 1]))
        here.append({"kind": "recv", "qp": index, "offset": 0, "bytes": REPLY_BYTES, "requires": []})
        there.append({"kind": "recv", "qp": index, "offset": 0, "bytes": flow.size_bytes, "requires": []})
        there.append(_send(index, REPLY_BYTES, [len(there) - 1]))
    node = {entry.name: index for index, entry in enumerate(lab.nodes)}
    return {
        "schema": SCHEMA,
        "priority": PRIORITY,
        "dscp": dscp_of(lab, PRIORITY),
        "transport": transport_of(queue_pairs_of(lab, experiment, [Talk(0, HOSTS - 1)])),
        "qps": pairs,
        "ranks": [{"node": node[f"h{rank}"], "memory_bytes": 0, "ops": each} for rank, each in enumerate(ops)],
    }


def _send(pair: int, size_bytes: int, requires: list[int]) -> Op:
    return {"kind": "send", "qp": pair, "offset": 0, "bytes": size_bytes, "remote_offset": 0, "requires": requires}


def _cases() -> Iterator[Case]:
    yield Case(("some that meet nobody", "1"), Setting((1,), alone=True), quick=True, seconds=4)
    yield Case(("all 2,774", f"{SEEDS[0]} to {SEEDS[-1]}"), Setting(SEEDS), seconds=300)


TOPIC = Topic(
    name="lcmp",
    title="Eight data centres: flows of LCMP under ECMP",
    text="""\
Slowdowns of 2,774 flows of WebSearch between eight data centres, load 0.3, with ECMP and DCQCN, beside those that the
simulator of LCMP (EuroSys 2026, ns-3 of the HPCC family) gave with the same topology, flows and parameters: completion times
over the times alone that its file states. The rows need its files, which are not part of this project. Differences: which of
six routes between the first and the last site a flow takes is a hash, and ours is another, so that ten runs by other source
ports stand for one; payloads are 1024 bytes and not 1000; headers are those of RoCEv2; a reply of one byte in the queue of
data stands for the last ACK; cuts come with notifications, at most one in 4 us, and not by a timer; and there is no window, as
theirs of 2.3 GB is none. Buffers here never end: theirs set three times rate and delay aside as headroom, gigabytes for spans
of 100 ms in switches of 128 MB, and its results have no PAUSE frame; with buffers of that size and the same thresholds, ours
pause and then lose frames.""",
    source="LCMP, fct of ECMP and DCQCN, load 0.3",
    axes=("flows", "seeds"),
    quantities=(
        Quantity("mean", "slowdown, mean", 0.15),
        Quantity("median", "median", 0.05),
        Quantity("p95", "95th percentile", None, digits=2),
        Quantity("p99", "99th percentile", None, digits=2),
        Quantity("pauses", "PAUSE frames", 0, absolute=True, digits=0),
    ),
    cases=tuple(_cases()),
    expect=expect,
    measure=measure,
    needs=FILES,
)
