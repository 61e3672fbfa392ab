"""What tells one plan of a lab from another, and how a lab that runs comes to the second: pure, plans in, words out.

Nodes and ports go by name, links by the names of their ends; positions in a plan's lists mean nothing across plans.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from testbed.contract.plan import Host, Link, Plan, Port, Station, Switch
from testbed.errors import UsageError
from testbed.plan.addressing import MAX_MACS, kernel_ip, mac_address, nic_ip

Document = dict[str, Any]
End = tuple[str, str]

# Of these a plan has an entry for each port, station or link: what follows from others being there is no change of a node.
_BY_POSITION = ("ports", "priority_groups", "routes", "route_counts", "station")
_OF_ADDRESSES = ("mac",)


@dataclass(frozen=True, order=True)
class Change:
    """One thing that differs: a node or a link (`a:eth1 - b:eth2`) that comes, goes, or has other settings."""

    kind: Literal["lab", "node", "link"]
    name: str
    action: Literal["add", "remove", "change"]
    settings: tuple[str, ...] = ()

    def data(self) -> Document:
        """Return it as JSON data."""
        return {**asdict(self), "settings": list(self.settings)}


def changes(old: Plan | None, new: Plan) -> list[Change]:
    """Return what has to be done to the lab of one plan, or to none, so that it is that of another; sorted."""
    before = _parts(old) if old is not None else {}
    after = _parts(new)
    changes = []
    for kind, name in sorted(before.keys() | after.keys()):
        had, has = before.get((kind, name)), after.get((kind, name))
        if had is None or has is None:
            changes.append(Change(kind, name, "add" if had is None else "remove"))
        elif settings := tuple(sorted(key for key in had.keys() | has.keys() if had.get(key) != has.get(key))):
            changes.append(Change(kind, name, "change", settings))
    return changes


def _parts(plan: Plan) -> dict[tuple[Literal["lab", "node", "link"], str], Document]:
    """Return what a plan says of the lab as a whole, of each node and of each link."""
    skipped = ("schema", "lab", "nodes", "links", "stations")
    parts: dict[tuple[Literal["lab", "node", "link"], str], Document] = {
        ("lab", str(plan["lab"])): {key: value for key, value in plan.items() if key not in skipped}
    }
    for node in plan["nodes"]:
        parts["node", node["name"]] = dict(_node(plan, node))
    for link in plan["links"]:
        ends = _ends(plan, link)
        backwards = ends[0] > ends[1]
        name = " - ".join(f"{node}:{port}" for node, port in sorted(ends))
        parts["link", name] = {key: _turned(value, backwards) for key, value in link.items() if key not in ("a", "b")}
    return parts


def _node(plan: Plan, node: Host | Switch) -> Iterator[tuple[str, Any]]:
    yield from ((key, value) for key, value in node.items() if key not in _BY_POSITION)
    names = [port["name"] for port in node["ports"]]
    for port in node["ports"]:
        settings = port.items()
        yield from ((f"{port['name']}.{key}", value) for key, value in settings if key not in ("name", *_OF_ADDRESSES))
    for group in node.get("priority_groups", ()) if node["kind"] == "switch" else ():
        thresholds = {key: value for key, value in group.items() if key not in ("port", "priority")}
        yield f"{names[group['port']]}.priority {group['priority']}", thresholds


def _ends(plan: Plan, link: Link) -> tuple[End, End]:
    def end(place: Sequence[int]) -> End:
        node = plan["nodes"][place[0]]
        return node["name"], node["ports"][place[1]]["name"]

    return end(link["a"]), end(link["b"])


def _turned(value: Any, backwards: bool) -> Any:
    """Return what a link says for each way, first that from the end whose name comes first."""
    return value[::-1] if backwards and isinstance(value, list) else value


def keep_addresses(old: Plan, new: Plan) -> Plan:
    """Return the second plan with the addresses that nodes of the first have; those that are new get free ones.

    Raises UsageError if there are not enough.
    """
    plan = copy.deepcopy(new)
    stations = {_station(old, entry): entry for entry in old["stations"]}
    ports = {(node["name"], port["name"]): port["mac"] for node in old["nodes"] for port in node["ports"]}
    kept: list[Station] = []
    fresh: list[Station] = []
    for entry in plan["stations"]:
        had = stations.get(_station(plan, entry))
        if had:
            entry["mac"], entry["ip"] = had["mac"], had["ip"]
        (kept if had else fresh).append(entry)
    kernels = [entry for entry in plan["stations"] if entry["kind"] == "kernel"]
    speakers = {(entry["node"], entry["port"]) for entry in kernels}
    held: set[str] = set()
    bare: list[Port] = []
    for number, node in enumerate(plan["nodes"]):
        for index, port in enumerate(node["ports"]):
            mac = ports.get((node["name"], port["name"]))
            if (number, index) not in speakers:
                port["mac"] = mac or port["mac"]
                if mac:
                    held.add(mac)
                else:
                    bare.append(port)
    macs = {entry["mac"] for entry in kept} | held
    new_ones: list[Station | Port] = [*fresh, *bare]
    for speaker in new_ones:
        speaker["mac"] = _free(speaker["mac"], macs, lambda number: mac_address(plan["lab"], number))
    for entry in kernels:
        # The interface of a host is its kernel's.
        plan["nodes"][entry["node"]]["ports"][entry["port"]]["mac"] = entry["mac"]
    ips = {entry["ip"] for entry in kept}
    for entry in fresh:
        entry["ip"] = _free(entry["ip"], ips, nic_ip if entry["kind"] == "nic" else kernel_ip)
    return plan


def _station(plan: Plan, entry: Station) -> tuple[str, str, str]:
    node = plan["nodes"][entry["node"]]
    return node["name"], node["ports"][entry["port"]]["name"], entry["kind"]


def _free(proposed: str, taken: set[str], address: Callable[[int], str]) -> str:
    """Return the proposed address, or the first that is free; it is taken from then on."""
    numbered = (address(number) for number in itertools.islice(itertools.count(), MAX_MACS))
    free = next((each for each in itertools.chain([proposed], numbered) if each not in taken), None)
    if free is None:
        raise UsageError("the lab has no address left for a new node: destroy it and deploy it anew")
    taken.add(free)
    return free
