"""The objects of RoCEv2 of the Open Traffic Generator API: devices, flows, and what a port does about congestion. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from testbed.otg.schema import UINT64, Flag, Integer, Many, Number, Object, Part, Text

_ECN = ("non_ect", "ect_1", "ect_0", "ce")
_QP_MOST = 2**25 - 1


def _dscp_and_ecn(choice: Text) -> Object:
    return Object({"choice": choice, "ip_dscp": Part("Rocev2PriorityValue"), "ecn_value": Text("ect_1", _ECN)})


ROCEV2: Mapping[str, Object] = {
    "Device": Object(
        {"name": Text(), "ethernets": Many(Part("DeviceEthernet")), "rocev2": Part("DeviceRocev2Peer")},
        ("name",),
        beyond=(
            *("ipv4_loopbacks", "ipv6_loopbacks", "isis", "bgp", "vxlan", "rsvp", "dhcp_server", "ospfv2", "macsec"),
            *("ospfv3", "bmp"),
        ),
    ),
    "DeviceEthernet": Object(
        {
            "name": Text(),
            "connection": Part("EthernetConnection"),
            "mac": Text(form="mac"),
            "mtu": Integer(1500, 0, 65535),
            "ipv4_addresses": Many(Part("DeviceIpv4")),
        },
        ("name",),
        beyond=("ipv6_addresses", "vlans", "dhcpv4_interfaces", "dhcpv6_interfaces"),
    ),
    "EthernetConnection": Object(
        {"choice": Text(None, ("port_name",), ("lag_name", "vxlan_name", "simulated_link")), "port_name": Text()},
        beyond=("lag_name", "vxlan_name", "simulated_link"),
    ),
    "DeviceIpv4": Object(
        {
            "name": Text(),
            "address": Text(form="ipv4"),
            "gateway": Text(form="ipv4"),
            "prefix": Integer(24, 1, 32),
        },
        ("gateway", "address", "name"),
        beyond=("gateway_mac",),
    ),
    "DeviceRocev2Peer": Object({"ipv4_interfaces": Many(Part("Rocev2V4Interface"))}, beyond=("ipv6_interfaces",)),
    "Rocev2V4Interface": Object(
        {"ipv4_name": Text(), "ib_mtu": Integer(1024, 0, 14000), "peers": Many(Part("Rocev2V4Peer"))}, ("ipv4_name",)
    ),
    "Rocev2V4Peer": Object(
        {"name": Text(), "destination_ip_address": Text(form="ipv4"), "qps": Many(Part("Rocev2QPs"))},
        ("name", "destination_ip_address"),
    ),
    "Rocev2QPs": Object({"qp_name": Text(), "connection_type": Part("Rocev2ConnectionType")}, ("qp_name",)),
    "Rocev2ConnectionType": Object(
        {
            "choice": Text("reliable_connection", ("reliable_connection",)),
            "reliable_connection": Part("Rocev2QPParameters"),
        }
    ),
    "Rocev2QPParameters": Object(
        {
            "source_qp_number": Integer(2, 2, _QP_MOST),
            "dscp": Integer(24, 0, 63),
            "ecn": Text("ect_1", _ECN),
            "udp_source_port": Integer(49152, 0, 65535),
            "initial_psn": Integer(0, 0, _QP_MOST),
            "virtual_address": Text("0000000000000000", form="hex"),
            "remote_key": Text("00000000", form="hex"),
        }
    ),
    "ConfigOptions": Object(
        {"per_port_options": Many(Part("PerPortOptions"))},
        beyond=("port_options", "protocol_options", "flow_options"),
    ),
    "PerPortOptions": Object({"port_name": Text(), "protocols": Many(Part("PortProtocol"))}),
    "PortProtocol": Object(
        {"choice": Text("rocev2", ("rocev2",), ("macsec",)), "rocev2": Part("Rocev2PerPortSettings")},
        beyond=("macsec",),
    ),
    "Rocev2PerPortSettings": Object(
        {
            "cnp": Part("Rocev2CNP"),
            "connection_type": Part("Rocev2QPConnectionType"),
            "dcqcn_settings": Part("Rocev2DCQCN"),
        }
    ),
    "Rocev2CNP": Object(
        {**_dscp_and_ecn(Text("ip_dscp", ("ip_dscp",))).fields, "cnp_delay_timer": Integer(55, 0, 255)}
    ),
    "Rocev2PriorityValue": Object({"value": Integer(48, 0, 63)}),
    "Rocev2QPConnectionType": Object(
        {
            "choice": Text("reliable_connection", ("reliable_connection",)),
            "reliable_connection": Part("Rocev2AckAndNak"),
        }
    ),
    "Rocev2AckAndNak": Object(
        {
            "ack": Part("Rocev2ACK"),
            "nak": Part("Rocev2NAK"),
            "enable_retransmission_timeout": Flag(True),
            "retransmission_timeout_value": Integer(1, 0, 5369),
            "retransmission_retry_count": Integer(3, 0, 254),
        }
    ),
    "Rocev2ACK": _dscp_and_ecn(Text("ip_dscp", ("ip_dscp",))),
    "Rocev2NAK": _dscp_and_ecn(Text("ip_dscp", ("ip_dscp",))),
    "Rocev2DCQCN": Object(
        {
            "enable_dcqcn": Flag(True),
            "alpha_g": Integer(1019, 1, 1023),
            "initial_alpha": Integer(1023, 1, 1023),
            "alpha_update_period": Integer(21, 0, UINT64),
            "rate_reduction_time_period": Integer(21, 0, UINT64),
            "initial_rate_after_first_cnp": Number(0.002, 0, 100),
            "minimum_rate_limmit": Number(0.002, 0, 100),
            "maximum_rate_decrement_at_time": Integer(10, 0, 100),
            "clamp_target_rate": Flag(False),
            "rate_increment_time": Integer(250, 0, UINT64),
            "rate_increment_byte_counter": Integer(32767, 1, 32767),
            "rate_increment_threshold": Integer(25, 1, 31),
            "additive_increment_rate": Number(0.001, 0, 100),
            "hyper_increment_rate": Number(0.001, 0, 100),
        }
    ),
    "StatefulFlow": Object({"choice": Text(None, ("rocev2",)), "rocev2": Many(Part("Rocev2Flows"))}),
    "Rocev2Flows": Object({"tx_ports": Many(Part("Rocev2TxPorts"))}),
    "Rocev2TxPorts": Object({"port_name": Text(), "transmit_type": Part("Rocev2TransmitType")}),
    "Rocev2TransmitType": Object(
        {
            "choice": Text("target_line_rate", ("target_line_rate",)),
            "target_line_rate": Part("Rocev2TargetLineRate"),
        }
    ),
    "Rocev2TargetLineRate": Object({"value": Integer(98, 0, 100), "flows": Many(Part("Rocev2Flow"))}),
    "Rocev2Flow": Object(
        {
            "name": Text(),
            "tx_endpoint": Text(),
            "rx_endpoint": Text(),
            "rocev2_verb": Part("Rocev2Verb"),
            "message_size": Integer(1, 0, 65535),
            "message_size_unit": Text("mb", ("bytes", "kb", "mb", "gb")),
        },
        ("tx_endpoint", "name"),
    ),
    "Rocev2Verb": Object(
        {"choice": Text("write", ("write", "send"), ("write_with_immediate", "send_with_immediate", "read"))},
        beyond=("write_with_immediate", "send_with_immediate"),
    ),
}
