"""What an agent tells of its labs without being asked: counters of ports, each lab as a whole, and what is done to it.

Counters and states are said when they changed, at most ten times a second, and retained where the broker is shared, so that
who subscribes later knows at once, with the name of the agent; what is retained of a lab goes with the lab, and all of it with
the agent. What a killed agent left there goes when it is back. Events are said once and never retained.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Any

import aiomqtt

from testbed.agent.lab import Observation
from testbed.bus import client, messages
from testbed.bus.embedded import Broadcast

_log = logging.getLogger(__name__)

PERIOD_S = 0.1
# The share of the time for which a data plane may stand still to be looked at: so little that it does not show in the 99th
# percentile of lateness. 100 ports take a tenth of it at ten looks a second.
STOPPED_SHARE = 0.005
# How long to wait after a look that failed.
_FAILED_S = 1.0

Observe = Callable[[], Observation]


def pause_s(took_s: float, seen: Observation | None) -> float:
    """Return how long to wait after a look that took so long, publishing included; None is one that failed.

    Half of the time, at least, is left to the agent's other work.
    """
    if seen is None:
        return _FAILED_S
    return max(PERIOD_S - took_s, took_s, seen.stopped_s / STOPPED_SHARE - took_s)


class Telemetry:
    """Publish what `observe` sees. `retain`: the broker keeps the last word on each topic for newcomers.

    What is retained carries the name of the `agent`. With `broadcast` it goes to a broker in this process, which retains nothing,
    without MQTT in between.
    """

    def __init__(
        self, agent: str, observe: Observe, threads: Executor, retain: bool, broadcast: Broadcast | None = None
    ) -> None:
        self._about: dict[str, Any] = {"agent": agent} if retain else {}
        self._observe = observe
        self._threads = threads
        self._retain = retain
        self._broadcast = broadcast
        self._said: dict[str, str] = {}
        self._left: set[str] = set()

    @property
    def retained(self) -> tuple[str, ...]:
        """The topics on which the broker may hold what an earlier session of this agent said; none if it retains nothing."""
        return (messages.telemetry_topic("+", "+", "+"), messages.state_topic("+")) if self._retain else ()

    def recall(self, topic: str, payload: bytes) -> None:
        """Hear of something that the broker retains: what is this agent's and of a lab that is gone goes at the next look."""
        document = messages.decode_told(payload)
        if document is not None and document.get("agent") == self._about.get("agent"):
            self._left.add(topic)

    async def take_back(self, mqtt: aiomqtt.Client) -> None:
        """Have the broker forget all that it retains of this agent's labs: without an agent nothing of it is true."""
        if self._retain:
            await client.publish_all(mqtt, dict.fromkeys(self._said.keys() | self._left), retain=True)
            self._said.clear()

    async def run(self, mqtt: aiomqtt.Client) -> None:
        """Publish until cancelled. A new session says everything anew."""
        self._said.clear()
        while True:
            began = time.monotonic()
            seen = await self._sample()
            if seen is not None:
                await self._publish(mqtt, seen)
            await asyncio.sleep(pause_s(time.monotonic() - began, seen))

    async def event(self, mqtt: aiomqtt.Client, lab: str, what: str, **details: Any) -> None:
        """Publish that something was done to a lab."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        document = {"at": now, "lab": lab, "event": what, **details}
        await mqtt.publish(messages.events_topic(lab), json.dumps(document), qos=1)

    async def _sample(self) -> Observation | None:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._observe)
        except Exception:  # noqa: BLE001  a defect in telemetry must not end the labs
            _log.exception("telemetry failed")
            return None

    async def _publish(self, mqtt: aiomqtt.Client, seen: Observation) -> None:
        payloads = {messages.telemetry_topic(*key): value for key, value in seen.ports.items()}
        payloads |= {messages.state_topic(lab): value for lab, value in seen.labs.items()}
        now = {topic: json.dumps({**value, **self._about}, sort_keys=True) for topic, value in payloads.items()}
        changed = {topic: text for topic, text in now.items() if self._said.get(topic) != text}
        if self._broadcast is None:
            gone = (self._said.keys() | self._left) - now.keys() if self._retain else ()
            self._left.clear()
            await client.publish_all(mqtt, {**changed, **dict.fromkeys(gone)}, self._retain)
        else:
            for topic, text in changed.items():
                await self._broadcast(topic, text)
        self._said = now
