"""What a result says of its own making: what was run with which addresses, what was expected, when and where."""

from __future__ import annotations

import os
import platform
import time
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from testbed.run.verdict import ResultModel


class Address(ResultModel):
    """How frames reach a NIC."""

    mac: str
    ip: str


class Settings(ResultModel):
    """What was run, with defaults: the lab that a generator or file made, and the experiment with what options changed."""

    lab: dict[str, Any]
    experiment: dict[str, Any]


class CheckedExpectation(ResultModel):
    """An expectation as written, whether it held, and what was measured beside what was wanted."""

    text: str
    held: bool
    explanation: str


class Provenance(ResultModel):
    """When and on which machine a run was made; two runs of one seed differ in nothing else under the virtual clock."""

    started: str = Field(description="date and time at which the run began, UTC")
    host: str = Field(description="name of the machine that the command ran on")
    processors: int = Field(description="processors that the command could use")
    wall_s: float = Field(description="wall time of the run, the building of its lab included")


class Stopwatch:
    """Starts when it is made."""

    def __init__(self) -> None:
        self._started = datetime.now(UTC)
        self._began_s = time.monotonic()

    def provenance(self) -> Provenance:
        """Return when and where it was made, and the wall time since."""
        return Provenance(
            started=self._started.isoformat(timespec="seconds"),
            host=platform.node(),
            processors=len(os.sched_getaffinity(0)),
            wall_s=round(time.monotonic() - self._began_s, 3),
        )
