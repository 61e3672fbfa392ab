"""IPv4 addresses of interfaces, and the neighbours that they know for good."""

from __future__ import annotations

import socket
import struct
from functools import lru_cache
from typing import Any

from pyroute2.netlink.rtnl import (  # type: ignore[import-untyped]
    RTM_DELNEIGH,
    RTM_GETADDR,
    RTM_GETNEIGH,
    RTM_NEWADDR,
    RTM_NEWNEIGH,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.ndmsg import ndmsg  # type: ignore[import-untyped]

from testbed.system.netlink import CREATE, DUMP, REPLACE, Message, Netlink, attributes, encode

_NUD_PERMANENT = 0x80
_NO_PREFIX_ROUTE = 0x200  # IFA_F_NOPREFIXROUTE


def add_address(index: int, address: str, prefix_length: int) -> Message:
    """Give an interface an IPv4 address; its routes are set apart, since a host may have several interfaces in one subnet."""
    message = ifaddrmsg()
    message["family"] = socket.AF_INET
    message["index"] = index
    message["prefixlen"] = prefix_length
    message["attrs"] = [("IFA_LOCAL", address), ("IFA_ADDRESS", address), ("IFA_FLAGS", _NO_PREFIX_ROUTE)]
    return Message(encode(message, RTM_NEWADDR, CREATE | REPLACE), f"add address {address}")


@lru_cache(maxsize=65536)
def add_neighbour(index: int, address: str, mac: str) -> Message:
    """Bind an IPv4 address to a MAC for good. Cached: all hosts of a lab share the same few."""
    message = _neighbour(index, address)
    message["state"] = _NUD_PERMANENT
    message["attrs"].append(("NDA_LLADDR", mac))
    return Message(encode(message, RTM_NEWNEIGH, CREATE | REPLACE), f"add neighbour {address}")


def delete_neighbour(index: int, address: str) -> Message:
    """Forget what MAC an IPv4 address was bound to."""
    return Message(encode(_neighbour(index, address), RTM_DELNEIGH), f"remove neighbour {address}")


def _neighbour(index: int, address: str) -> Any:
    message = ndmsg()
    message["family"] = socket.AF_INET
    message["ifindex"] = index
    message["attrs"] = [("NDA_DST", address)]
    return message


def read_addresses(netlink: Netlink) -> set[tuple[int, str, int]]:
    """List the IPv4 addresses of the socket's namespace: (interface index, address, prefix length)."""
    message = ifaddrmsg()
    message["family"] = socket.AF_INET
    addresses = set()
    for kind, payload in netlink.query(Message(encode(message, RTM_GETADDR, DUMP), "list addresses")):
        if kind == RTM_NEWADDR:
            _family, prefix_length, _flags, _scope, index = struct.unpack_from("=BBBBI", payload)
            local = attributes(payload, 8).get(2, b"")
            if len(local) == 4:
                addresses.add((index, socket.inet_ntoa(local), prefix_length))
    return addresses


def read_neighbours(netlink: Netlink) -> set[tuple[int, str, str]]:
    """List the permanent IPv4 neighbours of the socket's namespace: (interface index, address, MAC)."""
    message = ndmsg()
    message["family"] = socket.AF_INET
    neighbours = set()
    for kind, payload in netlink.query(Message(encode(message, RTM_GETNEIGH, DUMP), "list neighbours")):
        if kind == RTM_NEWNEIGH:
            _family, index, state, _flags, _type = struct.unpack_from("=BxxxiHBB", payload)
            values = attributes(payload, 12)
            if state & _NUD_PERMANENT and len(values.get(1, b"")) == 4:
                neighbours.add((index, socket.inet_ntoa(values[1]), values.get(2, b"").hex(":")))
    return neighbours
