"""By which of its ports a host's kernel sends to each address of the other hosts. Pure.

An address belongs to a port. It is reached by the port of the same number where that leads there and back, which is the
address's own rail; else by the first port that does. An address whose port no port of the host reaches is reached at
another port of its host: a kernel hears what is for it on every interface.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from testbed.contract.plan import Plan, Station
from testbed.contract.routes import RouteTable

Port = tuple[int, int]
"""Index of a node, and of a port of it."""


@dataclass
class HostRoutes:
    """What a host's kernel has to know. `routes`: (port, address). `neighbours`: (port, address, MAC)."""

    routes: list[tuple[int, str]] = field(default_factory=list)
    neighbours: list[tuple[int, str, str]] = field(default_factory=list)


class Reach:
    """Which ports of hosts reach each other, by the links and the routes of a plan. `speakers`: kernels by port."""

    def __init__(self, plan: Plan, speakers: Mapping[Port, Station]) -> None:
        self._nodes = plan["nodes"]
        self._tables: dict[int, RouteTable] = {}
        self._speakers = speakers
        self._peers: dict[Port, Port] = {}
        for link in plan["links"]:
            a, b = ((end[0], end[1]) for end in (link["a"], link["b"]))
            self._peers |= {a: b, b: a}
        self._stations = {(entry["node"], entry["port"]): index for index, entry in enumerate(plan["stations"])}
        self._ports: dict[int, list[int]] = {}
        for node, port in sorted(speakers):
            self._ports.setdefault(node, []).append(port)

    def of(self, host: int, ports: Sequence[int]) -> HostRoutes:
        """Return what the kernel of a host with interfaces at these ports has to know of all others."""
        known = HostRoutes()
        for other, theirs in self._ports.items():
            for number in theirs if other != host else ():
                self._add(known, host, ports, (other, number))
        return known

    def _add(self, known: HostRoutes, host: int, ports: Sequence[int], target: Port) -> None:
        """Add how a host reaches one address."""
        speaker = self._speakers[target]
        joined = [port for port in _first(target[1], ports) if self._joins((host, port), target)]
        known.neighbours += [(port, speaker["ip"], speaker["mac"]) for port in joined]
        if joined:
            known.routes.append((joined[0], speaker["ip"]))
            return
        for port, number in self._around(host, ports, target[0]):
            known.neighbours.append((port, speaker["ip"], self._speakers[target[0], number]["mac"]))
            known.routes.append((port, speaker["ip"]))
            return

    def _around(self, host: int, ports: Sequence[int], other: int) -> Iterator[Port]:
        """Yield the ports of two hosts that reach each other, those of one number first."""
        for port in ports:
            for number in _first(port, self._ports[other]):
                if self._joins((host, port), (other, number)):
                    yield port, number

    def _joins(self, here: Port, there: Port) -> bool:
        return self._leads(here, there) and self._leads(there, here)

    def _leads(self, here: Port, there: Port) -> bool:
        peer = self._peers.get(here)
        if peer is None or peer == there:
            return peer is not None
        node = self._nodes[peer[0]]
        if node["kind"] != "switch":
            return False
        if peer[0] not in self._tables:
            self._tables[peer[0]] = RouteTable(node)
        return bool(self._tables[peer[0]][self._stations[there]])


def _first(number: int, numbers: Collection[int]) -> list[int]:
    """Return numbers with this one, if it is among them, before all others."""
    return sorted(numbers, key=lambda each: each != number)
