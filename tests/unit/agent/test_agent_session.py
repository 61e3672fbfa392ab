"""An agent whose session is taken from it says so and comes back; nobody can guess by which client id."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import aiomqtt
import pytest

from testbed.agent import service
from testbed.agent.owner import LabOwner
from testbed.agent.service import Agent
from testbed.bus import client, messages, verbs
from testbed.bus.address import BrokerAddress
from testbed.bus.embedded import embedded_broker
from tests.unit.agent.bus_world import MemoryDriver, execute, next_on

STATUS = messages.status_topic("local")


@asynccontextmanager
async def served(sessions: list[aiomqtt.Client], patch: pytest.MonkeyPatch) -> AsyncIterator[BrokerAddress]:
    """Serve an agent that connects again when it loses its broker; `sessions` has its sessions and those of the test."""
    original = client.client

    def note(*arguments: Any) -> aiomqtt.Client:
        sessions.append(original(*arguments))
        return sessions[-1]

    patch.setattr(client, "client", note)
    patch.setattr(service, "_RECONNECT_S", 0.05)
    with tempfile.TemporaryDirectory(prefix="tb-") as directory:
        async with embedded_broker(Path(directory) / "bus.sock") as broker:
            owner = LabOwner(cast(Any, MemoryDriver()), lambda *_: cast(Any, None), execute)
            serving = Agent("local", owner)
            ready = asyncio.Event()
            task = asyncio.create_task(serving.serve(broker.address, ready.set, reconnect=True))
            await asyncio.wait_for(ready.wait(), 10)
            yield broker.address
            serving.stop()
            await asyncio.wait_for(task, 10)


def test_an_agent_that_lost_its_session_reports_it_and_comes_back_under_another_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work() -> None:
        sessions: list[aiomqtt.Client] = []
        async with served(sessions, monkeypatch) as address, client.client(address, "watcher") as watcher:
            await watcher.subscribe(messages.events_topic(messages.NO_LAB), qos=1)
            # Its connection is cut. (That a real broker throws it out: tests/live/test_shared_broker.py.)
            connection = sessions[0]._client.socket()
            assert isinstance(connection, socket.socket)
            connection.shutdown(socket.SHUT_RDWR)
            told = await asyncio.wait_for(next_on(watcher, messages.events_topic(messages.NO_LAB)), 10)
            assert (told["event"], told["agent"]) == ("agent reconnected", "local")
            assert 0 < told["away_s"] < 5
            async with client.connect(address, "local") as caller:
                assert await caller.request(verbs.PING) == {}
            ids = {session.identifier for session in sessions}
            assert len(ids) == len(sessions) == 4  # the agent's two, the watcher's, the caller's
            assert not [each for each in ids if "local" in each]

    asyncio.run(work())


def test_an_agent_corrects_a_report_that_it_is_off_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the last will of a session does that the broker had not missed yet when the agent came back."""

    async def work() -> None:
        async with served([], monkeypatch) as address, client.client(address, "watcher") as watcher:
            await watcher.subscribe(STATUS, qos=1)
            await watcher.publish(STATUS, messages.OFFLINE, qos=1, retain=True)
            said: list[bytes] = []
            async with asyncio.timeout(10):
                async for message in watcher.messages:
                    if str(message.topic) == STATUS:
                        said.append(cast(bytes, message.payload))
                    if said[-2:] == [messages.OFFLINE, messages.ONLINE]:
                        break

    asyncio.run(work())


def test_no_client_id_is_like_another() -> None:
    made = {client.new_identifier("a") for _ in range(1000)}
    assert len(made) == 1000
    # The longest that every broker takes has 23 characters.
    assert all(len(each) <= 23 and each.isalnum() for each in made)


def test_the_librarys_own_words_do_not_come_to_a_terminal() -> None:
    script = (
        "import logging; from testbed.bus import client; logging.getLogger('mqtt').error('failed to receive on socket')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stderr == b""
