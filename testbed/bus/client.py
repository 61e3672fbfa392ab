"""The client side of the MQTT bus: how to reach the broker, and requests that always come to an end.

A request ends with a result, with the agent's own error, or with `BusError` after a stretch of silence. Agents send a
sign of life for every verb in flight (`ALIVE_PERIOD_S`), so silence means that the agent, the broker or the way to
them is gone, however long the verb takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt
from pydantic import ValidationError

from testbed.bus import messages
from testbed.bus.address import BrokerAddress
from testbed.bus.verbs import Verb
from testbed.errors import HostError, TestbedError, UsageError

ALIVE_PERIOD_S = 1.0
# The first sign of life comes sooner: it says that a request was heard at all.
FIRST_ALIVE_S = 0.2
# Twenty missed signs of life: a loaded machine may starve an agent for seconds, hardly for this long.
SILENCE_S = 20.0
_CONNECT_S = 10.0
# The broker says what it retains as soon as it is asked.
_STATUS_S = 3.0
# Who may not command is told nothing by MQTT 3.1.1: what it publishes is acknowledged, and dropped.
_HEARD_S = 2.0
# A plan or a result of many megabytes needs longer than a handshake until it is acknowledged.
_PUBLISH_S = 60.0
KEEPALIVE_S = 15
# Of many messages, how many are under way at once.
_AT_A_TIME = 100
_CANCEL_AGAIN_S = 0.1
# The library insists on a port where there is none.
_NO_PORT = 1

# What goes wrong with a connection is raised. What the library says of it is for an agent's log, not for a terminal.
logging.getLogger("mqtt").addHandler(logging.NullHandler())

Progress = Callable[[dict[str, Any]], None]


class BusError(HostError):
    """Say that the broker or the agent cannot be reached, or went away.

    The exit code is that of a faulty environment.
    """


def new_identifier(kind: str) -> str:
    """Return a client id that nobody can guess: who connects with that of another throws the other out (MQTT 3.1.1, 3.1.4-2).

    21 characters; a broker need not take more than 23.
    """
    return f"{kind}{secrets.token_hex(10)}"


def client(
    address: BrokerAddress, identifier: str, will: aiomqtt.Will | None = None, keepalive_s: int = KEEPALIVE_S
) -> aiomqtt.Client:
    """Make an MQTT 3.1.1 client, not yet connected, with TLS verified against the system's or the given authorities."""
    tls = aiomqtt.TLSParameters(ca_certs=str(address.ca_file) if address.ca_file else None) if address.tls else None
    made = aiomqtt.Client(
        hostname=str(address.socket) if address.socket else address.host,
        port=address.port or _NO_PORT,
        transport="unix" if address.socket else "tcp",
        username=address.username,
        password=address.password,
        identifier=identifier,
        will=will,
        tls_params=tls,
        timeout=_CONNECT_S,
        keepalive=keepalive_s,
        protocol=aiomqtt.ProtocolVersion.V311,
    )
    made.pending_calls_threshold = _AT_A_TIME
    return made


async def publish_all(mqtt: aiomqtt.Client, payloads: Mapping[str, str | None], retain: bool) -> None:
    """Publish a text on each topic, at most once; None takes back what the broker retained there.

    Side by side, so that many leave together: one by one each would wait for the event loop to come round.
    """
    words = list(payloads.items())
    for first in range(0, len(words), _AT_A_TIME):
        # Without a limit of time, since the library would have a task and a timer for each; a lost session ends the wait for all.
        await asyncio.gather(
            *(
                mqtt.publish(topic, text, qos=0, retain=retain, timeout=math.inf)
                for topic, text in words[first : first + _AT_A_TIME]
            )
        )


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended, however they do.

    Before Python 3.12 `wait_for`, by which the MQTT client waits, takes a cancellation for nothing if what it waits for comes
    at the same time; therefore it is repeated.
    """
    unfinished = set(tasks)
    while unfinished:
        for task in unfinished:
            task.cancel()
        _, unfinished = await asyncio.wait(unfinished, timeout=_CANCEL_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)


class Caller:
    """Send requests to one agent and wait for their ends. Made by `connect`; any number may be in flight."""

    def __init__(self, mqtt: aiomqtt.Client, agent: str, identifier: str, user: str | None) -> None:
        self._mqtt = mqtt
        self._user = user
        self._echoed = asyncio.Event()
        self._agent = agent
        self._identifier = identifier
        self._waiting: dict[str, asyncio.Queue[messages.Reply | BusError]] = {}
        self._lost: BusError | None = None
        self._gone = asyncio.Event()
        self._known = asyncio.Event()
        self.invalid_replies = 0

    async def request(
        self,
        verb: Verb[Any],
        body: dict[str, Any] | None = None,
        *,
        lab: str = messages.NO_LAB,
        silence_s: float = SILENCE_S,
        on_progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Ask for one verb and return the body of its result.

        Raises `BusError` when the agent is lost or silent for `silence_s`. A verb that failed there fails here with
        the agent's message and exit code: 2 as `UsageError`, 3 as `HostError`, any other as `TestbedError`.
        """
        if self._lost:
            raise self._lost
        correlation_id = uuid.uuid4().hex
        replies: asyncio.Queue[messages.Reply | BusError] = asyncio.Queue()
        self._waiting[correlation_id] = replies
        request = messages.Request(
            correlation_id=correlation_id,
            reply_to=messages.reply_topic(lab, self._agent, self._identifier),
            verb=verb.name,
            body=body or {},
        )
        try:
            await self._publish(messages.command_topic(lab, self._agent), messages.encode(request))
            return await self._collect(verb.name, replies, silence_s, on_progress)
        except aiomqtt.MqttError as error:
            raise self._lost or BusError(f"{verb}: the broker went away: {error}") from None
        finally:
            del self._waiting[correlation_id]

    async def _publish(self, topic: str, payload: bytes) -> None:
        """Publish, and wait for the broker to have it; a broker that is lost meanwhile would be waited for in vain."""
        sending = asyncio.ensure_future(self._mqtt.publish(topic, payload, qos=1, timeout=_PUBLISH_S))
        lost = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait({sending, lost}, return_when=asyncio.FIRST_COMPLETED)
            if self._lost and not sending.done():
                raise self._lost
            await sending
        finally:
            lost.cancel()
            sending.cancel()

    async def _collect(
        self,
        verb: str,
        replies: asyncio.Queue[messages.Reply | BusError],
        silence_s: float,
        on_progress: Progress | None,
    ) -> dict[str, Any]:
        limit_s = min(_HEARD_S, silence_s)
        while True:
            try:
                reply = await asyncio.wait_for(replies.get(), limit_s)
            except TimeoutError:
                if limit_s == silence_s:
                    raise BusError(f"{verb}: agent {self._agent} did not answer for {silence_s:g} s") from None
                if not self._echoed.is_set():
                    raise BusError(
                        f"{verb}: user {self._user} may not command agent {self._agent} on this broker: not authorised"
                    ) from None
                limit_s = silence_s
                continue
            limit_s = silence_s
            if isinstance(reply, BusError):
                raise reply
            if reply.kind == "result":
                return reply.body
            if reply.kind == "error":
                raise _remote_error(reply.body)
            if reply.kind == "progress" and on_progress:
                on_progress(reply.body)

    async def ask_for_rights(self) -> None:
        """Send a command to nobody, which comes back to whoever may command; without an access list, take it as come."""
        if self._user is None:
            self._echoed.set()
        else:
            await self._mqtt.publish(self._own_topic, b"", qos=1)

    @property
    def _own_topic(self) -> str:
        return messages.command_topic(messages.NO_LAB, self._identifier)

    async def find(self) -> None:
        """Wait for the retained status of the agent. Raise `BusError` if there has never been such an agent here."""
        try:
            await asyncio.wait_for(self._known.wait(), _STATUS_S)
        except TimeoutError:
            raise BusError(f"there is no agent {self._agent} on this broker") from None

    async def pump(self) -> None:
        """Hand every reply to the request that waits for it; end all of them when agent or broker are lost."""
        try:
            async for message in self._mqtt.messages:
                payload = bytes(message.payload) if isinstance(message.payload, bytes | bytearray) else b""
                if str(message.topic) == messages.status_topic(self._agent):
                    self._known.set()
                    if payload == messages.OFFLINE:
                        self._lose(BusError(f"agent {self._agent} went away"))
                    else:
                        self._lost = None
                        self._gone.clear()
                elif str(message.topic) == self._own_topic:
                    self._echoed.set()
                elif message.topic.matches(f"{messages.PREFIX}/+/{self._agent}/reply/{self._identifier}"):
                    self._deliver(payload)
                # Anything else was not asked for: amqtt sends newcomers retained messages of other people's topics.
        except aiomqtt.MqttError as error:
            self._lose(BusError(f"the broker of agent {self._agent} went away: {error}"))

    def _deliver(self, payload: bytes) -> None:
        try:
            reply = messages.decode_reply(payload)
        except TestbedError:
            self.invalid_replies += 1
            return
        # A reply nobody waits for any more is late; its request has already ended in an error.
        if waiting := self._waiting.get(reply.correlation_id):
            waiting.put_nowait(reply)

    def _lose(self, error: BusError) -> None:
        self._gone.set()
        self._lost = error
        for waiting in self._waiting.values():
            waiting.put_nowait(error)


def _remote_error(body: dict[str, Any]) -> TestbedError:
    try:
        fault = messages.ErrorBody.model_validate(body)
    except ValidationError:
        return BusError("the agent answered with an error that cannot be read")
    classes: dict[int, type[TestbedError]] = {UsageError.exit_code: UsageError, HostError.exit_code: HostError}
    return classes.get(fault.exit_code, TestbedError)(fault.message)


def _unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what nobody awaited, but for a session's end: the client keeps that in a future of its own, which it never reads."""
    if not isinstance(context.get("exception"), aiomqtt.MqttError):
        loop.default_exception_handler(context)


async def listen(address: BrokerAddress, topics: Sequence[str]) -> AsyncIterator[tuple[str, bytes]]:
    """Yield topic and payload of every message on some topics, for ever. Raises `BusError` when the broker is lost."""
    try:
        async with client(address, new_identifier("l")) as mqtt:
            for topic in topics:
                await mqtt.subscribe(topic, qos=1)
            async for message in mqtt.messages:
                if any(message.topic.matches(topic) for topic in topics) and isinstance(message.payload, bytes):
                    yield str(message.topic), message.payload
    except aiomqtt.MqttError as error:
        raise BusError(f"broker {address}: {error}") from None


async def _enter(mqtt: aiomqtt.Client) -> None:
    """Connect. Who is interrupted meanwhile waits for the end of it all the same, since half a connection cannot be closed."""
    entering = asyncio.ensure_future(mqtt.__aenter__())
    try:
        await asyncio.shield(entering)
    except asyncio.CancelledError:
        with contextlib.suppress(aiomqtt.MqttError):
            await entering
            await mqtt.__aexit__(None, None, None)
        raise


@asynccontextmanager
async def connect(address: BrokerAddress, agent: str) -> AsyncIterator[Caller]:
    """Connect to a broker and yield a `Caller` for one agent on it.

    Raise `BusError` when the broker refuses or is not there.
    """
    identifier = new_identifier("c")
    asyncio.get_running_loop().set_exception_handler(_unhandled)
    mqtt = client(address, identifier)
    try:
        await _enter(mqtt)
    except aiomqtt.MqttError as error:
        raise BusError(f"broker {address}: {error}") from None
    # The embedded broker, behind a socket, has one user, who may do everything.
    caller = Caller(mqtt, agent, identifier, None if address.socket else address.username)
    pump = asyncio.create_task(caller.pump())
    try:
        await mqtt.subscribe(f"{messages.PREFIX}/+/{agent}/reply/{identifier}", qos=1)
        await mqtt.subscribe(
            [(messages.status_topic(agent), 1), (messages.command_topic(messages.NO_LAB, identifier), 1)]
        )
        await caller.ask_for_rights()
        await caller.find()
        yield caller
    except aiomqtt.MqttError as error:
        raise BusError(f"broker {address}: {error}") from None
    finally:
        pump.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pump
        # The broker may already be gone, as after `shutdown`; there is nobody left to say goodbye to.
        with contextlib.suppress(aiomqtt.MqttError):
            await mqtt.__aexit__(None, None, None)
