"""Whether a lab that stands is as planned: what of each node is missing or otherwise, read from the kernel."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator, Mapping

from testbed.drivers import NOTHING_BY_HAND, ByHand, building
from testbed.drivers.layout import FIRST_INDEX, Interface, Layout, Node
from testbed.errors import DriverError
from testbed.system import ipv4, netem, netlink, qdisc, routes
from testbed.system import namespaces as kernel
from testbed.system.namespaces import Namespace
from testbed.system.netlink import Link
from testbed.system.offloads import active_offloads
from testbed.system.qdisc import Qdisc


def sorted_nodes(layout: Layout) -> list[Node]:
    """Return the nodes in the order in which `open_namespaces` finds theirs."""
    return sorted(layout.nodes, key=lambda node: kernel.namespace_path(layout.lab, node.name))


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
        links = {link.name: link for link in netlink.read_links(namespace.netlink) if link.index >= FIRST_INDEX}
        for name in sorted(planned.keys() | links.keys()):
            if name not in planned or any(_otherwise(planned[name], links.get(name))):
                return f"interface {node.name}:{name}"
        addresses = {(end.index, end.address, layout.prefix_length) for end in node.interfaces if end.address}
        if {entry for entry in ipv4.read_addresses(namespace.netlink) if entry[0] >= FIRST_INDEX} != addresses:
            return f"the addresses of {node.name}"
        if ipv4.read_neighbours(namespace.netlink) != set(node.neighbours):
            return f"the neighbours of {node.name}"
        if routes.read_routes(namespace.netlink, by_hand=False) != set(node.routes):
            return f"the routes of {node.name}"
    return ""


def _otherwise(planned: Interface, link: Link | None) -> Iterator[str]:
    """Yield what of an interface is not as planned, apart from what hangs on it."""
    if link is None:
        yield "is gone"
        return
    if (planned.index, planned.alias) != (link.index, link.alias) or planned.mac not in (None, link.mac):
        yield "is another interface of that name"
    if planned.mtu_bytes != link.mtu_bytes:
        yield f"has an MTU of {link.mtu_bytes} bytes instead of {planned.mtu_bytes}"
    if not link.flags & netlink.IFF_UP:
        yield "is down"
    elif not link.flags & netlink.IFF_NOARP:
        yield "asks for addresses by ARP"


def deviations(
    layout: Layout, existing: Collection[Namespace], dilation: int, by_hand: ByHand = NOTHING_BY_HAND
) -> dict[str, str]:
    """Return what of each node is missing or not as planned, by node; nothing of those that are as planned.

    What somebody added to a node (addresses, routes, neighbours, interfaces of his own) is no deviation. `layout` has the
    indices that the interfaces have (`keep_indices`). Cost: five requests to the kernel for a node, one for each interface.
    """
    namespaces = {namespace.node: namespace for namespace in existing}
    tunnels = {(layout.nodes[place].name, interface.name) for place, interface, _tunnel in layout.tunnels}
    deviations = {}
    for node in layout.nodes:
        if node.name not in namespaces:
            deviations[node.name] = "its namespace is gone"
            continue
        crossing = {name for where, name in tunnels if where == node.name}
        reasons = _Look(layout, node, namespaces[node.name], crossing, dilation, by_hand).reasons()
        if reasons:
            deviations[node.name] = "; ".join(reasons)
    return deviations


class _Look:
    """One node as the kernel has it at this moment, beside its plan. `crossing`: its interfaces that lead to other machines."""

    def __init__(
        self,
        layout: Layout,
        node: Node,
        namespace: Namespace,
        crossing: Collection[str],
        dilation: int,
        by_hand: ByHand,
    ) -> None:
        self._node = node
        self._prefix_length = layout.prefix_length
        self._crossing = crossing
        self._by_hand = by_hand
        self._control = namespace.netlink
        self._links = {link.name: link for link in netlink.read_links(self._control)}
        self._addresses = ipv4.read_addresses(self._control)
        self._neighbours = ipv4.read_neighbours(self._control) if node.neighbours else set()
        self._routes = routes.read_routes(self._control)
        self._roots = qdisc.read_qdiscs(self._control)
        self._disciplines = dict(building.disciplines(node, dilation))

    def reasons(self) -> list[str]:
        """Return what is not as planned, in the order of the node's ports."""
        return [f"{end.name} {reason}" for end in self._node.interfaces for reason in self._of(end)]

    def _of(self, end: Interface) -> Iterator[str]:
        link = self._links.get(end.name)
        cut = f"{self._node.name}:{end.name}" in self._by_hand.cut
        wrong = list(_otherwise(end, link))
        yield from (reason for reason in wrong if not (cut and reason == "is down"))
        if link is None:
            return
        if cut:
            if link.has_carrier:
                yield "has a carrier, though its link was taken down"
            return
        if not wrong and end.name not in self._crossing and not link.has_carrier:
            yield "has no carrier"
        yield from self._of_its_kernel(end)
        yield from self._of_its_frames(end)

    def _of_its_kernel(self, end: Interface) -> Iterator[str]:
        """Yield what is missing of that by which a host's kernel sends and hears; an interface that is down has none."""
        if end.address is None or not self._links[end.name].flags & netlink.IFF_UP:
            return
        if (end.index, end.address, self._prefix_length) not in self._addresses:
            yield f"lacks its address {end.address}"
        lost = sorted(
            f"{subnet}/{length}"
            for index, subnet, length in set(self._node.routes) - self._routes
            if index == end.index
        )
        if lost:
            yield f"lacks its route{'s' * (len(lost) > 1)} to {_few(lost)}"
        missing = sorted(
            address for index, address, _mac in set(self._node.neighbours) - self._neighbours if index == end.index
        )
        if missing:
            yield f"lacks its neighbour{'s' * (len(missing) > 1)} {_few(missing)}"

    def _of_its_frames(self, end: Interface) -> Iterator[str]:
        """Yield what becomes of frames that is not as planned: queueing disciplines, netem, offloads."""
        wanted, root = self._disciplines.get(end.index), self._roots.get(end.index)
        if wanted is None:
            if root is not None and root.handle:
                yield f"has a queueing discipline that is not planned, {root.kind}"
        elif root is None or (root.kind, root.handle) != (wanted.kind, wanted.handle):
            yield f"lacks its queueing discipline {wanted.kind}"
        else:
            yield from self._of_its_discipline(end, wanted)
        if active_offloads(self._control.fileno(), end.name):
            yield "has offloads on"

    def _of_its_discipline(self, end: Interface, wanted: Qdisc) -> Iterator[str]:
        rate_bps = _shaped_rate(wanted)
        found_bps = qdisc.read_shaped_rate(self._control, end.index) if rate_bps else None
        if found_bps != rate_bps:
            yield f"lets its kernel send {found_bps or 'any'} bit/s instead of {rate_bps}"
        changed = f"{self._node.name}:{end.name}" in self._by_hand.changed
        if end.netem is not None and not changed:
            decoded = netem.decode(self._roots[end.index].options)
            if wrong := netem.differences(end.netem, decoded):
                yield f"has another netem: {', '.join(wrong)}"


def _shaped_rate(wanted: Qdisc) -> int | None:
    """Return the bit/s to which a planned discipline holds a host's kernel, as the kernel will say it; None: to none."""
    shapers: Mapping[str, Qdisc] = {wanted.kind: wanted} | {
        entry.leaf.kind: entry.leaf for entry in wanted.classes if entry.leaf is not None
    }
    return qdisc.rate_of(shapers["htb"]) if "htb" in shapers else None


def _few(texts: Collection[str]) -> str:
    """Write down the first three of some."""
    shown = [*texts][:3]
    return ", ".join(shown) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")
