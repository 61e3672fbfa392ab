"""What a plan asks of the kernel, namespace by namespace. Pure: nothing here touches the system."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from testbed.contract.container import Setup
from testbed.contract.plan import Attachment, Host, Plan, Station, Switch
from testbed.drivers.emulation import Place
from testbed.drivers.host_routes import Reach
from testbed.lab.priorities import CLASS_SELECTORS
from testbed.lab.topology import DEFAULT_MTU_BYTES
from testbed.system import namespaces, routes
from testbed.system.netem import Netem
from testbed.system.node_spaces import Hosts

DEFAULT_PREFIX_LENGTH = 15

FIRST_INDEX = 101
"""Interface index of port 0. Set by us so that nothing needs looking up; clear of those that the kernel hands out."""


_TOWARDS = "to "


@dataclass
class Interface:
    """What one end of a link shall be.

    `address` and `rate_bps` are set where a host's kernel speaks, `netem` where it acts. `gates` has the priorities in which
    the kernel heeds pauses, each with its DSCPs; both ends of such a link have to keep frames `in_order`.
    """

    name: str
    index: int
    alias: str
    mtu_bytes: int
    mac: str | None
    address: str | None = None
    rate_bps: int = 0
    gates: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    in_order: bool = False
    netem: Netem | None = None


@dataclass(frozen=True)
class Tunnel:
    """How an interface leads to one on another machine: VXLAN between two addresses of the network that joins them."""

    vni: int
    local: str
    remote: str

    @property
    def overhead_bytes(self) -> int:
        """What it adds to an IP packet inside: Ethernet, VXLAN and UDP headers, and that of IPv4 or IPv6 (RFC 7348)."""
        return 14 + 8 + 8 + (40 if ":" in self.remote else 20)


@dataclass(frozen=True)
class Contained:
    """What a node is made of where nodes are containers; a CPU limit of 0 is none. `setup`: what else it is given."""

    image: str
    cpu_millis: int
    memory_bytes: int
    setup: Setup | None = None


@dataclass
class Node:
    """What one namespace shall hold. `neighbours`: (interface index, address, MAC); `routes`: (index, subnet, length).

    `hosts`: all hosts of the lab, those with other agents too.
    """

    name: str
    kind: str
    container: Contained | None = None
    hosts: Hosts = field(default_factory=Hosts)
    private_pids: bool = False
    interfaces: list[Interface] = field(default_factory=list)
    neighbours: list[tuple[int, str, str]] = field(default_factory=list)
    routes: list[tuple[int, str, int]] = field(default_factory=list)


@dataclass
class Layout:
    """What a plan asks of the kernel. `links` pairs (node, interface) with (node, interface); `tunnels` have one end here.

    Positions are those in `nodes`, which has only those that are here.
    """

    lab: str
    prefix_length: int
    nodes: list[Node]
    links: list[tuple[tuple[int, Interface], tuple[int, Interface]]]
    tunnels: list[tuple[int, Interface, Tunnel]] = field(default_factory=list)


def layout_of(plan: Plan, imposed: Mapping[Place, Netem]) -> Layout:
    """Turn a plan into what each namespace shall hold. Ports on links of medium `memory` have no interface.

    `imposed`: what netem does at the ends of links that are its own.
    """
    lab = str(plan["lab"])
    speakers = {(entry["node"], entry["port"]): entry for entry in plan["stations"] if entry["kind"] == "kernel"}
    hosts = _hosts(plan, speakers)
    numbers = [number for number, node in enumerate(plan["nodes"]) if not node.get("elsewhere")]
    places = {number: place for place, number in enumerate(numbers)}
    nodes = [_node(plan["nodes"][number], hosts) for number in numbers]
    layout = Layout(lab, int(plan.get("prefix_length", DEFAULT_PREFIX_LENGTH)), nodes, [])
    for link in plan["links"]:
        if link["medium"] == "memory":
            continue
        mtu_bytes = int(link.get("mtu_bytes", DEFAULT_MTU_BYTES))
        ends = []
        for here, there in ((link["a"], link["b"]), (link["b"], link["a"])):
            if here[0] not in places:
                continue
            interface = _interface(plan, (here[0], here[1]), (there[0], there[1]), mtu_bytes, speakers)
            interface.netem = imposed.get((here[0], here[1]))
            interface.in_order = any("kernel_lossless" in plan["nodes"][end[0]] for end in (here, there))
            ends.append((places[here[0]], interface))
            nodes[ends[-1][0]].interfaces.append(interface)
        if link["medium"] == "vxlan":
            ((place, interface),) = ends
            tunnel = Tunnel(link["vni"], link["local"], link["remote"])
            interface.alias += f" by VNI {tunnel.vni} from {tunnel.local} to {tunnel.remote}"
            layout.tunnels.append((place, interface, tunnel))
        else:
            layout.links.append((ends[0], ends[1]))
    reach = Reach(plan, speakers)
    for number, place in places.items():
        _route(nodes[place], number, reach, layout.prefix_length)
    return layout


def _route(node: Node, number: int, reach: Reach, prefix_length: int) -> None:
    """Let the kernel of a host know how it reaches others: all by its only interface, or each address by one of several."""
    addresses = {interface.index: interface.address for interface in node.interfaces if interface.address is not None}
    if not addresses:
        return
    known = reach.of(number, [index - FIRST_INDEX for index in sorted(addresses)])
    node.neighbours = [(FIRST_INDEX + port, address, mac) for port, address, mac in known.neighbours]
    if len(addresses) == 1:
        ((index, address),) = addresses.items()
        node.routes = [(index, routes.subnet_of(address, prefix_length), prefix_length)]
    else:
        node.routes = [(FIRST_INDEX + port, address, routes.HOST_LENGTH) for port, address in known.routes]


def _hosts(plan: Plan, speakers: Mapping[tuple[int, int], Station]) -> Hosts:
    """Return the addresses of hosts: each has that of its first port, and ports of hosts with several are like `h1-eth2`."""
    by_host: dict[str, dict[str, str]] = {}
    for (number, port), entry in sorted(speakers.items()):
        node = plan["nodes"][number]
        by_host.setdefault(node["name"], {})[node["ports"][port]["name"]] = entry["ip"]
    ports = {f"{host}-{port}": ip for host, own in by_host.items() if len(own) > 1 for port, ip in own.items()}
    return Hosts({host: next(iter(own.values())) for host, own in by_host.items()}, ports)


def _node(node: Host | Switch, hosts: Hosts) -> Node:
    settings = node.get("container")
    container = None if settings is None else Contained(**settings)
    return Node(node["name"], node["kind"], container, hosts, bool(node.get("private_pids")))


def _interface(
    plan: Plan,
    here: tuple[int, int],
    there: tuple[int, int],
    mtu_bytes: int,
    speakers: Mapping[tuple[int, int], Station],
) -> Interface:
    node, peer = plan["nodes"][here[0]], plan["nodes"][there[0]]
    port = node["ports"][here[1]]
    interface = Interface(
        name=port["name"],
        index=FIRST_INDEX + here[1],
        alias=f"{_TOWARDS}{peer['name']}:{peer['ports'][there[1]]['name']}",
        mtu_bytes=mtu_bytes,
        mac=port["mac"],
    )
    speaker = speakers.get(here)
    if speaker is not None:
        interface.mac, interface.address, interface.rate_bps = speaker["mac"], speaker["ip"], int(port["rate_bps"])
        if node["kind"] == "host":
            interface.gates = _gates(node, here[1])
    elif node["kind"] == "host":
        # The port's own MAC is the emulated NIC's; the kernel must not take its frames for frames to itself.
        interface.mac = None
    return interface


def _gates(host: Host, port: int) -> dict[int, tuple[int, ...]]:
    """Return the priorities in which the kernel of a host heeds pauses, each with the DSCPs that it has at a port."""
    table = (host.get("dscp_to_priority") or [[]] * len(host["ports"]))[port] or CLASS_SELECTORS
    return {
        priority: tuple(dscp for dscp in range(len(table)) if table[dscp] == priority)
        for priority in host.get("kernel_lossless", ())
    }


def part_of(layout: Layout, names: Collection[str]) -> Layout:
    """Return the nodes of a layout that have these names, without links."""
    return Layout(layout.lab, layout.prefix_length, [node for node in layout.nodes if node.name in names], [])


def peer_of(alias: str) -> tuple[str, str] | None:
    """Return the node and the port that an interface with this alias leads to; None if it is none of a lab's."""
    node, colon, port = alias.removeprefix(_TOWARDS).partition(":")
    return (node, port) if colon and alias.startswith(_TOWARDS) else None


def keep_indices(layout: Layout, indices: Mapping[str, Mapping[str, int]]) -> None:
    """Give interfaces the indices that those of their name have already, by node; new ones get others.

    An index follows from a port's place among those of its node, which another plan may change.
    """
    for node in layout.nodes:
        there = indices.get(node.name, {})
        free = (index for index in itertools.count(FIRST_INDEX) if index not in there.values())
        before = [interface.index for interface in node.interfaces]
        for interface in node.interfaces:
            interface.index = there[interface.name] if interface.name in there else next(free)
        renamed = dict(zip(before, (interface.index for interface in node.interfaces), strict=True))
        node.neighbours = [(renamed[index], address, mac) for index, address, mac in node.neighbours]
        node.routes = [(renamed[index], subnet, length) for index, subnet, length in node.routes]


def attachments(layout: Layout, fresh: Collection[tuple[str, str]] = ()) -> list[Attachment]:
    """Return where the data plane finds the ports. `fresh`: (node, interface) of those that were made anew."""
    return [
        Attachment(
            node=node.name,
            port=interface.name,
            netns=namespaces.namespace_path(layout.lab, node.name),
            interface=interface.name,
            fresh=(node.name, interface.name) in fresh,
        )
        for node in layout.nodes
        for interface in node.interfaces
    ]
