"""How far something is, said now and then: never so often that saying it takes time from doing it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

PERIOD_S = 0.2

Phase = Literal["containers", "namespaces", "links", "interfaces", "data plane"]
"""What is done while a lab is built, in this order: containers started (where nodes are some), namespaces labelled, links made,
interfaces up with all that belongs to them, ports attached to the data plane. A lab that is changed skips what stays."""

Publish = Callable[[Phase, int, int], None]
"""Hears that of a phase so many of so many are done."""


class Pace:
    """Publish whether it is time to say something again: at once, and from then on once in `period_s` at most."""

    def __init__(self, period_s: float = PERIOD_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._period_s = period_s
        self._clock = clock
        self._said_at: float | None = None

    def is_due(self) -> bool:
        """Return whether it is time; if so, it is taken as said."""
        now = self._clock()
        if self._said_at is not None and now - self._said_at < self._period_s:
            return False
        self._said_at = now
        return True


class Follower:
    """Hears how a study goes on; this one says nothing."""

    def begin(self, total: int) -> None:
        """So many points are to be computed."""

    def advance(self) -> None:
        """One more is."""


class BuildProgress:
    """Count what of a lab is built, phase by phase, from any thread; `tell` hears of it.

    It hears of the beginning of every phase, by which the one before is over, and of what is done in between at most five
    times a second. A phase in which nothing is to be done is left out. The end of the last one is not told: what follows it is
    the answer to whoever asked for the lab.
    """

    def __init__(self, publish: Publish | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._publish = publish
        self._clock = clock
        self._guard = threading.Lock()
        self._phase: Phase | None = None
        self._done = self._total = 0
        self._pace = Pace(clock=clock)

    def begin(self, phase: Phase, total: int) -> None:
        """Begin a phase in which `total` things are to be done."""
        with self._guard:
            self._phase, self._done, self._total = phase, 0, total
            self._pace = Pace(clock=self._clock)
            self._report()

    def advance(self, count: int = 1) -> None:
        """Report that so many more of the present phase are done."""
        with self._guard:
            self._done += count
            self._report()

    def _report(self) -> None:
        if self._publish is not None and self._phase is not None and self._total and self._pace.is_due():
            self._publish(self._phase, self._done, self._total)
