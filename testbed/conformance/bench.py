"""A switch on its bench at work: what testers send, when counters are read, and what a capture shows. Either clock."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, cast

from testbed import pcapng
from testbed.conformance import frames
from testbed.conformance.device import Device, DevicePort
from testbed.contract.plan import Plan
from testbed.run.engine import Engine
from testbed.sizes import LONGEST_PAUSE_QUANTA

Clock = Literal["virtual", "real"]

# Between two looks at interrupts.
_BUDGET: Mapping[Clock, int] = {"virtual": 1_000_000, "real": 100}
_REAL_STEP_PS = 50_000_000


OpenEngine = Callable[[Plan, int], AbstractContextManager[Engine]]
"""Opens a fabric of a plan; the number is how often the emulation was not faithful before, for a larger dilation."""


class Counters:
    """What the ports have counted so far, and when: `now_ps` from the start of the session."""

    def __init__(self, device: Device, report: Mapping[str, Any], start_ps: int) -> None:
        self._device = device
        self.report = report
        self.start_ps = start_ps
        self.now_ps: int = report["now_ps"] - start_ps

    def at(self, port: DevicePort, priority: int) -> Mapping[str, Any]:
        """Return the counters of one priority of the switch's port."""
        return self._of(f"switch:{port.name}", priority)

    def tester(self, port: DevicePort, priority: int) -> Mapping[str, Any]:
        """Return the counters of one priority of the tester behind a port."""
        return self._of(f"{port.tester}:eth1", priority)

    def _of(self, port: str, priority: int) -> Mapping[str, Any]:
        counters: Mapping[str, Any] = self.report["ports"][port]["priorities"].get(str(priority), _NONE)
        return counters

    def drops(self, priority: int, port: DevicePort | None = None) -> int:
        """Return the frames of a priority that the switch lost, for whatever cause, at one ingress port or all."""
        ports = self._device.ports if port is None else (port,)
        return sum(sum(self.at(each, priority)["drops"].values()) for each in ports)


_NONE: Mapping[str, Any] = {
    **dict.fromkeys(("frames_tx", "frames_rx", "bytes_tx", "bytes_rx", "pause_tx", "pause_rx", "paused_ns"), 0),
    **dict.fromkeys(("queue_bytes_max", "headroom_bytes_max", "ingress_bytes_max", "ecn_marked"), 0),
    "drops": {},
}


@dataclass(frozen=True)
class Seen:
    """A captured frame: when its first bit left a port, in ps from the start (whole ns), and its bytes without FCS."""

    at_ps: int
    frame: bytes

    @property
    def is_control(self) -> bool:
        """True for a MAC control frame."""
        return self.frame[12:14] == b"\x88\x08"

    @property
    def source(self) -> bytes:
        """The source MAC."""
        return self.frame[6:12]

    @property
    def destination(self) -> bytes:
        """The destination MAC."""
        return self.frame[:6]


@dataclass
class Session:
    """One run on the bench. Times are nominal ps from its start, which is the first call of `until`."""

    device: Device
    clock: Clock
    engine: Engine
    capture: Path | None = None
    _start_ps: int | None = None
    _trains: list[dict[str, Any]] = field(default_factory=list)

    def send(
        self,
        source: DevicePort,
        to: DevicePort,
        priority: int,
        count: int,
        *,
        length: int | None = None,
        every_ps: int = 0,
        at_ps: int = 0,
        obeys: bool = True,
        numbered: bool = False,
        psn: int = 0,
        plain: bool = False,
        dscp: int | None = None,
    ) -> None:
        """Let one tester send frames to another: RoCEv2 packets, or `plain` UDP of any exact length.

        `length` counts the FCS; without it frames are the longest that both links carry. One that `obeys` heeds pauses of
        its priority. `numbered` packets have PSNs that count up from `psn`.
        """
        length = min(source.frame_bytes, to.frame_bytes) if length is None else length
        chosen = self.device.dscp(priority) if dscp is None else dscp
        if plain:
            frame = frames.udp(source.station, to.station, chosen, length)
        else:
            frame = frames.roce(source.station, to.station, chosen, length, psn)
        heeds = {"priority": priority} if obeys else {}
        timing = {"at_ps": at_ps, "every_ps": every_ps, "count": count, "sequence": numbered}
        self._train(source, frame, {**timing, **heeds})

    def pause(
        self,
        port: DevicePort,
        times: Mapping[int, int],
        *,
        at_ps: int = 0,
        every_ps: int = 0,
        count: int = 1,
        enable: int | None = None,
        source: bytes | None = None,
    ) -> None:
        """Let the tester behind a port send PFC frames with these quanta by priority."""
        mac = port.station.mac if source is None else source
        self._train(port, frames.pfc(times, mac, enable), {"at_ps": at_ps, "every_ps": every_ps, "count": count})

    def hold(
        self, port: DevicePort, priority: int, from_ps: int, until_ps: int, *, source: bytes | None = None
    ) -> None:
        """Let the tester behind a port keep a priority paused, by refreshes, and let it go by an XON at `until_ps`."""
        every = port.quanta_ps() // 2
        count = -(-(until_ps - from_ps) // every)
        held = {priority: LONGEST_PAUSE_QUANTA}
        self.pause(port, held, at_ps=from_ps, every_ps=every, count=count, source=source)
        self.pause(port, {priority: 0}, at_ps=until_ps, source=source)

    def raw(self, port: DevicePort, frame: bytes, *, at_ps: int = 0, every_ps: int = 0, count: int = 1) -> None:
        """Let the tester behind a port send any frame."""
        self._train(port, frame, {"at_ps": at_ps, "every_ps": every_ps, "count": count})

    def change(self, changes: list[dict[str, Any]]) -> None:
        """Change links or ports, at times from the start (docs/internals/engine.md)."""
        self.engine.impair(json.dumps(changes))

    @property
    def step_ps(self) -> int:
        """The time between two looks that may not be mixed up: under the real clock frames come a little late."""
        return 0 if self.clock == "virtual" else _REAL_STEP_PS

    def until(self, at_ps: int) -> Counters:
        """Run on to a time, and return the counters then. What was asked for so far happens from the first call on."""
        if self._start_ps is None:
            self.engine.inject(json.dumps(self._trains))
            self._run(0)
            self._start_ps = int(json.loads(self.engine.report())["start_ps"])
        self._run(self._start_ps + at_ps)
        return Counters(self.device, json.loads(self.engine.report()), self._start_ps)

    def captured(self) -> list[Seen]:
        """Return every frame that left a port so far, in order of time; the capture ends with it."""
        if self.capture is None or self._start_ps is None:
            raise ValueError("nothing was captured")
        self.engine.capture(None)
        frames = pcapng.frames(self.capture.read_bytes())
        return [Seen(frame.time_ns * 1000 - self._start_ps, frame.data) for frame in frames]

    def _train(self, port: DevicePort, frame: bytes, timing: Mapping[str, Any]) -> None:
        if self._start_ps is not None:
            raise ValueError("declare what is sent before the session runs")
        self._trains.append({"node": port.tester, "port": "eth1", "hex": frame.hex(), **timing})

    def _run(self, until_ps: int) -> None:
        while not self.engine.run_until(until_ps, _BUDGET[self.clock]):
            pass


def departures(seen: list[Seen], source: DevicePort, to: DevicePort) -> list[Seen]:
    """Return the numbered packets of one tester to another as they left the switch: each was seen before, at the tester."""
    met, departures = set[bytes](), []
    for each in seen:
        if (each.source, each.destination) != (source.station.mac, to.station.mac):
            continue
        number = frames.number(each.frame)
        if number in met:
            departures.append(each)
        met.add(number)
    return departures


@dataclass
class Bench:
    """A device, the plan that is run for it, and a way to open a fabric. `reports` keeps the last report of each session.

    `plan` is the device's own, but for tests that put a defective switch on the bench. `repeats` counts the runs before
    this one that were not faithful.
    """

    device: Device
    clock: Clock
    open: OpenEngine
    plan: Plan = field(default_factory=lambda: cast(Plan, {}))
    reports: list[Mapping[str, Any]] = field(default_factory=list)
    repeats: int = 0

    def __post_init__(self) -> None:
        self.plan = self.plan or self.device.plan

    @property
    def is_exact(self) -> bool:
        """Whether times are exact, so that nothing need be tolerated."""
        return self.clock == "virtual"

    def with_response(self, port: DevicePort, response_ps: int) -> Plan:
        """Return the plan with a tester that heeds PAUSE frames so long after they have come."""
        plan = copy.deepcopy(self.plan)
        plan["nodes"][port.index]["ports"][0]["response_ps"] = response_ps
        return plan

    @contextmanager
    def session(self, *, capture: bool = False, plan: Plan | None = None) -> Iterator[Session]:
        """Open a fabric of the plan, or of another one, for one run."""
        with TemporaryDirectory(prefix="testbed-") as directory, self.open(plan or self.plan, self.repeats) as engine:
            path = Path(directory) / "capture.pcapng" if capture else None
            if path is not None:
                engine.capture(str(path))
            yield Session(self.device, self.clock, engine, path)
            self.reports.append(json.loads(engine.report()))
