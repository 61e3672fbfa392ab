"""Segmentation, checksum and aggregation offloads of an interface, through the ethtool ioctl.

A veth hands over frames of 64 KiB without a checksum as long as nobody looks at them; a socket of the data plane does look,
so what a host sends must be cut and summed before it leaves the host.
"""

from __future__ import annotations

import ctypes
import fcntl
import struct

from testbed.errors import DriverError

_SIOCETHTOOL = 0x8946
_GET_STRINGS, _GET_SET_SIZES, _GET_FEATURES, _SET_FEATURES = 0x1B, 0x37, 0x3A, 0x3B
_FEATURE_STRINGS = 4
_STRING_BYTES = 32
_NAME_BYTES = 16

_known: list[str] = []  # filled by the first request


def _ioctl(socket_fd: int, interface: str, command: bytes, answer_bytes: int = 0) -> bytes:
    buffer = ctypes.create_string_buffer(command, max(len(command), answer_bytes))
    request = struct.pack(f"={_NAME_BYTES}sQ16x", interface.encode(), ctypes.addressof(buffer))
    try:
        fcntl.ioctl(socket_fd, _SIOCETHTOOL, request)
    except OSError as error:
        raise DriverError(f"ethtool request {command[0]:#x} to {interface}", error.errno or 0) from error
    return buffer.raw


def _feature_names(socket_fd: int, interface: str) -> tuple[str, ...]:
    """Return the names of the kernel's features in the order of their bits; the same for every interface."""
    if _known:
        return tuple(_known)
    sizes = _ioctl(socket_fd, interface, struct.pack("=IIQI", _GET_SET_SIZES, 0, 1 << _FEATURE_STRINGS, 0))
    (count,) = struct.unpack_from("=I", sizes, 16)
    command = struct.pack("=III", _GET_STRINGS, _FEATURE_STRINGS, count)
    names = _ioctl(socket_fd, interface, command, 12 + count * _STRING_BYTES)[12:]
    fields = (names[start : start + _STRING_BYTES] for start in range(0, count * _STRING_BYTES, _STRING_BYTES))
    _known[:] = [field.split(b"\0")[0].decode() for field in fields]
    return tuple(_known)


def _is_offload(name: str) -> bool:
    if name.startswith("tx-"):
        return "checksum" in name or "segmentation" in name or "scatter-gather" in name
    return name.startswith("rx-gro") or name == "rx-lro"


def disable_offloads(socket_fd: int, interface: str) -> None:
    """Turn off checksum, segmentation, scatter-gather and receive aggregation offloads in one request.

    `socket_fd` is any socket of the interface's namespace. Raises DriverError.
    """
    names = _feature_names(socket_fd, interface)
    blocks = (len(names) + 31) // 32
    unwanted = [0] * blocks
    for bit, name in enumerate(names):
        if _is_offload(name):
            unwanted[bit // 32] |= 1 << (bit % 32)
    words = [word for mask in unwanted for word in (mask, 0)]  # per block: which bits are meant, and their values
    _ioctl(socket_fd, interface, struct.pack(f"=II{2 * blocks}I", _SET_FEATURES, blocks, *words))


def active_offloads(socket_fd: int, interface: str) -> set[str]:
    """Return the names of the offloads that `disable_offloads` would turn off and that are on."""
    names = _feature_names(socket_fd, interface)
    blocks = (len(names) + 31) // 32
    answer = _ioctl(socket_fd, interface, struct.pack("=II", _GET_FEATURES, blocks), 8 + 16 * blocks)
    active_offloads = set()
    for bit, name in enumerate(names):
        # per block: available, requested, active, never changed
        (active,) = struct.unpack_from("=I", answer, 8 + 16 * (bit // 32) + 8)
        if active >> (bit % 32) & 1 and _is_offload(name):
            active_offloads.add(name)
    return active_offloads
