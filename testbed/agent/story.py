"""What is told of the runs on a lab: that one began, how far it is, how it ended; and the same for those who come later."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from testbed.bus import told
from testbed.progress import Pace

Document = dict[str, Any]
Tell = Callable[[Document], None]

PERIOD_S = 1.0
"""Seconds between two words on how far a run is, at least."""


class Story:
    """The run under way on a lab, and the one before. What is told of it comes from the thread of the run."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pace = Pace(PERIOD_S, clock)
        self._began_s = 0.0
        self.current: Document | None = None
        self.progress: Document | None = None
        self.last: Document | None = None

    def begin(self, about: Document, run: str, tell: Tell) -> None:
        """Tell that a run began. `about` is a `RunStarted`."""
        self._began_s = self._clock()
        self._pace = Pace(PERIOD_S, self._clock)
        self._pace.is_due()
        self.progress = None
        self.current = {**about, "run": run}
        tell(self.current)

    def go_on(self, step: Document, tell: Tell) -> None:
        """Tell how far it is, if it is time. `step` is a `RunStep`; nothing is told of one that nobody began."""
        current = self.current
        if current is None or step.get("nominal_ps") is None or not self._pace.is_due():
            return
        elapsed_s = self._clock() - self._began_s
        nominal_ns, share = step["nominal_ps"] // 1000, step.get("share")
        self.progress = {
            "event": told.RUN_PROGRESS,
            "run": current["run"],
            **{key: step[key] for key in ("row", "rows", "size_bytes")},
            "nominal_ns": nominal_ns,
            "rate": nominal_ns / 1e9 / elapsed_s if elapsed_s > 0 else 0.0,
            "share": share,
            "left_s": elapsed_s * (1 - share) / share if share else None,
        }
        tell(self.progress)

    def end(self, about: Document, result: Document | None, tell: Tell) -> None:
        """Tell that it is over. `about` is a `RunEnded`; `result` says where its controller writes it down."""
        if self.current is None:
            return
        wall_s = round(self._clock() - self._began_s, 3)
        self.last = {**about, "run": self.current["run"], "wall_s": wall_s, "result": result}
        self.current = self.progress = None
        tell(self.last)

    def give_up(self) -> None:
        """Forget a run that did not come to an outcome; of that its request is answered."""
        self.current = self.progress = None
