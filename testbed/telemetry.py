"""What an agent tells of its labs without being asked: counters of ports, each lab as a whole, and what is done to it.

Counters and states are said when they changed, at most ten times a second, and retained where the broker is shared, so that
who subscribes later knows at once; what is retained of a lab goes with the lab. Events are said once and never retained.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Any

import aiomqtt

from testbed import messages
from testbed.owned import Observation

_log = logging.getLogger(__name__)

PERIOD_S = 0.1
# While the data plane writes a report, some 10 ns a byte, it forwards nothing. At this pace that is 0.2 % of the time, too
# little to show in the 99th percentile of lateness.
BYTES_PER_S = 200_000

Observe = Callable[[], Observation]


class Telemetry:
    """Publish what `observe` sees. `retain`: the broker keeps the last word on each topic for newcomers."""

    def __init__(self, observe: Observe, threads: Executor, retain: bool) -> None:
        self._observe = observe
        self._threads = threads
        self._retain = retain
        self._said: dict[str, str] = {}

    async def run(self, mqtt: aiomqtt.Client) -> None:
        """Publish until cancelled. A new session says everything anew."""
        self._said.clear()
        while True:
            seen = await self._look()
            await self._publish(mqtt, seen)
            await asyncio.sleep(max(PERIOD_S, seen.size_bytes / BYTES_PER_S))

    async def event(self, mqtt: aiomqtt.Client, lab: str, what: str, **details: Any) -> None:
        """Say that something was done to a lab."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        document = {"at": now, "lab": lab, "event": what, **details}
        await mqtt.publish(messages.events_topic(lab), json.dumps(document), qos=1)

    async def _look(self) -> Observation:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._observe)
        except Exception:  # noqa: BLE001  a defect in telemetry must not end the labs
            _log.exception("telemetry failed")
            return Observation({}, {}, BYTES_PER_S)

    async def _publish(self, mqtt: aiomqtt.Client, seen: Observation) -> None:
        now = {messages.telemetry_topic(*key): json.dumps(value, sort_keys=True) for key, value in seen.ports.items()}
        now |= {messages.state_topic(lab): json.dumps(value, sort_keys=True) for lab, value in seen.labs.items()}
        for topic, text in now.items():
            if self._said.get(topic) != text:
                await mqtt.publish(topic, text, qos=0, retain=self._retain)
        if self._retain:
            for topic in self._said.keys() - now.keys():
                await mqtt.publish(topic, None, qos=0, retain=True)
        self._said = now
