"""A case: one behaviour, what it asserts, where that is written, how it is measured, and how what was measured is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.conformance.bench import Bench
from testbed.conformance.device import Device, DevicePort, Unsuitable, port_classes

Measured = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Where on a device a case is run: the ports that it takes, in the case's own order, and the priority."""

    ports: tuple[DevicePort, ...]
    priority: int

    def __str__(self) -> str:
        return f"{', '.join(port.name for port in self.ports)} priority {self.priority}"


class Findings(list[str]):
    """What is wrong, one line each; empty if all is right."""

    def equal(self, what: str, measured: object, expected: object) -> None:
        """Note a figure that is not what it must be."""
        if measured != expected:
            self.append(f"{what} is {measured}, not {expected}")

    def at_most(self, what: str, measured: float, most: float) -> None:
        """Note a figure that is too large."""
        if not measured <= most:
            self.append(f"{what} is {_number(measured)}, more than {_number(most)}")

    def at_least(self, what: str, measured: float, least: float) -> None:
        """Note a figure that is too small."""
        if not measured >= least:
            self.append(f"{what} is {_number(measured)}, less than {_number(least)}")

    def near(self, what: str, measured: float, expected: float, by: float) -> None:
        """Note a figure that differs from what it must be by more than `by`."""
        if not abs(measured - expected) <= by:
            self.append(f"{what} is {_number(measured)}, not {_number(expected)} ± {_number(by)}")

    def true(self, what: str, holds: object) -> None:
        """Note that something does not hold."""
        if not holds:
            self.append(what)


def _number(value: float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Lab:
    """A minimal lab of a case's own: the data of a lab file with one switch, and settings of an experiment."""

    data: Mapping[str, Any]
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One behaviour that a lossless switch must show.

    `places` says where on a device it is run, at one place of each kind, and raises Unsuitable where it cannot be.
    `measure` runs it and returns figures as JSON values; `judge` compares them with what the device's plan makes them be.
    `source` is where the behaviour is written. `labs`: what it is run on where the user names no lab. Without `watchdog`
    the switch's watchdog is off, lest it take what a case does for a storm.
    """

    name: str
    asserts: str
    source: str
    labs: Sequence[Lab]
    places: Callable[[Device], Sequence[Place]]
    measure: Callable[[Bench, Place], Measured]
    judge: Callable[[Bench, Place, Measured], list[str]]
    clocks: tuple[str, ...] = ("virtual", "real")
    watchdog: bool = False


def from_each(device: Device) -> list[Place]:
    """Return places of an ingress and an egress port: every kind of ingress port with every lossless priority."""
    priorities = first(device)
    return [Place((port, partner(device, port)), each) for port in port_classes(device) for each in priorities]


def to_each(device: Device) -> list[Place]:
    """Return places of an ingress and an egress port: every kind of egress port with every lossless priority."""
    return [Place(place.ports[::-1], place.priority) for place in from_each(device)]


def filling_each(device: Device) -> list[Place]:
    """Return those places of `to_each` whose ingress port can fill the line of the egress port; raise Unsuitable for none."""
    filling = [place for place in to_each(device) if place.ports[0].rate_bps >= place.ports[1].rate_bps]
    if not filling:
        raise Unsuitable("no port is fast enough to fill the line of another")
    return filling


def suitable(device: Device, places: list[Place], work: Callable[[Device, Place], object]) -> list[Place]:
    """Return places at each of which the work of a case can be done; `work` raises Unsuitable where it cannot."""
    for place in places:
        work(device, place)
    return places


def first(device: Device) -> tuple[int, ...]:
    """Return the lossless priorities; raise Unsuitable if there is none."""
    if not device.lossless:
        raise Unsuitable("no lossless priority: PFC is off")
    return device.lossless


def need_ports(device: Device, count: int) -> None:
    """Raise Unsuitable if the switch has fewer ports."""
    if len(device.ports) < count:
        raise Unsuitable(f"needs {count} ports, the switch has {len(device.ports)}")


def need_lossy(device: Device) -> int:
    """Return the lowest lossy priority; raise Unsuitable if there is none."""
    if not device.lossy:
        raise Unsuitable("no lossy priority")
    return device.lossy[0]


def partner(device: Device, port: DevicePort) -> DevicePort:
    """Return another port, of the same rate if there is one, else the fastest; raise Unsuitable if there is no other."""
    need_ports(device, 2)
    others = [other for other in device.ports if other.index != port.index]
    return min(others, key=lambda other: (other.rate_bps != port.rate_bps, -other.rate_bps, other.index))
