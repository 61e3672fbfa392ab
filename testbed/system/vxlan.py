"""Links to other machines: VXLAN (RFC 7348) between two addresses of the network that joins them, by route netlink."""

from __future__ import annotations

import ipaddress
import socket
import struct

from testbed.system.netlink import (
    Endpoint,
    Message,
    Netlink,
    attribute,
    attributes,
    create_link,
    encode_request,
    read_link,
)

PORT = 4789  # RFC 7348

# Attributes of IFLA_INFO_DATA, from include/uapi/linux/if_link.h: VNI, remote and local address (IPv4 or IPv6), and the ports.
_ID, _LEARNING, _SOURCE_PORTS, _PORT = 1, 7, 10, 15
_REMOTE, _LOCAL = {4: 2, 6: 16}, {4: 4, 6: 17}
_FIRST_SOURCE_PORT, _NUMBER_OF_SOURCE_PORTS = 49_152, 16_383  # the dynamic ports, RFC 6335, but for the last

# Routes, from include/uapi/linux/rtnetlink.h.
_RTM_GETROUTE = 26
_ROUTE = struct.Struct("=BB10x")  # family, bits of the address, and what a question leaves open
_RTA_DST, _RTA_OIF = 1, 4


def create_vxlan(end: Endpoint, vni: int, local: str, remote: str, mtu_bytes: int, purpose: str) -> Message:
    """Create an interface, down, whose frames travel between two addresses of the namespace of the socket that asks."""
    here, there = ipaddress.ip_address(local), ipaddress.ip_address(remote)
    # One source port for all that a link carries: a network that spreads flows over several paths keeps its frames in order.
    source_port = _FIRST_SOURCE_PORT + vni % _NUMBER_OF_SOURCE_PORTS
    data = (
        attribute(_ID, struct.pack("=I", vni)),
        attribute(_REMOTE[there.version], there.packed),
        attribute(_LOCAL[here.version], here.packed),
        attribute(_LEARNING, b"\0"),
        attribute(_SOURCE_PORTS, struct.pack(">HH", source_port, source_port + 1)),
        attribute(_PORT, struct.pack(">H", PORT)),
    )
    return create_link(end, mtu_bytes, b"vxlan", b"".join(data), purpose)


def way_to(netlink: Netlink, address: str) -> tuple[str, int]:
    """Return the interface by which packets to an address leave, and its MTU. Raises DriverError where there is no way."""
    there = ipaddress.ip_address(address)
    family = socket.AF_INET if there.version == 4 else socket.AF_INET6
    body = _ROUTE.pack(family, there.max_prefixlen) + attribute(_RTA_DST, there.packed)
    answers = netlink.query(Message(encode_request(_RTM_GETROUTE, 0, body), f"find a way to {address}"))
    parts = attributes(answers[0][1], _ROUTE.size)
    link = read_link(netlink, int.from_bytes(parts[_RTA_OIF], "little"))
    return link.name, link.mtu_bytes
