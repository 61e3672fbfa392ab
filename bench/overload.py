"""Overload the real clock: many runs at dilation 1, far more than this machine carries, and what each of them lost.

    python -m bench.overload [--runs 200] [--bytes 65536] [--steer] [--busy N]

The lab is a clos of 96 ports between network namespaces. Permutations and incasts take turns, and with `--steer` receive packet
steering spreads every port over all processors. `--busy` keeps so many processes running beside it. Prints a line a run and one
for all; exits with 1 where a frame was lost inside the emulator, or a run was trusted that broke an invariant.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testbed._dataplane import RealFabric
from testbed.contract.plan import Plan
from testbed.drivers.netns import NetnsDriver
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.plan.compile import compile_fabric
from testbed.plan.workload import compile_workload
from testbed.run.fidelity import FidelityBounds, judge_fidelity
from testbed.traffic import COLLECTIVES
from testbed.traffic.collective import Shape

SHAPE = "leaves=4,hosts=8,spines=4"
WORKLOADS = ("permutation", "incast")
RUN_LIMIT_S = 120

Json = dict[str, Any]


def lost(report: Json) -> dict[str, int]:
    """Return by cause how many frames were lost, inside the emulator or by a switch that must not lose any."""
    fidelity = report["fidelity"]
    causes = {
        "lossless frames dropped": report["drops"]["lossless"],
        "socket buffers": fidelity["socket_drops"],
        "queues of the emulator": fidelity["overflow"],
        "refused by interfaces": sum(fidelity["refused"].values()),
        "inside the kernel": sum(fidelity["lost_in_kernel"].values()),
    }
    return {cause: count for cause, count in causes.items() if count}


def measure(runs: int, message_bytes: int, steer: bool) -> Iterator[Json]:
    """Build the lab, run it `runs` times and yield for each run its workload, what it lost and why it is not trusted."""
    lab = load_lab(f"clos:name=overload-{os.getpid()},{SHAPE}")
    experiment = new_experiment("overload", "permutation")
    plan: Plan = {**compile_fabric(lab, experiment), "emulation": "native"}
    hosts = sum(node["kind"] == "host" for node in plan["nodes"])
    shape = Shape(hosts, message_bytes // 4, payload=False)
    workloads = {
        name: json.dumps(compile_workload(lab, experiment, COLLECTIVES[name].schedule(shape))) for name in WORKLOADS
    }
    driver = NetnsDriver()
    attachments = [dict(attachment) for attachment in driver.deploy(plan)]
    try:
        if steer:
            _steer(attachments)
        for number in range(runs):
            name = WORKLOADS[number % len(WORKLOADS)]
            yield {"run": number + 1, "workload": name, **_run(plan, attachments, workloads[name])}
    finally:
        driver.destroy(lab.name)


def _run(plan: Plan, attachments: list[Json], workload: str) -> Json:
    fabric = RealFabric(json.dumps(plan), 1, json.dumps(attachments))
    try:
        fabric.load(workload)
        fabric.advance(RUN_LIMIT_S * 1000)
        report = json.loads(fabric.report())
    finally:
        fabric.close()
    untrusted = judge_fidelity(report["fidelity"], FidelityBounds())
    return {
        "complete": report["complete"],
        "frame_hops": report["frame_hops"],
        "lost": lost(report),
        "violations": len(report["violations"]),
        "untrusted": untrusted,
    }


def _steer(attachments: list[Json]) -> None:
    """Let every processor take frames from every port."""
    mask = f"{(1 << (os.cpu_count() or 1)) - 1:x}"
    script = f"for queue in /sys/class/net/eth*/queues/rx-0; do echo {mask} > $queue/rps_cpus; done"
    for netns in {Path(at["netns"]).name for at in attachments}:
        subprocess.run(["ip", "netns", "exec", netns, "sh", "-ec", script], check=True)


@contextmanager
def _busy(processes: int) -> Iterator[None]:
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def main() -> int:
    """Parse the command line, run, print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description="Overload the real clock.")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--bytes", type=int, default=65536, help="of each message")
    parser.add_argument("--steer", action="store_true", help="receive packet steering over all processors")
    parser.add_argument("--busy", type=int, default=0, help="busy processes beside it")
    options = parser.parse_args()
    with_loss = trusted = runs = 0
    with _busy(options.busy):
        for run in measure(options.runs, options.bytes, options.steer):
            runs += 1
            with_loss += bool(run["lost"] or run["violations"])
            trusted += not run["untrusted"]
            print(json.dumps(run), flush=True)
    print(f"{runs} runs of 96 ports: {with_loss} lost frames, {trusted} trusted")
    return 1 if with_loss else 0


if __name__ == "__main__":
    sys.exit(main())
