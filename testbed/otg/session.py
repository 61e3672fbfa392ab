"""What a generator does between two requests: its configuration, the flows that run, its links and captures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from testbed.contract.plan import Plan
from testbed.otg import config as configuration
from testbed.otg.addresses import ends_of, lab_ports, links_of, with_addresses
from testbed.otg.captures import Captures
from testbed.otg.config import Flow, Port
from testbed.otg.flows import Begun, Ends, Translator
from testbed.otg.passing import Clock, Counted, Generator, Passing, Running
from testbed.otg.stateful import Stateful
from testbed.otg.validation import Refused

MOST_STREAMS = 2**16
_REAL_MS = 2
_FAR_PS = 2**62


class Session(Passing):
    """A generator on a lab. Not for several threads at once."""

    def __init__(self, plan: Plan, clock: Clock, step_ps: int | None = None) -> None:
        super().__init__(plan, clock, step_ps)
        self.link_down: set[str] = set()
        self.roce = Stateful()
        self.captures = Captures()
        self._ends: Ends | None = None
        self._next_number = 0
        self._links = links_of(plan)

    # Configuration

    def configure(self, document: Any, engine: Callable[[Plan], Generator]) -> list[str]:
        """Take a configuration, on a fabric that `engine` opens; return notes. Raises Refused, and then all stays as it was."""
        config = configuration.parse(document, lab_ports(self.lab_plan))
        place = {name: port.place for name, port in config.ports.items()}
        mac = {place[name]: each for name, each in config.devices.mac.items()}
        plan = with_addresses(self.lab_plan, mac, {place[name]: each for name, each in config.devices.ip.items()})
        ends = ends_of(plan)
        translator = Translator(config, ends)
        translator.check()
        self.captures.clear()
        self._engine = engine(plan)
        self.roce, self.stateful = Stateful(), False
        self.config, self._ends = config, ends
        self.running, self.link_down, self._next_number, self._unseen = {}, set(), 0, False
        if self.clock == "real":
            self._engine.run_until(_FAR_PS, _REAL_MS)
        return translator.notes

    def replace_flows(self, flows: Sequence[Any]) -> list[str]:
        """Take other flows in place of those of the configuration, with everything else as it is. Raises Refused."""
        config = self.configured()
        changed = configuration.parse({**config.sent, "flows": list(flows)}, lab_ports(self.lab_plan))
        translator = Translator(changed, self._known_ends())
        translator.check()
        self._stop([name for name in self.running if name not in changed.flows])
        self.config = changed
        for name, running in list(self.running.items()):
            if name not in changed.flows:
                del self.running[name]
            elif running.transmit == "started" and changed.flows[name] != running.flow:
                self._resume(self._pause(running), changed.flows[name])
        return translator.notes

    def _known_ends(self) -> Ends:
        assert self._ends is not None
        return self._ends

    # Traffic

    def transmit(self, state: str, names: Sequence[str]) -> list[str]:
        """Start, stop, pause or resume flows, all of them for no names; return notes. Raises Refused."""
        config = self.configured()
        faults: list[str] = []
        at = "traffic.flow_transmit.flow_names"
        every = {**config.flows, **config.devices.flows}
        named = configuration.known(names, every, at, faults, "flow") or list(every)
        chosen = [name for name in named if name in config.flows]
        stateful = [name for name in named if name in config.devices.flows]
        if stateful and state in ("pause", "resume") and names:
            faults.append(f"traffic.flow_transmit.state: {state} of RoCEv2 flows is not supported by this server")
        if faults:
            raise Refused(faults)
        if state == "start":
            return self._start(chosen, stateful)
        self._let_pass(to_their_end=state == "stop")
        if state == "stop":
            self.roce.stop(stateful, config, self.lab_plan, self._known_ends(), self.engine)
            self.stateful = self.roce.running
        for name in chosen:
            running = self.running.get(name)
            if running is not None and state == "pause" and running.transmit == "started":
                self._pause(running)
            elif running is not None and state == "resume" and running.transmit == "paused":
                self._resume(running, running.flow)
        if state == "stop":
            self._stop(chosen)
        return []

    def flows(self, names: Sequence[str]) -> list[Flow]:
        """Return flows by name, all of them for none. Raises Refused."""
        every = self.configured().flows
        return [every[name] for name in configuration.chosen(names, every, "flow.flow_names", "flow")]

    def ends(self) -> Ends:
        """Return the addresses and rates of the lab's ports. Raises Refused without a configuration."""
        self.configured()
        return self._known_ends()

    def _start(self, names: Sequence[str], stateful: Sequence[str]) -> list[str]:
        translator = Translator(self.configured(), self._known_ends())
        self._stop(names)
        if stateful:
            self.roce.start(stateful, self.configured(), self.lab_plan, self._known_ends(), self.engine)
            self.stateful = True
            if self.clock == "real":
                self.engine.run_until(_FAR_PS, _REAL_MS)
        now_ps, trains = self._now_ps(), []
        for name in names:
            flow = self.configured().flows[name]
            numbers = [self._number() for _ in flow.streams]
            begun = [
                translator.begun(flow, stream, number) for stream, number in zip(flow.streams, numbers, strict=True)
            ]
            trains += [each.train for each in begun if each.train is not None]
            self.running[name] = Running(flow, numbers, now_ps, _latest(now_ps, begun))
        self.engine.inject(json.dumps(trains))
        self._unseen = True
        return translator.notes

    def _number(self) -> int:
        if self._next_number >= MOST_STREAMS:
            raise Refused([f"{MOST_STREAMS} streams were started: set the configuration again"])
        self._next_number += 1
        return self._next_number - 1

    def _stop(self, names: Sequence[str]) -> None:
        chosen = [self.running[name] for name in names if name in self.running]
        numbers = [number for each in chosen for number in each.numbers]
        if numbers:
            self.engine.withdraw(json.dumps(numbers))
        for each in chosen:
            each.transmit = "stopped"
        if (
            numbers
            and self.clock == "virtual"
            and not self.stateful
            and all(each.transmit != "started" for each in self.running.values())
        ):
            self._settle()

    def _pause(self, running: Running) -> Running:
        counted = self.counted()
        for stream, number in zip(running.flow.streams, running.numbers, strict=True):
            sent = counted.sent(number, stream.source.place)["frames"]
            running.held[number] = (sent, counted.now_ps - running.started_ps)
        self.engine.withdraw(json.dumps(running.numbers))
        running.transmit = "paused"
        return running

    def _resume(self, running: Running, flow: Flow) -> None:
        translator = Translator(self.configured(), self._known_ends())
        begun = [
            translator.begun(flow, stream, number, *running.held.get(number, (0, 0)))
            for stream, number in zip(flow.streams, running.numbers, strict=True)
        ]
        self.engine.inject(json.dumps([each.train for each in begun if each.train is not None]))
        spent = max((spent for _, spent in running.held.values()), default=0)
        running.flow, running.transmit = flow, "started"
        running.started_ps = self._now_ps() - spent
        running.ends_ps = _latest(self._now_ps(), begun)
        self._unseen = True

    # Ports

    def ports(self, names: Sequence[str], at: str) -> list[Port]:
        """Return ports by name, all of them for none. Raises Refused."""
        every = self.configured().ports
        return [every[name] for name in configuration.chosen(names, every, at)]

    def set_links(self, names: Sequence[str], up: bool) -> None:
        """Let the links of ports go down, or come up. Raises Refused."""
        chosen = self.ports(names, "port.link.port_names")
        self._let_pass(to_their_end=False)
        changes = [{"link": self._links[port.place], "way": way, "up": up} for port in chosen for way in (0, 1)]
        self.engine.impair(json.dumps(changes))
        places = {port.place for port in chosen}
        self.link_down = self.link_down - places if up else self.link_down | places

    def set_capture(self, names: Sequence[str], started: bool) -> None:
        """Start or stop the capture of ports. Raises Refused."""
        config = self.configured()
        chosen = self.ports(names, "port.capture.port_names")
        missing = [port.name for port in chosen if port.name not in config.captures]
        if names and missing:
            raise Refused([f"port.capture.port_names: {missing[0]} has no capture in the configuration"])
        if not started:
            self._let_pass(to_their_end=True)
        for port in chosen:
            if port.name in config.captures:
                self.captures.set(port.place, started, self._now_ps(), self.engine)

    def captured(self, name: str) -> bytes:
        """Return what a port has captured, as a file of its format. Raises Refused."""
        port = self.ports([name], "port_name")[0]
        capture = self.configured().captures.get(name)
        if capture is None:
            raise Refused([f"port_name: {name} has no capture in the configuration"])
        self._let_pass(to_their_end=True)
        return self.captures.read(port.place, capture, self.lab_plan, self.engine)

    # Time

    def look(self) -> Counted:
        """Let time pass as a look does, and return what has been counted."""
        self._advance()
        return self.counted()


def _latest(now_ps: int, begun: Sequence[Begun]) -> int | None:
    """Return when the last of a flow's streams should end, None where one does not."""
    ends = [each.ends_ps for each in begun]
    if any(end is None for end in ends):
        return None
    return now_ps + max((end for end in ends if end is not None), default=0)
