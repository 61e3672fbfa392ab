"""The bytes of raw frames from the headers of a flow, without FCS. Pure."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from testbed.conformance.frames import checksum
from testbed.otg.config import Header
from testbed.sizes import FCS_BYTES, SHORTEST_FRAME_BYTES

_IPV4, _VLAN = 0x0800, 0x8100
STAMP_BYTES = 14
"""What the data plane writes at the end of a payload (dataplane/src/wire/stamp.rs)."""
_UDP = 17
_NO_PROTOCOL = 61  # any host internal protocol, which is the API's default
_LENGTHS = {"ethernet": 14, "vlan": 4, "ipv4": 20, "udp": 8, "pfcpause": 34, "ethernetpause": 18}


def header_bytes(headers: Sequence[Header]) -> int:
    """Return how long headers are in all."""
    return sum(_LENGTHS[header.kind] for header in headers)


def is_control(headers: Sequence[Header]) -> bool:
    """Return whether frames are MAC control frames, which end at the far end of their link."""
    return headers[0].kind in ("pfcpause", "ethernetpause")


def periods(headers: Sequence[Header]) -> list[int]:
    """Return after how many frames the values of each field come again."""
    return [len(values) for header in headers for values in header.values.values()]


def build(headers: Sequence[Header], number: int, size: int, payload: bytes) -> bytes:
    """Return the `number`-th frame of a flow, of `size` bytes with its FCS, at least 64 and its headers."""
    length = max(size, SHORTEST_FRAME_BYTES, header_bytes(headers) + FCS_BYTES) - FCS_BYTES
    frame = b""
    for index in range(len(headers) - 1, -1, -1):
        header = headers[index]
        room = length - header_bytes(headers[: index + 1])
        inner = frame if frame else _filled(payload, room)
        above = headers[index + 1].kind if index + 1 < len(headers) else None
        frame = _HEADERS[header.kind](_Values(header.values, number), above, inner) + inner
    return frame


def _filled(pattern: bytes, room: int) -> bytes:
    return (pattern * (room // len(pattern) + 1))[:room]


class _Values:
    def __init__(self, values: Mapping[str, Sequence[Any]], number: int) -> None:
        self._values = values
        self._number = number

    def __getitem__(self, key: str) -> int:
        values = self._values[key]
        return int(values[self._number % len(values)])

    def get(self, key: str, default: int) -> int:
        """Return a value that may be left to the server."""
        return self[key] if key in self._values else default

    def mac(self, key: str) -> bytes:
        return self[key].to_bytes(6)


def _ethertype(above: str | None, inner: bytes) -> int:
    if above == "vlan":
        return _VLAN
    return _IPV4 if above == "ipv4" else len(inner)


def _ethernet(values: _Values, above: str | None, inner: bytes) -> bytes:
    kind = values.get("ether_type", _ethertype(above, inner))
    return values.mac("dst") + values.mac("src") + kind.to_bytes(2)


def _vlan(values: _Values, above: str | None, inner: bytes) -> bytes:
    # What follows the tag stands in it; the tag's own EtherType stands in the header before.
    tag = values["priority"] << 13 | values["cfi"] << 12 | values["id"]
    return struct.pack(">HH", tag, values.get("tpid", _ethertype(above, inner)))


def _ipv4(values: _Values, above: str | None, inner: bytes) -> bytes:
    flags = values["reserved"] << 15 | values["dont_fragment"] << 14
    protocol = values.get("protocol", _UDP if above == "udp" else _NO_PROTOCOL)
    length = values.get("total_length", 20 + len(inner))
    addresses = struct.pack(">II", values["src"], values["dst"])
    fixed = struct.pack(
        ">BBHHHBB", 0x45, values["tos"], length, values["identification"], flags, values["time_to_live"], protocol
    )
    right = checksum(fixed + b"\0\0" + addresses)
    written = values.get("checksum", right ^ 0xFFFF if values.get("bad_checksum", 0) else right)
    return fixed + written.to_bytes(2) + addresses


def _udp(values: _Values, above: str | None, inner: bytes) -> bytes:
    length = values.get("length", 8 + len(inner))
    # Zero is none, as RFC 768 allows over IPv4: the payload changes when the frame is sent.
    return struct.pack(">HHHH", values["src_port"], values["dst_port"], length, values.get("checksum", 0))


def _control(values: _Values) -> bytes:
    kind = struct.pack(">HH", values["ether_type"], values["control_op_code"])
    return values.mac("dst") + values.mac("src") + kind


def _pfcpause(values: _Values, above: str | None, inner: bytes) -> bytes:
    quanta = (values[f"pause_class_{each}"] for each in range(8))
    return _control(values) + struct.pack(">H8H", values["class_enable_vector"], *quanta)


def _ethernetpause(values: _Values, above: str | None, inner: bytes) -> bytes:
    return _control(values) + struct.pack(">H", values["time"])


_HEADERS = {
    "ethernet": _ethernet,
    "vlan": _vlan,
    "ipv4": _ipv4,
    "udp": _udp,
    "pfcpause": _pfcpause,
    "ethernetpause": _ethernetpause,
}
