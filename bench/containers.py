"""Time what it takes to build and to destroy a lab of 20 containers (18 hosts, a leaf and a spine). Needs root and dockerd.

The engine is one of the benchmark's own. The image holds no more than a program that sleeps, with what it is linked to: how long
the programs of an image take to start is not the question.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import statistics
import subprocess
import tarfile
import time
from typing import Any

from bench.engine import DockerEngine, docker_engine
from testbed.drivers.machine import MachineDriver
from testbed.errors import HostError
from testbed.experiment.file import new_experiment
from testbed.lab.topology import lab_from
from testbed.plan.compile import compile_fabric
from testbed.schema.source import Source
from testbed.topologies import generate

ROUNDS = 3
GOAL_SECONDS = 6.0
IMAGE = "testbed-bench"
SLEEP = "/bin/sleep"


def measure(rounds: int = ROUNDS, hosts: int = 18, leaves: int = 1) -> dict[str, Any]:
    """Build and destroy the lab `rounds` times; return medians and maxima in seconds.

    Raises HostError without an engine, DriverError without root.
    """
    if shutil.which("dockerd") is None:
        raise HostError("no dockerd on this machine: install Debian's docker.io")
    data = generate("clos", {"leaves": str(leaves), "hosts": str(hosts), "spines": "1", "name": f"bench-{os.getpid()}"})
    data["topology"]["defaults"] = {**data["topology"].get("defaults", {}), "image": IMAGE}
    lab = lab_from(Source("bench", data))
    plan = compile_fabric(lab, new_experiment("clos", "permutation").with_overrides(["driver=docker", "clock=real"]))
    build, destroy = [], []
    with docker_engine() as engine:
        _import_image(engine)
        before = os.environ.get("DOCKER_HOST")
        os.environ["DOCKER_HOST"] = engine.address
        driver = MachineDriver()
        try:
            for _ in range(rounds):
                start = time.perf_counter_ns()
                driver.deploy(plan, dilation=1000)
                middle = time.perf_counter_ns()
                driver.destroy(lab.name)
                destroy.append((time.perf_counter_ns() - middle) / 1e9)
                build.append((middle - start) / 1e9)
        finally:
            driver.destroy(lab.name)
            os.environ.pop("DOCKER_HOST")
            if before is not None:
                os.environ["DOCKER_HOST"] = before
    return {
        "containers": len(plan["nodes"]),
        "rounds": rounds,
        "seconds": statistics.median(build),
        "seconds_max": max(build),
        "destroy_seconds": statistics.median(destroy),
        "destroy_seconds_max": max(destroy),
    }


def _import_image(engine: DockerEngine) -> None:
    """Make an image of a program that sleeps, its loader and its libraries."""
    linked = subprocess.run(["ldd", SLEEP], capture_output=True, text=True, check=True).stdout
    with io.BytesIO() as archive:
        with tarfile.open(fileobj=archive, mode="w", dereference=True) as tar:
            for path in {SLEEP, *re.findall(r"(/\S+)", linked)}:
                tar.add(path)
        engine.docker_in(archive.getvalue(), "import", "--change", f'CMD ["{SLEEP}", "infinity"]', "-", IMAGE)
