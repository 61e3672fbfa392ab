"""Requests over a real broker and a real agent; only the lab system beneath the agent is replaced."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import pytest

from testbed import bus, messages
from testbed.agent import Agent
from testbed.broker import embedded_broker
from testbed.emulation import Emulation
from testbed.errors import HostError, TestbedError, UsageError
from testbed.execution import Engine
from testbed.health import Health
from testbed.kernel_part import Counters
from testbed.owned import Document, InterruptibleFabric
from testbed.owner import LabOwner, Progress
from testbed.progress import BuildProgress

PLAN: Document = {
    "schema": 1,
    "lab": "tiny",
    "seed": 1,
    "stations": [{"name": "h1", "kind": "nic", "mac": "02:00:00:00:00:01", "ip": "198.18.0.1", "node": 0, "port": 0}],
    "nodes": [{"name": "h1", "kind": "host", "ports": [{"name": "eth1", "mac": "02:00:00:00:00:01"}], "station": 0}],
    "links": [],
}

NO_FABRIC = 13


class MemoryFabric:
    """A data plane that counts how often it was advanced."""

    def __init__(self) -> None:
        self.steps = 0
        self.closed = threading.Event()

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

    def close(self) -> None:
        self.closed.set()


class MemoryDriver:
    """A system of labs in a dictionary."""

    def __init__(self) -> None:
        self.system: dict[str, list[str]] = {}

    def deploy(self, plan: Document, dilation: int, progress: BuildProgress) -> list[Document]:
        progress.begin("namespaces", len(plan["nodes"]))
        progress.begin("links", len(plan["links"]))
        self.system[plan["lab"]] = [node["name"] for node in plan["nodes"]]
        return [{} for _ in plan["nodes"]]

    def destroy(self, lab: str) -> list[str]:
        return self.system.pop(lab, [])

    def list_labs(self) -> dict[str, list[str]]:
        return dict(self.system)

    def faults(self, lab: str) -> dict[str, str]:
        return {}

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

    def __init__(self, address: bus.BrokerAddress, agent: Agent, driver: MemoryDriver, fabrics: list[MemoryFabric]):
        self.address = address
        self.agent = agent
        self.driver = driver
        self.fabrics = fabrics


def execute(fabric: Engine, plan: Document, spec: Document, progress: Progress) -> Document:
    """Advance until the spec's number of steps is reached; for ever without one."""
    step = 0
    while step != spec.get("steps"):
        fabric.advance(1)
        step += 1
        if step == 1:
            progress({"text": "started"})
    assert isinstance(fabric, InterruptibleFabric)
    return {"steps": step, "echo": spec.get("echo", "")}


@asynccontextmanager
async def world(idle_exit_s: float | None = None) -> AsyncIterator[World]:
    driver, fabrics = MemoryDriver(), list[MemoryFabric]()

    def make_fabric(plan: str, dilation: int, attachments: str) -> MemoryFabric:
        if dilation == NO_FABRIC:
            raise HostError("no such device")
        fabrics.append(MemoryFabric())
        return fabrics[-1]

    async with embedded_broker() as address:
        agent = Agent("local", LabOwner(driver, make_fabric, execute), idle_exit_s)
        ready = asyncio.Event()
        serving = asyncio.create_task(agent.serve(address, ready.set, reconnect=False))
        await asyncio.wait_for(ready.wait(), 10)
        yield World(address, agent, driver, fabrics)
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


async def deploy(caller: bus.Caller, plan: Document = PLAN, dilation: int = 1) -> Document:
    return await caller.request("deploy", {"plan": plan, "dilation": dilation}, lab="tiny")


@bus_test
async def test_a_lab_is_deployed_inspected_and_destroyed(w: World) -> None:
    async with bus.connect(w.address, "local") as caller:
        assert await deploy(caller) == {"lab": "tiny", "changed": True}
        assert await deploy(caller) == {"lab": "tiny", "changed": False}
        assert len(w.fabrics) == 1
        inspected = await caller.request("inspect", {"lab": "tiny"}, lab="tiny")
        assert (inspected["state"], inspected["nodes"]) == ("running", ["h1"])
        assert inspected["stations"][0]["ip"] == "198.18.0.1"
        assert (await caller.request("list"))["labs"][0]["lab"] == "tiny"
        assert await caller.request("destroy", {"lab": "tiny"}, lab="tiny") == {"lab": "tiny", "changed": True}
        assert await caller.request("destroy", {"lab": "tiny"}, lab="tiny") == {"lab": "tiny", "changed": False}
        assert w.driver.system == {}
        assert w.fabrics[0].closed.is_set()


@bus_test
async def test_who_has_a_lab_built_hears_how_far_it_is_before_the_answer(w: World) -> None:
    told: list[Document] = []
    async with bus.connect(w.address, "local") as caller:
        body = {"plan": PLAN, "dilation": 1}
        await caller.request("deploy", body, lab="tiny", on_progress=told.append)
        assert told == [
            {"phase": "namespaces", "done": 0, "total": 1},
            {"phase": "data plane", "done": 0, "total": 1},
        ]
        await caller.request("deploy", body, lab="tiny", on_progress=told.append)
        assert len(told) == 2


@bus_test
async def test_errors_keep_their_words_and_their_exit_code(w: World) -> None:
    async with bus.connect(w.address, "local") as caller:
        with pytest.raises(UsageError, match="no lab ghost"):
            await caller.request("inspect", {"lab": "ghost"}, lab="ghost")
        await deploy(caller)
        with pytest.raises(UsageError, match="another plan"):
            await deploy(caller, {**PLAN, "seed": 2})
        with pytest.raises(UsageError, match="no port h1:eth9"):
            await caller.request("capture_points", {"lab": "tiny", "node": "h1", "port": "eth9"}, lab="tiny")
        w.driver.system["orphan"] = ["a"]
        with pytest.raises(HostError, match="broken"):
            await caller.request("run", {"lab": "orphan", "spec": {}}, lab="orphan")


@bus_test
async def test_a_failed_deploy_leaves_nothing(w: World) -> None:
    async with bus.connect(w.address, "local") as caller:
        with pytest.raises(HostError, match="no such device"):
            await deploy(caller, dilation=NO_FABRIC)
        assert w.driver.system == {}
        assert (await caller.request("list"))["labs"] == []


@bus_test
async def test_megabytes_pass_in_both_directions(w: World) -> None:
    async with bus.connect(w.address, "local") as caller:
        await deploy(caller)
        echo = "x" * 8_000_000
        result = await caller.request("run", {"lab": "tiny", "spec": {"steps": 3, "echo": echo}}, lab="tiny")
        assert result == {"steps": 3, "echo": echo}


@bus_test
async def test_destroy_interrupts_a_run(w: World) -> None:
    started = asyncio.Event()
    async with bus.connect(w.address, "local") as caller:
        await deploy(caller)
        run = asyncio.create_task(
            caller.request("run", {"lab": "tiny", "spec": {}}, lab="tiny", on_progress=lambda _: started.set())
        )
        await asyncio.wait_for(started.wait(), 10)
        with pytest.raises(UsageError, match="busy"):
            await caller.request("run", {"lab": "tiny", "spec": {"steps": 1}}, lab="tiny")
        await caller.request("destroy", {"lab": "tiny"}, lab="tiny")
        with pytest.raises(TestbedError, match="interrupted"):
            await run
        assert w.driver.system == {}


@bus_test
async def test_invalid_messages_are_answered_or_dropped_and_change_nothing(w: World) -> None:
    async with bus.client(w.address, "tester") as mqtt:
        await mqtt.subscribe("testbed/+/local/reply/tester")
        good: Document = {
            "version": 1,
            "correlation_id": "1",
            "reply_to": "testbed/-/local/reply/tester",
            "verb": "ping",
        }
        silent = [b"\xff\x00", b"[]", b"{}", json.dumps({**good, "reply_to": "elsewhere"}).encode()]
        answered = [
            {**good, "verb": "format"},
            {**good, "version": 9},
            {**good, "verb": "deploy", "body": {"plan": 3}},
            {**good, "verb": "destroy", "body": {"lab": "tiny"}},  # on the topic of no lab
        ]
        w.driver.system["tiny"] = ["h1"]
        for raw in silent:
            await mqtt.publish("testbed/-/local/command", raw, qos=1)
        for number, request in enumerate(answered):
            await mqtt.publish("testbed/-/local/command", json.dumps({**request, "correlation_id": str(number)}), qos=1)
        replies: dict[str, messages.Reply] = {}
        while len(replies) < len(answered):
            reply = messages.Reply.model_validate(await next_on(mqtt, good["reply_to"]))
            replies[reply.correlation_id] = reply
        assert {reply.kind for reply in replies.values()} == {"error"}
        assert {reply.body["exit_code"] for reply in replies.values()} == {2}
        assert w.agent.dropped_messages == len(silent)
        assert w.driver.system == {"tiny": ["h1"]}


@bus_test
async def test_a_request_delivered_twice_is_done_once(w: World) -> None:
    reply_to = messages.reply_topic(messages.NO_LAB, "local", "tester")
    request = messages.Request(correlation_id="twice", reply_to=reply_to, verb="ping")
    async with bus.client(w.address, "tester") as mqtt, bus.connect(w.address, "local") as caller:
        await mqtt.subscribe("testbed/+/local/reply/tester")
        for _ in range(2):
            await mqtt.publish("testbed/-/local/command", messages.encode(request), qos=1)
        # The agent takes its messages in order: once the second ping is answered, both copies have been dealt with.
        await caller.request("ping")
        await asyncio.wait_for(next_on(mqtt, reply_to), 5)
        assert len(mqtt.messages) == 0


@bus_test
async def test_a_wrong_password_is_refused(w: World) -> None:
    for username, password in (("testbed", "guess"), ("testbed", ""), ("root", w.address.password), (None, None)):
        wrong = bus.BrokerAddress(w.address.host, w.address.port, username, password)
        with pytest.raises(bus.BusError):
            async with bus.connect(wrong, "local"):
                raise AssertionError("let in")


@bus_test
async def test_telemetry_is_published_only_when_counters_change(w: World) -> None:
    topic = "testbed/tiny/h1/eth1/telemetry"
    async with bus.connect(w.address, "local") as caller, bus.client(w.address, "watcher") as mqtt:
        await mqtt.subscribe(topic)
        await deploy(caller)
        assert await asyncio.wait_for(next_on(mqtt, topic), 5) == {"frames_tx": 0}
        await caller.request("run", {"lab": "tiny", "spec": {"steps": 5}}, lab="tiny")
        assert await asyncio.wait_for(next_on(mqtt, topic), 5) == {"frames_tx": 5}
        assert len(mqtt.messages) == 0


@bus_test
async def test_what_is_done_to_a_lab_is_told_once_and_what_changes_nothing_is_not(w: World) -> None:
    events, state = messages.events_topic("tiny"), messages.state_topic("tiny")
    told: list[tuple[str, dict[str, object]]] = []

    async def listen(ready: asyncio.Event) -> None:
        async with bus.client(w.address, "listener") as mqtt:
            await mqtt.subscribe([(events, 1), (state, 1)])
            ready.set()
            async for message in mqtt.messages:
                assert isinstance(message.payload, bytes)
                # The broker greets newcomers with what others retained; an empty state is one taken back with its lab.
                if str(message.topic) in (events, state) and message.payload:
                    told.append((str(message.topic), json.loads(message.payload)))

    ready = asyncio.Event()
    listener = asyncio.create_task(listen(ready))
    async with bus.connect(w.address, "local") as caller:
        await ready.wait()
        await deploy(caller)
        await deploy(caller)
        await caller.request("run", {"lab": "tiny", "spec": {"steps": 5}}, lab="tiny")
        await caller.request("destroy", {"lab": "tiny"}, lab="tiny")
        async with asyncio.timeout(10):
            while ("destroyed" not in [document.get("event") for _, document in told]) or not told:
                await asyncio.sleep(0.01)
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)
    assert [document["event"] for topic, document in told if topic == events] == ["deployed", "run ended", "destroyed"]
    states = [document for topic, document in told if topic == state]
    assert states and all(document["state"] == "running" for document in states)


@bus_test
async def test_a_vanished_agent_ends_requests_by_its_last_will(w: World) -> None:
    """The victim's connection is cut without a goodbye, as when its process is killed."""
    will = aiomqtt.Will(messages.status_topic("victim"), messages.OFFLINE, qos=1, retain=True)
    victim = bus.client(w.address, "agent-victim", will)
    await victim.__aenter__()
    await victim.publish(messages.status_topic("victim"), messages.ONLINE, qos=1, retain=True)
    async with bus.connect(w.address, "victim") as caller:
        waiting = asyncio.create_task(caller.request("ping", silence_s=25))
        await asyncio.sleep(0)
        victim._client._sock_close()  # the only way to cut it: the library's own ways all say goodbye
        with pytest.raises(bus.BusError, match="went away"):
            await asyncio.wait_for(waiting, 10)
    async with bus.connect(w.address, "victim") as caller:
        with pytest.raises(bus.BusError):
            await asyncio.wait_for(caller.request("ping", silence_s=5), 10)


@bus_test
async def test_silence_ends_a_request(w: World) -> None:
    async with bus.client(w.address, "mute") as mqtt:
        await mqtt.publish(messages.status_topic("mute"), messages.ONLINE, qos=1, retain=True)
    async with bus.connect(w.address, "mute") as caller:
        with pytest.raises(bus.BusError, match="no sign of life"):
            await caller.request("ping", silence_s=0.2)


@bus_test
async def test_an_agent_that_never_was_is_not_waited_for(w: World) -> None:
    with pytest.raises(bus.BusError, match="there is no agent nobody on this broker"):
        async with bus.connect(w.address, "nobody"):
            raise AssertionError("nobody is there")


def test_an_idle_agent_ends_by_itself_but_not_while_it_has_a_lab() -> None:
    async def inner() -> None:
        async with world(idle_exit_s=0.3) as w:
            async with bus.connect(w.address, "local") as caller:
                await deploy(caller)
                await asyncio.sleep(1.0)
                assert not w.agent._stopping.is_set()
                await caller.request("destroy", {"lab": "tiny"}, lab="tiny")
            await asyncio.wait_for(w.agent._stopping.wait(), 5)

    asyncio.run(inner())


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("mqtt://broker.example:1883", "TLS"),
        ("mqtts://broker.example", "--credentials"),
        ("mqtts://user:secret@broker.example", "every user"),
        ("http://broker.example", "mqtts://"),
        ("mqtts://broker.example:99999", "port"),
        ("mqtts://", "mqtts://"),
    ],
)
def test_a_broker_off_loopback_needs_tls_and_credentials(url: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault) as caught:
        bus.broker_address(url)
    assert "secret" not in str(caught.value)


def test_credentials_come_from_a_private_file(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("alice:s3:cret\n")
    file.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        bus.broker_address("mqtts://broker.example", file)
    file.chmod(0o600)
    address = bus.broker_address("mqtts://broker.example", file)
    assert (address.username, address.password, address.port, address.tls) == ("alice", "s3:cret", 8883, True)
    assert "cret" not in repr(address)


def test_authorities_must_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--ca"):
        bus.broker_address("mqtt://127.0.0.1", ca_file=tmp_path / "none.pem")


def test_loopback_needs_neither() -> None:
    for url in ("mqtt://127.0.0.1", "mqtt://localhost", "mqtt://[::1]"):
        address = bus.broker_address(url)
        assert (address.is_loopback, address.port) == (True, 1883)
