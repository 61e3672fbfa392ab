"""The agent: one process on a machine that owns labs and their data planes, and does what the bus asks for.

This file is the bus side: envelopes in, replies out, signs of life, telemetry, the idle exit. What the verbs do is in
`owner.py`. A message that is not valid changes nothing: it is answered with an error when it says where to, else
counted and dropped.

SIGTERM and SIGINT end the agent and its data planes, not the labs: their namespaces stay, `inspect` calls them
broken, and `destroy` or a new `deploy` deals with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiomqtt

from testbed.agent.owner import LabOwner
from testbed.agent.telemetry import PERIOD_S, Telemetry
from testbed.bus import client, messages, verbs
from testbed.bus.address import BrokerAddress
from testbed.bus.embedded import Broadcast
from testbed.bus.messages import Body
from testbed.bus.verbs import Verb
from testbed.errors import TestbedError, UsageError

_log = logging.getLogger(__name__)

# Verbs in flight at once. Each holds a thread; a run and the destroy that interrupts it are two.
MAX_IN_FLIGHT = 64
_REMEMBERED_REQUESTS = 1024
_RECONNECT_S = 1.0
_IDLE_CHECK_S = 0.25
_PUBLISH_S = 60.0


class Agent:
    """Serve one `LabOwner` on a bus, until `shutdown`, a signal, or `idle_exit_s` without labs and requests.

    The broker takes the agent for lost when it has heard nothing of it for one and a half times `keepalive_s`, and with `retain`
    keeps what it last said of its labs, which it looks at every `period_s` at most. `broadcast` is the short way to a broker in
    this process.
    """

    def __init__(
        self,
        name: str,
        owner: LabOwner,
        idle_exit_s: float | None = None,
        keepalive_s: int = client.KEEPALIVE_S,
        retain: bool = False,
        broadcast: Broadcast | None = None,
        period_s: float = PERIOD_S,
    ) -> None:
        if not messages.is_name(name):
            raise UsageError(f"agent name {name!r}: letters, digits, dots, dashes and underscores only")
        self.name = name
        self.dropped_messages = 0
        self._owner = owner
        self._idle_exit_s = idle_exit_s
        self._keepalive_s = keepalive_s
        self._in_flight: set[asyncio.Task[None]] = set()
        self._seen: deque[str] = deque(maxlen=_REMEMBERED_REQUESTS)
        self._last_request = time.monotonic()
        self._threads = ThreadPoolExecutor(MAX_IN_FLIGHT + 1, thread_name_prefix="verb")
        self._stopping = asyncio.Event()
        self._lost: tuple[float, str] | None = None
        self._telemetry = Telemetry(name, owner.observe, self._threads, retain, broadcast, period_s)
        self._told: tuple[aiomqtt.Client, asyncio.AbstractEventLoop] | None = None
        owner.tell = self._tell

    def stop(self) -> None:
        """Ask the agent to end; `serve` returns soon after. To be called from the event loop's thread."""
        self._stopping.set()

    async def serve(self, address: BrokerAddress, on_ready: Callable[[], None], reconnect: bool) -> None:
        """Take requests until told to stop. Calls `on_ready` once requests are heard.

        With `reconnect` a lost broker is tried again every second, and labs live on meanwhile; without, it ends the
        agent with `BusError`. The data planes are stopped in the end, whatever the reason.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        try:
            while not self._stopping.is_set():
                try:
                    await self._session(address, on_ready)
                except aiomqtt.MqttError as error:
                    if not reconnect:
                        raise client.BusError(f"broker {address}: {error}") from None
                    self._lost = self._lost or (time.monotonic(), str(error))
                    _log.warning("broker %s: %s; connecting again", address, error)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._stopping.wait(), _RECONNECT_S)
        finally:
            await loop.run_in_executor(self._threads, self._owner.close)
            self._threads.shutdown()

    async def _session(self, address: BrokerAddress, on_ready: Callable[[], None]) -> None:
        """Live through one connection to the broker. Returns when told to stop; raises `MqttError` when it is lost."""
        status = messages.status_topic(self.name)
        will = aiomqtt.Will(status, messages.OFFLINE, qos=1, retain=True)
        # Another id for each session: one that became known cannot be used to throw this agent out again.
        async with client.client(address, client.new_identifier("a"), will, self._keepalive_s) as mqtt:
            await mqtt.subscribe([(f"{messages.PREFIX}/+/{self.name}/command", 1), (status, 1)])
            if self._telemetry.retained:
                await mqtt.subscribe([(topic, 0) for topic in self._telemetry.retained])
            await mqtt.publish(status, messages.ONLINE, qos=1, retain=True)
            self._telemetry.begin_session()
            self._told = mqtt, asyncio.get_running_loop()
            on_ready()
            await self._publish_return(mqtt)
            telling = asyncio.create_task(self._telemetry.run(mqtt))
            others = (self._listen(mqtt), self._watch_idle(), self._stopping.wait())
            tasks = [telling, *(asyncio.create_task(work) for work in others)]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                # The reply to `shutdown` itself is still on its way.
                await self._finish_requests()
                await client.end(telling)
                await self._telemetry.take_back(mqtt)
                await mqtt.publish(status, messages.OFFLINE, qos=1, retain=True)
            finally:
                self._told = None
                await client.end(*tasks)

    def _tell(self, lab: str, event: dict[str, Any]) -> None:
        """Publish what happens to a run, from its thread; nobody is told what happens while the broker is lost."""
        if (session := self._told) is not None:
            asyncio.run_coroutine_threadsafe(self._telemetry.event(session[0], lab, **event), session[1])

    async def _publish_return(self, mqtt: aiomqtt.Client) -> None:
        """Publish that this agent was off line and why, if it was: somebody else may have connected as it."""
        if self._lost is None:
            return
        since, reason = self._lost
        self._lost = None
        away_s = round(time.monotonic() - since, 3)
        _log.warning("agent %s is back after %g s", self.name, away_s)
        about = {"agent": self.name, "reason": reason, "away_s": away_s}
        await self._telemetry.event(mqtt, messages.NO_LAB, "agent reconnected", **about)

    async def _finish_requests(self) -> None:
        self._owner.interrupt_all()
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=_PUBLISH_S)

    async def _listen(self, mqtt: aiomqtt.Client) -> None:
        async for message in mqtt.messages:
            payload = bytes(message.payload) if isinstance(message.payload, bytes | bytearray) else b""
            if str(message.topic) == messages.status_topic(self.name):
                await self._contradict(mqtt, payload, message.retain)
                if not message.retain and self._telemetry.retained:
                    # The word of this session has come round, and all that was retained before it.
                    await mqtt.unsubscribe(list(self._telemetry.retained))
                continue
            if any(message.topic.matches(topic) for topic in self._telemetry.retained):
                if message.retain:
                    self._telemetry.recall(str(message.topic), payload)
                continue
            # Retained commands are left over from somebody's mistake: to obey one at every start would be another.
            if message.retain:
                self._drop("a retained command")
                continue
            lab = str(message.topic).split("/")[1]
            try:
                request = messages.decode_request(payload)
                verb, body = verbs.decode(request)
            except messages.InvalidMessage as error:
                await self._refuse(mqtt, error)
                continue
            self._accept(mqtt, lab, request, verb, body)

    async def _contradict(self, mqtt: aiomqtt.Client, status: bytes, retained: bool) -> None:
        """Publish that this agent is on line if the contrary was: the last will of a session before this one may come late."""
        if not retained and status != messages.ONLINE and not self._stopping.is_set():
            await mqtt.publish(messages.status_topic(self.name), messages.ONLINE, qos=1, retain=True)

    async def _refuse(self, mqtt: aiomqtt.Client, error: messages.InvalidMessage) -> None:
        if error.reply_to is None or error.correlation_id is None:
            self._drop(str(error))
            return
        fault = messages.ErrorBody(message=f"invalid message: {error}", exit_code=UsageError.exit_code)
        reply = messages.Reply(correlation_id=error.correlation_id, kind="error", body=fault.model_dump())
        await mqtt.publish(error.reply_to, messages.encode(reply), qos=1)

    def _drop(self, reason: str) -> None:
        self.dropped_messages += 1
        _log.warning("message dropped: %s", reason)

    def _accept(self, mqtt: aiomqtt.Client, lab: str, request: messages.Request, verb: Verb[Any], body: Body) -> None:
        # At-least-once delivery may bring a request twice; the first one answers.
        if request.correlation_id in self._seen:
            return
        self._seen.append(request.correlation_id)
        self._last_request = time.monotonic()
        task = asyncio.create_task(self._serve_request(mqtt, lab, request, verb, body))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    async def _serve_request(
        self, mqtt: aiomqtt.Client, lab: str, request: messages.Request, verb: Verb[Any], body: Body
    ) -> None:
        async def reply(kind: str, content: dict[str, Any]) -> None:
            envelope = messages.Reply.model_validate(
                {"correlation_id": request.correlation_id, "kind": kind, "body": content}
            )
            await mqtt.publish(request.reply_to, messages.encode(envelope), qos=1, timeout=_PUBLISH_S)

        async def show_life() -> None:
            await asyncio.sleep(client.FIRST_ALIVE_S)
            while True:
                await reply("alive", {})
                await asyncio.sleep(client.ALIVE_PERIOD_S)

        loop = asyncio.get_running_loop()

        def progress(content: dict[str, Any]) -> None:
            asyncio.run_coroutine_threadsafe(reply("progress", content), loop)

        life = asyncio.create_task(show_life())
        try:
            kind, content = await self._perform(lab, verb, body, progress)
        finally:
            await client.end(life)
            self._last_request = time.monotonic()
        try:
            await reply(kind, content)
            await self._publish_change(mqtt, lab, verb, body, kind, content)
        except messages.InvalidMessage as error:
            await reply("error", messages.ErrorBody(message=f"{verb}: {error}").model_dump())
        except aiomqtt.MqttError as error:
            _log.warning("%s: nobody hears the answer: %s", verb, error)
        if verb is verbs.SHUTDOWN:
            self.stop()

    async def _publish_change(
        self, mqtt: aiomqtt.Client, lab: str, verb: Verb[Any], body: Body, kind: str, content: dict[str, Any]
    ) -> None:
        """Tell everybody what was done to a lab; what changed nothing is no event."""
        if verb.event is None or (isinstance(body, messages.ImpairBody) and body.action == "show"):
            return
        if kind == "error":
            await self._telemetry.event(mqtt, lab, f"{verb} failed", reason=content["message"])
        elif not verb.is_told and content.get("changed", True):
            about = {key: content[key] for key in ("complete", "reasons", "directions", "lost") if key in content}
            await self._telemetry.event(mqtt, lab, verb.event, **about)

    async def _perform(
        self, lab: str, verb: Verb[Any], body: Body, progress: client.Progress
    ) -> tuple[str, dict[str, Any]]:
        """Do the verb in a thread of its own; return the kind and body of the reply."""
        loop = asyncio.get_running_loop()
        try:
            if len(self._in_flight) > MAX_IN_FLIGHT:
                raise client.BusError(f"agent {self.name} is busy with {MAX_IN_FLIGHT} requests; try again")
            _check_lab(lab, body)
            result = await loop.run_in_executor(self._threads, verb.perform, self._owner, body, progress)
            return "result", result
        except TestbedError as error:
            return "error", messages.ErrorBody(message=str(error), exit_code=error.exit_code).model_dump()
        except Exception as error:  # noqa: BLE001  logged with its traceback, and answered
            # A defect of ours ends this one request, not the labs of everybody else. The log has the traceback.
            _log.exception("%s failed", verb)
            fault = messages.ErrorBody(message=f"{verb}: internal error in the agent: {error!r}; see its log")
            return "error", fault.model_dump()

    async def _watch_idle(self) -> None:
        """Return, and so end the agent, when nobody has needed it for long enough."""
        while True:
            await asyncio.sleep(_IDLE_CHECK_S)
            if self._in_flight or self._owner.has_labs() or self._idle_exit_s is None:
                continue
            if time.monotonic() - self._last_request > self._idle_exit_s:
                _log.info("no lab and no request for %g s", self._idle_exit_s)
                self.stop()


def _check_lab(topic_lab: str, body: Body) -> None:
    """Hold the lab of the topic against that of the body: a client may be allowed on some labs' topics only."""
    if not body.about:
        raise UsageError("plan.lab: not a safe identifier")
    if body.about != topic_lab:
        raise UsageError(f"a request about {body.about} came on the topic of {topic_lab}")
