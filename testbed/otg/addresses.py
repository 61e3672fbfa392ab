"""What a plan says of those who may be ports of a generator: names, addresses, rates, links. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from testbed.contract.plan import Plan
from testbed.otg.flows import Ends, ip_of, mac_of

_CLASS_SELECTORS = [dscp // 8 for dscp in range(64)]


def lab_ports(plan: Plan) -> Mapping[str, Sequence[str]]:
    """Return the hosts of a lab and the names of their ports."""
    return {node["name"]: [port["name"] for port in node["ports"]] for node in plan["nodes"] if node["kind"] == "host"}


def links_of(plan: Plan) -> Mapping[str, int]:
    """Return the link at each port, by `node:port`."""
    places = {}
    for index, link in enumerate(plan["links"]):
        for node, port in (link["a"], link["b"]):
            places[place_of(plan, node, port)] = index
    return places


def place_of(plan: Plan, node: int, port: int) -> str:
    """Return the name of a port, `node:port`."""
    return f"{plan['nodes'][node]['name']}:{plan['nodes'][node]['ports'][port]['name']}"


def peers_of(plan: Plan) -> Mapping[str, tuple[str, int, int]]:
    """Return what is at the other end of the link of each port: its name, its rate in bit/s and the delay in ps."""
    peers = {}
    for link in plan["links"]:
        for near, far in ((link["a"], link["b"]), (link["b"], link["a"])):
            rate_bps = plan["nodes"][far[0]]["ports"][far[1]]["rate_bps"]
            peers[place_of(plan, *near)] = (place_of(plan, *far), rate_bps, link["delay_ps"])
    return peers


def with_addresses(plan: Plan, mac: Mapping[str, str], ip: Mapping[str, str]) -> Plan:
    """Return a plan whose NICs have these addresses, by `node:port`."""
    stations = [station.copy() for station in plan["stations"]]
    for station in stations:
        if station["kind"] == "nic":
            place = place_of(plan, station["node"], station["port"])
            station["mac"] = mac.get(place, station["mac"])
            station["ip"] = ip.get(place, station["ip"])
    return {**plan, "stations": stations}


def ends_of(plan: Plan) -> Ends:
    """Return the addresses, rates and priorities of the ports of hosts."""
    mac, ip, rate_bps = {}, {}, {}
    priorities: dict[str, Sequence[int]] = {}
    for station in plan["stations"]:
        if station["kind"] != "nic":
            continue
        node = plan["nodes"][station["node"]]
        place = place_of(plan, station["node"], station["port"])
        mac[place], ip[place] = mac_of(station["mac"]), ip_of(station["ip"])
        rate_bps[place] = node["ports"][station["port"]]["rate_bps"]
        assert node["kind"] == "host"
        tables = node.get("dscp_to_priority", [])
        table = tables[station["port"]] if station["port"] < len(tables) else []
        priorities[place] = table or _CLASS_SELECTORS
    return Ends(mac, ip, rate_bps, priorities)
