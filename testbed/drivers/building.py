"""What is sent to the kernel for nodes of a layout: links, offloads, interfaces, addresses, neighbours, shaping, netem."""

from __future__ import annotations

import errno
import time
from collections.abc import Collection, Iterator, Mapping, Sequence

from testbed.drivers import links
from testbed.drivers.layout import Interface, Layout, Node, Tunnel
from testbed.errors import DriverError, HostError
from testbed.progress import BuildProgress
from testbed.system import gates, ipv4, netem, netlink, qdisc, routes, vxlan
from testbed.system import namespaces as kernel
from testbed.system.namespaces import Namespace
from testbed.system.netem import Netem
from testbed.system.netlink import Endpoint, Message, Netlink
from testbed.system.offloads import disable_offloads
from testbed.system.qdisc import Qdisc
from testbed.system.steering import keep_order

_CARRIER_TIMEOUT_NS = 10_000_000_000
_CARRIER_POLL_S = 0.001
_LINKS_PER_SEND = 200

Pair = tuple[tuple[int, Interface], tuple[int, Interface]]
Crossing = tuple[int, Interface, Tunnel]


def create_tunnels(layout: Layout, namespaces: Mapping[str, Namespace], tunnels: Sequence[Crossing]) -> None:
    """Make the ends of links that lead to other machines; they are down. `namespaces`: by node.

    The interface is in the node from the first moment, its UDP socket in the namespace of this process, for good. Raises
    HostError where the way to the other machine takes no packets as long as the link's: they would go in pieces, or nowhere.
    """
    if not tunnels:
        return
    with Netlink() as control:
        for place, interface, tunnel in tunnels:
            _require_room(control, f"{layout.nodes[place].name}:{interface.name}", interface, tunnel)
        control.apply([_vxlan(layout, namespaces, *crossing) for crossing in tunnels])


def _require_room(control: Netlink, end: str, interface: Interface, tunnel: Tunnel) -> None:
    name, mtu_bytes = vxlan.way_to(control, tunnel.remote)
    needed = interface.mtu_bytes + tunnel.overhead_bytes
    if mtu_bytes < needed:
        raise HostError(
            f"link at {end}: its MTU of {interface.mtu_bytes} bytes needs {needed} on the way to {tunnel.remote}, and {name} "
            f"has {mtu_bytes}; raise the MTU of {name}, or give the link a smaller one"
        )


def _vxlan(
    layout: Layout, namespaces: Mapping[str, Namespace], place: int, interface: Interface, tunnel: Tunnel
) -> Message:
    node = layout.nodes[place].name
    end = Endpoint(namespaces[node].fd, interface.index, interface.name, interface.mac)
    purpose = f"create link {node}:{interface.name} by VNI {tunnel.vni}"
    return vxlan.create_vxlan(end, tunnel.vni, tunnel.local, tunnel.remote, interface.mtu_bytes, purpose)


def create_links(
    layout: Layout, namespaces: Mapping[str, Namespace], pairs: Sequence[Pair], progress: BuildProgress
) -> None:
    """Make veth pairs, many in one send; their ends are down. `namespaces`: by node."""
    progress.begin("links", len(pairs))
    with kernel.in_thread(_scratch) as control:
        for start in range(0, len(pairs), _LINKS_PER_SEND):
            some = pairs[start : start + _LINKS_PER_SEND]
            control.apply([_veth(layout, namespaces, a, b) for a, b in some])
            progress.advance(len(some))


def configure_all(
    layout: Layout,
    namespaces: Mapping[str, Namespace],
    interfaces: Mapping[str, Collection[Interface]],
    dilation: int,
    progress: BuildProgress,
) -> None:
    """Do as `_configure` with the new interfaces of all nodes. `namespaces`, `interfaces`: by node."""
    progress.begin("interfaces", sum(map(len, interfaces.values())))
    for node in layout.nodes:
        _configure(node, namespaces[node.name], interfaces[node.name], dilation)
        progress.advance(len(interfaces[node.name]))


def _configure(node: Node, namespace: Namespace, interfaces: Collection[Interface], dilation: int) -> None:
    """Bring new interfaces of a node up, offloads off before, with neighbours, shaping and netem; verify netem."""
    for interface in interfaces:
        disable_offloads(namespace.netlink.fileno(), interface.name)
    keep_order(namespace, [interface.name for interface in interfaces if interface.in_order])
    new = {interface.index for interface in interfaces}
    messages = [*_configuration(node, interfaces)]
    for index, discipline in disciplines(node, dilation):
        messages += qdisc.new_qdisc(index, discipline) if index in new else []
    namespace.netlink.apply(messages)
    links.verify(namespace.netlink, {i.index: i.netem for i in interfaces if i.netem is not None}, node.name)


def give_addresses(layout: Layout, node: Node, namespace: Namespace, interfaces: Collection[Interface]) -> None:
    """Give new interfaces of a host their addresses and routes, by which its kernel sends and hears."""
    messages = [
        ipv4.add_address(interface.index, interface.address, layout.prefix_length)
        for interface in interfaces
        if interface.address is not None
    ]
    namespace.netlink.apply([*messages, *set_routes(node, interfaces)])


def set_routes(node: Node, interfaces: Collection[Interface], mtu_bytes: int | None = None) -> list[Message]:
    """Return the messages that set the routes of a host's kernel by interfaces that have their addresses."""
    sources = {interface.index: interface.address for interface in interfaces}
    return [
        routes.set_route(index, source, subnet, length, mtu_bytes)
        for index, subnet, length in node.routes
        if (source := sources.get(index)) is not None
    ]


def _scratch() -> Netlink:
    """Open a socket in a namespace that holds nothing and ends with it.

    Kernels before 6.7 or so look for a new link's index in the namespace of the socket that asks, too.
    """
    kernel.unshare_network()
    return Netlink()


def await_links(layout: Layout, namespaces: Mapping[str, Namespace]) -> None:
    """Wait until every interface sends. The kernel notices its peer some time later, and drops until then.

    Tunnels have no peer to be noticed: they send as soon as they are up.
    """
    tunnels = [interface for _, interface, _ in layout.tunnels]
    for node in layout.nodes:
        for interface in node.interfaces:
            if interface not in tunnels:
                await_link(namespaces[node.name], interface)


def await_link(namespace: Namespace, interface: Interface) -> None:
    """Wait until an interface of a node sends. Raises DriverError (ETIMEDOUT) if it does not within ten seconds."""
    deadline_ns = time.monotonic_ns() + _CARRIER_TIMEOUT_NS
    while not netlink.read_link(namespace.netlink, interface.index).operational:
        if time.monotonic_ns() > deadline_ns:
            raise DriverError(f"wait for link {namespace.node}:{interface.name}", errno.ETIMEDOUT)
        time.sleep(_CARRIER_POLL_S)


def _veth(
    layout: Layout, namespaces: Mapping[str, Namespace], a: tuple[int, Interface], b: tuple[int, Interface]
) -> Message:
    nodes = [layout.nodes[number].name for number, _end in (a, b)]
    first, second = (
        Endpoint(namespaces[node].fd, end.index, end.name, end.mac)
        for node, (_number, end) in zip(nodes, (a, b), strict=True)
    )
    purpose = f"create link {nodes[0]}:{a[1].name} - {nodes[1]}:{b[1].name}"
    return netlink.create_veth(first, second, a[1].mtu_bytes, purpose)


def _configuration(node: Node, interfaces: Collection[Interface]) -> Iterator[Message]:
    for interface in interfaces:
        yield netlink.set_link(interface.index, up=True, alias=interface.alias, arp=False)
    new = {interface.index for interface in interfaces}
    for index, address, mac in node.neighbours:
        if index in new:
            yield ipv4.add_neighbour(index, address, mac)


def disciplines(node: Node, dilation: int) -> Iterator[tuple[int, Qdisc]]:
    """Yield the queueing discipline of each interface that has one.

    It limits a host's kernel to the port's nominal rate, in wall time, and imposes the link where that is netem's.
    """
    for interface in node.interfaces:
        shaper = None
        if interface.rate_bps:
            rate_bps = max(interface.rate_bps // dilation, qdisc.MINIMUM_RATE_BPS)
            shaper = gates.gated(rate_bps, interface.mtu_bytes, held) if (held := _gates(interface)) else None
            shaper = shaper or qdisc.htb(rate_bps, interface.mtu_bytes)
        if interface.netem is not None:
            yield interface.index, netem.qdisc(interface.netem, shaper)
        elif shaper is not None:
            yield interface.index, shaper


def _gates(interface: Interface) -> Mapping[int, Collection[int]]:
    """Return the gates of an interface, none where the kernel has none: then the data plane alone holds what it sends."""
    return interface.gates if interface.gates and not gates.probe() else {}


def set_anew(namespace: Namespace, node: Node, dilation: int) -> None:
    """Give the interfaces of a node that stands their queueing disciplines; take away those that are not planned."""
    keep_order(namespace, [interface.name for interface in node.interfaces if interface.in_order])
    wanted = dict(disciplines(node, dilation))
    roots = qdisc.read_qdiscs(namespace.netlink)
    for index in {interface.index for interface in node.interfaces} - wanted.keys():
        if index in roots and roots[index].handle:
            qdisc.set_qdisc(namespace.netlink, index, None)
    for index, discipline in wanted.items():
        qdisc.set_qdisc(namespace.netlink, index, discipline)
    links.verify(namespace.netlink, _netems(node), node.name)


def _netems(node: Node) -> dict[int, Netem]:
    return {interface.index: interface.netem for interface in node.interfaces if interface.netem is not None}
