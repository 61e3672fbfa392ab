"""On-link routes of hosts' kernels: set, removed, and read from the main table."""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Any

from pyroute2.netlink.rtnl import RTM_DELROUTE, RTM_GETROUTE, RTM_NEWROUTE  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.rtmsg import rtmsg  # type: ignore[import-untyped]

from testbed.system.netlink import CREATE, DUMP, REPLACE, Message, Netlink, attributes, encode

# RT_TABLE_MAIN, RTN_UNICAST, RTPROT_KERNEL, RT_SCOPE_LINK, RT_SCOPE_NOWHERE
_MAIN_TABLE, _UNICAST, _BY_KERNEL, _LINK_SCOPE, _ANY_SCOPE = 254, 1, 2, 253, 255
_HEADER = struct.Struct("=BBBBBBBBI")  # family, destination and source length, tos, table, protocol, scope, type, flags
_RTA_DST, _RTA_OIF = 1, 4

HOST_LENGTH = 32
"""Length of the prefix of a route to one address."""


def set_route(index: int, address: str, subnet: str, length: int, mtu_bytes: int | None = None) -> Message:
    """Let a subnet be on-link at an interface, reached from this address of it, as the kernel itself does with a new address.

    A route to the same subnet by another interface goes. With `mtu_bytes` only so long IP packets are sent there; the
    interface goes on hearing what its own MTU allows.
    """
    message = _route(index, subnet, length)
    message["type"], message["proto"], message["scope"] = _UNICAST, _BY_KERNEL, _LINK_SCOPE
    message["attrs"].append(("RTA_PREFSRC", address))
    if mtu_bytes is not None:
        message["attrs"].append(("RTA_METRICS", {"attrs": [("RTAX_MTU", mtu_bytes)]}))
    return Message(encode(message, RTM_NEWROUTE, CREATE | REPLACE), f"set the route to {subnet}/{length}")


def delete_route(index: int, subnet: str, length: int) -> Message:
    """Forget that a subnet is on-link at an interface, so that nothing is sent there any more."""
    message = _route(index, subnet, length)
    message["scope"] = _ANY_SCOPE
    return Message(encode(message, RTM_DELROUTE), f"remove the route to {subnet}/{length}")


def _route(index: int, subnet: str, length: int) -> Any:
    message = rtmsg()
    message["family"], message["table"], message["dst_len"] = socket.AF_INET, _MAIN_TABLE, length
    message["attrs"] = [("RTA_DST", subnet), ("RTA_OIF", index)]
    return message


def subnet_of(address: str, prefix_length: int) -> str:
    """Return the subnet that an address is in, without its length."""
    return str(ipaddress.ip_interface(f"{address}/{prefix_length}").network.network_address)


def read_routes(netlink: Netlink, by_hand: bool = True) -> set[tuple[int, str, int]]:
    """List the IPv4 routes of the main table of the socket's namespace: (interface index, subnet, prefix length).

    Without those `by_hand` only what `set_route` or the kernel made.
    """
    message = rtmsg()
    message["family"] = socket.AF_INET
    routes = set()
    for kind, payload in netlink.query(Message(encode(message, RTM_GETROUTE, DUMP), "list routes")):
        if kind != RTM_NEWROUTE:
            continue
        _family, length, _source, _tos, table, protocol, _scope, _type, _flags = _HEADER.unpack_from(payload)
        values = attributes(payload, _HEADER.size)
        subnet = values.get(_RTA_DST, bytes(4))
        if table == _MAIN_TABLE and (by_hand or protocol == _BY_KERNEL) and _RTA_OIF in values and len(subnet) == 4:
            routes.add((int.from_bytes(values[_RTA_OIF], "little"), socket.inet_ntoa(subnet), length))
    return routes
