"""Labs out of network namespaces and veth pairs.

The plan is first turned into what each namespace shall hold (`_layout`, pure); building sends that to the kernel in one
send for all links and one for each namespace; comparing reads it back. The steps of building always come in the same
order: namespaces, links, then per namespace offloads, interfaces up, addresses, neighbours, shaping. So an interface that
is up has its offloads off. Last of all every `lo` comes up, and is first to go down when a lab is removed: a lab with one
that is down is one that a killed process left, and the next deploy clears it away.
"""

from __future__ import annotations

import errno
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from testbed import inside, kernel, netlink, qdisc
from testbed.drivers import Attachment, Plan
from testbed.errors import DriverError
from testbed.kernel import Namespace
from testbed.netlink import Endpoint, Message, Netlink
from testbed.offloads import disable_offloads
from testbed.qdisc import Qdisc

DEFAULT_MTU_BYTES = 4200
"""IP MTU of a link whose plan names none: holds a RoCEv2 packet of path MTU 4096 with all its headers."""

DEFAULT_PREFIX_LENGTH = 15

_FIRST_INDEX = 101
"""Interface index of port 0. Set by us so that nothing needs looking up; clear of those that the kernel hands out."""

_LAB_STANDS = netlink.set_link(netlink.LOOPBACK_INDEX, up=True)
_LAB_FALLS = netlink.set_link(netlink.LOOPBACK_INDEX, up=False)
_ETHERNET_HEADER_BYTES = 14
_CARRIER_TIMEOUT_NS = 10_000_000_000
_CARRIER_POLL_S = 0.001


@dataclass
class _Interface:
    """What one veth end shall be. `address` and `rate_bps` are set where a host's kernel speaks."""

    name: str
    index: int
    alias: str
    mtu_bytes: int
    mac: str | None
    address: str | None = None
    rate_bps: int = 0


@dataclass
class _Node:
    """What one namespace shall hold. `neighbours`: (interface index, address, MAC)."""

    name: str
    interfaces: list[_Interface] = field(default_factory=list)
    neighbours: list[tuple[int, str, str]] = field(default_factory=list)


@dataclass
class _Layout:
    """What a plan asks of the kernel. `links` pairs (node, interface) with (node, interface)."""

    lab: str
    prefix_length: int
    nodes: list[_Node]
    links: list[tuple[tuple[int, _Interface], tuple[int, _Interface]]]


class NetnsDriver:
    """The driver that makes a node a network namespace. Holds no state: labs live in the system."""

    name = "netns"

    def deploy(self, plan: Plan, dilation: int = 1) -> list[Attachment]:
        """Build the lab of a plan and return where its ports are.

        A lab of that name that is exactly as planned is kept, only the hosts' shaping is set again, because `dilation`
        may differ. What a killed deploy or destroy left of it is removed first. Raises DriverError: EPERM without
        privileges, EEXIST if the lab exists and differs or a name is taken. On any error nothing that this call made
        stays.
        """
        kernel.require_privileges("deploy")
        if dilation < 1:
            raise ValueError(f"dilation is at least 1, not {dilation}")
        layout = _layout(plan)
        with _system_errors("deploy"), kernel.exclusive():
            if not _stands(layout, dilation):
                _build(layout, dilation)
        return _attachments(layout)

    def redeploy(self, plan: Plan, dilation: int = 1) -> list[Attachment]:
        """Destroy the plan's lab, whatever state it is in, and build it anew."""
        self.destroy(str(plan["lab"]))
        return self.deploy(plan, dilation)

    def destroy(self, lab: str, spare: Collection[int] = ()) -> list[str]:
        """End the processes inside a lab and remove its namespaces, and with them every link. Returns its nodes.

        This process and those whose ids are in `spare` are not ended. No lab of that name: returns an empty list.
        """
        return self._destroy(lab, spare).get(lab, [])

    def destroy_all(self, spare: Collection[int] = ()) -> dict[str, list[str]]:
        """Remove every lab on this machine, as `destroy` does. Returns the nodes of each."""
        return self._destroy(None, spare)

    def _destroy(self, lab: str | None, spare: Collection[int]) -> dict[str, list[str]]:
        with _system_errors("destroy"), kernel.exclusive():
            namespaces = kernel.open_namespaces(lab)
            labs = _by_lab(namespaces)
            _remove(namespaces, spare)
        return labs

    def list_labs(self) -> dict[str, list[str]]:
        """Return the labs on this machine and their nodes, read from the labels of the namespaces."""
        with _system_errors("list labs"), _opened(None) as namespaces:
            return _by_lab(namespaces)

    def namespace_path(self, lab: str, node: str) -> str:
        """Return the path of a node's namespace. Raises DriverError if there is no such node."""
        path = kernel.namespace_path(lab, node)
        if node not in self.list_labs().get(lab, []):
            raise DriverError(f"find node {node} of lab {lab}", errno.ENOENT)
        return path

    def exec_in(self, lab: str, node: str, argv: Sequence[str]) -> int:
        """Run a program inside a node with this process's standard streams; return its exit status.

        The names of the lab's hosts lead to the addresses of their kernels. A program ended by signal n gives 128 + n,
        as in a shell. An interrupt reaches the program from the terminal; this process waits on. Raises DriverError if
        the program cannot be started.
        """
        with _system_errors("exec"), _opened(lab) as namespaces:
            nodes = {namespace.node: namespace for namespace in namespaces}
            if node not in nodes:
                raise DriverError(f"find node {node} of lab {lab}", errno.ENOENT)
            process = inside.spawn_in(nodes[node].path, argv, _addresses(namespaces))
        while True:
            try:
                status = process.wait()
            except KeyboardInterrupt:
                continue
            return status if status >= 0 else 128 - status

    def shape(self, lab: str, node: str, port: str, rate_bps: int) -> None:
        """Limit the kernel traffic that a host sends on a port to `rate_bps` of wall time; 0 lifts the limit.

        Leaves the frames of the emulated NIC alone.
        """
        with _system_errors("shape"), _opened(lab) as namespaces:
            for namespace in namespaces:
                if namespace.node != node:
                    continue
                for link in netlink.read_links(namespace.netlink):
                    if link.name == port:
                        frame_bytes = link.mtu_bytes + _ETHERNET_HEADER_BYTES
                        shaper = qdisc.htb(rate_bps, frame_bytes) if rate_bps else None
                        qdisc.set_qdisc(namespace.netlink, link.index, shaper)
                        return
        raise DriverError(f"shape {node}:{port} of lab {lab}", errno.ENODEV)


@contextmanager
def _system_errors(operation: str) -> Iterator[None]:
    """Turn what the system refuses outside of any single operation (no descriptors left …) into DriverError."""
    try:
        yield
    except OSError as error:
        raise DriverError(operation, error.errno or 0, error.filename or "") from error


@contextmanager
def _opened(lab: str | None) -> Iterator[list[Namespace]]:
    with ExitStack() as stack:
        namespaces = kernel.open_namespaces(lab)
        for namespace in namespaces:
            stack.callback(namespace.close)
        yield namespaces


def _by_lab(namespaces: Sequence[Namespace]) -> dict[str, list[str]]:
    labs: defaultdict[str, list[str]] = defaultdict(list)
    for namespace in namespaces:
        labs[namespace.lab].append(namespace.node)
    return {lab: sorted(nodes) for lab, nodes in sorted(labs.items())}


def _addresses(namespaces: Sequence[Namespace]) -> dict[str, str]:
    """Return the address at which each host's kernel is found; switches have none."""
    return {
        namespace.node: address
        for namespace in namespaces
        for index, address, _prefix_length in netlink.read_addresses(namespace.netlink)
        if index >= _FIRST_INDEX
    }


def _layout(plan: Plan) -> _Layout:
    """Turn a plan into what each namespace shall hold. Ports on links of medium `memory` have no interface."""
    lab = str(plan["lab"])
    nodes = [_Node(node["name"]) for node in plan["nodes"]]
    speakers = {(entry["node"], entry["port"]): entry for entry in plan["stations"] if entry["kind"] == "kernel"}
    layout = _Layout(lab, int(plan.get("prefix_length", DEFAULT_PREFIX_LENGTH)), nodes, [])
    for link in plan["links"]:
        if link["medium"] != "veth":
            continue
        mtu_bytes = int(link.get("mtu_bytes", DEFAULT_MTU_BYTES))
        ends = []
        for here, there in (("a", "b"), ("b", "a")):
            interface = _interface(plan, tuple(link[here]), tuple(link[there]), mtu_bytes, speakers)
            nodes[link[here][0]].interfaces.append(interface)
            ends.append((link[here][0], interface))
        layout.links.append((ends[0], ends[1]))
    for (number, _port), speaker in speakers.items():
        for interface in nodes[number].interfaces:
            if interface.address == speaker["ip"]:
                others = [other for other in speakers.values() if other is not speaker]
                nodes[number].neighbours += [(interface.index, other["ip"], other["mac"]) for other in others]
    return layout


def _interface(
    plan: Plan,
    here: tuple[int, int],
    there: tuple[int, int],
    mtu_bytes: int,
    speakers: Mapping[tuple[int, int], Mapping[str, Any]],
) -> _Interface:
    node, peer = plan["nodes"][here[0]], plan["nodes"][there[0]]
    port = node["ports"][here[1]]
    interface = _Interface(
        name=port["name"],
        index=_FIRST_INDEX + here[1],
        alias=f"to {peer['name']}:{peer['ports'][there[1]]['name']}",
        mtu_bytes=mtu_bytes,
        mac=port["mac"],
    )
    speaker = speakers.get(here)
    if speaker is not None:
        interface.mac, interface.address, interface.rate_bps = speaker["mac"], speaker["ip"], int(port["rate_bps"])
    elif node["kind"] == "host":
        # The port's own MAC is the emulated NIC's; the kernel must not take its frames for frames to itself.
        interface.mac = None
    return interface


def _stands(layout: _Layout, dilation: int) -> bool:
    """Tell whether the lab stands as planned, its hosts shaped anew; remove what was never finished of it.

    Raises DriverError (EEXIST) if it stands and differs.
    """
    with _opened(layout.lab) as existing:
        if not existing:
            return False
        loopbacks = [netlink.read_link(namespace.netlink, netlink.LOOPBACK_INDEX) for namespace in existing]
        if all(loopback.flags & netlink.IFF_UP for loopback in loopbacks):
            _compare(layout, existing)
            for namespace, node in zip(existing, _sorted_nodes(layout), strict=True):
                for index, shaper in _shapers(node, dilation):
                    qdisc.set_qdisc(namespace.netlink, index, shaper)
            return True
    _remove(kernel.open_namespaces(layout.lab), ())
    return False


def _remove(namespaces: list[Namespace], spare: Collection[int]) -> None:
    """Remove namespaces and who lives there, and whatever a killed process left of others. Closes them."""
    try:
        for namespace in namespaces:
            namespace.netlink.apply([_LAB_FALLS])
        if namespaces:
            kernel.end_processes(namespaces, spare)
    except BaseException:
        for namespace in namespaces:
            namespace.close()
        raise
    kernel.remove_namespaces(namespaces)
    kernel.remove_leftovers()


def _build(layout: _Layout, dilation: int) -> None:
    made: list[Namespace] = []
    try:
        kernel.create_namespaces(layout.lab, [node.name for node in layout.nodes], made)
        with kernel.in_thread(_scratch) as control:
            control.apply([_veth(layout, made, a, b) for a, b in layout.links])
        for namespace, node in zip(made, layout.nodes, strict=True):
            for interface in node.interfaces:
                disable_offloads(namespace.netlink.fileno(), interface.name)
            namespace.netlink.apply([*_configuration(layout, node), *_shaping(node, dilation)])
        _await_links(layout, made)
        for namespace in made:
            namespace.netlink.apply([_LAB_STANDS])
    except BaseException:
        kernel.remove_namespaces(made)
        kernel.remove_leftovers()
        raise
    for namespace in made:
        namespace.close()


def _scratch() -> Netlink:
    """Open a socket in a namespace that holds nothing and ends with it.

    Kernels before 6.7 or so look for a new link's index in the namespace of the socket that asks, too.
    """
    kernel.unshare_network()
    return Netlink()


def _await_links(layout: _Layout, made: list[Namespace]) -> None:
    """Wait until every interface sends. The kernel notices its peer some time later, and drops until then."""
    deadline_ns = time.monotonic_ns() + _CARRIER_TIMEOUT_NS
    for namespace, node in zip(made, layout.nodes, strict=True):
        for interface in node.interfaces:
            while not netlink.read_link(namespace.netlink, interface.index).operational:
                if time.monotonic_ns() > deadline_ns:
                    raise DriverError(f"wait for link {node.name}:{interface.name}", errno.ETIMEDOUT)
                time.sleep(_CARRIER_POLL_S)


def _veth(layout: _Layout, made: list[Namespace], a: tuple[int, _Interface], b: tuple[int, _Interface]) -> Message:
    ends = [Endpoint(made[number].fd, end.index, end.name, end.mac) for number, end in (a, b)]
    names = [f"{layout.nodes[number].name}:{end.name}" for number, end in (a, b)]
    return netlink.create_veth(ends[0], ends[1], a[1].mtu_bytes, f"create link {names[0]} - {names[1]}")


def _configuration(layout: _Layout, node: _Node) -> Iterator[Message]:
    for interface in node.interfaces:
        yield netlink.set_link(interface.index, up=True, alias=interface.alias, arp=False)
        if interface.address is not None:
            yield netlink.add_address(interface.index, interface.address, layout.prefix_length)
    for index, address, mac in node.neighbours:
        yield netlink.add_neighbour(index, address, mac)


def _shapers(node: _Node, dilation: int) -> Iterator[tuple[int, Qdisc]]:
    """Yield what limits a host's kernel to the port's nominal rate, in wall time, with the interface to put it on."""
    for interface in node.interfaces:
        if interface.rate_bps:
            rate_bps = max(interface.rate_bps // dilation, qdisc.MINIMUM_RATE_BPS)
            yield interface.index, qdisc.htb(rate_bps, interface.mtu_bytes + _ETHERNET_HEADER_BYTES)


def _shaping(node: _Node, dilation: int) -> Iterator[Message]:
    for index, shaper in _shapers(node, dilation):
        yield from qdisc.new_qdisc(index, shaper)


def _sorted_nodes(layout: _Layout) -> list[_Node]:
    """Return the nodes in the order in which `open_namespaces` finds theirs."""
    return sorted(layout.nodes, key=lambda node: kernel.namespace_path(layout.lab, node.name))


def _compare(layout: _Layout, existing: list[Namespace]) -> None:
    """Raise DriverError (EEXIST) naming the first difference between a lab and its plan."""
    difference = _difference(layout, existing)
    if difference:
        detail = f"the lab exists and differs from its plan ({difference}); destroy it first, or redeploy"
        raise DriverError(f"deploy lab {layout.lab}", errno.EEXIST, detail)


def _difference(layout: _Layout, existing: list[Namespace]) -> str:
    nodes = _sorted_nodes(layout)
    differing = {namespace.node for namespace in existing} ^ {node.name for node in nodes}
    if differing:
        return f"node {min(differing)} is not in both"
    for namespace, node in zip(existing, nodes, strict=True):
        planned = {end.name: end for end in node.interfaces}
        found = {link.name: link for link in netlink.read_links(namespace.netlink) if link.index >= _FIRST_INDEX}
        for name in sorted(planned.keys() | found.keys()):
            if not _agrees(planned.get(name), found.get(name)):
                return f"interface {node.name}:{name}"
        addresses = {(end.index, end.address, layout.prefix_length) for end in node.interfaces if end.address}
        if {entry for entry in netlink.read_addresses(namespace.netlink) if entry[0] >= _FIRST_INDEX} != addresses:
            return f"the addresses of {node.name}"
        if netlink.read_neighbours(namespace.netlink) != set(node.neighbours):
            return f"the neighbours of {node.name}"
    return ""


def _agrees(planned: _Interface | None, found: netlink.Link | None) -> bool:
    if planned is None or found is None:
        return False
    return (
        (planned.index, planned.alias, planned.mtu_bytes) == (found.index, found.alias, found.mtu_bytes)
        and planned.mac in (None, found.mac)
        and found.flags & netlink.IFF_UP != 0
        and found.flags & netlink.IFF_NOARP != 0
    )


def _attachments(layout: _Layout) -> list[Attachment]:
    return [
        Attachment(
            node=node.name,
            port=interface.name,
            netns=kernel.namespace_path(layout.lab, node.name),
            interface=interface.name,
        )
        for node in layout.nodes
        for interface in node.interfaces
    ]
