"""A configuration as values: ports on hosts of a lab, what they obey, raw flows, captures. Pure.

Whatever is wrong with a request is refused at once, field by field.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.otg import rocev2, schema
from testbed.otg.schema_rocev2 import ROCEV2
from testbed.otg.validation import UNSET, Refused, checked

OBJECTS = {**schema.CONFIG, **schema.FLOWS, **schema.HEADERS, **ROCEV2}
_AFTER: Mapping[str, Sequence[str]] = {
    "ethernet": ("vlan", "ipv4"),
    "vlan": ("vlan", "ipv4"),
    "ipv4": ("udp",),
    "udp": (),
    "pfcpause": (),
    "ethernetpause": (),
}
_FIRST = ("ethernet", "pfcpause", "ethernetpause")


@dataclass(frozen=True)
class Header:
    """A header of a flow's frames: by field the values that it takes in turn; what is missing the server fills in."""

    kind: str
    values: Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Port:
    """A port of the generator: its name, where it is as the user wrote it, and the host and port of the lab."""

    name: str
    location: str
    node: str
    port: str

    @property
    def place(self) -> str:
        """The port of the lab, `node:port`."""
        return f"{self.node}:{self.port}"


@dataclass(frozen=True)
class Stream:
    """One way that frames of a flow take. `to` are the ports where they are counted."""

    source: Port
    to: tuple[Port, ...]


@dataclass(frozen=True)
class Flow:
    """A raw flow. `pfc_queue` is the queue that its frames leave by, where that is stated."""

    name: str
    at: str
    streams: tuple[Stream, ...]
    headers: tuple[Header, ...]
    pfc_queue: int | None
    payload: bytes
    size: Mapping[str, Any]
    rate: Mapping[str, Any]
    duration: Mapping[str, Any]
    metrics: Mapping[str, Any]

    @property
    def is_endless(self) -> bool:
        """Whether it goes on until it is stopped."""
        kind = self.duration["choice"]
        return bool(kind == "continuous" or (kind == "burst" and self.duration["burst"]["bursts"] == 0))


@dataclass(frozen=True)
class Capture:
    """A capture of ports: its format, and the bytes that it keeps of a frame."""

    ports: tuple[str, ...]
    format: str
    packet_size: int | None


@dataclass(frozen=True)
class Config:
    """A configuration. `classes` has, by port that obeys PFC, the class of PAUSE frames that stops each queue."""

    ports: Mapping[str, Port]
    classes: Mapping[str, Mapping[int, int]]
    captures: Mapping[str, Capture]
    flows: Mapping[str, Flow]
    devices: rocev2.Devices
    sent: Mapping[str, Any]


def parse(document: Any, lab_ports: Mapping[str, Sequence[str]]) -> Config:
    """Read a configuration for a lab of these hosts and ports. Raises Refused."""
    data = checked("Config", document, OBJECTS)
    faults: list[str] = []
    ports = _ports(data["ports"], lab_ports, faults)
    classes = _classes(data["layer1"], ports, faults)
    captures = _captures(data["captures"], ports, faults)
    devices = rocev2.read(data, ports, faults)
    flows = [_flow(each, f"flows[{index}]", ports, devices.ports, faults) for index, each in enumerate(data["flows"])]
    _unique([*devices.flows, *(flow["name"] for flow in data["flows"])], "flows", faults)
    if faults:
        raise Refused(faults)
    return Config(ports, classes, captures, {flow.name: flow for flow in flows if flow is not None}, devices, document)


def _unique(names: Sequence[str], at: str, faults: list[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            faults.append(f"{at}[{index}].name: {name} is there twice")


def _ports(entries: Sequence[Any], hosts: Mapping[str, Sequence[str]], faults: list[str]) -> dict[str, Port]:
    ports: dict[str, Port] = {}
    _unique([entry["name"] for entry in entries], "ports", faults)
    for index, entry in enumerate(entries):
        location = entry["location"] or entry["name"]
        node, _, port = location.partition(":")
        if node not in hosts:
            faults.append(f"ports[{index}].location: the lab has no host {node[:80]}; it has {', '.join(hosts)[:400]}")
            continue
        port = port or hosts[node][0]
        if port not in hosts[node]:
            faults.append(f"ports[{index}].location: {node} has no port {port[:80]}; it has {', '.join(hosts[node])}")
            continue
        if any(other.place == f"{node}:{port}" for other in ports.values()):
            faults.append(f"ports[{index}].location: {node}:{port} is a port already")
        ports[entry["name"]] = Port(entry["name"], location, node, port)
    return ports


def known(names: Sequence[str], ports: Mapping[str, Any], at: str, faults: list[str], what: str = "port") -> list[str]:
    """Return those of the names that there are; note the others."""
    for index, name in enumerate(names):
        if name not in ports:
            faults.append(f"{at}[{index}]: no {what} is called {name[:80]}")
    return [name for name in names if name in ports]


def chosen(names: Sequence[str], every: Mapping[str, Any], at: str, what: str = "port") -> list[str]:
    """Return the names that a request gives, all there are if it gives none. Raises Refused."""
    faults: list[str] = []
    named = known(names, every, at, faults, what)
    if faults:
        raise Refused(faults)
    return named or list(every)


def _classes(entries: Sequence[Any], ports: Mapping[str, Port], faults: list[str]) -> dict[str, Mapping[int, int]]:
    classes: dict[str, Mapping[int, int]] = {}
    for index, entry in enumerate(entries):
        at = f"layer1[{index}]"
        names = known(entry["port_names"], ports, f"{at}.port_names", faults)
        control = entry["flow_control"]
        if control is None:
            continue
        pfc = control["ieee_802_1qbb"] or {}
        if pfc.get("pfc_delay"):
            faults.append(f"{at}.flow_control.ieee_802_1qbb.pfc_delay: a delay is not supported by this server")
        # Of several classes that stop one queue the first counts.
        by_queue = {pfc[f"pfc_class_{each}"]: each for each in range(7, -1, -1)}
        classes |= dict.fromkeys(names, by_queue)
    return classes


def _captures(entries: Sequence[Any], ports: Mapping[str, Port], faults: list[str]) -> dict[str, Capture]:
    captures: dict[str, Capture] = {}
    for index, entry in enumerate(entries):
        names = known(entry["port_names"], ports, f"captures[{index}].port_names", faults)
        for name in names:
            if name in captures:
                faults.append(f"captures[{index}].port_names: {name} has a capture already")
            captures[name] = Capture(tuple(names), entry["format"], entry["packet_size"])
    return captures


def _streams(
    tx_rx: Mapping[str, Any], at: str, ports: Mapping[str, Port], ends: Mapping[str, str], faults: list[str]
) -> tuple[Stream, ...]:
    if tx_rx["choice"] == "port":
        port = tx_rx["port"]
        if port["tx_name"] not in ports:
            faults.append(f"{at}.port.tx_name: no port is called {port['tx_name'][:80]}")
            return ()
        given = port["rx_names"] or ([port["rx_name"]] if port["rx_name"] else [])
        names = known(given, ports, f"{at}.port.rx_names", faults)
        return (Stream(ports[port["tx_name"]], tuple(ports[name] for name in names)),)
    device = tx_rx["device"]
    if device["bidirectional"]:
        faults.append(f"{at}.device.bidirectional: not supported by this server")
    sources = [ends[name] for name in known(device["tx_names"], ends, f"{at}.device.tx_names", faults, "device")]
    sinks = [ends[name] for name in known(device["rx_names"], ends, f"{at}.device.rx_names", faults, "device")]
    if device["mode"] == "one_to_one":
        if len(sources) != len(sinks):
            faults.append(f"{at}.device.mode: one_to_one needs as many rx_names as tx_names")
        pairs = list(zip(sources, sinks, strict=False))
    else:
        pairs = [(source, sink) for source in sources for sink in sinks if source != sink]
    return tuple(Stream(ports[source], (ports[sink],)) for source, sink in pairs)


def _flow(
    entry: Mapping[str, Any], at: str, ports: Mapping[str, Port], ends: Mapping[str, str], faults: list[str]
) -> Flow | None:
    before = len(faults)
    streams = _streams(entry["tx_rx"], f"{at}.tx_rx", ports, ends, faults)
    entries = entry["packet"] or [checked("FlowHeader", {}, OBJECTS)]
    kinds = [each["choice"] for each in entries]
    for index, kind in enumerate(kinds):
        if index == 0 and kind not in _FIRST:
            faults.append(f"{at}.packet[0]: a frame begins with {' or '.join(_FIRST)}, not {kind}")
        elif index > 0 and kind not in _AFTER[kinds[index - 1]]:
            faults.append(f"{at}.packet[{index}]: {kind} cannot follow {kinds[index - 1]}")
    if len(faults) > before:
        return None
    headers = tuple(_header(each["choice"], each[each["choice"]]) for each in entries)
    queue: Any = entries[0]["ethernet"]["pfc_queue"] if kinds[0] == "ethernet" else UNSET
    pattern = (entry["payload"] or {"fixed": {"pattern": "00"}})["fixed"]["pattern"].removeprefix("0x")
    return Flow(
        name=entry["name"],
        at=at,
        streams=streams,
        headers=headers,
        pfc_queue=None if queue is UNSET else queue[0],
        payload=bytes.fromhex(pattern.zfill(len(pattern) + len(pattern) % 2)) or b"\0",
        size=entry["size"] or checked("FlowSize", {}, OBJECTS),
        rate=entry["rate"] or checked("FlowRate", {}, OBJECTS),
        duration=entry["duration"] or checked("FlowDuration", {}, OBJECTS),
        metrics=entry["metrics"] or checked("FlowMetrics", {}, OBJECTS),
    )


# Fields that the server fills in where they are left out, whatever the schema's default.
_SERVERS = ("dst", "src", "ether_type", "tpid", "protocol", "total_length", "length")


def _header(kind: str, fields: Mapping[str, Any]) -> Header:
    described = OBJECTS[_PARTS[kind]].fields
    values: dict[str, Sequence[int]] = {}
    for key, field in described.items():
        given = fields[key]
        if not isinstance(field, schema.Pattern):
            continue
        if given is None or (given is UNSET and key in _SERVERS and kind in ("ethernet", "vlan", "ipv4", "udp")):
            continue
        values[key] = [_number(field.default)] if given is UNSET else given
    values.pop("pfc_queue", None)
    if kind == "ipv4":
        values["tos"] = _type_of_service(fields["priority"])
    for key in ("header_checksum", "checksum"):
        chosen = fields.get(key)
        if chosen is not None and chosen["choice"] == "custom" and chosen["custom"] is not None:
            values["checksum"] = [chosen["custom"]]
        elif chosen is not None and chosen["generated"] == "bad":
            values["bad_checksum"] = [1]
    return Header(kind, values)


_PARTS = {
    "ethernet": "FlowEthernet",
    "vlan": "FlowVlan",
    "ipv4": "FlowIpv4",
    "udp": "FlowUdp",
    "pfcpause": "FlowPfcPause",
    "ethernetpause": "FlowEthernetPause",
}


def _number(default: int | str) -> int:
    if isinstance(default, str):
        if ":" in default:
            return int(default.replace(":", ""), 16)
        return int.from_bytes(bytes(int(part) for part in default.split(".")))
    return default


def _type_of_service(priority: Mapping[str, Any] | None) -> Sequence[int]:
    """Return the values of the byte that has DSCP and ECN."""
    if priority is None:
        return [0]
    if priority["choice"] == "raw":
        return [0] if priority["raw"] is UNSET else list(priority["raw"])
    if priority["choice"] == "tos":
        shifts = {"precedence": 5, "delay": 4, "throughput": 3, "reliability": 2, "monetary": 1, "unused": 0}
        return _together([(priority["tos"][key], shift) for key, shift in shifts.items()])
    return _together([(priority["dscp"]["phb"], 2), (priority["dscp"]["ecn"], 0)])


def _together(parts: Sequence[tuple[Any, int]]) -> list[int]:
    """Return the values of a byte whose parts have values in turn, each so many bits up."""
    lists = [([0] if values is UNSET else values, shift) for values, shift in parts]
    count = min(math.lcm(*(len(values) for values, _ in lists)), schema.MOST_ENTRIES)
    return [sum(values[number % len(values)] << shift for values, shift in lists) for number in range(count)]
