"""How far a run is: its nominal time, and the share of its packets that were sent, or of a trace's ops that have ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from testbed.contract.report import Report
from testbed.contract.workload import Workload
from testbed.run.engine import Engine

PERIOD_S = 1.0
_MOST_OF_TIME = 0.05
"""Reports of large labs take long: of the time of a run they take this share at most."""


class Reading(NamedTuple):
    """Nominal time of the fabric, and the share of the run that is done; null where nobody has asked."""

    nominal_ps: int | None = None
    share: float | None = None


class Meter(Protocol):
    """Reads nominal time in ps, and how many packets NICs have sent, of the loaded workload alone or in all."""

    in_all: bool

    def read(self) -> tuple[int, int]:
        """Return both."""


class ReportMeter:
    """Reads the report of an engine, which leaves out packets that were sent again."""

    in_all = False

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self) -> tuple[int, int]:
        """Return nominal time, and the packets of the loaded workload."""
        report: Report = json.loads(self._engine.report())
        return report["now_ps"], sum(qp["packets_tx"] - qp["retransmitted"] for qp in report["qps"])


class Gauge:
    """Asks a meter how far a run is, about once a second; no meter where nobody looks.

    `total` is the weight of all workloads of the run, each of which has its own.
    """

    def __init__(self, meter: Meter | None, total: float = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._meter = meter
        self._total = max(total, 1)
        self._clock = clock
        self._due_s = clock() + PERIOD_S
        self._done = self._weight = 0.0
        self._packets = 0
        self._share_of_trace: Callable[[], float] | None = None
        self._before: int | None = None
        self._reading = Reading()

    def expect(self, workload: Workload) -> None:
        """Count the packets of the workload that is run next."""
        self._packets = packets_of(workload) if self._meter is not None else 0

    def follow(self, share: Callable[[], float]) -> None:
        """Ask `share` for what is done of the workload, where its ops are not in it but on disk."""
        self._share_of_trace = share

    def begin(self, weight: float = 1) -> None:
        """Note that a workload begins; the one before it is done."""
        self._done += self._weight
        self._weight = weight
        if self._meter is not None and self._meter.in_all:
            self._before = self._meter.read()[1]

    def read(self) -> Reading:
        """Return how far the run is, as of the last second."""
        now_s = self._clock()
        if self._meter is not None and now_s >= self._due_s:
            now_ps, sent = self._meter.read()
            share = self._share(sent - (self._before or 0))
            self._reading = Reading(now_ps, min((self._done + self._weight * share) / self._total, 1.0))
            took_s = self._clock() - now_s
            self._due_s = now_s + max(PERIOD_S, took_s / _MOST_OF_TIME)
        return self._reading

    def _share(self, sent: int) -> float:
        if self._share_of_trace is not None:
            return self._share_of_trace()
        return max(0.0, min(sent / self._packets, 1.0)) if self._packets else 0.0


def packets_of(workload: Workload) -> int:
    """Return how many packets the messages of a workload are, without those that are repeated or carry parity."""
    mtu = workload["transport"]["mtu_bytes"]
    local = {number for number, pair in enumerate(workload["qps"]) if pair.get("local")}
    return sum(
        max(1, -(-op["bytes"] // mtu))
        for rank in workload["ranks"]
        for op in rank["ops"]
        if op["kind"] == "send" and op["qp"] not in local
    )
