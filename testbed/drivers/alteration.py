"""A lab that stands is made that of another layout: only what differs is touched.

What is there is read from the system, so it does not matter how it came about: a change that was cut off is a lab like any
other, to be changed or removed. New namespaces have their `lo` down until all is done, as when a lab is built.

Where a data plane carries traffic meanwhile, hosts whose links go are kept from sending first, and a host whose interface
shrinks sends less at a time; then all that is under way arrives, and only then anything is removed. A host gets the address
of a new interface when the data plane hears it. So what a program was told was sent is lost only if it is counted.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from testbed.drivers import Traffic, building
from testbed.drivers.layout import FIRST_INDEX, Interface, Layout, Node, keep_indices, peer_of
from testbed.errors import DriverError
from testbed.progress import BuildProgress
from testbed.system import ipv4, netem, netlink, qdisc, routes
from testbed.system.namespaces import Namespace
from testbed.system.netlink import Link, Message
from testbed.system.offloads import active_offloads, disable_offloads

Fresh = set[tuple[str, str]]
"""(node, interface) of what was made anew."""

End = tuple[Namespace, Link]

_SENT_TIMEOUT_S = 5.0
"""At the slowest, 64 of the longest frames leave a shaper in about as long at 400 kbit/s of wall time."""
_SENT_POLL_S = 0.002


def read_indices(namespaces: Iterable[Namespace]) -> dict[str, dict[str, int]]:
    """Return the index of each interface of a lab that stands, by node and name."""
    return {namespace.node: {link.name: link.index for link in _links(namespace)} for namespace in namespaces}


def cut_off(namespace: Namespace) -> None:
    """Remove every link of a node that goes, at once: the kernel would take its time, and keep their names taken."""
    namespace.netlink.apply([netlink.delete_link(link.index) for link in _links(namespace)])


def quiesce(
    layout: Layout, staying: Sequence[Namespace], going: Sequence[Namespace], dilation: int, traffic: Traffic
) -> None:
    """Quiesce traffic before links go or shrink, or queueing disciplines are replaced; count the frames that still wait there.

    Raises DriverError.
    """
    parting = [(namespace, link) for namespace in going for link in _links(namespace)]
    shrinking: list[End] = []
    planned = {node.name: node for node in layout.nodes}
    there = _ends([*staying, *going])
    for namespace in staying:
        unwanted = list(_unwanted(layout, planned[namespace.node], namespace, there))
        parting += [(namespace, link) for link in [*unwanted, *_replaced(planned[namespace.node], namespace, dilation)]]
        ends = _shrink(planned[namespace.node], namespace)
        shrinking += [(namespace, link) for _namespace, link in ends if link not in unwanted]
    speaking = [end for end in parting if _silence(*end)]
    _await_sent([*speaking, *shrinking])
    changing = [*parting, *shrinking]
    named = {(namespace.node, link.name) for namespace, link in changing}
    traffic.quiesce(named | {peer for _namespace, link in changing if (peer := peer_of(link.alias))})
    for namespace, link in parting:
        traffic.lose(f"{namespace.node}:{link.name}", "not sent before its link changed", _waiting(namespace, link))


def _shrink(node: Node, namespace: Namespace) -> list[End]:
    """Let a host send no longer packets than its interfaces will take, which hear longer ones yet; return those ends."""
    wanted = {interface.name: interface for interface in node.interfaces if interface.address}
    ends = []
    for link in _links(namespace):
        interface = wanted.get(link.name)
        if interface is not None and interface.address and interface.mtu_bytes < link.mtu_bytes:
            shorter = [
                routes.set_route(index, interface.address, subnet, length, interface.mtu_bytes)
                for index, subnet, length in sorted(routes.read_routes(namespace.netlink, by_hand=False))
                if index == link.index
            ]
            namespace.netlink.apply(shorter)
            ends.append((namespace, link))
    return ends


def _replaced(node: Node, namespace: Namespace, dilation: int) -> list[Link]:
    """Return the interfaces whose queueing discipline is to be one of another kind: what waits in it goes with it."""
    names = {interface.index: interface.name for interface in node.interfaces}
    wanted = {names[index]: discipline.kind for index, discipline in building.disciplines(node, dilation)}
    roots = {index: root.kind for index, root in qdisc.read_qdiscs(namespace.netlink).items()}
    return [link for link in _links(namespace) if link.name in wanted and roots.get(link.index) != wanted[link.name]]


def _silence(namespace: Namespace, link: Link) -> bool:
    """Keep a host from sending on an interface, which goes on hearing; programs are told. False: none sends there."""
    for entry in sorted(routes.read_routes(namespace.netlink, by_hand=False)):
        if entry[0] == link.index:
            _delete_route(namespace, entry)
    return any(index == link.index for index, _address, _length in ipv4.read_addresses(namespace.netlink))


def _delete_route(namespace: Namespace, route: tuple[int, str, int]) -> None:
    try:
        namespace.netlink.apply([routes.delete_route(*route)])
    except DriverError as error:
        if error.errno != errno.ESRCH:  # somebody has removed it already
            raise


def alter(
    layout: Layout, staying: Sequence[Namespace], made: Sequence[Namespace], dilation: int, progress: BuildProgress
) -> tuple[Fresh, Callable[[], None]]:
    """Change the nodes that stay and give those that were `made` their links.

    Nodes that go are gone by now. Return what was made anew, and what is left to be done once it is heard: to give hosts
    their addresses and routes there. Raises DriverError.
    """
    namespaces = {namespace.node: namespace for namespace in [*staying, *made]}
    planned = {node.name: node for node in layout.nodes}
    before = _ends(staying)
    for namespace in staying:
        unwanted = _unwanted(layout, planned[namespace.node], namespace, before)
        namespace.netlink.apply([netlink.delete_link(link.index) for link in unwanted])
    keep_indices(layout, read_indices(staying))
    fresh: Fresh = {(node.name, end.name) for node in layout.nodes for end in node.interfaces} - _ends(staying)
    pairs = [pair for pair in layout.links if (layout.nodes[pair[0][0]].name, pair[0][1].name) in fresh]
    if pairs:
        building.create_links(layout, namespaces, pairs, progress)
    crossing = [entry for entry in layout.tunnels if (layout.nodes[entry[0]].name, entry[1].name) in fresh]
    building.create_tunnels(layout, namespaces, crossing)
    new = {node.name: [end for end in node.interfaces if (node.name, end.name) in fresh] for node in layout.nodes}
    building.configure_all(layout, namespaces, new, dilation, progress)
    # An interface that grows sends longer frames from then on: hosts come last, when switches take them.
    for namespace in sorted(staying, key=lambda namespace: planned[namespace.node].kind == "host"):
        _restore(planned[namespace.node], namespace, dilation)
    building.await_links(layout, namespaces)

    def give_addresses() -> None:
        for node in layout.nodes:
            building.give_addresses(layout, node, namespaces[node.name], new[node.name])
        for namespace in staying:
            there = routes.read_routes(namespace.netlink, by_hand=False)
            for entry in sorted(there - set(planned[namespace.node].routes)):
                if entry[0] >= FIRST_INDEX:
                    _delete_route(namespace, entry)

    return fresh, give_addresses


def _links(namespace: Namespace) -> list[Link]:
    return [link for link in netlink.read_links(namespace.netlink) if link.index >= FIRST_INDEX]


def _ends(namespaces: Iterable[Namespace]) -> set[tuple[str, str]]:
    """Return (node, interface) of every end of a link that is in these namespaces."""
    return {(node, name) for node, names in read_indices(namespaces).items() for name in names}


def _unwanted(layout: Layout, node: Node, namespace: Namespace, there: Collection[tuple[str, str]]) -> Iterator[Link]:
    """Yield interfaces that are not planned, or lead elsewhere or to none of the ends `there`, or have another address.

    Their peers go with them, those too that are in a namespace which lost its name.
    """
    crossing = {interface.name for place, interface, _tunnel in layout.tunnels if layout.nodes[place] is node}
    wanted = {interface.name: interface for interface in node.interfaces}
    addresses: dict[int, set[tuple[str, int]]] = {}
    for index, address, prefix_length in ipv4.read_addresses(namespace.netlink):
        addresses.setdefault(index, set()).add((address, prefix_length))
    for link in _links(namespace):
        interface = wanted.get(link.name)
        has = addresses.get(link.index, set())
        leads_nowhere = link.name not in crossing and peer_of(link.alias) not in there
        if interface is None or not _is_same(interface, link) or has != _addresses(layout, interface) or leads_nowhere:
            yield link


def _is_same(planned: Interface, link: Link) -> bool:
    return planned.alias == link.alias and planned.mac in (None, link.mac)


def _addresses(layout: Layout, interface: Interface) -> set[tuple[str, int]]:
    return {(interface.address, layout.prefix_length)} if interface.address else set()


def _await_sent(ends: Sequence[End]) -> None:
    """Wait until these interfaces hold nothing more that is to be sent, at most for some seconds."""
    deadline = time.monotonic() + _SENT_TIMEOUT_S
    while any(_waiting(namespace, link) for namespace, link in ends) and time.monotonic() < deadline:
        time.sleep(_SENT_POLL_S)


def _waiting(namespace: Namespace, link: Link) -> int:
    counters = netem.read_statistics(namespace.netlink)
    # What waits in a discipline that is below another is in the figure of that, too.
    return max((tally.queued_frames for (index, _handle), tally in counters.items() if index == link.index), default=0)


def _restore(node: Node, namespace: Namespace, dilation: int) -> None:
    """Give what stays of a node its MTUs, routes, neighbours, shaping and netem."""
    links = {link.name: link for link in _links(namespace)}
    for name in links:
        if active_offloads(namespace.netlink.fileno(), name):
            disable_offloads(namespace.netlink.fileno(), name)
    messages = [message for interface in node.interfaces for message in _set(interface, links)]
    # `quiesce` may have taken them away: just now, or before a kill.
    addressed = {index for index, _address, _length in ipv4.read_addresses(namespace.netlink)}
    messages += building.set_routes(node, [end for end in node.interfaces if end.index in addressed])
    there = ipv4.read_neighbours(namespace.netlink)
    wanted = set(node.neighbours)
    bound = {(index, address) for index, address, _mac in wanted}
    messages += [
        ipv4.delete_neighbour(index, address)
        for index, address, _mac in sorted(there - wanted)
        if (index, address) not in bound
    ]
    messages += [ipv4.add_neighbour(*entry) for entry in sorted(wanted - there)]
    if messages:
        namespace.netlink.apply(messages)
    building.set_anew(namespace, node, dilation)


def _set(interface: Interface, links: Mapping[str, Link]) -> list[Message]:
    link = links[interface.name]
    flags = link.flags & (netlink.IFF_UP | netlink.IFF_NOARP)
    if link.mtu_bytes == interface.mtu_bytes and flags == netlink.IFF_UP | netlink.IFF_NOARP:
        return []
    return [netlink.set_link(interface.index, up=True, arp=False, mtu_bytes=interface.mtu_bytes)]
