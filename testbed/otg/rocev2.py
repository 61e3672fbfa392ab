"""RoCEv2 devices and flows: what a configuration says of them, and the workload that they are on the data plane. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from testbed.contract.workload import Workload
from testbed.otg.schema_rocev2 import ROCEV2
from testbed.otg.validation import checked
from testbed.units import PS_PER_MS, PS_PER_US

MOST_MESSAGES = 20_000
"""Messages that a flow sends at most; then it is over."""
LASTING_PS = 200 * PS_PER_MS
"""How long its messages last at the rate of its line, if they are not more than that."""
_MTUS = (256, 512, 1024, 2048, 4096)
_UNITS = {"bytes": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_FIRST_QPN, _MOST_QPN = 17, 2**24 - 1
_ACK_EVERY = 16
# More than is under way on any line: what DCQCN allows is the limit.
_WINDOW_BYTES = 2**30


@dataclass(frozen=True)
class QueuePair:
    """A queue pair of a device: where it is, whom it talks to, and what its packets look like."""

    name: str
    port: str
    ip: str
    to_ip: str
    number: int
    dscp: int
    source_port: int
    mtu_bytes: int


@dataclass(frozen=True)
class RoceFlow:
    """A flow of messages from a queue pair to a port."""

    name: str
    qp: QueuePair
    to: str
    message_bytes: int
    verb: str
    rate_percent: int


@dataclass
class Devices:
    """What a configuration says of devices: by name the port that each is behind, their addresses, and RoCEv2."""

    ports: dict[str, str] = field(default_factory=dict)
    mac: dict[str, str] = field(default_factory=dict)
    ip: dict[str, str] = field(default_factory=dict)
    qps: dict[str, QueuePair] = field(default_factory=dict)
    peers: dict[str, list[str]] = field(default_factory=dict)
    flows: dict[str, RoceFlow] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def read(data: Mapping[str, Any], ports: Mapping[str, Any], faults: list[str]) -> Devices:
    """Read the devices, RoCEv2 flows and options of a configuration; note what is wrong with them."""
    devices = Devices()
    for index, entry in enumerate(data["devices"]):
        _device(devices, entry, f"devices[{index}]", ports, faults)
    _settings(devices, data["options"], ports, faults)
    stateful = data["stateful_flows"]
    for index, entry in enumerate(stateful["rocev2"] if stateful is not None else ()):
        for place, tx in enumerate(entry["tx_ports"]):
            at = f"stateful_flows.rocev2[{index}].tx_ports[{place}]"
            _flows(devices, tx, at, ports, faults)
    return devices


def _device(devices: Devices, entry: Mapping[str, Any], at: str, ports: Mapping[str, Any], faults: list[str]) -> None:
    addresses: dict[str, tuple[str, str]] = {}
    for index, ethernet in enumerate(entry["ethernets"]):
        below = f"{at}.ethernets[{index}]"
        port = str((ethernet["connection"] or {}).get("port_name"))
        if port not in ports:
            faults.append(f"{below}.connection.port_name: no port is called {port[:80]}")
            continue
        if port in devices.ports.values():
            faults.append(f"{below}.connection.port_name: {port} has a device already; one is supported")
        if len(ethernet["ipv4_addresses"]) > 1:
            faults.append(f"{below}.ipv4_addresses[1]: one address of a port is supported")
        devices.ports |= dict.fromkeys((entry["name"], ethernet["name"]), port)
        if ethernet["mac"]:
            devices.mac[port] = ethernet["mac"].replace("-", ":").lower()
        for address in ethernet["ipv4_addresses"][:1]:
            devices.ports[address["name"]] = port
            devices.ip[port] = address["address"]
            addresses[address["name"]] = (port, address["address"])
    for index, interface in enumerate((entry["rocev2"] or {"ipv4_interfaces": ()})["ipv4_interfaces"]):
        _interface(devices, interface, f"{at}.rocev2.ipv4_interfaces[{index}]", addresses, faults)


def _interface(
    devices: Devices, entry: Mapping[str, Any], at: str, addresses: Mapping[str, tuple[str, str]], faults: list[str]
) -> None:
    if entry["ipv4_name"] not in addresses:
        faults.append(f"{at}.ipv4_name: the device has no address called {entry['ipv4_name'][:80]}")
        return
    if entry["ib_mtu"] not in _MTUS:
        faults.append(f"{at}.ib_mtu: must be {', '.join(map(str, _MTUS))}, not {entry['ib_mtu']}")
    port, ip = addresses[entry["ipv4_name"]]
    for index, peer in enumerate(entry["peers"]):
        devices.peers[peer["name"]] = []
        for place, qp in enumerate(peer["qps"]):
            below = f"{at}.peers[{index}].qps[{place}]"
            kind = qp["connection_type"] or checked("Rocev2ConnectionType", {}, ROCEV2)
            settings = kind["reliable_connection"]
            if settings["initial_psn"]:
                faults.append(f"{below}.connection_type.reliable_connection.initial_psn: only 0 is supported")
            if settings["ecn"] in ("non_ect", "ce"):
                faults.append(f"{below}.connection_type.reliable_connection.ecn: must be ect_0 or ect_1 on this server")
            if qp["qp_name"] in devices.qps:
                faults.append(f"{below}.qp_name: {qp['qp_name'][:80]} is there twice")
            devices.peers[peer["name"]].append(qp["qp_name"])
            devices.qps[qp["qp_name"]] = QueuePair(
                name=qp["qp_name"],
                port=port,
                ip=ip,
                to_ip=peer["destination_ip_address"],
                number=settings["source_qp_number"],
                dscp=settings["dscp"],
                source_port=settings["udp_source_port"],
                mtu_bytes=entry["ib_mtu"],
            )


def _settings(devices: Devices, options: Any, ports: Mapping[str, Any], faults: list[str]) -> None:
    devices.settings = _whole({})
    given: list[Mapping[str, Any]] = []
    for index, entry in enumerate(options["per_port_options"] if options is not None else ()):
        at = f"options.per_port_options[{index}]"
        if entry["port_name"] not in ports:
            faults.append(f"{at}.port_name: no port is called {str(entry['port_name'])[:80]}")
        for place, protocol in enumerate(entry["protocols"]):
            below = f"{at}.protocols[{place}].rocev2"
            settings = _whole({key: value for key, value in protocol["rocev2"].items() if value is not None})
            _supported(settings, below, faults)
            if given and settings != given[0]:
                faults.append(f"{below}: all ports must have the same settings on this server")
            given.append(settings)
    if given:
        devices.settings = given[0]


def _whole(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of a port with every part of them."""
    parts = {"cnp": "Rocev2CNP", "connection_type": "Rocev2QPConnectionType", "dcqcn_settings": "Rocev2DCQCN"}
    whole = {key: given.get(key) or checked(name, {}, ROCEV2) for key, name in parts.items()}
    acks = whole["connection_type"]["reliable_connection"]
    for key, name in (("ack", "Rocev2ACK"), ("nak", "Rocev2NAK")):
        acks[key] = acks[key] or checked(name, {}, ROCEV2)
    return whole


def _supported(settings: Mapping[str, Any], at: str, faults: list[str]) -> None:
    dcqcn, acks = settings["dcqcn_settings"], settings["connection_type"]["reliable_connection"]
    for key, default in (("initial_rate_after_first_cnp", 0.002), ("maximum_rate_decrement_at_time", 10)):
        if dcqcn[key] != default:
            faults.append(f"{at}.dcqcn_settings.{key}: only {default} is supported")
    if dcqcn["clamp_target_rate"]:
        faults.append(f"{at}.dcqcn_settings.clamp_target_rate: only false is supported")
    if acks["ack"]["ip_dscp"] != acks["nak"]["ip_dscp"]:
        faults.append(f"{at}.connection_type.reliable_connection.nak.ip_dscp: must be that of acknowledgements")
    if not acks["enable_retransmission_timeout"]:
        faults.append(f"{at}.connection_type.reliable_connection.enable_retransmission_timeout: only true is supported")


def _flows(devices: Devices, tx: Mapping[str, Any], at: str, ports: Mapping[str, Any], faults: list[str]) -> None:
    if tx["port_name"] not in ports:
        faults.append(f"{at}.port_name: no port is called {str(tx['port_name'])[:80]}")
    rate = (tx["transmit_type"] or checked("Rocev2TransmitType", {}, ROCEV2))["target_line_rate"]
    by_ip = {ip: port for port, ip in devices.ip.items()}
    for index, entry in enumerate(rate["flows"]):
        below = f"{at}.transmit_type.target_line_rate.flows[{index}]"
        qp = devices.qps.get(entry["tx_endpoint"])
        if qp is None or qp.port != tx["port_name"]:
            faults.append(
                f"{below}.tx_endpoint: port {str(tx['port_name'])[:80]} has no queue pair {entry['tx_endpoint'][:80]}"
            )
            continue
        to = by_ip.get(qp.to_ip)
        if to is None or to == qp.port:
            faults.append(f"{below}.tx_endpoint: no other device has the address {qp.to_ip}")
            continue
        size = entry["message_size"] * _UNITS[entry["message_size_unit"]]
        if not 1 <= size < 2**31:
            faults.append(f"{below}.message_size: a message has 1 to {2**31 - 1} bytes, not {size}")
        if entry["name"] in devices.flows:
            faults.append(f"{below}.name: {entry['name'][:80]} is there twice")
        verb = (entry["rocev2_verb"] or {"choice": "write"})["choice"]
        devices.flows[entry["name"]] = RoceFlow(entry["name"], qp, to, size, verb, rate["value"])
    _alike(list(devices.flows.values()), at, faults)


def _alike(flows: Sequence[RoceFlow], at: str, faults: list[str]) -> None:
    for what, values in (
        ("rocev2_verb", {flow.verb for flow in flows}),
        ("ib_mtu", {flow.qp.mtu_bytes for flow in flows}),
    ):
        if len(values) > 1:
            faults.append(f"{at}: all flows must have one {what} on this server")


def messages(flow: RoceFlow, line_bps: int) -> int:
    """Return how many messages a flow sends."""
    lasting = LASTING_PS * line_bps // (8 * 10**12 * flow.message_bytes)
    return max(1, min(MOST_MESSAGES, lasting))


def workload(
    devices: Devices,
    flows: Sequence[RoceFlow],
    places: Mapping[str, tuple[int, int]],
    rates: Mapping[str, int],
    priority_of: Mapping[str, Sequence[int]],
) -> Workload:
    """Return flows as a workload: two ranks each. `places` are node and port, `rates` bit/s, all by port of the generator."""
    qps: list[dict[str, Any]] = []
    ranks: list[dict[str, Any]] = []
    numbers = [flow.qp.number for flow in flows]
    own = len(set(numbers)) == len(numbers) and all(_FIRST_QPN <= number <= _MOST_QPN for number in numbers)
    for index, flow in enumerate(flows):
        (node, port), (to_node, to_port) = places[flow.qp.port], places[flow.to]
        qps.append(
            {
                "a": 2 * index,
                "b": 2 * index + 1,
                "qpn": flow.qp.number if own else _FIRST_QPN + index,
                "entropy": flow.qp.source_port,
                "ports": [port, to_port],
                "priority": priority_of[flow.qp.port][flow.qp.dscp],
                "dscp": flow.qp.dscp,
            }
        )
        count, size = messages(flow, rates[flow.qp.port]), flow.message_bytes
        sends = [{"kind": "send", "qp": index, "offset": 0, "bytes": size, "remote_offset": 0}] * count
        recvs = [{"kind": "recv", "qp": index, "offset": 0, "bytes": size}] * count
        ranks.append({"node": node, "memory_bytes": 0, "ops": sends})
        ranks.append({"node": to_node, "memory_bytes": 0, "ops": recvs})
    acks = devices.settings["connection_type"]["reliable_connection"]
    first = flows[0] if flows else None
    document = {
        "schema": 1,
        "priority": qps[0]["priority"] if qps else 0,
        "dscp": first.qp.dscp if first else 0,
        "ack_dscp": acks["ack"]["ip_dscp"]["value"] if acks["ack"]["ip_dscp"] else 48,
        "transport": {
            "recovery": "go-back-n",
            "verb": first.verb if first else "write",
            "mtu_bytes": first.qp.mtu_bytes if first else 1024,
            "ack_every": _ACK_EVERY,
            "window_bytes": _WINDOW_BYTES,
            "timeout_ps": max(1, acks["retransmission_timeout_value"]) * PS_PER_MS,
            "retries": acks["retransmission_retry_count"],
            "congestion_control": _dcqcn(
                devices.settings, min((rates[flow.qp.port] for flow in flows), default=10**11)
            ),
        },
        "qps": qps,
        "ranks": ranks,
    }
    return cast(Workload, document)


def _dcqcn(settings: Mapping[str, Any], line_bps: int) -> dict[str, Any] | None:
    """Return the settings of DCQCN as the data plane has them: rates of the API are percent of the line, times us."""
    given, cnp = settings["dcqcn_settings"], settings["cnp"]
    if not given["enable_dcqcn"]:
        return None
    percent = line_bps / 100
    return {
        "kind": "dcqcn",
        # The API counts in 1024ths what is kept of alpha at each update.
        "g": 1 - given["alpha_g"] / 1024,
        "initial_alpha": given["initial_alpha"] / 1023,
        "alpha_timer_ps": max(1, given["alpha_update_period"]) * PS_PER_US,
        "increase_timer_ps": max(1, given["rate_increment_time"]) * PS_PER_US,
        "byte_counter_bytes": given["rate_increment_byte_counter"],
        "fast_recovery_rounds": given["rate_increment_threshold"],
        "additive_bps": max(1, round(given["additive_increment_rate"] * percent)),
        "hyper_bps": max(1, round(given["hyper_increment_rate"] * percent)),
        "minimum_bps": max(1_000_000, round(given["minimum_rate_limmit"] * percent)),
        "cut_interval_ps": given["rate_reduction_time_period"] * PS_PER_US,
        "notify_interval_ps": cnp["cnp_delay_timer"] * PS_PER_US,
        "notify_dscp": cnp["ip_dscp"]["value"] if cnp["ip_dscp"] else 48,
    }
