"""Compare the real clock's forwarding rate with that of a bare recvmmsg/sendmmsg forwarder on the same links.

The lab is one switch between two hosts. Frames that no kernel acts on are sent from one host's end, addressed to the
other host's kernel, and counted there, while either the bare forwarder or the real clock moves them across the switch.
The two take turns, so that what else the machine does meets both alike. Rates are by wall time; the emulated links are
so fast that their rate decides nothing.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable
from typing import Any

from bench import BenchError
from testbed._dataplane import RealFabric, measure_forwarder, measure_load
from testbed.contract.plan import Plan
from testbed.drivers.netns import NetnsDriver
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.plan.compile import compile_fabric

FRAME_BYTES = (64, 4178)
"""The shortest frame of Ethernet, and a RoCEv2 frame with a payload of 4096 B; both without FCS."""

RATE = "800G"
ROUNDS = 5
SECONDS = 0.5
GOAL_FORWARD_RATIO = 0.8

# Set aside by IEEE 802 for local experiments: no kernel acts on it.
_ETHERTYPE = bytes.fromhex("88b5")

Json = dict[str, Any]


def measure(rounds: int = ROUNDS, seconds: float = SECONDS) -> Json:
    """Measure both forwarders `rounds` times for each frame length and return their rates, frames/s of wall time.

    `forward_ratio` is the least of the ratios of medians. Builds a lab of its own and removes it. Raises DriverError without
    root, BenchError where the real clock breaks an invariant or drops a frame.
    """
    lab = load_lab(f"pair:name=bench-{os.getpid()},rate={RATE}")
    plan: Plan = {**compile_fabric(lab, new_experiment("pair", "permutation")), "emulation": "native"}
    _make_room(plan)
    driver = NetnsDriver()
    attachments = [dict(attachment) for attachment in driver.deploy(plan)]
    try:
        sizes = {str(size): _compare(plan, attachments, size, rounds, seconds) for size in FRAME_BYTES}
    finally:
        driver.destroy(lab.name)
    return {
        "forward_ratio": min(size["forward_ratio"] for size in sizes.values()),
        "rounds": rounds,
        "seconds_a_round": seconds,
        "frame_bytes": sizes,
    }


def _make_room(plan: Plan) -> None:
    """Let no switch drop a frame for lack of room: the question is how fast frames move, not how many may wait."""
    for node in plan["nodes"]:
        if node["kind"] == "switch":
            node["lossy_queue_bytes"] = node["buffer_bytes"]


def _compare(plan: Plan, attachments: list[Json], size: int, rounds: int, seconds: float) -> Json:
    """Let the two forwarders take turns with frames of one length."""
    frame = _frame(plan, size)
    ends = {(at["node"], at["port"]): {"netns": at["netns"], "interface": at["interface"]} for at in attachments}
    names = plan["nodes"]
    (source, ingress), (sink, egress) = (
        [ends[names[node]["name"], names[node]["ports"][port]["name"]] for node, port in (link["a"], link["b"])]
        for link in plan["links"]
    )
    path = json.dumps({"source": source, "ingress": ingress, "egress": egress, "sink": sink})
    fabric_of = json.dumps(plan), 1, json.dumps(attachments)

    def bare() -> Json:
        rates: Json = json.loads(measure_forwarder(path, frame, seconds))
        return rates

    def real() -> Json:
        fabric = RealFabric(*fabric_of)
        try:
            rates: Json = json.loads(measure_load(json.dumps(source), json.dumps(sink), frame, seconds))
            report = json.loads(fabric.report())
        finally:
            fabric.close()
        _check(report)
        return rates | {"fidelity": report["fidelity"]}

    turns: list[Callable[[], Json]] = [bare, real]
    results = [[turn() for turn in turns] for _ in range(rounds)]
    bare_runs, real_runs = zip(*results, strict=True)
    bare_rate, real_rate = (statistics.median(run["frames_per_s"] for run in runs) for runs in (bare_runs, real_runs))
    return {
        "forward_ratio": real_rate / bare_rate,
        "real_frames_per_s": real_rate,
        "bare_frames_per_s": bare_rate,
        "real_runs": list(real_runs),
        "bare_runs": list(bare_runs),
    }


def _frame(plan: Plan, size: int) -> bytes:
    """Return a frame of `size` bytes from the first host's kernel to the second's."""
    source, destination = (station["mac"] for station in plan["stations"] if station["kind"] == "kernel")
    head = bytes.fromhex((destination + source).replace(":", "")) + _ETHERTYPE
    return head.ljust(size, b"\x5a")


def _check(report: Json) -> None:
    drops = {cause: count for cause, count in report["drops"].items() if count}
    if report["violations"] or drops:
        raise BenchError(f"the real clock did not forward soundly: violations {report['violations']}, drops {drops}")
