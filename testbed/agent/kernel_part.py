"""The kernel's part in a running lab: the links that netem imposes, and what they mean for a report."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from testbed.contract.plan import Plan
from testbed.contract.report import LinkListing, Report
from testbed.drivers import emulation
from testbed.drivers.emulation import Backlog, Emulation
from testbed.errors import UsageError

Document = dict[str, Any]

_LOOK_EVERY_S = 0.02
_PATIENCE_S = 1.0


class Counters(Protocol):
    """What is needed of a driver's counters of netem."""

    def read(self) -> Mapping[str, Backlog]:
        """Return what each end of a link has lost since the beginning, and holds."""

    def close(self) -> None:
        """Let go of what is held open."""


class Reporting(Protocol):
    """What is needed of a data plane."""

    def report(self) -> str:
        """Return all that was observed, as JSON."""


class KernelPart:
    """Who imposes the links of one lab. Without `counters` no link is netem's."""

    def __init__(self, plan: Plan, dilation: int, emulations: Sequence[Emulation], counters: Counters | None) -> None:
        self._plan = plan
        self._emulations = emulations
        self._counters = counters
        self._lost_before: Mapping[str, int] = {}
        self._lossy = emulation.lossy_ends(plan, emulations)
        self._longest_s = emulation.longest_delay_ns(plan, emulations, dilation) / 1e9

    def listing(self) -> list[LinkListing]:
        """Return who imposes each link."""
        return emulation.listing(self._plan, self._emulations)

    def refuse_timed(self, changes: Sequence[Mapping[str, Any]]) -> None:
        """Raise UsageError if changes at exact times are wanted of what netem imposes."""
        for number in emulation.timed(changes):
            if self._emulations[number].mode == "netem":
                one, two = self.listing()[number]["ends"]
                raise UsageError(
                    f"link {one} - {two} is emulated by netem, which cannot follow a timeline; "
                    "destroy the lab and run again: the run deploys what it needs"
                )

    def expect_losses(self, endpoint: str) -> None:
        """Expect losses at an end of a link from now on; those until now count as expected too."""
        self._lossy.add(endpoint)

    def begin_span(self) -> None:
        """Leave out of reports from here on what netem has lost until now."""
        if self._counters is not None:
            self._lost_before = {end: backlog.lost for end, backlog in self._counters.read().items()}

    def settle(self, fabric: Reporting, interrupted: threading.Event) -> None:
        """Wait until no frame of a workload that is over is inside netem, so that a report adds up.

        At most for the longest delay and a second: the hosts' kernels may go on sending.
        """
        if self._counters is None:
            return
        deadline = time.monotonic() + self._longest_s + _PATIENCE_S
        empty_before = False
        while time.monotonic() < deadline:
            if _unaccounted(json.loads(fabric.report())) == 0:
                return
            empty = not self.holds_frames()
            # Once more: what has just left netem is on its way through a socket.
            if (empty and empty_before) or interrupted.wait(_LOOK_EVERY_S):
                return
            empty_before = empty

    def holds_frames(self) -> bool:
        """Return whether any frame is inside netem."""
        return self._counters is not None and any(backlog.queued for backlog in self._counters.read().values())

    def await_empty(self, ends: Collection[str]) -> None:
        """Wait until netem holds no frame at these ends, which would vanish with a carrier; at most as `settle` does."""
        deadline = time.monotonic() + self._longest_s + _PATIENCE_S
        while self._counters is not None and time.monotonic() < deadline:
            counters = self._counters.read()
            if not any(counters[end].queued for end in ends if end in counters):
                return
            time.sleep(_LOOK_EVERY_S)

    def complete(self, report: Report) -> Report:
        """Return a report with the kernel's part in it. Only one of a real clock has such a part."""
        counters = self._counters.read() if self._counters else {}
        backlogs = {
            end: Backlog(max(backlog.lost - self._lost_before.get(end, 0), 0), backlog.queued)
            for end, backlog in counters.items()
        }
        return emulation.merge(report, self._plan, self._emulations, backlogs, self._lossy)

    def close(self) -> None:
        """Let go of the lab's namespaces."""
        if self._counters:
            self._counters.close()


def _unaccounted(report: Report) -> int:
    tally = report["conservation"]
    return int(tally["sent"] - tally["delivered"] - tally["dropped"] - tally["in_flight"])
