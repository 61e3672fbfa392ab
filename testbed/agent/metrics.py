"""Metrics of running labs over HTTP, for Prometheus and what reads its text: read only, and within bounds.

Whoever asks gets the counters of ports and labs as OpenMetrics text. However often that is, data planes are looked at no more
than once a second, and less often where looking holds them up, as for telemetry.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

from testbed import openmetrics
from testbed.agent.lab import Document, Observation
from testbed.agent.telemetry import pause_s
from testbed.bus.address import read_listening, written
from testbed.errors import HostError
from testbed.openmetrics import Sample
from testbed.run.verdict import UNTRUSTED

PATH = "/metrics"
LEAST_S = 1.0
"""Seconds for which what was seen is given again."""
MAX_CONNECTIONS = 16
MAX_HEAD_BYTES = 8192
_REQUEST_S = 5.0
_ANSWER_S = 10.0
_log = logging.getLogger(__name__)


def read_address(text: str) -> tuple[str, int]:
    """Return the IP address and the port of `PORT`, which is on loopback, `ADDRESS:PORT` or `[ADDRESS]:PORT`.

    Raises UsageError for anything else; names of hosts are not looked up.
    """
    return read_listening(text, "--metrics", 9464)


def metrics_of(seen: Observation) -> str:
    """Return what was seen of labs as OpenMetrics text."""
    return openmetrics.text_of(_samples(seen))


def _samples(seen: Observation) -> Iterator[Sample]:
    for lab, state in seen.labs.items():
        labels = {"lab": lab}
        about = {"driver": str(state["driver"]), "dilation": str(state["dilation"])}
        yield "testbed_lab_running", labels | about, 1.0
        yield "testbed_lab_busy", labels, float(state["busy"])
        yield "testbed_ranks", labels, float(state.get("ranks", 0))
        yield "testbed_ranks_finished", labels, float(state.get("ranks_finished", 0))
        yield from openmetrics.samples_of_drops(lab, state.get("drops", {}))
        yield from _samples_of_last(lab, state.get("last"))
    for (lab, node, port), counters in seen.ports.items():
        yield from openmetrics.samples_of_port(lab, f"{node}:{port}", counters.get("priorities", {}))


def _samples_of_last(lab: str, last: Document | None) -> Iterator[Sample]:
    """Yield what the run before gave: its verdict, and of its largest row the figures under the Inspector's names."""
    if last is None:
        return
    if last["verdict"] is not None:
        yield "testbed_passed", {"lab": lab}, float(last["passed"])
        yield "testbed_trusted", {"lab": lab}, float(last["exit_code"] != UNTRUSTED)
    labels = {"comm_name": lab, "collective": openmetrics.called(last["name"])}
    figures = last["figures"]
    if "busbw" in figures:
        labels["message_size"] = f"{figures['size_bytes']:.0f}"
        yield "nccl_bus_bandwidth_gbs", labels, figures["busbw"]
        yield "nccl_collective_exec_time_microseconds", labels, figures["time_us"]


class MetricsServer:
    """Answers GET and HEAD of /metrics, one request a connection, and nothing else."""

    def __init__(self, observe: Callable[[], Observation]) -> None:
        self._observe = observe
        self._looking = asyncio.Lock()
        self._text = ""
        self._due = float("-inf")
        self._connections = 0

    async def text(self) -> str:
        """Return the metrics of now, or of a moment ago."""
        async with self._looking:
            began = time.monotonic()
            if began >= self._due:
                seen = await asyncio.to_thread(self._observe)
                self._text = metrics_of(seen)
                ended = time.monotonic()
                self._due = ended + max(LEAST_S, pause_s(ended - began, seen))
            return self._text

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close the connection."""
        self._connections += 1
        try:
            if self._connections <= MAX_CONNECTIONS:
                async with asyncio.timeout(_REQUEST_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                async with asyncio.timeout(_ANSWER_S):
                    writer.write(await self._answer(head))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asks so gets no answer
        finally:
            self._connections -= 1
            writer.close()

    async def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response("400 Bad Request", "not a request of HTTP/1\n")
        method, target = words[0], words[1].split(b"?", 1)[0]
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", "only GET and HEAD\n", "Allow: GET, HEAD\r\n")
        if target != PATH.encode():
            return _response("404 Not Found", f"only {PATH}\n")
        try:
            text = await self.text()
        except Exception:  # noqa: BLE001  a defect in metrics must not end the labs
            _log.exception("metrics failed")
            return _response("500 Internal Server Error", "labs could not be looked at; the agent's log says why\n")
        answer = _response("200 OK", text, kind=openmetrics.CONTENT_TYPE)
        return answer if method == b"GET" else answer[: answer.index(b"\r\n\r\n") + 4]


def _response(status: str, text: str, more: str = "", kind: str = "text/plain; charset=utf-8") -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
    )
    return head.encode() + body


@asynccontextmanager
async def served(address: tuple[str, int] | None, observe: Callable[[], Observation]) -> AsyncIterator[str | None]:
    """Serve the metrics of what `observe` sees; yield where. Without an address nothing is served.

    Raises HostError where the system refuses the address.
    """
    if address is None:
        yield None
        return
    server = MetricsServer(observe)
    host, port = address
    try:
        listening = await asyncio.start_server(server.connected, host, port, limit=MAX_HEAD_BYTES)
    except OSError as error:
        raise HostError(f"--metrics {written(host, port)}: {os.strerror(error.errno or 0)}") from None
    try:
        yield f"http://{written(host, listening.sockets[0].getsockname()[1])}{PATH}"
    finally:
        listening.close()
