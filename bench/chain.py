"""Count the hops of packets per second of processor time along a chain of links, beside ns-3 in turns where it is installed.

Sixteen nodes at 100 Gbit/s and 1 µs: a host writes packets of 4178 B with headers to the host at the far end. Here what is
between are switches with buffers and PFC, and the far end acknowledges; ns-3's nodes pass packets of UDP on, and no more.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench import BenchError
from bench.virtual import BUDGET_EVENTS
from testbed._dataplane import VirtualFabric
from testbed.experiment.file import new_experiment
from testbed.lab.topology import lab_from
from testbed.plan.compile import compile_fabric
from testbed.plan.workload import compile_workload
from testbed.schema.source import Source
from testbed.traffic.point_to_point import permutation

ROUNDS = 3
NODES = 16
PACKETS = 20_000
PAYLOAD_BYTES = 4096
# What is around the payload on our wire, IP and UDP there as in ns-3, which adds 2 B of PPP in place of Ethernet.
_NS3_PAYLOAD_BYTES = 4148
_NS3_PROGRAM = Path(__file__).with_name("ns3_chain.cc")
_NS3_LIBRARIES = ("core", "network", "internet", "point-to-point")
INSTALL = "ns-3: pip install --no-deps ns3, and a C++ compiler"


def measure(rounds: int = ROUNDS, packets: int = PACKETS) -> dict[str, Any]:
    """Run the chain here and in ns-3 in turns; return the medians. Raises BenchError if packets are lost."""
    ours, theirs = [], []
    data = {"name": "chain", "topology": _chain()}
    lab = lab_from(Source("chain", data))
    experiment = new_experiment("chain", "permutation").with_overrides(["transport.mtu=4096"])
    plan = json.dumps(compile_fabric(lab, experiment))
    workload = json.dumps(compile_workload(lab, experiment, permutation(2, packets * PAYLOAD_BYTES, 1)))
    with tempfile.TemporaryDirectory() as directory:
        program = _build_ns3(Path(directory))
        for _ in range(rounds):
            ours.append(_hops_per_s(plan, workload))
            if program is not None:
                theirs.append(_ns3_hops_per_s(program, packets))
    rival = {"install": INSTALL} if not theirs else {"name": "ns-3", "hops_per_s": statistics.median(theirs)}
    return {"nodes": NODES, "rounds": rounds, "hops_per_s": statistics.median(ours), "rival": rival}


def _chain() -> dict[str, Any]:
    names = ["h1", *(f"s{number}" for number in range(1, NODES - 1)), "h2"]
    ends = [(f"{name}:eth{1 if name == 'h1' else 2}", f"{after}:eth1") for name, after in pairwise(names)]
    return {
        "defaults": {"rate": "100G", "delay": "1us"},
        "nodes": {name: {"kind": "host" if name[0] == "h" else "switch"} for name in names},
        "links": [{"endpoints": list(pair)} for pair in ends],
    }


def _hops_per_s(plan: str, workload: str) -> float:
    fabric = VirtualFabric(plan, 1)
    fabric.load(workload)
    start = time.process_time_ns()
    while not fabric.advance(BUDGET_EVENTS):
        pass
    took = (time.process_time_ns() - start) / 1e9
    report = json.loads(fabric.report())
    if not report["complete"] or report["violations"] or report["conservation"]["dropped"]:
        raise BenchError(f"the chain broke: {report['conservation']}, {report['violations']}")
    return float(report["frame_hops"] / took)


def _build_ns3(directory: Path) -> Path | None:
    """Return the chain as a program of ns-3; None where ns-3 or a compiler is not installed."""
    package, compiler = importlib.util.find_spec("ns3"), shutil.which("c++")
    places = list(package.submodule_search_locations or ()) if package else []
    home = next((Path(place) for place in places if (Path(place) / "include" / "ns3" / "core-module.h").exists()), None)
    if home is None or compiler is None:
        return None
    program, libraries = directory / "chain", home / "lib64"
    prefix = next(libraries.glob("libns3*-core.so")).name.removeprefix("lib").removesuffix("-core.so")
    command = [
        compiler,
        "-O2",
        "-std=c++20",
        str(_NS3_PROGRAM),
        "-o",
        str(program),
        f"-I{home / 'include'}",
        f"-L{libraries}",
    ]
    command += [
        f"-Wl,-rpath,{libraries}",
        "-Wl,--allow-shlib-undefined",
        *(f"-l{prefix}-{name}" for name in _NS3_LIBRARIES),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"the chain of ns-3 does not compile: {done.stderr[-300:]}")
    return program


def _ns3_hops_per_s(program: Path, packets: int) -> float:
    command = [str(program), str(NODES), str(packets), str(_NS3_PAYLOAD_BYTES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"the chain of ns-3 failed: {done.stderr[-300:]}")
    result = json.loads(done.stdout)
    if result["hops"] != packets * (NODES - 1):
        raise BenchError(f"ns-3 counted {result['hops']} hops of {packets * (NODES - 1)}")
    return float(result["hops"] / result["seconds"])
