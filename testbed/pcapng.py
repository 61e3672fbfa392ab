"""Captures as pcapng (draft-ietf-opsawg-pcapng): interfaces with names, frames with nanoseconds and direction. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

SUFFIX = ".pcapng"
SNAP_BYTES = 65_535

_SECTION_HEADER = 0x0A0D0D0A
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_INTERFACE = 1
_ENHANCED_PACKET = 6
_LINKTYPE_ETHERNET = 1
_END = 0
_COMMENT = 1
_INTERFACE_NAME = 2
_RESOLUTION = 9
_NANOSECONDS = b"\x09"
_FLAGS = 2
_PACKET = struct.Struct("<IIIII")

Way = Literal[1, 2]
INBOUND: Way = 1
OUTBOUND: Way = 2


class Frame(NamedTuple):
    """A frame of a capture: its time in ns, the name of its interface, whether it came in or went out, its bytes, its comment."""

    time_ns: int
    interface: str
    way: int
    data: bytes
    comment: str = ""


def section() -> bytes:
    """Return what a file begins with."""
    return _block(_SECTION_HEADER, struct.pack("<IHHq", _BYTE_ORDER_MAGIC, 1, 0, -1))


def interface(name: str, snap_bytes: int = SNAP_BYTES) -> bytes:
    """Return the block of an Ethernet interface; interfaces are numbered from 0 in the order of their blocks."""
    fixed = struct.pack("<HHI", _LINKTYPE_ETHERNET, 0, snap_bytes)
    return _block(_INTERFACE, fixed + _option(_INTERFACE_NAME, name.encode()) + _option(_RESOLUTION, _NANOSECONDS))


def packet(
    number: int, time_ns: int, way: Way, data: bytes, original_bytes: int | None = None, comment: str = ""
) -> bytes:
    """Return the block of a frame on interface `number`, which may be longer than what was kept of it."""
    length = len(data) if original_bytes is None else original_bytes
    fixed = _PACKET.pack(number, time_ns >> 32, time_ns & 0xFFFFFFFF, len(data), length)
    options = _option(_FLAGS, struct.pack("<I", way)) + (_option(_COMMENT, comment.encode()) if comment else b"")
    return _block(_ENHANCED_PACKET, fixed + _padded(data) + options)


def frames(content: bytes) -> Iterator[Frame]:
    """Yield the frames of a file that `section`, `interface` and `packet` made. Raises ValueError for any other."""
    names: list[str] = []
    at = 0
    while at < len(content):
        try:
            kind, length = struct.unpack_from("<II", content, at)
            ends = at + length
            if length < 12 or ends > len(content) or content[ends - 4 : ends] != content[at + 4 : at + 8]:
                raise ValueError("not a whole block")
            body = content[at + 8 : ends - 4]
            if kind == _INTERFACE:
                names.append(_options(body[8:])[_INTERFACE_NAME].decode())
            elif kind == _ENHANCED_PACKET:
                yield _frame(body, names)
            elif kind != _SECTION_HEADER:
                raise ValueError(f"a block of kind {kind}")
        except (struct.error, LookupError, ValueError) as error:
            raise ValueError(f"byte {at}: {error}") from None
        at = ends


def _frame(body: bytes, names: Sequence[str]) -> Frame:
    """Read the block of a frame; what is raised for one that is damaged is whatever a reader of bytes raises."""
    number, high, low, kept, _ = _PACKET.unpack_from(body)
    ends = _PACKET.size + kept
    if ends > len(body):
        raise ValueError(f"{kept} bytes of a frame in a block of {len(body)}")
    options = _options(body[ends + -ends % 4 :])
    (way,) = struct.unpack("<I", options[_FLAGS])
    comment = options.get(_COMMENT, b"").decode(errors="replace")
    return Frame(high << 32 | low, names[number], way, body[_PACKET.size : ends], comment)


def _block(kind: int, body: bytes) -> bytes:
    # Options, where there are any, end with an empty one.
    ended = body if kind == _SECTION_HEADER else body + _option(_END, b"")
    length = struct.pack("<I", len(ended) + 12)
    return struct.pack("<I", kind) + length + ended + length


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _options(data: bytes) -> dict[int, bytes]:
    options, at = {}, 0
    while at < len(data):
        code, length = struct.unpack_from("<HH", data, at)
        options[code] = data[at + 4 : at + 4 + length]
        at += 4 + length + -length % 4
    return options


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
