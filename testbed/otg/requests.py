"""The objects of requests other than configurations, as the published schema has them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from testbed.otg.config import OBJECTS
from testbed.otg.schema import Many, Object, Part, Text

_METRICS_BEYOND = (
    "bgpv4 bgpv6 isis lag lacp lldp rsvp dhcpv4_client dhcpv4_server dhcpv6_client dhcpv6_server ospfv2 convergence"
    " macsec mka ospfv3 rocev2_ipv6 egress_only_tracking bmp_server rocev2_ipv4 rocev2_flow"
)
_STATES_BEYOND = (
    "ipv6_neighbors bgp_prefixes isis_lsps lldp_neighbors rsvp_lsps dhcpv4_interfaces dhcpv4_leases dhcpv6_interfaces"
    " dhcpv6_leases ospfv2_lsas ospfv3_lsas isis_adjacencies bmp_servers"
)
_PORT_COLUMNS = (
    "bytes_rx bytes_rx_rate bytes_tx bytes_tx_rate capture frames_rx frames_rx_rate frames_tx frames_tx_rate last_change"
    " link location speed transmit"
)
_FLOW_COLUMNS = (
    "bytes_rx bytes_tx frames_rx frames_rx_rate frames_tx frames_tx_rate rx_l1_rate_bps rx_rate_bps rx_rate_bytes"
    " rx_rate_kbps rx_rate_mbps transmit tx_l1_rate_bps tx_rate_bps tx_rate_bytes tx_rate_kbps tx_rate_mbps"
)


def _among(*names: str, beyond: tuple[str, ...] = (), default: str | None = None) -> Text:
    return Text(default, names, beyond)


REQUESTS: Mapping[str, Object] = {
    **OBJECTS,
    "ControlState": Object(
        {
            "choice": _among("port", "protocol", "traffic"),
            "port": Part("StatePort"),
            "protocol": Part("StateProtocol"),
            "traffic": Part("StateTraffic"),
        },
        ("choice",),
    ),
    "StateTraffic": Object(
        {"choice": _among("flow_transmit"), "flow_transmit": Part("StateFlowTransmit")}, ("choice",)
    ),
    "StateFlowTransmit": Object(
        {"flow_names": Many(Text()), "state": _among("start", "stop", "pause", "resume")}, ("state",)
    ),
    "StatePort": Object(
        {
            "choice": _among("link", "capture"),
            "link": Part("StatePortLink"),
            "capture": Part("StatePortCapture"),
        },
        ("choice",),
    ),
    "StatePortLink": Object({"port_names": Many(Text()), "state": _among("up", "down")}, ("state",)),
    "StatePortCapture": Object({"port_names": Many(Text()), "state": _among("start", "stop")}, ("state",)),
    "StateProtocol": Object(
        {
            "choice": _among("all", "rocev2", beyond=("route", "lacp", "bgp", "isis", "ospfv2", "ospfv3")),
            "all": Part("StateProtocolAll"),
            "rocev2": Part("StateProtocolRocev2"),
        },
        ("choice",),
        beyond=("route", "lacp", "bgp", "isis", "ospfv2", "ospfv3"),
    ),
    "StateProtocolAll": Object({"state": _among("start", "stop")}, ("state",)),
    "StateProtocolRocev2": Object({"choice": _among("peers"), "peers": Part("StateProtocolRocev2Peers")}, ("choice",)),
    "StateProtocolRocev2Peers": Object({"peer_names": Many(Text()), "state": _among("up", "down")}, ("state",)),
    "MetricsRequest": Object(
        {
            "choice": _among("port", "flow", beyond=tuple(_METRICS_BEYOND.split()), default="port"),
            "port": Part("PortMetricsRequest"),
            "flow": Part("FlowMetricsRequest"),
        },
        beyond=tuple(_METRICS_BEYOND.split()),
    ),
    "PortMetricsRequest": Object({"port_names": Many(Text()), "column_names": Many(_among(*_PORT_COLUMNS.split()))}),
    "FlowMetricsRequest": Object(
        {"flow_names": Many(Text()), "metric_names": Many(_among(*_FLOW_COLUMNS.split()))}, beyond=("tagged_metrics",)
    ),
    "StatesRequest": Object(
        {
            "choice": _among("ipv4_neighbors", beyond=tuple(_STATES_BEYOND.split()), default="ipv4_neighbors"),
            "ipv4_neighbors": Part("Neighborsv4StatesRequest"),
        },
        beyond=tuple(_STATES_BEYOND.split()),
    ),
    "Neighborsv4StatesRequest": Object({"ethernet_names": Many(Text())}),
    "CaptureRequest": Object({"port_name": Text()}, ("port_name",), beyond=("packets",)),
    "Show": Object({"command": Text(), "switch": Text()}, ("command",)),
    "ConfigUpdate": Object(
        {"choice": _among("flows", beyond=("protocols",)), "flows": Part("FlowsUpdate")}, beyond=("protocols",)
    ),
    "FlowsUpdate": Object(
        {"property_names": Many(_among("rate", "size")), "flows": Many(Part("Flow"))}, ("property_names", "flows")
    ),
    "ConfigAppendResources": Object({"choice": _among("flows"), "flows": Many(Part("Flow"))}, ("choice",)),
    "ConfigDeleteResources": Object({"choice": _among("flows"), "flows": Many(Text())}, ("choice",)),
}
