"""The objects of requests other than configurations, as the published schema has them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from testbed.otg.config import OBJECTS
from testbed.otg.schema import Many, Object, Part, Text

_METRICS_BEYOND = (
    "bgpv4 bgpv6 isis lag lacp lldp rsvp dhcpv4_client dhcpv4_server dhcpv6_client dhcpv6_server ospfv2 convergence"
    " macsec mka ospfv3 rocev2_ipv6 egress_only_tracking bmp_server"
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
_PEER_COLUMNS = (
    "connect_reply_rx connect_reply_tx connect_request_rx connect_request_tx disconnect_reply_rx disconnect_reply_tx"
    " disconnect_request_rx disconnect_request_tx qp_configured qp_down qp_up ready_rx ready_tx reject_rx reject_tx"
    " unknown_msg_rx"
)
_QP_COLUMNS = (
    "ack_rx ack_tx avg_latency cnp_rx cnp_tx data_frames_retransmitted data_frames_rx data_frames_tx data_rx_rate"
    " data_tx_rate dest_ipv4 dest_qp ecn_ce_rx first_timestamp flow_completion_time flow_name frame_delta"
    " frame_sequence_error last_timestamp max_latency message_complete_rx message_fail message_tx min_latency nak_rx"
    " nak_tx port_rx port_tx rx_bytes src_ipv4 src_qp tx_bytes"
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
            "choice": _among(
                "port", "flow", "rocev2_ipv4", "rocev2_flow", beyond=tuple(_METRICS_BEYOND.split()), default="port"
            ),
            "port": Part("PortMetricsRequest"),
            "flow": Part("FlowMetricsRequest"),
            "rocev2_ipv4": Part("Rocev2IPv4MetricsRequest"),
            "rocev2_flow": Part("Rocev2FlowMetricsRequest"),
        },
        beyond=tuple(_METRICS_BEYOND.split()),
    ),
    "PortMetricsRequest": Object({"port_names": Many(Text()), "column_names": Many(_among(*_PORT_COLUMNS.split()))}),
    "FlowMetricsRequest": Object(
        {"flow_names": Many(Text()), "metric_names": Many(_among(*_FLOW_COLUMNS.split()))}, beyond=("tagged_metrics",)
    ),
    "Rocev2IPv4MetricsRequest": Object(
        {"choice": _among("per_peer", default="per_peer"), "per_peer": Part("Rocev2IPv4ColumnNames")}
    ),
    "Rocev2IPv4ColumnNames": Object({"peer_names": Many(Text()), "column_names": Many(_among(*_PEER_COLUMNS.split()))}),
    "Rocev2FlowMetricsRequest": Object(
        {"choice": _among("per_qp", default="per_qp"), "per_qp": Part("Rocev2FlowColumnNames")}
    ),
    "Rocev2FlowColumnNames": Object({"column_names": Many(_among(*_QP_COLUMNS.split()))}),
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
