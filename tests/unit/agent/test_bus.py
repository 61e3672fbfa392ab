"""Requests over a real broker and a real agent; only the lab system beneath the agent is replaced."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path

import aiomqtt
import pytest

from testbed.agent.lab import Document
from testbed.bus import client, messages, verbs
from testbed.bus.address import broker_address
from testbed.errors import HostError, TestbedError, UsageError
from tests.unit.agent.bus_world import NO_FABRIC, PLAN, World, bus_test, deploy, next_on, world


@bus_test
async def test_a_lab_is_deployed_inspected_and_destroyed(w: World) -> None:
    async with client.connect(w.address, "local") as caller:
        assert await deploy(caller) == {"lab": "tiny", "changed": True}
        assert await deploy(caller) == {"lab": "tiny", "changed": False}
        assert len(w.fabrics) == 1
        inspected = await caller.request(verbs.INSPECT, {"lab": "tiny"}, lab="tiny")
        assert (inspected["state"], inspected["nodes"]) == ("running", ["h1"])
        assert inspected["stations"][0]["ip"] == "198.18.0.1"
        assert (await caller.request(verbs.LIST))["labs"][0]["lab"] == "tiny"
        assert await caller.request(verbs.DESTROY, {"lab": "tiny"}, lab="tiny") == {"lab": "tiny", "changed": True}
        assert await caller.request(verbs.DESTROY, {"lab": "tiny"}, lab="tiny") == {"lab": "tiny", "changed": False}
        assert w.driver.system == {}
        assert w.fabrics[0].closed.is_set()


@bus_test
async def test_who_has_a_lab_built_receives_its_progress_before_the_reply(w: World) -> None:
    told: list[Document] = []
    async with client.connect(w.address, "local") as caller:
        body = {"plan": PLAN, "dilation": 1}
        await caller.request(verbs.DEPLOY, body, lab="tiny", on_progress=told.append)
        assert told == [
            {"phase": "namespaces", "done": 0, "total": 1},
            {"phase": "data plane", "done": 0, "total": 1},
        ]
        await caller.request(verbs.DEPLOY, body, lab="tiny", on_progress=told.append)
        assert len(told) == 2


@bus_test
async def test_errors_keep_their_words_and_their_exit_code(w: World) -> None:
    async with client.connect(w.address, "local") as caller:
        with pytest.raises(UsageError, match="no lab ghost"):
            await caller.request(verbs.INSPECT, {"lab": "ghost"}, lab="ghost")
        await deploy(caller)
        with pytest.raises(UsageError, match="another plan"):
            await deploy(caller, {**PLAN, "seed": 2})
        with pytest.raises(UsageError, match="no port h1:eth9"):
            await caller.request(verbs.CAPTURE_POINTS, {"lab": "tiny", "node": "h1", "port": "eth9"}, lab="tiny")
        w.driver.system["orphan"] = ["a"]
        with pytest.raises(HostError, match="broken"):
            await caller.request(verbs.RUN, {"lab": "orphan", "spec": {}}, lab="orphan")


@bus_test
async def test_a_failed_deploy_leaves_nothing(w: World) -> None:
    async with client.connect(w.address, "local") as caller:
        with pytest.raises(HostError, match="no such device"):
            await deploy(caller, dilation=NO_FABRIC)
        assert w.driver.system == {}
        assert (await caller.request(verbs.LIST))["labs"] == []


@bus_test
async def test_megabytes_pass_in_both_directions(w: World) -> None:
    async with client.connect(w.address, "local") as caller:
        await deploy(caller)
        echo = "x" * 8_000_000
        result = await caller.request(verbs.RUN, {"lab": "tiny", "spec": {"steps": 3, "echo": echo}}, lab="tiny")
        assert result == {"steps": 3, "echo": echo}


@bus_test
async def test_destroy_interrupts_a_run(w: World) -> None:
    started = asyncio.Event()
    async with client.connect(w.address, "local") as caller:
        await deploy(caller)
        run = asyncio.create_task(
            caller.request(verbs.RUN, {"lab": "tiny", "spec": {}}, lab="tiny", on_progress=lambda _: started.set())
        )
        await asyncio.wait_for(started.wait(), 10)
        with pytest.raises(UsageError, match="busy"):
            await caller.request(verbs.RUN, {"lab": "tiny", "spec": {"steps": 1}}, lab="tiny")
        await caller.request(verbs.DESTROY, {"lab": "tiny"}, lab="tiny")
        with pytest.raises(TestbedError, match="interrupted"):
            await run
        assert w.driver.system == {}


async def start_run(caller: client.Caller, **body: object) -> asyncio.Task[Document]:
    """Start a run that never ends by itself; return it once it is under way."""
    started = asyncio.Event()
    request = caller.request(
        verbs.RUN, {"lab": "tiny", "spec": {}, **body}, lab="tiny", on_progress=lambda _: started.set()
    )
    run = asyncio.create_task(request)
    await asyncio.wait_for(started.wait(), 10)
    return run


@bus_test
async def test_a_run_is_cancelled_and_its_lab_stays(w: World) -> None:
    async with client.connect(w.address, "local") as caller, client.connect(w.address, "local") as other:
        await deploy(caller)
        run = await start_run(caller)
        assert await other.request(verbs.CANCEL, {"lab": "tiny"}, lab="tiny") == {"lab": "tiny", "changed": True}
        with pytest.raises(TestbedError, match="the run was cancelled"):
            await run
        assert await caller.request(verbs.RUN, {"lab": "tiny", "spec": {"steps": 2}}, lab="tiny") == {
            "steps": 2,
            "echo": "",
        }
        assert await other.request(verbs.CANCEL, {"lab": "tiny"}, lab="tiny") == {"lab": "tiny", "changed": False}
        with pytest.raises(UsageError, match="no lab other is deployed"):
            await other.request(verbs.CANCEL, {"lab": "other"}, lab="other")
        with pytest.raises(UsageError, match="a request about tiny came on the topic of other"):
            await other.request(verbs.CANCEL, {"lab": "tiny"}, lab="other")


@bus_test
async def test_a_run_is_cancelled_by_its_id_alone_begun_or_not(w: World) -> None:
    async with client.connect(w.address, "local") as caller:
        await deploy(caller)
        run = await start_run(caller, run_id="mine")
        assert not (await caller.request(verbs.CANCEL, {"lab": "tiny", "run_id": "late"}, lab="tiny"))["changed"]
        assert not run.done()
        assert (await caller.request(verbs.CANCEL, {"lab": "tiny", "run_id": "mine"}, lab="tiny"))["changed"]
        with pytest.raises(TestbedError, match="the run was cancelled"):
            await run
        with pytest.raises(TestbedError, match="the run was cancelled"):
            await caller.request(verbs.RUN, {"lab": "tiny", "spec": {}, "run_id": "late"}, lab="tiny")


@bus_test
async def test_invalid_messages_are_answered_or_dropped_and_change_nothing(w: World) -> None:
    async with client.client(w.address, "tester") as mqtt:
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
    async with client.client(w.address, "tester") as mqtt, client.connect(w.address, "local") as caller:
        await mqtt.subscribe("testbed/+/local/reply/tester")
        for _ in range(2):
            await mqtt.publish("testbed/-/local/command", messages.encode(request), qos=1)
        # The agent takes its messages in order: once the second ping is answered, both copies have been dealt with.
        await caller.request(verbs.PING)
        await asyncio.wait_for(next_on(mqtt, reply_to), 5)
        assert len(mqtt.messages) == 0


@bus_test
async def test_a_wrong_password_is_refused(w: World) -> None:
    for username, password in (("testbed", "guess"), ("testbed", ""), ("root", w.address.password), (None, None)):
        wrong = dataclasses.replace(w.address, username=username, password=password)
        with pytest.raises(client.BusError):
            async with client.connect(wrong, "local"):
                raise AssertionError("let in")


@bus_test
async def test_a_vanished_agent_ends_requests_by_its_last_will(w: World) -> None:
    """The victim's connection is cut without a goodbye, as when its process is killed."""
    will = aiomqtt.Will(messages.status_topic("victim"), messages.OFFLINE, qos=1, retain=True)
    victim = client.client(w.address, "agent-victim", will)
    await victim.__aenter__()
    await victim.publish(messages.status_topic("victim"), messages.ONLINE, qos=1, retain=True)
    async with client.connect(w.address, "victim") as caller:
        waiting = asyncio.create_task(caller.request(verbs.PING, silence_s=25))
        await asyncio.sleep(0)
        victim._client._sock_close()  # the only way to cut it: the library's own ways all say goodbye
        with pytest.raises(client.BusError, match="went away"):
            await asyncio.wait_for(waiting, 10)
    async with client.connect(w.address, "victim") as caller:
        with pytest.raises(client.BusError):
            await asyncio.wait_for(caller.request(verbs.PING, silence_s=5), 10)


@bus_test
async def test_silence_ends_a_request(w: World) -> None:
    async with client.client(w.address, "mute") as mqtt:
        await mqtt.publish(messages.status_topic("mute"), messages.ONLINE, qos=1, retain=True)
    async with client.connect(w.address, "mute") as caller:
        with pytest.raises(client.BusError, match="did not answer for"):
            await caller.request(verbs.PING, silence_s=0.2)


@bus_test
async def test_an_agent_that_never_was_is_not_waited_for(w: World) -> None:
    with pytest.raises(client.BusError, match="there is no agent nobody on this broker"):
        async with client.connect(w.address, "nobody"):
            raise AssertionError("nobody is there")


def test_an_idle_agent_ends_by_itself_but_not_while_it_has_a_lab() -> None:
    async def inner() -> None:
        async with world(idle_exit_s=0.3) as w:
            async with client.connect(w.address, "local") as caller:
                await deploy(caller)
                await asyncio.sleep(1.0)
                assert not w.agent._stopping.is_set()
                await caller.request(verbs.DESTROY, {"lab": "tiny"}, lab="tiny")
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
        broker_address(url)
    assert "secret" not in str(caught.value)


def test_credentials_come_from_a_private_file(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("alice:s3:cret\n")
    file.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        broker_address("mqtts://broker.example", file)
    file.chmod(0o600)
    address = broker_address("mqtts://broker.example", file)
    assert (address.username, address.password, address.port, address.tls) == ("alice", "s3:cret", 8883, True)
    assert "cret" not in repr(address)


@pytest.mark.parametrize("more", [0o040, 0o020, 0o010, 0o004, 0o002, 0o001])
def test_credentials_that_anybody_else_can_touch_are_refused(tmp_path: Path, more: int) -> None:
    """The group alone is too many: any one of its bits, and of the others'."""
    file = tmp_path / "credentials"
    file.write_text("alice:s3:cret\n")
    file.chmod(0o600 | more)
    with pytest.raises(UsageError, match="readable by others than its owner"):
        broker_address("mqtts://broker.example", file)


def test_authorities_must_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--ca"):
        broker_address("mqtt://127.0.0.1", ca_file=tmp_path / "none.pem")


def test_loopback_needs_neither() -> None:
    for url in ("mqtt://127.0.0.1", "mqtt://localhost", "mqtt://[::1]"):
        address = broker_address(url)
        assert (address.is_loopback, address.port) == (True, 1883)
