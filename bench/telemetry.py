"""Measure what telemetry costs a data plane: 100 ports under load, told of ten times a second or not at all.

The lab is a clos of 100 ports under the real clock at dilation 1, more than the machine can carry, so that the data plane always
has work and every moment that is taken from it shows. It is looked at and spoken of as by a local agent, whose broker is in the
same process. Stretches with telemetry and without take turns; each with is compared with the mean of its two neighbours without,
so that what else the machine does meets both alike.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from bench import BenchError
from testbed._dataplane import RealFabric
from testbed.agent.owner import LabOwner
from testbed.agent.runs import Executed
from testbed.agent.telemetry import PERIOD_S, Telemetry
from testbed.bus import client, messages
from testbed.bus.embedded import embedded_broker
from testbed.contract.plan import Plan
from testbed.drivers.netns import NetnsDriver
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.plan.compile import compile_fabric
from testbed.plan.workload import compile_workload
from testbed.traffic import COLLECTIVES
from testbed.traffic.collective import Shape

SHAPE = "leaves=5,hosts=6,spines=4"
ROUNDS = 40
SECONDS = 0.3
GOAL_COST = 0.02
# More than any machine moves in the longest measurement; a message is below 4 GiB.
ENDLESS_BYTES = 2 << 30

Json = dict[str, Any]


@dataclass(frozen=True)
class _Stretch:
    """What a data plane did in a stretch of time."""

    hops_per_s: float
    looked_at: list[float]
    published: int
    stopped_s: float


class _Mark(NamedTuple):
    """Frame-hops of a data plane so far, and when that was."""

    hops: int
    at: float


class _Watched:
    """A lab under load, with all that an agent has to tell of it, counted."""

    def __init__(self, owner: LabOwner, fabric: RealFabric) -> None:
        self._owner = owner
        self._fabric = fabric
        self.looked_at: list[float] = []
        self.published = 0
        self.stopped_s = 0.0

    def observe(self) -> Any:
        """Look at the lab as an agent does."""
        seen = self._owner.observe()
        self.looked_at.append(time.perf_counter())
        self.stopped_s += seen.stopped_s
        return seen

    def mark(self) -> _Mark:
        """Return how far the data plane has come."""
        return _Mark(int(json.loads(self._fabric.telemetry())["frame_hops"]), time.perf_counter())


def measure(rounds: int = ROUNDS, seconds: float = SECONDS, shape: str = SHAPE) -> Json:
    """Return the share of its throughput that telemetry costs a data plane, as a median and quartiles of `rounds` stretches.

    Builds a lab of its own and removes it. Raises DriverError without root, BenchError if the data plane breaks an invariant.
    """
    fabrics: list[RealFabric] = []

    def open_fabric(plan: str, dilation: int, attachments: str) -> RealFabric:
        fabrics.append(RealFabric(plan, dilation, attachments))
        return fabrics[-1]

    def refuse(*_: object) -> Executed:
        raise BenchError("no run was asked for")

    lab = load_lab(f"clos:name=bench-{os.getpid()},{shape}")
    experiment = new_experiment("clos", "permutation")
    plan: Plan = {**compile_fabric(lab, experiment), "emulation": "native"}
    hosts = sum(node["kind"] == "host" for node in plan["nodes"])
    schedule = COLLECTIVES["permutation"].schedule(Shape(hosts, ENDLESS_BYTES // 4, payload=False))
    owner = LabOwner(NetnsDriver(), open_fabric, refuse)
    try:
        owner.deploy(messages.DeployBody(plan=dict(plan), dilation=1))
        (fabric,) = fabrics
        fabric.load(json.dumps(compile_workload(lab, experiment, schedule)))
        fabric.advance(round(seconds * 1000))
        with tempfile.TemporaryDirectory(prefix="testbed-") as directory:
            stretches = asyncio.run(_take_turns(_Watched(owner, fabric), Path(directory) / "bus.sock", rounds, seconds))
        report = json.loads(fabric.report())
    finally:
        owner.destroy(lab.name)
    if report["violations"]:
        raise BenchError(f"the data plane did not run soundly: {report['violations']}")
    return {
        "ports": len(report["ports"]),
        "rounds": rounds,
        "seconds_a_stretch": seconds,
        **_figures(stretches, seconds),
    }


async def _take_turns(watched: _Watched, path: Path, rounds: int, seconds: float) -> list[_Stretch]:
    """Measure stretches without telemetry and with, in turns, the first and the last without."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(2) as threads:
        async with embedded_broker(path) as broker, client.client(broker.address, "bench") as mqtt:

            async def say(topic: str, text: str) -> None:
                watched.published += 1
                await broker.broadcast(topic, text)

            telemetry = Telemetry("bench", watched.observe, threads, False, say)

            async def stretch(told: bool) -> _Stretch:
                telemetry.begin_session()
                speaking = [asyncio.create_task(telemetry.run(mqtt))] if told else []
                await asyncio.sleep(PERIOD_S)
                looks, published, stopped_s = len(watched.looked_at), watched.published, watched.stopped_s
                began = await loop.run_in_executor(threads, watched.mark)
                await asyncio.sleep(seconds)
                ended = await loop.run_in_executor(threads, watched.mark)
                await client.end(*speaking)
                return _Stretch(
                    (ended.hops - began.hops) / (ended.at - began.at),
                    watched.looked_at[looks:],
                    watched.published - published,
                    watched.stopped_s - stopped_s,
                )

            return [await stretch(told=number % 2 == 1) for number in range(2 * rounds + 1)]


def _figures(stretches: list[_Stretch], seconds: float) -> Json:
    silent, published = stretches[0::2], stretches[1::2]
    rates = [stretch.hops_per_s for stretch in silent]
    means = [(one + two) / 2 for one, two in pairwise(rates)]
    costs = [1 - stretch.hops_per_s / mean for stretch, mean in zip(published, means, strict=True)]
    # What two neighbours without telemetry differ by is what the machine does by itself.
    noise = [abs(1 - two / one) for one, two in pairwise(rates)]
    periods_s = [later - at for stretch in published for at, later in pairwise(stretch.looked_at)]
    if not periods_s:
        raise BenchError(f"no data plane was looked at twice in {seconds:g} s: the machine is too busy")
    looks_per_s = 1 / statistics.median(periods_s)
    a_look = sum(stretch.published for stretch in published) / sum(len(stretch.looked_at) for stretch in published)
    low, _, high = statistics.quantiles(costs, n=4) if len(costs) > 1 else costs * 3
    return {
        "cost": statistics.median(costs),
        "cost_quartiles": [low, high],
        "cost_standing_still": sum(stretch.stopped_s for stretch in published) / (len(published) * seconds),
        "noise": statistics.median(noise),
        "frame_hops_per_s": statistics.median(rates),
        "looks_per_s": looks_per_s,
        "messages_per_s": looks_per_s * a_look,
    }
