"""An agent on a real broker; only the lab system beneath it is replaced."""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt

from testbed.agent.kernel_part import Counters
from testbed.agent.lab import Document, InterruptibleFabric
from testbed.agent.owner import LabOwner
from testbed.agent.runs import Executed, Progress
from testbed.agent.service import Agent
from testbed.bus import client, told, verbs
from testbed.bus.address import BrokerAddress
from testbed.bus.embedded import embedded_broker
from testbed.drivers import ByHand
from testbed.drivers.emulation import Emulation
from testbed.errors import HostError
from testbed.health import Health
from testbed.progress import BuildProgress
from testbed.run.engine import Engine

PLAN: Document = {
    "schema": 1,
    "lab": "tiny",
    "seed": 1,
    "stations": [{"name": "h1", "kind": "nic", "mac": "02:00:00:00:00:01", "ip": "198.18.0.1", "node": 0, "port": 0}],
    "nodes": [{"name": "h1", "kind": "host", "ports": [{"name": "eth1", "mac": "02:00:00:00:00:01"}], "station": 0}],
    "links": [],
}

NO_FABRIC = 13
RUN: Document = {"name": "steps", "ranks": 1, "expected_ns": None, "experiment": None}


class MemoryFabric:
    """A data plane that counts how often it was advanced."""

    def __init__(self) -> None:
        self.steps = 0
        self.closed = threading.Event()

    def begin_span(self, statistics: str) -> None: ...
    def end_span(self) -> None: ...
    def load(self, workload: str) -> None: ...
    def write_memory(self, rank: int, offset: int, data: bytes) -> None: ...
    def cancel_impairments(self) -> None:
        """Nothing is ever due here."""

    def capture(self, path: str | None) -> None: ...

    def read_memory(self, rank: int, offset: int, length: int) -> bytes:
        return bytes(length)

    def advance(self, budget: int) -> bool:
        self.steps += 1
        return False

    def report(self) -> str:
        return json.dumps({"ports": {"h1:eth1": {"frames_tx": self.steps}}})

    def telemetry(self) -> str:
        return json.dumps({**json.loads(self.report()), "stopped_ns": 0, "now_ps": 1000 * self.steps})

    def listen(self, address: str) -> int:
        return 4000

    def join(self, participants: str) -> None: ...
    def leave(self) -> None: ...

    def close(self) -> None:
        self.closed.set()


class MemoryDriver:
    """A system of labs in a dictionary."""

    def __init__(self) -> None:
        self.system: dict[str, list[str]] = {}
        self.altered: dict[str, str] = {}

    def deploy(self, plan: Document, dilation: int, progress: BuildProgress) -> list[Document]:
        progress.begin("namespaces", len(plan["nodes"]))
        progress.begin("links", len(plan["links"]))
        self.system[plan["lab"]] = [node["name"] for node in plan["nodes"]]
        return [{} for _ in plan["nodes"]]

    def require(self, plan: Document) -> None:
        """All that a plan names is here."""

    def destroy(self, lab: str) -> list[str]:
        return self.system.pop(lab, [])

    def list_labs(self) -> dict[str, list[str]]:
        return dict(self.system)

    def faults(self, lab: str) -> dict[str, str]:
        return {}

    def deviations(self, plan: Document, dilation: int, by_hand: ByHand) -> dict[str, str]:
        return dict(self.altered)

    def health(self, lab: str) -> dict[str, Health]:
        return dict.fromkeys(self.system[lab], Health())

    def namespace_path(self, lab: str, node: str) -> str:
        return f"/run/netns/testbed-{lab}-{node}"

    def emulations(self, plan: Document, dilation: int) -> list[Emulation]:
        return [Emulation("native", "no kernel here") for _ in plan["links"]]

    def counters(self, lab: str) -> Counters:
        raise AssertionError("no link is netem's")


class World:
    """An agent on an embedded broker, and what lies beneath it."""

    def __init__(self, address: BrokerAddress, agent: Agent, driver: MemoryDriver, fabrics: list[MemoryFabric]):
        self.address = address
        self.agent = agent
        self.driver = driver
        self.fabrics = fabrics


def execute(fabric: Engine, plan: Document, spec: Document, progress: Progress) -> Executed:
    """Advance until the spec's number of steps is reached; for ever without one."""
    progress({"event": told.RUN_STARTED, **RUN, "rows": 1, "sizes": [8, 8], "seed": 1, "dilation": 1, "clock": "real"})
    step = 0
    while step != spec.get("steps"):
        fabric.advance(1)
        step += 1
        if step == 1:
            progress({"text": "started"})
    assert isinstance(fabric, InterruptibleFabric)
    outcome = {"complete": True, "interrupted": False, "reasons": [], "figures": {}, "nominal_ns": step}
    ended = {"event": told.RUN_ENDED, "name": RUN["name"], "verdict": "PASSED: all", "passed": True, "exit_code": 0}
    return Executed({"steps": step, "echo": spec.get("echo", "")}, lambda document: {**ended, **outcome})


@asynccontextmanager
async def world(idle_exit_s: float | None = None) -> AsyncIterator[World]:
    with tempfile.TemporaryDirectory(prefix="tb-") as directory:
        async with _on_broker(Path(directory) / "bus.sock", idle_exit_s) as on_broker:
            yield on_broker


@asynccontextmanager
async def _on_broker(path: Path, idle_exit_s: float | None) -> AsyncIterator[World]:
    driver, fabrics = MemoryDriver(), list[MemoryFabric]()

    def make_fabric(plan: str, dilation: int, attachments: str) -> MemoryFabric:
        if dilation == NO_FABRIC:
            raise HostError("no such device")
        fabrics.append(MemoryFabric())
        return fabrics[-1]

    async with embedded_broker(path) as broker:
        owner = LabOwner(driver, make_fabric, execute)
        agent = Agent("local", owner, idle_exit_s, broadcast=broker.broadcast)
        ready = asyncio.Event()
        serving = asyncio.create_task(agent.serve(broker.address, ready.set, reconnect=False))
        await asyncio.wait_for(ready.wait(), 10)
        yield World(broker.address, agent, driver, fabrics)
        agent.stop()
        await asyncio.wait_for(serving, 10)


def bus_test(test: Callable[[World], Awaitable[None]]) -> Callable[[], None]:
    """Run an asynchronous test in a world of its own."""

    def run() -> None:
        async def inner() -> None:
            async with world() as w:
                await asyncio.wait_for(test(w), 30)

        asyncio.run(inner())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


async def next_on(mqtt: aiomqtt.Client, topic: str) -> Document:
    """Return the next message on a topic. The broker greets newcomers with retained messages they never asked for."""
    async for message in mqtt.messages:
        if str(message.topic) == topic:
            document: Document = json.loads(bytes(message.payload))
            return document
    raise AssertionError("no message")


async def deploy(caller: client.Caller, plan: Document = PLAN, dilation: int = 1) -> Document:
    return await caller.request(verbs.DEPLOY, {"plan": plan, "dilation": dilation}, lab="tiny")
