"""The wire format of Protocol Buffers: fields of a message within bounds, and the same way back.

A message is fields, each a tag (its number, and how its value is written) and a value: a varint, 8 bytes, 4 bytes, or bytes with
their length before them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_MOST_BITS = 64

Value = int | bytes


class Malformed(ValueError):
    """Bytes that cannot be parsed as a message; the text says where and why."""


def varint(raw: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a varint and where it ends. Raises Malformed."""
    value = shift = 0
    while True:
        if at >= end:
            raise Malformed(f"byte {at}: ends within a number")
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value & (2**_MOST_BITS - 1), at
        if shift >= _MOST_BITS + 6:
            raise Malformed(f"byte {at}: a number of more than ten bytes")


def fields(raw: bytes, at: int, end: int) -> Iterator[tuple[int, int, Value]]:
    """Yield the number, the kind and the value of each field between two places. Raises Malformed."""
    while at < end:
        tag, at = varint(raw, at, end)
        number, kind = tag >> 3, tag & 7
        value: Value
        if kind == VARINT:
            value, at = varint(raw, at, end)
        elif kind == BYTES:
            length, at = varint(raw, at, end)
            if length > end - at:
                raise Malformed(f"byte {at}: a field of {length} bytes where {end - at} are left")
            value, at = raw[at : at + length], at + length
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
            if length > end - at:
                raise Malformed(f"byte {at}: ends within a number")
            value, at = int.from_bytes(raw[at : at + length], "little"), at + length
        else:
            raise Malformed(f"byte {at}: a field of kind {kind}")
        if number == 0:
            raise Malformed(f"byte {at}: a field with the number 0")
        yield number, kind, value


def packed(kind: int, value: Value) -> list[int]:
    """Return the varints of a repeated field, packed or one alone. Raises Malformed."""
    if isinstance(value, int):
        return [value]
    if kind != BYTES:
        raise Malformed("a list of numbers is neither a number nor bytes")
    numbers, at = [], 0
    while at < len(value):
        number, at = varint(value, at, len(value))
        numbers.append(number)
    return numbers


def signed(value: int) -> int:
    """Return a varint as a number of 64 bits with a sign."""
    return value - 2**64 if value >= 2**63 else value


def zigzag(value: int) -> int:
    """Return a varint of a type sint as the number that it stands for."""
    return (value >> 1) ^ -(value & 1)


def double(value: int) -> float:
    """Return the 8 bytes of a field as a floating-point number."""
    (number,) = struct.unpack("<d", value.to_bytes(8, "little"))
    return float(number)


def written_varint(value: int) -> bytes:
    """Return a number as a varint; a negative one as its 64 bits."""
    value &= 2**_MOST_BITS - 1
    octets = bytearray()
    while value > 127:
        octets.append(value & 127 | 128)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def written(number: int, value: int | bytes | str) -> bytes:
    """Return a field: a number as a varint, bytes and text with their length."""
    if isinstance(value, int):
        return written_varint(number << 3 | VARINT) + written_varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return written_varint(number << 3 | BYTES) + written_varint(len(raw)) + raw
