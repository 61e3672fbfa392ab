"""Time what comes before the first event: the smallest run as a command, and a permutation on large fabrics.

Each is a process of its own, and its processor time counts, which a busy machine disturbs less. Memory is the most that a process
had. Fabrics are fat trees with PFC, marking and DCQCN.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from bench import BenchError
from testbed.errors import HostError

ROUNDS = 5
GOAL_RUN_S = 0.35
GOAL_COMPILE_S = 0.4
GOAL_LARGE_S = 10.0
GOAL_LARGE_BYTES = 1_500_000_000
# What a host of a fabric takes at most, with its share of the switches.
_BYTES_A_HOST = 170_000


def measure(rounds: int = ROUNDS) -> dict[str, Any]:
    """Run the smallest experiment as a command; return medians of wall and of processor time in seconds."""
    code = "import sys; from testbed.start import main; sys.exit(main())"
    wall, processor = [], []
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as directory:
        # The first round writes what Python compiles, and reads files into memory.
        for number in range(rounds + 1):
            command = [sys.executable, "-c", code, "run", "all_reduce", "-t", "two-dc", "-b", "64K", "-e", "64K"]
            start = time.perf_counter()
            usage = _run([*command, "--out", f"{directory}/{number}"], environment)[1]
            wall.append(time.perf_counter() - start)
            processor.append(usage.ru_utime + usage.ru_stime)
    return {
        "rounds": rounds,
        "seconds": statistics.median(wall[1:]),
        "processor_seconds": statistics.median(processor[1:]),
    }


def measure_fabric(hosts: int = 1024, rounds: int = 3) -> dict[str, Any]:
    """Load a fat tree, compile plan and workload of a permutation and make the fabric; return medians.

    `compile_seconds` is of the plan alone. Raises HostError where memory is short.
    """
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    needed = hosts * _BYTES_A_HOST
    if available < needed:
        raise HostError(f"{available / 1e9:.1f} GB of memory are free, and {needed / 1e9:.1f} GB may be needed")
    done = []
    for _ in range(rounds):
        command = [sys.executable, "-c", f"from bench.start_up import build; build({hosts})"]
        text, usage = _run(command, dict(os.environ))
        done.append({**json.loads(text), "memory_bytes": usage.ru_maxrss * 1024})
    return {"hosts": hosts, "rounds": rounds} | {key: statistics.median(each[key] for each in done) for key in done[0]}


def measure_large() -> dict[str, Any]:
    """Do as `measure_fabric` with 8192 hosts."""
    return measure_fabric(8192, 1)


def measure_largest() -> dict[str, Any]:
    """Do as `measure_fabric` with 65,536 hosts."""
    return measure_fabric(65_536, 1)


def build(hosts: int) -> None:
    """Print what a permutation of so many hosts takes in this process until its first event, as JSON.

    Seconds are of processor time, from the start of the process on.
    """
    import gc

    from testbed._dataplane import VirtualFabric
    from testbed.experiment.file import new_experiment
    from testbed.lab.topology import load_lab
    from testbed.plan.compile import compile_fabric
    from testbed.plan.workload import compile_workload
    from testbed.traffic.point_to_point import permutation

    # As the command does.
    gc.set_threshold(50_000)
    # A fat tree of radix k has k³/4 hosts.
    radix = round((4 * hosts) ** (1 / 3))
    topology = f"clos:tiers=3,radix={radix},rate=100G,delay=1us"
    lab = load_lab(topology)
    settings = ("transport.congestion-control=dcqcn", "lossless.ecn=hpcc-ns3")
    experiment = new_experiment(topology, "permutation").with_overrides(settings)
    before = time.process_time()
    plan = compile_fabric(lab, experiment)
    after = time.process_time()
    text = json.dumps(plan)
    del plan
    workload = json.dumps(compile_workload(lab, experiment, permutation(hosts, 4096, hosts // 2)))
    fabric = VirtualFabric(text, 1)
    fabric.load(workload)
    fabric.advance(1)
    print(json.dumps({"seconds": time.process_time(), "compile_seconds": after - before}))


def _run(command: list[str], environment: dict[str, str]) -> tuple[str, Any]:
    """Run a command; return its output and what it used. Raises BenchError if it fails."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise BenchError(f"{' '.join(command[-6:])}: exit code {process.returncode}: {errors.read()[-300:]}")
        return output.read(), usage
