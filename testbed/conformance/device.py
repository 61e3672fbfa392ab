"""The switch under test on its bench: its ports, each with the link that the lab gives it and a tester at the far end. Pure.

The bench is a lab of its own, compiled like any other: the same switch, the same rates, delays and frames, and a host in
place of every neighbour. What links lose is left out, so that whatever is lost was lost by the switch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from testbed.conformance.frames import Address, address, mac_bytes
from testbed.contract import plan as contract
from testbed.contract.plan import Plan
from testbed.errors import Fault, TopologyError
from testbed.experiment.file import Experiment
from testbed.lab.endpoints import Endpoint
from testbed.lab.hosts import Host
from testbed.lab.topology import Lab, Link, Switch
from testbed.plan.compile import compile_fabric
from testbed.sizes import LINE_OVERHEAD_BYTES, LONGEST_PAUSE_QUANTA
from testbed.units import BITS_PER_QUANTUM, PS_PER_SECOND

SWITCH = "switch"
PRIORITIES = range(8)


class Unsuitable(Exception):
    """The switch cannot host a case; the text says why."""


@dataclass(frozen=True)
class DevicePort:
    """A port of the switch under test. `response_ps` is its neighbour's, `frame_bytes` the longest frame with FCS."""

    index: int
    name: str
    tester: str
    rate_bps: int
    delay_ps: int
    frame_bytes: int
    response_ps: int
    mac: bytes
    station: Address

    def line_ps(self, frame_bytes: int, frames: int = 1) -> int:
        """Return how long so many frames of this length, FCS included, occupy the line, rounded up."""
        return -(-frames * (frame_bytes + LINE_OVERHEAD_BYTES) * 8 * PS_PER_SECOND // self.rate_bps)

    def quanta_ps(self, quanta: int = LONGEST_PAUSE_QUANTA) -> int:
        """Return how long a pause of so many quanta lasts at this port, rounded up."""
        return -(-quanta * BITS_PER_QUANTUM * PS_PER_SECOND // self.rate_bps)


@dataclass(frozen=True)
class Device:
    """A switch as its lab means it to be. `plan` is the bench's; `name` is that of the switch in its own lab."""

    name: str
    plan: Plan
    ports: tuple[DevicePort, ...]

    @property
    def switch(self) -> contract.Switch:
        """The switch's part of the plan."""
        return switch_of(self.plan)

    @cached_property
    def groups(self) -> Mapping[tuple[int, int], Mapping[str, Any]]:
        """The priority groups, by port and priority."""
        return {(group["port"], group["priority"]): group for group in self.switch["priority_groups"]}

    @property
    def named(self) -> tuple[int, ...]:
        """The lossless priorities, as PFC frames name them."""
        return _lossless(self.switch) if self.switch["pfc"] else ()

    @property
    def reachable(self) -> tuple[int, ...]:
        """The priorities that some DSCP leads to."""
        return tuple(sorted(set(self.switch["dscp_to_priority"])))

    @property
    def lossless(self) -> tuple[int, ...]:
        """The lossless priorities that have queue and group of their own number for themselves."""
        return tuple(priority for priority in self.named if self._is_plain(priority))

    @property
    def lossy(self) -> tuple[int, ...]:
        """The other priorities of that kind that some DSCP leads to."""
        return tuple(p for p in self.reachable if p not in self.named and self._is_plain(p))

    def _is_plain(self, priority: int) -> bool:
        """Return whether a priority alone has the queue and the group of its number."""
        return all(
            [each for each in PRIORITIES if number(self.switch, each) == priority] == [priority]
            for number in (contract.queue_of, contract.group_of)
        )

    def dscp(self, priority: int) -> int:
        """Return the lowest DSCP whose frames travel on a priority; raise Unsuitable if there is none."""
        table = self.switch["dscp_to_priority"]
        if priority not in table:
            raise Unsuitable(f"no DSCP leads to priority {priority}")
        return int(table.index(priority))

    def cells(self, frame_bytes: int) -> int:
        """Return what a frame takes of the memory, in bytes."""
        cell = self.switch.get("cell_bytes", 1)
        return int(-(-frame_bytes // cell) * cell)


def without_watchdog(plan: Plan) -> Plan:
    """Return a plan whose switch has no watchdog."""
    nodes = [node.copy() for node in plan["nodes"]]
    for node in nodes:
        if node["kind"] == "switch":
            node.pop("watchdog", None)
    return {**plan, "nodes": nodes}


def switch_of(plan: Plan) -> contract.Switch:
    """Return the switch of a bench's plan, which may be changed in place."""
    return next(node for node in plan["nodes"] if node["kind"] == "switch")


def bench_lab(lab: Lab, switch: Switch, name: str) -> Lab:
    """Return a lab of that switch alone, with a host behind each of its ports."""
    links, hosts = [], []
    for port, (index, _, link) in zip(lab.ports[switch.name], lab.adjacent[switch.name], strict=True):
        hosts.append(Host(name=f"t{index + 1}", nic_rate_bps=link.rate_bps))
        links.append(_bare(link, Endpoint(f"t{index + 1}", "eth1"), Endpoint(SWITCH, port)))
    alone = switch.model_copy(update={"name": SWITCH, "routes": {}})
    return Lab(name=name, nodes=(*hosts, alone), links=tuple(links))


def _bare(link: Link, tester: Endpoint, port: Endpoint) -> Link:
    """Return a link of the same rate and delay that loses nothing."""
    nothing = {"loss": (0.0, 0.0), "loss_process": None, "optics": None, "carrier": True, "medium": "veth"}
    return link.model_copy(update={"a": tester, "b": port, **nothing})


def device_of(lab: Lab, switch: Switch, experiment: Experiment, name: str = "conformance") -> Device:
    """Put a switch of a lab on a bench. Raises what compiling a plan raises, and Unsuitable without a lossless priority."""
    if not switch.lossless:
        raise Unsuitable("it has no lossless priority")
    lossless = experiment.lossless
    if lossless.priority not in switch.lossless:
        lossless = lossless.model_copy(update={"priority": switch.lossless[0]})
    bench = bench_lab(lab, switch, name)
    try:
        plan = compile_fabric(bench, experiment.model_copy(update={"lossless": lossless}))
    except TopologyError as error:
        # What is wrong is wrong with the switch of the lab.
        raise TopologyError(_of_lab(fault, lab.name, switch.name) for fault in error.faults) from None
    node = switch_of(plan)
    ports = [
        DevicePort(
            index=index,
            name=port["name"],
            tester=bench.hosts[index].name,
            rate_bps=port["rate_bps"],
            delay_ps=link.delay_ps,
            frame_bytes=link.frame_bytes,
            response_ps=plan["nodes"][index]["ports"][0]["response_ps"],
            mac=mac_bytes(port["mac"]),
            station=address(plan["stations"][index]),
        )
        for index, (port, link) in enumerate(zip(node["ports"], bench.links, strict=True))
    ]
    if node["pfc"]:
        # Ports whose links run another flow control, or none, have no priority groups of their lossless priorities.
        ports = [port for port in ports if _runs_pfc(bench.links[port.index], node, port)]
    return Device(switch.name, plan, tuple(ports))


def _of_lab(fault: Fault, lab: str, switch: str) -> Fault:
    key = fault.key.replace(f"topology.nodes.{SWITCH}", f"topology.nodes.{switch}", 1)
    return dataclasses.replace(fault, file=f"lab {lab}", key=key)


def _runs_pfc(link: Link, switch: contract.Switch, port: DevicePort) -> bool:
    groups = {group["priority"] for group in switch["priority_groups"] if group["port"] == port.index}
    needed = (contract.group_of(switch, priority) for priority in _lossless(switch))
    return link.flow_control != "credit" and groups.issuperset(needed)


def _lossless(switch: contract.Switch) -> tuple[int, ...]:
    """Return the priorities whose queues are lossless."""
    return tuple(priority for priority in PRIORITIES if contract.queue_of(switch, priority) in switch["lossless"])


def _nature(plan: Plan) -> dict[str, Any]:
    """Return what makes a switch what it is, without its seed and its addresses."""
    chosen = switch_of(plan)
    switch = {key: value for key, value in chosen.items() if key != "hash_seed"}
    ports = [{key: value for key, value in port.items() if key != "mac"} for port in chosen["ports"]]
    return {**switch, "ports": ports, "links": [link["delay_ps"] for link in plan["links"]]}


def alike(device: Device, other: Device) -> bool:
    """Return whether two switches differ in name alone, so that one need be tested."""
    return _nature(device.plan) == _nature(other.plan) and [port.frame_bytes for port in device.ports] == [
        port.frame_bytes for port in other.ports
    ]


def kind_of(device: Device, port: DevicePort) -> tuple[object, ...]:
    """Return what two ports have in common that are alike: rate, delay, longest frame, response and thresholds."""
    thresholds = tuple(
        tuple(sorted((name, value) for name, value in device.groups[port.index, priority].items() if name != "port"))
        for priority in device.lossless
    )
    return port.rate_bps, port.delay_ps, port.frame_bytes, port.response_ps, thresholds


def port_classes(device: Device, key: Callable[[DevicePort], object] | None = None) -> list[DevicePort]:
    """Return one port of each kind, or one for each `key`."""
    classes: dict[object, DevicePort] = {}
    for port in device.ports:
        classes.setdefault(kind_of(device, port) if key is None else key(port), port)
    return list(classes.values())
