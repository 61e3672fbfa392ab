"""What drivers and agents rely on in a plan that came from anywhere: checked as a whole before anything is altered. Pure.

docs/internals/plan.md defines the plan. What the data plane alone reads is checked by building one of it, without
interfaces (`agent_process.check_fabric`).
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from testbed.contract.plan import Plan
from testbed.errors import UsageError
from testbed.lab.topology import DEFAULT_MTU_BYTES
from testbed.plan.check_container import ContainerPart

MAX_NODES = 20_000
MAX_LINKS = 100_000
MAX_PORTS = 4096
# A thousand seconds; light takes 2.6 of them to the moon and back.
MAX_DELAY_PS = 10**15
MAX_RATE_BPS = 10**15
# IFNAMSIZ of <linux/if.h>, less the zero at the end.
MAX_INTERFACE_CHARS = 15

_SHOWN_CHARS = 200
_MAC = r"^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$"


def _address(text: str) -> str:
    """Return an address of one machine."""
    address_of = ipaddress.ip_address(text)
    if address_of.is_multicast or address_of.is_unspecified:
        raise ValueError("not the address of one machine")
    return text


def _ipv4(text: str) -> str:
    ipaddress.IPv4Address(text)
    return text


Count = Annotated[int, Field(strict=True, ge=0)]
Index = Count
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
PortName = Annotated[str, StringConstraints(pattern=rf"^[A-Za-z0-9][A-Za-z0-9_.-]{{0,{MAX_INTERFACE_CHARS - 1}}}$")]
Mac = Annotated[str, StringConstraints(pattern=_MAC)]
Address = Annotated[str, AfterValidator(_address)]
Rate = Annotated[int, Field(strict=True, gt=0, le=MAX_RATE_BPS)]
Probability = Annotated[float, Field(ge=0, le=1)]
End = Annotated[list[Index], Field(min_length=2, max_length=2)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)


class _Port(_Part):
    name: PortName
    mac: Mac
    rate_bps: Rate = 1


class _Group(_Part):
    port: Index
    priority: Annotated[int, Field(strict=True, ge=0, lt=8)]


class _Node(_Part):
    name: Name
    kind: Literal["host", "switch"]
    ports: Annotated[list[_Port], Field(max_length=MAX_PORTS)]
    station: Index | None = None
    container: ContainerPart | None = None
    private_pids: Annotated[bool, Field(strict=True)] = False
    agent: Name | None = None
    # Only an agent says so, of the plan that it was given.
    elsewhere: Literal[False] = False
    priority_groups: list[_Group] = Field(default_factory=list)


class _Station(_Part):
    name: Name
    kind: Literal["nic", "kernel"]
    mac: Mac
    ip: Annotated[str, AfterValidator(_ipv4)]
    node: Index
    port: Index


class _Link(_Part):
    a: End
    b: End
    medium: Literal["veth", "vxlan", "memory"]
    # What IPv4 asks of a link (RFC 791), and what its length field can say.
    mtu_bytes: Annotated[int, Field(strict=True, ge=68, le=65535)] = DEFAULT_MTU_BYTES
    delay_ps: Annotated[int, Field(strict=True, ge=0, le=MAX_DELAY_PS)] = 0
    loss: Annotated[list[Probability], Field(min_length=2, max_length=2)] = Field(default_factory=lambda: [0.0, 0.0])
    carrier: Annotated[bool, Field(strict=True)] = True
    vni: Annotated[int, Field(strict=True, gt=0, lt=2**24)] | None = None
    emulation: Literal["native"] | None = None


class _Plan(_Part):
    lab: Name
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**64)]
    stations: list[_Station]
    nodes: Annotated[list[_Node], Field(max_length=MAX_NODES)]
    links: Annotated[list[_Link], Field(max_length=MAX_LINKS)]
    prefix_length: Annotated[int, Field(strict=True, ge=1, le=30)] = 15
    emulation: Literal["auto", "netem", "native"] = "auto"
    driver: Literal["netns", "docker"] = "netns"
    machines: dict[Name, Address] | None = None


def check_plan(plan: Mapping[str, Any], native: Collection[int] = ()) -> Plan:
    """Return what is a plan. Raise UsageError, naming the key, unless every part is as a driver needs it and fits the others.

    `native`: links that netem is to leave alone.
    """
    try:
        read = _Plan.model_validate(plan)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in fault["loc"])
        raise UsageError(f"plan: {key[:_SHOWN_CHARS]}: {fault['msg'][:_SHOWN_CHARS]}") from None
    _check_names(read)
    _check_stations(read)
    _check_links(read)
    _check_machines(read)
    _require(all(link < len(read.links) for link in native), "native: no such link")
    return cast(Plan, plan)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise UsageError(f"plan: {message}")


def _once(what: str, values: Iterable[Hashable]) -> None:
    value, count = next(iter(Counter(values).most_common(1)), (None, 0))
    _require(count < 2, f"{what} {value} is there twice")


def _check_names(plan: _Plan) -> None:
    _once("node", (node.name for node in plan.nodes))
    for node in plan.nodes:
        _once(f"port of {node.name}", (port.name for port in node.ports))
        known = all(group.port < len(node.ports) for group in node.priority_groups)
        _require(known, f"{node.name}: a priority group of a port that is not there")


def _check_stations(plan: _Plan) -> None:
    """A NIC belongs to the one host that names it, and says where that is; a kernel to a port of a host."""
    _once("MAC", (station.mac for station in plan.stations))
    _once("address", (station.ip for station in plan.stations))
    _once("station", ((station.node, station.port, station.kind) for station in plan.stations))
    for station in plan.stations:
        node = plan.nodes[station.node] if station.node < len(plan.nodes) else None
        known = node is not None and node.kind == "host" and station.port < len(node.ports)
        _require(known, f"station {station.name}: not on a port of a host")
    hosts = [(number, node) for number, node in enumerate(plan.nodes) if node.kind == "host"]
    _once("host of station", (node.station for _, node in hosts))
    for number, host in hosts:
        own = [entry for entry in plan.stations[host.station or 0 :][:1] if host.station is not None]
        fits = bool(own) and (own[0].kind, own[0].node) == ("nic", number)
        _require(fits, f"{host.name}: its station is not a NIC of its own")


def _check_links(plan: _Plan) -> None:
    ends = [(end[0], end[1]) for link in plan.links for end in (link.a, link.b)]
    for node, port in ends:
        known = node < len(plan.nodes) and port < len(plan.nodes[node].ports)
        _require(known, f"links: no port {port} on node {node}")
    _once("link at port", ends)


def _check_machines(plan: _Plan) -> None:
    """Where several agents have a lab each node names one of them, and exactly the links between two are tunnels."""
    machines = plan.machines
    for node in plan.nodes:
        known = node.agent in machines if machines is not None else True
        _require(known, f"{node.name}: agent {node.agent} is not among machines")
    for number, link in enumerate(plan.links):
        one, two = (plan.nodes[end[0]].agent for end in (link.a, link.b))
        crosses = machines is not None and one != two
        _require((link.medium == "vxlan") == crosses, f"link {number}: medium {link.medium} between {one} and {two}")
        _require(not crosses or link.vni is not None, f"link {number}: no vni")
