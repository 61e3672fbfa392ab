"""How time passes for a generator, and what its fabric has counted by then. Either clock.

Under the virtual clock time passes when somebody looks: at metrics, states or a capture. Flows that end are then run to
their end, unless a step is given; those that do not end go on for a step with every look. Under the real clock time passes
by itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from testbed.contract.plan import Plan
from testbed.otg.config import Config, Flow
from testbed.otg.validation import Refused
from testbed.run.engine import Engine
from testbed.units import PS_PER_MS, PS_PER_US

DEFAULT_STEP_PS = PS_PER_MS
SETTLING_PS = 100 * PS_PER_US
_EVENTS = 1_000_000
_PATIENCE_S = 30.0
"""Wall seconds that one request may let the virtual clock run."""
_MOST_SETTLING = 500

Transmit = Literal["started", "stopped", "paused"]
Clock = Literal["virtual", "real"]


class Generator(Engine, Protocol):
    """A fabric that meters flows."""

    def withdraw(self, flows: str) -> None:
        """Forget what is left of the trains of these flows, a JSON list of numbers."""

    def meters(self) -> str:
        """Return what the ports of hosts have sent and received of flows, as JSON."""


OpenGenerator = Callable[[Plan], AbstractContextManager[Generator]]


@dataclass
class Running:
    """A flow that was started: the numbers of its streams in the data plane, and when."""

    flow: Flow
    numbers: list[int]
    started_ps: int
    ends_ps: int | None
    transmit: Transmit = "started"
    paused_ps: int = 0
    held: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By number of a stream that is paused: the frames sent, and the time that it had been running."""


@dataclass(frozen=True)
class Counted:
    """What ports have counted: meters by port, the report of the fabric, and the time."""

    meters: Mapping[str, Mapping[str, Any]]
    report: Mapping[str, Any]
    now_ps: int

    def sent(self, number: int, port: str) -> Mapping[str, Any]:
        """Return what a port has sent of a stream."""
        rows = self.meters[port]["sent"]
        return next((row for row in rows if row["flow"] == number), _NOTHING_SENT)

    def received(self, number: int, ports: Iterable[str]) -> list[Mapping[str, Any]]:
        """Return what ports have received of a stream."""
        return [row for port in ports for row in self.meters[port]["received"] if row["flow"] == number]


_NOTHING_SENT: Mapping[str, Any] = {"frames": 0, "bytes": 0, "first_ps": None, "last_ps": None, "running": False}


class Passing:
    """The fabric of a generator and the flows on it, as time passes."""

    def __init__(self, plan: Plan, clock: Clock, step_ps: int | None) -> None:
        self.lab_plan = plan
        self.clock: Clock = clock
        self.config: Config | None = None
        self.running: dict[str, Running] = {}
        self._step_ps = step_ps
        self._engine: Generator | None = None
        self._unseen = False
        self.stateful = False

    def configured(self) -> Config:
        """Return the configuration. Raises Refused if there is none yet."""
        if self.config is None:
            raise Refused(["no configuration: set one first"])
        return self.config

    @property
    def engine(self) -> Generator:
        """The fabric. Raises Refused without a configuration."""
        self.configured()
        assert self._engine is not None
        return self._engine

    def counted(self) -> Counted:
        """Return what has been counted, and note which flows are over."""
        meters = {each["port"]: each for each in json.loads(self.engine.meters())}
        report = json.loads(self.engine.report())
        counted = Counted(meters, report, report["now_ps"])
        for running in self.running.values():
            pairs = zip(running.flow.streams, running.numbers, strict=True)
            alive = any(counted.sent(number, stream.source.place)["running"] for stream, number in pairs)
            if running.transmit == "started" and not alive:
                running.transmit = "stopped"
        return counted

    def _let_pass(self, *, to_their_end: bool) -> None:
        """Let time pass where flows were started and nobody has looked since."""
        if self._unseen:
            self._advance(step_alone=not to_their_end)

    def _advance(self, step_alone: bool = False) -> None:
        if self.clock == "real" or self.config is None:
            return
        self._unseen = False
        started = [each for each in self.running.values() if each.transmit == "started"]
        if not started and not self.stateful:
            return
        deadline = time.monotonic() + _PATIENCE_S
        ending = [each.ends_ps for each in started if each.ends_ps is not None]
        if not ending or step_alone or self._step_ps is not None:
            self._run(self._now_ps() + (self._step_ps or DEFAULT_STEP_PS), deadline)
            self._settle_if_over()
            return
        now_ps, last_ps = self._now_ps(), max(ending)
        self._run(max(last_ps, now_ps) + 1, deadline)
        # What pauses have held up may come later: as long again, and a little more, with every look.
        late_ps = max(last_ps - now_ps, 0) + 10 * DEFAULT_STEP_PS
        self._run_while_late(self._now_ps() + late_ps, deadline)
        self._settle_if_over()

    def _run_while_late(self, until_ps: int, deadline: float) -> None:
        while self._now_ps() < until_ps and time.monotonic() < deadline:
            self.counted()
            if not any(each.transmit == "started" and each.ends_ps is not None for each in self.running.values()):
                return
            self._run(min(until_ps, self._now_ps() + DEFAULT_STEP_PS), deadline)

    def _settle_if_over(self) -> None:
        counted = self.counted()
        self.stateful = self.stateful and not counted.report["complete"]
        if not self.stateful and all(each.transmit != "started" for each in self.running.values()):
            self._settle()

    def _settle(self) -> None:
        """Run on until nothing more arrives: frames of flows that are over are still under way."""
        step_ps = SETTLING_PS + 4 * sum(link["delay_ps"] for link in self.lab_plan["links"][:64])
        before = None
        for _ in range(_MOST_SETTLING):
            received = [(each["port"], each["frames_rx"]) for each in json.loads(self.engine.meters())]
            if received == before and not self._queued():
                return
            before = received
            self._run(self._now_ps() + step_ps, time.monotonic() + _PATIENCE_S)

    def _queued(self) -> bool:
        """Return whether frames stand in a queue, which may be paused."""
        ports = json.loads(self.engine.report())["ports"].values()
        return any(each["queue_bytes"] for port in ports for each in port["priorities"].values())

    def _run(self, until_ps: int, deadline: float) -> None:
        while not self.engine.run_until(until_ps, _EVENTS) and time.monotonic() < deadline:
            pass

    def _now_ps(self) -> int:
        return int(json.loads(self.engine.report())["now_ps"])
