"""The objects of the Open Traffic Generator API that this server knows: fields, types, bounds and defaults. Pure.

Names, bounds and defaults are those of the published schema (open-traffic-generator/models, version 1.61). `beyond` lists what
that schema has besides, so that a request which uses it is told that it is not supported, rather than unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

API_VERSION = "1.61.0"
UINT32 = 2**32 - 1
UINT64 = 2**64 - 1
MOST_ENTRIES = 4096
"""Entries that a list of a request may have."""


@dataclass(frozen=True)
class Integer:
    """A whole number; one of 64 bits may come as a string of digits."""

    default: int | None = None
    least: int = 0
    most: int = UINT32


@dataclass(frozen=True)
class Number:
    """A number that may have a fraction."""

    default: float | None = None
    least: float = 0
    most: float = 1e18


@dataclass(frozen=True)
class Text:
    """A text: any, of a form, or one of `among`; the published ones that are not supported are `beyond`."""

    default: str | None = None
    among: Sequence[str] = ()
    beyond: Sequence[str] = ()
    form: Literal["", "mac", "ipv4", "hex"] = ""


@dataclass(frozen=True)
class Flag:
    """True or false."""

    default: bool | None = None


@dataclass(frozen=True)
class Part:
    """An object of this name."""

    of: str


@dataclass(frozen=True)
class Many:
    """A list."""

    of: Integer | Text | Part


@dataclass(frozen=True)
class Pattern:
    """The values of a header's field, frame by frame: a value, values, or a count up or down from one."""

    most: int
    default: int | str = 0
    form: Literal["", "mac", "ipv4"] = ""
    auto: bool = False
    random: bool = False


Field = Integer | Number | Text | Flag | Part | Many | Pattern


@dataclass(frozen=True)
class Object:
    """An object: its fields, those that must be there, and what of the published schema is not supported."""

    fields: Mapping[str, Field]
    required: Sequence[str] = ()
    beyond: Sequence[str] = ()


def _choice(default: str | None, among: str, beyond: str = "") -> Text:
    return Text(default, tuple(among.split()), tuple(beyond.split()))


def _mac(default: str = "00:00:00:00:00:00", auto: bool = False) -> Pattern:
    return Pattern(2**48 - 1, default, "mac", auto=auto)


def _pause_class() -> dict[str, Field]:
    return {f"pause_class_{each}": Pattern(0xFFFF) for each in range(8)}


_DELAY: Mapping[str, Field] = {
    "choice": _choice("bytes", "bytes nanoseconds microseconds"),
    "bytes": Number(0.0),
    "nanoseconds": Number(0.0),
    "microseconds": Number(0.0),
}
_ECN = "non_ect ect_1 ect_0 ce"
_SPEEDS = (
    "speed_10_fd_mbps speed_10_hd_mbps speed_100_fd_mbps speed_100_hd_mbps speed_1_gbps speed_10_gbps speed_25_gbps"
    " speed_40_gbps speed_50_gbps speed_100_gbps speed_200_gbps speed_400_gbps speed_800_gbps"
)

CONFIG: Mapping[str, Object] = {
    "Config": Object(
        {
            "ports": Many(Part("Port")),
            "layer1": Many(Part("Layer1")),
            "captures": Many(Part("Capture")),
            "devices": Many(Part("Device")),
            "flows": Many(Part("Flow")),
            "options": Part("ConfigOptions"),
            "stateful_flows": Part("StatefulFlow"),
        },
        beyond=("lags", "events", "lldp", "egress_only_tracking"),
    ),
    "Port": Object({"name": Text(), "location": Text()}, ("name",)),
    "Layer1": Object(
        {
            "name": Text(),
            "port_names": Many(Text()),
            "speed": _choice(None, _SPEEDS),
            "media": _choice(None, "copper fiber sgmii"),
            "promiscuous": Flag(True),
            "mtu": Integer(1500, 64, 14000),
            "ieee_media_defaults": Flag(),
            "auto_negotiate": Flag(),
            "auto_negotiation": Part("Layer1AutoNegotiation"),
            "flow_control": Part("Layer1FlowControl"),
        },
        ("port_names", "name"),
    ),
    "Layer1AutoNegotiation": Object(
        {
            **{f"advertise_{each}_mbps": Flag(True) for each in ("1000", "100_fd", "100_hd", "10_fd", "10_hd")},
            "link_training": Flag(False),
            "rs_fec": Flag(False),
        }
    ),
    "Layer1FlowControl": Object(
        {
            "directed_address": Text("01:80:C2:00:00:01", form="mac"),
            "choice": _choice("ieee_802_1qbb", "ieee_802_1qbb", "ieee_802_3x"),
            "ieee_802_1qbb": Part("Layer1Ieee8021qbb"),
        },
        beyond=("ieee_802_3x",),
    ),
    "Layer1Ieee8021qbb": Object(
        {
            "pfc_delay": Integer(0, 0, 65535),
            **{f"pfc_class_{each}": Integer(each, 0, 7) for each in range(8)},
        }
    ),
    "Capture": Object(
        {
            "name": Text(),
            "port_names": Many(Text()),
            "overwrite": Flag(True),
            "packet_size": Integer(None, 0, 65535),
            "format": _choice("pcap", "pcap pcapng"),
        },
        ("port_names", "name"),
        beyond=("filters",),
    ),
}

FLOWS: Mapping[str, Object] = {
    "Flow": Object(
        {
            "name": Text(),
            "tx_rx": Part("FlowTxRx"),
            "packet": Many(Part("FlowHeader")),
            "size": Part("FlowSize"),
            "rate": Part("FlowRate"),
            "duration": Part("FlowDuration"),
            "metrics": Part("FlowMetrics"),
            "payload": Part("FlowPayload"),
        },
        ("tx_rx", "name"),
        beyond=("egress_packet",),
    ),
    "FlowTxRx": Object(
        {"choice": _choice("port", "port device"), "port": Part("FlowPort"), "device": Part("FlowRouter")}
    ),
    "FlowPort": Object({"tx_name": Text(), "rx_name": Text(), "rx_names": Many(Text())}, ("tx_name",)),
    "FlowRouter": Object(
        {
            "mode": _choice("mesh", "mesh one_to_one"),
            "tx_names": Many(Text()),
            "rx_names": Many(Text()),
            "bidirectional": Flag(False),
        },
        ("tx_names", "rx_names"),
    ),
    "FlowRate": Object(
        {
            "choice": _choice("pps", "pps bps kbps mbps gbps percentage"),
            "pps": Integer(1000, 1, UINT64),
            "bps": Integer(1_000_000_000, 672, UINT64),
            "kbps": Integer(1_000_000, 1, UINT64),
            "mbps": Integer(1_000, 1, UINT64),
            "gbps": Integer(1, 1),
            "percentage": Number(100.0, 0, 100),
        }
    ),
    "FlowSize": Object(
        {
            "choice": _choice("fixed", "fixed increment random weight_pairs"),
            "fixed": Integer(64),
            "increment": Part("FlowSizeIncrement"),
            "random": Part("FlowSizeRandom"),
            "weight_pairs": Part("FlowSizeWeightPairs"),
        }
    ),
    "FlowSizeIncrement": Object({"start": Integer(64, 1), "end": Integer(1518, 64), "step": Integer(1)}),
    "FlowSizeRandom": Object({"min": Integer(64), "max": Integer(1518)}),
    "FlowSizeWeightPairs": Object(
        {
            "choice": _choice("predefined", "predefined custom"),
            "predefined": _choice("imix", "imix ipsec_imix ipv6_imix standard_imix tcp_imix"),
            "custom": Many(Part("FlowSizeWeightPairsCustom")),
        }
    ),
    "FlowSizeWeightPairsCustom": Object({"size": Integer(64, 12, 65535), "weight": Number(1.0)}),
    "FlowDuration": Object(
        {
            "choice": _choice("continuous", "fixed_packets fixed_seconds burst continuous"),
            "fixed_packets": Part("FlowFixedPackets"),
            "fixed_seconds": Part("FlowFixedSeconds"),
            "burst": Part("FlowBurst"),
            "continuous": Part("FlowContinuous"),
        }
    ),
    "FlowFixedPackets": Object({"packets": Integer(1, 1), "gap": Integer(12), "delay": Part("FlowDelay")}),
    "FlowFixedSeconds": Object({"seconds": Number(1.0), "gap": Integer(12), "delay": Part("FlowDelay")}),
    "FlowBurst": Object(
        {
            "bursts": Integer(0),
            "packets": Integer(1, 1),
            "gap": Integer(12),
            "inter_burst_gap": Part("FlowDurationInterBurstGap"),
        }
    ),
    "FlowContinuous": Object({"gap": Integer(12), "delay": Part("FlowDelay")}),
    "FlowDelay": Object(_DELAY),
    "FlowDurationInterBurstGap": Object(
        {**_DELAY, "bytes": Number(12.0), "nanoseconds": Number(96.0), "microseconds": Number(0.096)}
    ),
    "FlowMetrics": Object(
        {
            "enable": Flag(False),
            "loss": Flag(False),
            "timestamps": Flag(False),
            "latency": Part("FlowLatencyMetrics"),
        },
        beyond=("rx_tx_ratio", "predefined_metric_tags"),
    ),
    "FlowLatencyMetrics": Object(
        {"enable": Flag(False), "mode": _choice("store_forward", "store_forward cut_through")}
    ),
    "FlowPayload": Object(
        {
            "choice": _choice("fixed", "fixed", "increment_byte decrement_byte increment_word decrement_word"),
            "fixed": Part("FlowPayloadFixed"),
        }
    ),
    "FlowPayloadFixed": Object({"pattern": Text("00", form="hex"), "repeat": Flag(True)}),
}

_HEADERS_BEYOND = (
    "custom vxlan ipv6 tcp gre gtpv1 gtpv2 arp icmp icmpv6 ppp igmpv1 mpls snmpv2c rsvp macsec lacp"
    " ipv6_extension_header cfm"
)

HEADERS: Mapping[str, Object] = {
    "FlowHeader": Object(
        {
            "choice": _choice("ethernet", "ethernet vlan ipv4 udp pfcpause ethernetpause", _HEADERS_BEYOND),
            "ethernet": Part("FlowEthernet"),
            "vlan": Part("FlowVlan"),
            "ipv4": Part("FlowIpv4"),
            "udp": Part("FlowUdp"),
            "pfcpause": Part("FlowPfcPause"),
            "ethernetpause": Part("FlowEthernetPause"),
        },
        beyond=tuple(_HEADERS_BEYOND.split()),
    ),
    "FlowEthernet": Object(
        {
            "dst": _mac(auto=True),
            "src": _mac(),
            "ether_type": Pattern(0xFFFF, 65535, auto=True),
            "pfc_queue": Pattern(7),
        }
    ),
    "FlowVlan": Object(
        {"priority": Pattern(7), "cfi": Pattern(1), "id": Pattern(4095), "tpid": Pattern(0xFFFF, 65535)}
    ),
    "FlowIpv4": Object(
        {
            "priority": Part("FlowIpv4Priority"),
            "identification": Pattern(0xFFFF),
            "reserved": Pattern(1),
            "dont_fragment": Pattern(1),
            "time_to_live": Pattern(255, 64),
            "protocol": Pattern(255, 61, auto=True),
            "total_length": Pattern(0xFFFF, 46, auto=True),
            "header_checksum": Part("Checksum"),
            "src": Pattern(UINT32, "0.0.0.0", "ipv4", random=True),
            "dst": Pattern(UINT32, "0.0.0.0", "ipv4", random=True),
        },
        beyond=("version", "header_length", "more_fragments", "fragment_offset", "options"),
    ),
    "FlowIpv4Priority": Object(
        {
            "choice": _choice("dscp", "raw tos dscp"),
            "raw": Pattern(255),
            "tos": Part("FlowIpv4Tos"),
            "dscp": Part("FlowIpv4Dscp"),
        }
    ),
    "FlowIpv4Tos": Object(
        {
            "precedence": Pattern(7),
            **{each: Pattern(1) for each in ("delay", "throughput", "reliability", "monetary", "unused")},
        }
    ),
    "FlowIpv4Dscp": Object({"phb": Pattern(63), "ecn": Pattern(3)}),
    "FlowUdp": Object(
        {
            "src_port": Pattern(0xFFFF, random=True),
            "dst_port": Pattern(0xFFFF, random=True),
            "length": Pattern(0xFFFF),
            "checksum": Part("Checksum"),
        }
    ),
    "Checksum": Object(
        {
            "choice": _choice("generated", "generated custom"),
            "generated": _choice("good", "good bad"),
            "custom": Integer(None, 0, 65535),
        }
    ),
    "FlowPfcPause": Object(
        {
            "dst": _mac("01:80:c2:00:00:01"),
            "src": _mac(),
            "ether_type": Pattern(0xFFFF, 34824),
            "control_op_code": Pattern(0xFFFF, 257),
            "class_enable_vector": Pattern(0xFFFF),
            **_pause_class(),
        }
    ),
    "FlowEthernetPause": Object(
        {
            "dst": _mac("01:80:c2:00:00:01"),
            "src": _mac(),
            "ether_type": Pattern(0xFFFF, 34824),
            "control_op_code": Pattern(0xFFFF, 1),
            "time": Pattern(0xFFFF),
        }
    ),
}
