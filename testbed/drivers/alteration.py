"""A lab that stands is made that of another layout: only what differs is touched.

What is there is read from the system, so it does not matter how it came about: a change that was cut off is a lab like any
other, to be changed or removed. New namespaces have their `lo` down until all is done, as when a lab is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from testbed import netlink
from testbed.drivers import building
from testbed.drivers.layout import FIRST_INDEX, Interface, Layout, Node, keep_indices
from testbed.kernel import Namespace
from testbed.netlink import Link, Message
from testbed.progress import BuildProgress

Fresh = set[tuple[str, str]]
"""(node, interface) of what was made anew."""


def read_indices(namespaces: Iterable[Namespace]) -> dict[str, dict[str, int]]:
    """Return the index of each interface of a lab that stands, by node and name."""
    return {namespace.node: {link.name: link.index for link in _links(namespace)} for namespace in namespaces}


def cut_off(namespace: Namespace) -> None:
    """Remove every link of a node that goes, at once: the kernel would take its time, and keep their names taken."""
    namespace.netlink.apply([netlink.delete_link(link.index) for link in _links(namespace)])


def alter(
    layout: Layout,
    staying: Sequence[Namespace],
    settle: Callable[[Layout, list[Namespace], BuildProgress], None],
    made: list[Namespace],
    dilation: int,
    progress: BuildProgress,
) -> Fresh:
    """Change the nodes that stay and make those that are new; return what was made anew.

    `settle` makes namespaces for the nodes of a layout and appends each to `made`, which the caller closes, or removes on
    an error. Nodes that go are gone by now. Raises DriverError.
    """
    namespaces = {namespace.node: namespace for namespace in staying}
    planned = {node.name: node for node in layout.nodes}
    for namespace in staying:
        _remove_links(layout, planned[namespace.node], namespace)
    keep_indices(layout, read_indices(staying))
    fresh_nodes = [node for node in layout.nodes if node.name not in namespaces]
    settle(Layout(layout.lab, layout.prefix_length, fresh_nodes, []), made, progress)
    namespaces |= {namespace.node: namespace for namespace in made}
    there = {(node, name) for node, names in read_indices(staying).items() for name in names}
    fresh: Fresh = {(node.name, end.name) for node in layout.nodes for end in node.interfaces} - there
    pairs = [pair for pair in layout.links if (layout.nodes[pair[0][0]].name, pair[0][1].name) in fresh]
    if pairs:
        building.create_links(layout, namespaces, pairs, progress)
    new = {node.name: [end for end in node.interfaces if (node.name, end.name) in fresh] for node in layout.nodes}
    building.configure_all(layout, namespaces, new, dilation, progress)
    for namespace in staying:
        _mend(planned[namespace.node], namespace, dilation)
    building.await_links(layout.nodes, namespaces)
    return fresh


def _links(namespace: Namespace) -> list[Link]:
    return [link for link in netlink.read_links(namespace.netlink) if link.index >= FIRST_INDEX]


def _remove_links(layout: Layout, node: Node, namespace: Namespace) -> None:
    """Remove interfaces that are not planned, or lead elsewhere, or have another address. Their peers go with them."""
    wanted = {interface.name: interface for interface in node.interfaces}
    addresses: dict[int, set[tuple[str, int]]] = {}
    for index, address, prefix_length in netlink.read_addresses(namespace.netlink):
        addresses.setdefault(index, set()).add((address, prefix_length))
    for link in _links(namespace):
        interface = wanted.get(link.name)
        has = addresses.get(link.index, set())
        if interface is None or not _is_same(interface, link) or has != _addresses(layout, interface):
            namespace.netlink.apply([netlink.delete_link(link.index)])


def _is_same(planned: Interface, found: Link) -> bool:
    return planned.alias == found.alias and planned.mac in (None, found.mac)


def _addresses(layout: Layout, interface: Interface) -> set[tuple[str, int]]:
    return {(interface.address, layout.prefix_length)} if interface.address else set()


def _mend(node: Node, namespace: Namespace, dilation: int) -> None:
    """Give what stays of a node its MTUs, neighbours, shaping and netem."""
    found = {link.name: link for link in _links(namespace)}
    messages = [message for interface in node.interfaces for message in _set(interface, found)]
    there = netlink.read_neighbours(namespace.netlink)
    wanted = set(node.neighbours)
    bound = {(index, address) for index, address, _mac in wanted}
    messages += [
        netlink.delete_neighbour(index, address)
        for index, address, _mac in sorted(there - wanted)
        if (index, address) not in bound
    ]
    messages += [netlink.add_neighbour(*entry) for entry in sorted(wanted - there)]
    if messages:
        namespace.netlink.apply(messages)
    building.set_anew(namespace, node, dilation)


def _set(interface: Interface, found: Mapping[str, Link]) -> list[Message]:
    link = found[interface.name]
    flags = link.flags & (netlink.IFF_UP | netlink.IFF_NOARP)
    if link.mtu_bytes == interface.mtu_bytes and flags == netlink.IFF_UP | netlink.IFF_NOARP:
        return []
    return [netlink.set_link(interface.index, up=True, arp=False, mtu_bytes=interface.mtu_bytes)]
