"""Whether a lab that stands is as planned, and if not, what the first difference is."""

from __future__ import annotations

import errno

from testbed.drivers.layout import FIRST_INDEX, Interface, Layout, Node
from testbed.errors import DriverError
from testbed.system import namespaces, netlink
from testbed.system.namespaces import Namespace


def sorted_nodes(layout: Layout) -> list[Node]:
    """Return the nodes in the order in which `open_namespaces` finds theirs."""
    return sorted(layout.nodes, key=lambda node: namespaces.namespace_path(layout.lab, node.name))


def compare(layout: Layout, existing: list[Namespace]) -> None:
    """Raise DriverError (EEXIST) naming the first difference between a lab and its plan."""
    difference = _difference(layout, existing)
    if difference:
        detail = f"the lab exists and differs from its plan ({difference}); deploy it, or destroy it first"
        raise DriverError(f"deploy lab {layout.lab}", errno.EEXIST, detail)


def _difference(layout: Layout, existing: list[Namespace]) -> str:
    nodes = sorted_nodes(layout)
    differing = {namespace.node for namespace in existing} ^ {node.name for node in nodes}
    if differing:
        return f"node {min(differing)} is not in both"
    for namespace, node in zip(existing, nodes, strict=True):
        planned = {end.name: end for end in node.interfaces}
        found = {link.name: link for link in netlink.read_links(namespace.netlink) if link.index >= FIRST_INDEX}
        for name in sorted(planned.keys() | found.keys()):
            if not _agrees(planned.get(name), found.get(name)):
                return f"interface {node.name}:{name}"
        addresses = {(end.index, end.address, layout.prefix_length) for end in node.interfaces if end.address}
        if {entry for entry in netlink.read_addresses(namespace.netlink) if entry[0] >= FIRST_INDEX} != addresses:
            return f"the addresses of {node.name}"
        if netlink.read_neighbours(namespace.netlink) != set(node.neighbours):
            return f"the neighbours of {node.name}"
    return ""


def _agrees(planned: Interface | None, found: netlink.Link | None) -> bool:
    if planned is None or found is None:
        return False
    return (
        (planned.index, planned.alias, planned.mtu_bytes) == (found.index, found.alias, found.mtu_bytes)
        and planned.mac in (None, found.mac)
        and found.flags & netlink.IFF_UP != 0
        and found.flags & netlink.IFF_NOARP != 0
    )
