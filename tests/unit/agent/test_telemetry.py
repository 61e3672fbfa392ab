"""What an agent tells of its labs without being asked, over a real broker, and how often."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from pathlib import Path

import pytest

from testbed.agent import telemetry
from testbed.agent.lab import Observation
from testbed.agent.owner import LabOwner
from testbed.agent.service import Agent
from testbed.bus import client, messages, verbs
from testbed.bus.address import BrokerAddress
from testbed.bus.embedded import embedded_broker
from tests.told import check
from tests.unit.agent.bus_world import MemoryDriver, MemoryFabric, World, bus_test, deploy, execute, next_on


@bus_test
async def test_many_messages_leave_together_and_in_order(w: World) -> None:
    said = {f"testbed/tiny/n{number}/eth1/telemetry": str(number) for number in range(250)}
    async with client.client(w.address, "teller") as teller, client.client(w.address, "watcher") as watcher:
        await watcher.subscribe("testbed/tiny/+/eth1/telemetry")
        await client.publish_all(teller, said, retain=False)
        heard = []
        async with asyncio.timeout(10):
            async for message in watcher.messages:
                # The broker greets newcomers with what others retained.
                if str(message.topic) in said:
                    heard.append((str(message.topic), bytes(message.payload).decode()))
                if len(heard) == len(said):
                    break
    assert heard == list(said.items())


def test_a_task_is_ended_that_takes_a_cancellation_for_nothing() -> None:
    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    async def scene() -> bool:
        task = asyncio.create_task(deaf())
        await asyncio.sleep(0)
        await asyncio.wait_for(client.end(task), 10)
        return task.cancelled()

    assert asyncio.run(scene())


@pytest.mark.parametrize(
    ("took_s", "stopped_s", "pause_s"),
    [
        (0.01, 0.0001, 0.09),  # ten looks a second
        (0.3, 0.0001, 0.3),  # publishing takes long: half of the time is left for the rest
        (0.01, 0.002, 0.39),  # a data plane of thousands of ports is looked at less often
    ],
)
def test_the_pace_of_telemetry_follows_from_what_it_costs(took_s: float, stopped_s: float, pause_s: float) -> None:
    assert telemetry.pause_s(took_s, Observation({}, {}, stopped_s)) == pytest.approx(pause_s)


@pytest.mark.parametrize("killed", [True, False])
def test_what_is_retained_of_labs_goes_with_them_and_with_their_agent(killed: bool) -> None:
    """Others' words stay, and so does what is no agent's."""
    gone = ["testbed/gone/state", "testbed/gone/a1/eth1/telemetry"]
    kept = {"testbed/theirs/state": {"agent": "other"}, "testbed/old/state": {}}

    async def retained(address: BrokerAddress) -> set[str]:
        """Return the topics on which the broker retains something, asked of by a word that comes after them."""
        async with client.client(address, "reader") as mqtt:
            await mqtt.subscribe("testbed/#", qos=1)
            await mqtt.publish("testbed/-/events", b"{}", qos=1)
            topics = set()
            async for message in mqtt.messages:
                if str(message.topic) == "testbed/-/events":
                    return topics
                if message.retain and message.payload:
                    topics.add(str(message.topic))
        raise AssertionError

    async def work(path: Path) -> None:
        owner = LabOwner(MemoryDriver(), lambda *_: MemoryFabric(), execute)
        async with embedded_broker(path) as broker, client.client(broker.address, "before") as mqtt:
            said = {**kept, **({topic: {"agent": "m1"} for topic in gone} if killed else {})}
            await client.publish_all(mqtt, {topic: json.dumps(words) for topic, words in said.items()}, retain=True)
            await mqtt.publish("testbed/-/events", b"{}", qos=1)
            agent = Agent("m1", owner, retain=True)
            ready = asyncio.Event()
            serving = asyncio.create_task(agent.serve(broker.address, ready.set, reconnect=False))
            await ready.wait()
            async with client.connect(broker.address, "m1") as caller:
                await deploy(caller)
            status = messages.status_topic("m1")
            here = {"testbed/tiny/state", "testbed/tiny/h1/eth1/telemetry", *kept, status}
            async with asyncio.timeout(10):
                while await retained(broker.address) != here:
                    await asyncio.sleep(0.05)
            agent.stop()
            await serving
            assert await retained(broker.address) == {*kept, status}

    with tempfile.TemporaryDirectory(prefix="tb-") as directory:
        asyncio.run(work(Path(directory) / "bus.sock"))


@bus_test
async def test_telemetry_is_published_only_when_counters_change(w: World) -> None:
    topic = "testbed/tiny/h1/eth1/telemetry"
    async with client.connect(w.address, "local") as caller, client.client(w.address, "watcher") as mqtt:
        await mqtt.subscribe(topic)
        await deploy(caller)
        first = await asyncio.wait_for(next_on(mqtt, topic), 5)
        assert (first["frames_tx"], first["nominal_ns"], first["seq"], first["run"]) == (0, 0, 1, None)
        await caller.request(verbs.RUN, {"lab": "tiny", "spec": {"steps": 5}}, lab="tiny")
        then = await asyncio.wait_for(next_on(mqtt, topic), 5)
        assert (then["frames_tx"], then["nominal_ns"], then["seq"], then["session"]) == (5, 5, 2, first["session"])
        assert len(mqtt.messages) == 0


@bus_test
async def test_what_is_done_to_a_lab_is_published_once_and_what_changes_nothing_is_not(w: World) -> None:
    events, state = messages.events_topic("tiny"), messages.state_topic("tiny")
    told: list[tuple[str, dict[str, object]]] = []

    async def listen(ready: asyncio.Event) -> None:
        async with client.client(w.address, "listener") as mqtt:
            await mqtt.subscribe([(events, 1), (state, 1)])
            ready.set()
            async for message in mqtt.messages:
                assert isinstance(message.payload, bytes)
                # The broker greets newcomers with what others retained; an empty state is one taken back with its lab.
                if str(message.topic) in (events, state) and message.payload:
                    told.append((str(message.topic), json.loads(message.payload)))

    ready = asyncio.Event()
    listener = asyncio.create_task(listen(ready))
    async with client.connect(w.address, "local") as caller:
        await ready.wait()
        await deploy(caller)
        await deploy(caller)
        async with asyncio.timeout(10):
            while state not in [topic for topic, _ in told]:
                await asyncio.sleep(0.01)
        await caller.request(verbs.RUN, {"lab": "tiny", "spec": {"steps": 5}}, lab="tiny")
        await caller.request(verbs.DESTROY, {"lab": "tiny"}, lab="tiny")
        async with asyncio.timeout(10):
            while ("destroyed" not in [document.get("event") for _, document in told]) or not told:
                await asyncio.sleep(0.01)
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)
    assert [document["event"] for topic, document in told if topic == events] == [
        *("deployed", "run started", "run ended", "destroyed")
    ]
    states = [document for topic, document in told if topic == state]
    assert states and all(document["state"] == "running" for document in states)
    for topic, document in told:
        check(topic, document)
    numbers = [document["seq"] for topic, document in told if topic == events]
    assert numbers == [1, 2, 3, 4]
    began, ended = (document for topic, document in told if topic == events and "run" in document)
    assert began["run"] == ended["run"] and (ended["verdict"], ended["exit_code"]) == ("PASSED: all", 0)
