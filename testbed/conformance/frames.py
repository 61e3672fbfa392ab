"""The bytes of the frames that testers send, without FCS: MAC control, RoCEv2 packets, plain UDP. Pure.

Lengths are those that a buffer counts, with FCS.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from testbed.sizes import (
    ETHERNET_HEADER_BYTES,
    FCS_BYTES,
    IPV4_HEADER_BYTES,
    ROCE_OVERHEAD_BYTES,
    SHORTEST_FRAME_BYTES,
    UDP_HEADER_BYTES,
)

XON = 0

_MAC_CONTROL = bytes.fromhex("0180c2000001")
_ETHERTYPE_MAC_CONTROL = b"\x88\x08"
_OPCODE_GLOBAL, _OPCODE_PFC = 0x0001, 0x0101
_SEND_ONLY = 0x04
_ROCE_PORT = 4791
_DISCARD_PORT = 9
_ECN_CAPABLE = 2
_UDP_BYTES = ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + UDP_HEADER_BYTES
NOBODYS_QP = 0xFFFFFE
"""A queue pair that no workload has: what is sent to it counts on every port and ends in the NIC."""


@dataclass(frozen=True)
class Address:
    """Where a station is found: MAC and IPv4 address as bytes."""

    mac: bytes
    ip: bytes


def address(station: Mapping[str, Any]) -> Address:
    """Return the address of a station of a plan."""
    return Address(mac_bytes(station["mac"]), bytes(int(part) for part in station["ip"].split(".")))


def mac_bytes(text: str) -> bytes:
    """Read a MAC address written with colons."""
    return bytes.fromhex(text.replace(":", ""))


def pfc(times: Mapping[int, int], source: bytes, enable: int | None = None) -> bytes:
    """Return a PFC frame: quanta by priority, which are enabled unless `enable` says otherwise (802.1Q 36, 802.3 31D)."""
    vector = sum(1 << priority for priority in times) if enable is None else enable
    quanta = (times.get(priority, 0) for priority in range(8))
    body = struct.pack(">HH8H", _OPCODE_PFC, vector, *quanta)
    return (_MAC_CONTROL + source + _ETHERTYPE_MAC_CONTROL + body).ljust(SHORTEST_FRAME_BYTES - FCS_BYTES, b"\0")


def global_pause(quanta: int, source: bytes) -> bytes:
    """Return an 802.3x PAUSE frame, which stops a whole port that does not run PFC (802.3 31B)."""
    body = struct.pack(">HH", _OPCODE_GLOBAL, quanta)
    return (_MAC_CONTROL + source + _ETHERTYPE_MAC_CONTROL + body).ljust(SHORTEST_FRAME_BYTES - FCS_BYTES, b"\0")


def udp(source: Address, to: Address, dscp: int, length: int) -> bytes:
    """Return a UDP datagram to the discard port in a frame of any length from 64 bytes on."""
    if length < SHORTEST_FRAME_BYTES:
        raise ValueError(f"a frame has {SHORTEST_FRAME_BYTES} bytes at least, not {length}")
    payload = bytes(length - FCS_BYTES - _UDP_BYTES)
    return _packet(source, to, dscp, _DISCARD_PORT, _DISCARD_PORT, payload)


def roce(source: Address, to: Address, dscp: int, length: int, psn: int = 0, entropy: int = 0xC001) -> bytes:
    """Return a SEND ONLY packet of zeros to nobody's queue pair, in a frame not longer than `length`, by 3 bytes at most.

    The shortest has no payload and is padded to 64 bytes. It is ECN-capable, and its ICRC is right.
    """
    room = length - FCS_BYTES - ROCE_OVERHEAD_BYTES
    if length < SHORTEST_FRAME_BYTES:
        raise ValueError(f"a frame has {SHORTEST_FRAME_BYTES} bytes at least, not {length}")
    payload = bytes(room - room % 4)
    bth = struct.pack(">BBHII", _SEND_ONLY, 0x40, 0xFFFF, NOBODYS_QP, psn)
    frame = _packet(source, to, dscp, entropy, _ROCE_PORT, bth + payload + bytes(4))
    return frame[:-4] + _icrc(frame[14:-4])


def pauses(frame: bytes) -> dict[int, int]:
    """Return the quanta of the priorities that a PFC frame enables; none for any other frame."""
    if frame[12:16] != _ETHERTYPE_MAC_CONTROL + _OPCODE_PFC.to_bytes(2):
        return {}
    vector, *quanta = struct.unpack_from(">H8H", frame, 16)
    return {priority: quanta[priority] for priority in range(8) if vector >> priority & 1}


def is_pause(frame: bytes, priority: int, quanta: int) -> bool:
    """Tell a PFC frame that asks this of a priority."""
    return pauses(frame).get(priority) == quanta


def number(packet: bytes) -> bytes:
    """Return the PSN of a RoCEv2 packet."""
    return packet[_UDP_BYTES + 9 : _UDP_BYTES + 12]


def buffer_bytes(frame: bytes) -> int:
    """Return what a buffer counts for a frame."""
    return max(len(frame) + FCS_BYTES, SHORTEST_FRAME_BYTES)


def _packet(source: Address, to: Address, dscp: int, source_port: int, port: int, payload: bytes) -> bytes:
    datagram = struct.pack(">HHHH", source_port, port, 8 + len(payload), 0) + payload
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x45, dscp << 2 | _ECN_CAPABLE, 20 + len(datagram), 0, 0x4000, 64, 17, 0, source.ip, to.ip
    )
    header = header[:10] + checksum(header).to_bytes(2) + header[12:]
    return to.mac + source.mac + b"\x08\x00" + header + datagram


def checksum(header: bytes) -> int:
    """Return the checksum of a header (RFC 1071)."""
    total: int = sum(struct.unpack(f">{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _icrc(packet: bytes) -> bytes:
    """Return the invariant CRC of an IPv4 packet that lacks it: what routers change counts as ones (RoCEv2 annex A17)."""
    masked = bytearray(packet)
    for at in (1, 8, 10, 11, 26, 27, 32):  # TOS, TTL, header checksum, UDP checksum, BTH's FECN and BECN
        masked[at] = 0xFF
    return zlib.crc32(b"\xff" * 8 + masked).to_bytes(4, "little")
