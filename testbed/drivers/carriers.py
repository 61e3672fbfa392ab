"""Carriers of links that are taken down by hand, and given back.

A veth pair has a carrier while both its ends are up. So the link is taken down at one end, which is enough for both: at a
switch where there is one, since the kernel of a host forgets routes and neighbours with the interface.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.drivers import building
from testbed.drivers.layout import Interface, Layout, Node
from testbed.system import ipv4, netlink
from testbed.system.namespaces import Namespace

End = tuple[Node, Interface, Namespace]


def set_carrier(layout: Layout, namespaces: Sequence[Namespace], link: tuple[str, str], up: bool) -> None:
    """Take the carrier of a link away at both its ends (`node:port`), or give it back with what hangs on it.

    Of a link to another machine the end that is here; a link without interfaces has none. `layout` has the indices that the
    interfaces have. Raises DriverError.
    """
    opened = {namespace.node: namespace for namespace in namespaces}
    ends = [
        (node, interface, opened[node.name])
        for node in layout.nodes
        for interface in node.interfaces
        if f"{node.name}:{interface.name}" in link and node.name in opened
    ]
    if not ends:
        return
    if up:
        for end in ends:
            _bring_up(*end)
        if len(ends) == len(link):
            for _node, interface, namespace in ends:
                building.await_link(namespace, interface)
        return
    _, interface, namespace = min(ends, key=_is_missed)
    namespace.netlink.apply([netlink.set_link(interface.index, up=False, arp=False)])


def _is_missed(end: End) -> bool:
    """Return whether a kernel speaks at an end of a link, and loses something when its interface goes down."""
    return end[1].address is not None


def _bring_up(node: Node, interface: Interface, namespace: Namespace) -> None:
    messages = [netlink.set_link(interface.index, up=True, arp=False)]
    messages += building.set_routes(node, [interface])
    messages += [ipv4.add_neighbour(*entry) for entry in node.neighbours if entry[0] == interface.index]
    namespace.netlink.apply(messages)
