"""What a plan asks of the kernel, namespace by namespace. Pure: nothing here touches the system."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from testbed import kernel
from testbed.drivers import Attachment, Plan
from testbed.emulation import Place
from testbed.netem import Netem

DEFAULT_MTU_BYTES = 4200
"""IP MTU of a link whose plan names none: holds a RoCEv2 packet of path MTU 4096 with all its headers."""

DEFAULT_PREFIX_LENGTH = 15

FIRST_INDEX = 101
"""Interface index of port 0. Set by us so that nothing needs looking up; clear of those that the kernel hands out."""


_TOWARDS = "to "


@dataclass
class Interface:
    """What one veth end shall be. `address` and `rate_bps` are set where a host's kernel speaks, `netem` where it acts."""

    name: str
    index: int
    alias: str
    mtu_bytes: int
    mac: str | None
    address: str | None = None
    rate_bps: int = 0
    netem: Netem | None = None


@dataclass(frozen=True)
class Contained:
    """What a node is made of where nodes are containers; a CPU limit of 0 is none. `hosts`: addresses by name."""

    image: str
    cpu_millis: int
    memory_bytes: int
    hosts: Mapping[str, str]


@dataclass
class Node:
    """What one namespace shall hold. `neighbours`: (interface index, address, MAC)."""

    name: str
    kind: str
    container: Contained | None = None
    interfaces: list[Interface] = field(default_factory=list)
    neighbours: list[tuple[int, str, str]] = field(default_factory=list)


@dataclass
class Layout:
    """What a plan asks of the kernel. `links` pairs (node, interface) with (node, interface)."""

    lab: str
    prefix_length: int
    nodes: list[Node]
    links: list[tuple[tuple[int, Interface], tuple[int, Interface]]]


def layout_of(plan: Plan, imposed: Mapping[Place, Netem]) -> Layout:
    """Turn a plan into what each namespace shall hold. Ports on links of medium `memory` have no interface.

    `imposed`: what netem does at the ends of links that are its own.
    """
    lab = str(plan["lab"])
    speakers = {(entry["node"], entry["port"]): entry for entry in plan["stations"] if entry["kind"] == "kernel"}
    hosts = {plan["nodes"][number]["name"]: entry["ip"] for (number, _port), entry in speakers.items()}
    nodes = [_node(node, hosts) for node in plan["nodes"]]
    layout = Layout(lab, int(plan.get("prefix_length", DEFAULT_PREFIX_LENGTH)), nodes, [])
    for link in plan["links"]:
        if link["medium"] != "veth":
            continue
        mtu_bytes = int(link.get("mtu_bytes", DEFAULT_MTU_BYTES))
        ends = []
        for here, there in (("a", "b"), ("b", "a")):
            interface = _interface(plan, tuple(link[here]), tuple(link[there]), mtu_bytes, speakers)
            interface.netem = imposed.get(tuple(link[here]))
            nodes[link[here][0]].interfaces.append(interface)
            ends.append((link[here][0], interface))
        layout.links.append((ends[0], ends[1]))
    for (number, _port), speaker in speakers.items():
        for interface in nodes[number].interfaces:
            if interface.address == speaker["ip"]:
                others = [other for other in speakers.values() if other is not speaker]
                nodes[number].neighbours += [(interface.index, other["ip"], other["mac"]) for other in others]
    return layout


def _node(node: Mapping[str, Any], hosts: Mapping[str, str]) -> Node:
    settings = node.get("container")
    return Node(node["name"], node["kind"], None if settings is None else Contained(**settings, hosts=hosts))


def _interface(
    plan: Plan,
    here: tuple[int, int],
    there: tuple[int, int],
    mtu_bytes: int,
    speakers: Mapping[tuple[int, int], Mapping[str, Any]],
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
    elif node["kind"] == "host":
        # The port's own MAC is the emulated NIC's; the kernel must not take its frames for frames to itself.
        interface.mac = None
    return interface


def part_of(layout: Layout, names: Collection[str]) -> Layout:
    """Return the nodes of a layout that have these names, without links."""
    return Layout(layout.lab, layout.prefix_length, [node for node in layout.nodes if node.name in names], [])


def peer_of(alias: str) -> tuple[str, str] | None:
    """Return the node and the port that an interface with this alias leads to; None if it is none of a lab's."""
    node, colon, port = alias.removeprefix(_TOWARDS).partition(":")
    return (node, port) if colon and alias.startswith(_TOWARDS) else None


def keep_indices(layout: Layout, found: Mapping[str, Mapping[str, int]]) -> None:
    """Give interfaces the indices that those of their name have already, by node; new ones get others.

    An index follows from a port's place among those of its node, which another plan may change.
    """
    for node in layout.nodes:
        there = found.get(node.name, {})
        free = (index for index in itertools.count(FIRST_INDEX) if index not in there.values())
        before = [interface.index for interface in node.interfaces]
        for interface in node.interfaces:
            interface.index = there[interface.name] if interface.name in there else next(free)
        renamed = dict(zip(before, (interface.index for interface in node.interfaces), strict=True))
        node.neighbours = [(renamed[index], address, mac) for index, address, mac in node.neighbours]


def attachments(layout: Layout, fresh: Collection[tuple[str, str]] = ()) -> list[Attachment]:
    """Return where the data plane finds the ports. `fresh`: (node, interface) of those that were made anew."""
    return [
        Attachment(
            node=node.name,
            port=interface.name,
            netns=kernel.namespace_path(layout.lab, node.name),
            interface=interface.name,
            fresh=(node.name, interface.name) in fresh,
        )
        for node in layout.nodes
        for interface in node.interfaces
    ]
