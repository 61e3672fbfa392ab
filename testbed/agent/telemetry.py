"""What an agent tells of its labs without being asked: counters of ports, each lab as a whole, and what is done to it.

Counters and states are said when they changed, at most ten times a second unless told otherwise, and retained where the broker
is shared, so that who subscribes later knows at once; what is retained of a lab goes with the lab, and all of it with the agent.
What a killed agent left there goes when it is back. Events are said once and never retained. On a shared broker there is more
for pages: what a lab is made of, and what changed of all its ports in one message. `bus.told` has the models.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Any

import aiomqtt

from testbed.agent.lab import Observation
from testbed.agent.live import LiveLab
from testbed.bus import client, messages, told
from testbed.bus.embedded import Broadcast
from testbed.errors import UsageError
from testbed.units import parse_time

_log = logging.getLogger(__name__)

PERIOD_S = 0.1
LEAST_S, MOST_S = 0.05, 60.0
# The share of the time for which a data plane may stand still to be looked at: so little that it does not show in the 99th
# percentile of lateness. 100 ports take a tenth of it at ten looks a second.
STOPPED_SHARE = 0.005
# How long to wait after a look that failed.
_FAILED_S = 1.0

Document = dict[str, Any]
Observe = Callable[[], Observation]


def read_period(text: str) -> float:
    """Return the seconds of `100ms`, within bounds. Raises UsageError for anything else."""
    try:
        period_s = parse_time(text) / 10**12
    except ValueError:
        period_s = 0.0
    if not LEAST_S <= period_s <= MOST_S:
        raise UsageError(f'--telemetry "{text}": not a time from {LEAST_S * 1000:g}ms to {MOST_S:g}s, as 100ms')
    return period_s


def pause_s(took_s: float, seen: Observation | None, period_s: float = PERIOD_S) -> float:
    """Return how long to wait after a look that took so long, publishing included; None is one that failed.

    Half of the time, at least, is left to the agent's other work.
    """
    if seen is None:
        return _FAILED_S
    return max(period_s - took_s, took_s, seen.stopped_s / STOPPED_SHARE - took_s)


class Telemetry:
    """Publish what `observe` sees, every `period_s` at most.

    With `retain` the broker keeps the last word on each topic for newcomers, and pages are told what they draw. With `broadcast`
    it goes to a broker in this process, which retains nothing, without MQTT in between.
    """

    def __init__(
        self,
        agent: str,
        observe: Observe,
        threads: Executor,
        retain: bool,
        broadcast: Broadcast | None = None,
        period_s: float = PERIOD_S,
    ) -> None:
        self._agent = agent
        self._observe = observe
        self._threads = threads
        self._retain = retain
        self._broadcast = broadcast
        self._period_s = period_s
        self._said: dict[str, Document] = {}
        self._left: set[str] = set()
        self._live: dict[str, LiveLab] = {}
        self._session = ""
        self._numbers: Counter[str] = Counter()

    @property
    def retained(self) -> tuple[str, ...]:
        """The topics on which the broker may hold what an earlier session of this agent said; none if it retains nothing."""
        names = messages.telemetry_topic("+", "+", "+"), messages.state_topic("+"), messages.topology_topic("+")
        return names if self._retain else ()

    def recall(self, topic: str, payload: bytes) -> None:
        """Hear of something that the broker retains: what is this agent's and of a lab that is gone goes at the next look."""
        document = messages.decode_told(payload)
        if document is not None and document.get("agent") == self._agent:
            self._left.add(topic)

    def begin_session(self) -> None:
        """Begin to speak to a broker, which is told everything anew; messages are numbered from 1."""
        self._session = secrets.token_hex(4)
        self._numbers.clear()
        self._said.clear()
        self._live.clear()

    async def take_back(self, mqtt: aiomqtt.Client) -> None:
        """Have the broker forget all that it retains of this agent's labs: without an agent nothing of it is true."""
        if self._retain:
            await client.publish_all(mqtt, dict.fromkeys(self._said.keys() | self._left), retain=True)
            self._said.clear()

    async def run(self, mqtt: aiomqtt.Client) -> None:
        """Publish until cancelled."""
        while True:
            began = time.monotonic()
            seen = await self._sample()
            if seen is not None:
                await self._publish(mqtt, seen)
            await asyncio.sleep(pause_s(time.monotonic() - began, seen, self._period_s))

    async def event(self, mqtt: aiomqtt.Client, lab: str, event: str, **details: Any) -> None:
        """Publish that something was done to a lab."""
        topic = messages.events_topic(lab)
        await mqtt.publish(topic, self._text(topic, lab, _now(), {"event": event, **details}), qos=1)

    def _text(self, topic: str, lab: str, at: str, body: Document) -> str:
        """Return a message with its head, which has the next number on its topic."""
        self._numbers[topic] += 1
        head = {"v": told.VERSION, "agent": self._agent, "lab": lab, "at": at}
        numbered = {**head, "session": self._session, "seq": self._numbers[topic], **body}
        return json.dumps(numbered, separators=(",", ":"))

    async def _sample(self) -> Observation | None:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._observe)
        except Exception:  # noqa: BLE001  a defect in telemetry must not end the labs
            _log.exception("telemetry failed")
            return None

    async def _publish(self, mqtt: aiomqtt.Client, seen: Observation) -> None:
        at = _now()
        now = {messages.telemetry_topic(*key): value for key, value in seen.ports.items()}
        now |= {messages.state_topic(lab): value for lab, value in seen.labs.items()}
        if self._retain:
            now |= {messages.topology_topic(lab): value for lab, value in seen.topologies.items()}
        changed = {
            topic: self._text(topic, _lab(topic), at, {**_moment(seen, topic), **value})
            for topic, value in now.items()
            if self._said.get(topic) != value
        }
        if self._broadcast is None:
            gone = (self._said.keys() | self._left) - now.keys() if self._retain else ()
            self._left.clear()
            for topic in gone:
                self._numbers.pop(topic, None)
            await client.publish_all(mqtt, {**changed, **dict.fromkeys(gone)}, self._retain)
        else:
            for topic, text in changed.items():
                await self._broadcast(topic, text)
        self._said = now
        if self._retain:
            await client.publish_all(mqtt, self._live_messages(seen, at), retain=False)

    def _live_messages(self, seen: Observation, at: str) -> dict[str, str | None]:
        """Return for each lab what changed at its ports, by topic."""
        self._live = {lab: self._live.get(lab) or LiveLab() for lab in seen.labs}
        by_lab: dict[str, dict[str, Document]] = {lab: {} for lab in seen.labs}
        for (lab, node, port), counters in seen.ports.items():
            by_lab[lab][f"{node}:{port}"] = counters
        said: dict[str, str | None] = {}
        for lab, ports in by_lab.items():
            if (message := self._live[lab].message(ports, time.monotonic())) is not None:
                topic = messages.live_topic(lab, self._agent)
                said[topic] = self._text(topic, lab, at, {**seen.moments[lab], **message})
        return said


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _lab(topic: str) -> str:
    return topic.split("/")[1]


def _moment(seen: Observation, topic: str) -> Document:
    """Return the moment of what was seen; what a lab is made of has none."""
    return {} if topic.endswith("/topology") else seen.moments.get(_lab(topic), {})
