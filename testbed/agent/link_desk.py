"""The links of a running lab: changed by hand, and shown as asked, as configured, and as measured."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pydantic import ValidationError

from testbed.agent.kernel_part import KernelPart
from testbed.contract.plan import Plan
from testbed.contract.report import Report
from testbed.drivers import ByHand, emulation
from testbed.drivers.emulation import Emulation
from testbed.errors import UsageError
from testbed.experiment.impairments import Impairment
from testbed.lab import received
from testbed.lab.topology import Lab
from testbed.run import timeline
from testbed.run.engine import Engine
from testbed.run.link_state import SettingError, State, altered_by, ends_of, find_port, options_of, state_of, ways_of
from testbed.run.rerouting import Rerouting
from testbed.system.netem import Netem

Document = dict[str, Any]
Place = tuple[int, int]
"""A link's index, and a way: 0 from its first end to its second, 1 back."""

Links = set[int]
"""Links by index."""

LABEL = "testbed impair"


class Driver(Protocol):
    """What is needed of a driver: netem at an end of a link (`node:port`), changed and read back."""

    def impair(self, lab: str, endpoint: str, change: Mapping[str, Any], dilation: int) -> Netem:
        """Change what netem does to the frames that leave there."""

    def configured(self, lab: str, endpoint: str) -> Netem | None:
        """Return what it does to them, as the kernel says."""

    def set_carrier(self, plan: Plan, link: tuple[str, str], up: bool, dilation: int) -> None:
        """Take the carrier of a link away at both its ends (`node:port`), or give it back."""


def read_lab(topology: Document, plan: Plan) -> Lab:
    """Read the lab of a plan from JSON data that may come from anywhere. Raises UsageError."""
    lab = received.read_lab(topology, "topology")
    if (lab.name, len(lab.links)) != (plan["lab"], len(plan["links"])):
        raise UsageError("topology: not the lab of the plan")
    return lab


def read_impairment(settings: Document) -> Impairment:
    """Read what `impair set` asks for. Raises UsageError naming the option at fault."""
    try:
        return Impairment.model_validate(settings)
    except ValidationError as error:
        faults = []
        for detail in error.errors(include_url=False):
            option = f"--{detail['loc'][0]}: " if detail["loc"] else ""
            text = str(detail["ctx"]["error"]) if detail["type"] == "value_error" else detail["msg"]
            faults.append(option + text)
        raise UsageError("; ".join(faults)) from None


class LinkDesk:
    """What was asked of the links of one lab since it is up, and the data plane and the kernel that carry it out.

    `built` is what the driver has built of its plan.
    """

    def __init__(
        self,
        lab: Lab,
        engine: Engine,
        driver: Driver,
        part: KernelPart,
        emulations: Sequence[Emulation],
        dilation: int,
        built: Plan,
    ) -> None:
        self._built = built
        self._lab = lab
        self._engine = engine
        self._driver = driver
        self._part = part
        self._modes = [emulation.mode for emulation in emulations]
        self._dilation = dilation
        self._settings: dict[Place, Document] = {}
        self._since: dict[Place, Document] = {}
        self._cut: set[int] = set()
        self._lock = threading.Lock()
        self._rerouting = Rerouting(lab)
        # What one agent of several knows of links is not all that decides on ways.
        self._whole = not any(node.get("elsewhere") for node in built["nodes"])

    @property
    def lab(self) -> Lab:
        """The lab whose links these are."""
        return self._lab

    def by_hand(self) -> list[Document]:
        """Return what is asked of links at present: the port that sends, and the options that `testbed impair set` takes."""
        with self._lock:
            altered = {place: settings for place, settings in self._settings.items() if settings}
        return [
            {"link": index, "port": ends_of(self._lab.links[index], way)[0], "options": options_of(settings)}
            for (index, way), settings in sorted(altered.items())
        ]

    def in_the_kernel(self) -> ByHand:
        """Return where the kernel is otherwise than planned, since that was asked for."""
        with self._lock:
            cut = {end for index in self._cut for end in ends_of(self._lab.links[index], 0)}
            changed = {
                ends_of(self._lab.links[index], way)[0] for (index, way), settings in self._settings.items() if settings
            }
        return ByHand(cut, changed)

    def take_over(self, before: LinkDesk) -> None:
        """Ask for all that was asked of the links of the same lab before."""
        with self._lock:
            self._apply({place: settings for place, settings in before._settings.items() if settings})

    def ways(self, port: str, direction: str) -> list[Place]:
        """Return the directions that are meant. Raises UsageError."""
        try:
            link, way_out = find_port(self._lab, port)
        except ValueError as error:
            raise UsageError(str(error)) from None
        return [(link, way) for way in ways_of(way_out, direction)]

    def set(self, places: Sequence[Place], impairment: Impairment) -> None:
        """Change what an impairment names in each direction, and nothing else. Raises UsageError, changing nothing."""
        settings = altered_by(impairment)
        with self._lock:
            self._apply({place: {**self._settings.get(place, {}), **settings} for place in places})

    def reset(self, places: Sequence[Place]) -> None:
        """Make each direction as it was planned."""
        with self._lock:
            self._apply({place: {} for place in places})

    def settle(self) -> None:
        """Undo what a timeline left on links: make each as it was asked for by hand, or else planned."""
        with self._lock:
            report = self._report()
            places = sorted({(entry["link"], entry["way"]) for entry in report["impairments"]})
            left = {}
            for index, way in places:
                settings = self._settings.get((index, way), {})
                wanted = state_of(self._lab, self._lab.links[index], way, settings)
                if self._configured(report, (index, way)) != wanted:
                    left[index, way] = settings
            if left:
                self._apply(left)
            if any(entry.get("rerouted") for entry in report["impairments"]):
                # The next run finds the tables that belong to its links.
                routes = self._rerouting.between({}, self._rerouting.tables(self._failed(self._settings)))
                self._engine.impair(json.dumps([{"link": 0, "way": 0, "routes": routes, "label": LABEL}]))

    def _apply(self, wanted: dict[Place, Document]) -> None:
        states = {}
        for (index, way), settings in wanted.items():
            try:
                states[index, way] = state_of(self._lab, self._lab.links[index], way, settings)
            except SettingError as error:
                raise UsageError(f"--{error.key}: {error}") from None
        # The whole state, and not what differs: a timeline may have changed it in the meantime.
        changes = [
            {"link": index, "way": way, "at_ps": None, **self._own(index, state), "label": LABEL}
            for (index, way), state in states.items()
        ]
        for (index, way), state in states.items():
            if self._modes[index] == "netem":
                self._impose(ends_of(self._lab.links[index], way)[0], state)
        changes += self._converge({**self._settings, **wanted})
        down = self._down({**self._settings, **wanted})
        # A frame that finds no carrier counts as refused; so the data plane stops before it goes and begins when it is back.
        self._set_carriers(self._cut - down, up=True)
        self._engine.impair(json.dumps(changes))
        self._settings.update(wanted)
        self._set_carriers(down - self._cut, up=False)
        report = self._report()
        self._since.update({place: self._totals(report, place) for place in wanted})

    def _failed(self, wanted: Mapping[Place, Document]) -> Links:
        """Return the links between switches that are down one way or both by what is asked."""
        down = {index for (index, _), settings in wanted.items() if settings.get("carrier") is False}
        return {index for index in down if self._rerouting.joins_switches(index)}

    def _converge(self, wanted: Mapping[Place, Document]) -> list[Document]:
        """Return what tables do about what is asked from now on, once they have converged."""
        after_ps = self._lab.convergence_ps
        before, after = (self._rerouting.tables(self._failed(each)) for each in (self._settings, wanted))
        if not self._whole or after_ps is None or before is after:
            return []
        routes = self._rerouting.between(before, after)
        return [{"link": 0, "way": 0, "after_ps": after_ps, "routes": routes, "label": LABEL}] if routes else []

    def _down(self, wanted: Mapping[Place, Document]) -> Links:
        """Return the links that are down both ways by what is asked; one that still sends one way keeps its carrier."""
        ways = {
            (index, way)
            for (index, way), settings in wanted.items()
            if settings and not state_of(self._lab, self._lab.links[index], way, settings)["up"]
        }
        return {index for index, way in ways if (index, 1 - way) in ways}

    def _set_carriers(self, links: Links, up: bool) -> None:
        for index in sorted(links):
            ends = ends_of(self._lab.links[index], 0)
            if not up and self._modes[index] == "netem":
                self._part.await_empty(ends)
            self._driver.set_carrier(self._built, ends, up, self._dilation)
            self._cut.symmetric_difference_update({index})

    def _own(self, index: int, state: State) -> State:
        """Return what of a state the data plane imposes."""
        return {
            key: value for key, value in state.items() if self._modes[index] == "native" or key not in emulation.IMPOSED
        }

    def _impose(self, endpoint: str, state: State) -> None:
        try:
            self._driver.impair(
                self._lab.name, endpoint, {key: state[key] for key in emulation.IMPOSED}, self._dilation
            )
        except ValueError as error:
            raise UsageError(f"{endpoint}: {error}") from None
        if state["loss_process"] is not None:
            self._part.expect_losses(endpoint)

    def _report(self) -> Report:
        return self._part.complete(json.loads(self._engine.report()))

    def show(self, places: Sequence[Place]) -> list[Document]:
        """Return a row for each direction: `asked`, `configured` and `measured`, with the units in the keys.

        `configured` is what the data plane has and, where the link is netem's, what was read back from the kernel. What is
        measured is since the last change by hand, or since the lab is up: the loss of what the port sent, and its mean
        rate. What nothing measured is null.
        """
        report = self._report()
        return [self._row(report, place) for place in places]

    def _row(self, report: Report, place: Place) -> Document:
        index, way = place
        link = self._lab.links[index]
        source, target = ends_of(link, way)
        settings = state_of(self._lab, link, way, self._settings.get(place, {}))
        return {
            "from": source,
            "to": target,
            "emulation": self._modes[index],
            "asked": timeline.described(settings),
            "configured": timeline.described(self._configured(report, place)),
            "measured": self._measured(report, place),
        }

    def _configured(self, report: Report, place: Place) -> State:
        """Return the planned state with every change that took place since on it, or what the kernel says."""
        index, way = place
        state = state_of(self._lab, self._lab.links[index], way, {})
        for entry in report["impairments"]:
            if (entry["link"], entry["way"]) == place:
                state |= {key: value for key, value in entry.items() if key in state}
        if self._modes[index] == "netem":
            configured = self._driver.configured(self._lab.name, ends_of(self._lab.links[index], way)[0])
            if configured is not None:
                state |= emulation.nominal(configured, self._dilation)
        return state

    def _totals(self, report: Report, place: Place) -> Document:
        """Return what the sending port did so far, all priorities together."""
        index, way = place
        port = report["ports"].get(ends_of(self._lab.links[index], way)[0])
        counters = [] if port is None else list(port["priorities"].values())
        return {
            "now_ps": report["now_ps"],
            "frames": sum(entry["frames_tx"] for entry in counters),
            "bytes": sum(entry["bytes_tx"] for entry in counters),
            "link": sum(entry["drops"].get("link", 0) for entry in counters),
            "outage": sum(entry["drops"].get("outage", 0) for entry in counters),
        }

    def _measured(self, report: Report, place: Place) -> Document:
        now = self._totals(report, place)
        before = self._since.get(place) or dict.fromkeys(now, 0)
        past = {key: now[key] - before[key] for key in now}
        frames, lost = past["frames"], past["link"]
        timed = [] if report["fidelity"] is None else report["fidelity"].get("delays", [])
        return {
            "over_ns": past["now_ps"] / 1000,
            "frames": frames,
            "lost": lost,
            "outage": past["outage"],
            "loss": lost / frames if frames else None,
            "rate_bps": round(past["bytes"] * 8 * 10**12 / past["now_ps"]) if past["now_ps"] else None,
            "delay_ns": next((row["mean_ns"] for row in timed if (row["link"], row["way"]) == place), None),
        }
