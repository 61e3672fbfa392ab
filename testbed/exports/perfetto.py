"""Traces that the Perfetto UI opens (https://ui.perfetto.dev): tracks, slices, counters and flows as protocol buffers, by hand.

Numbers of fields are those of `perfetto/trace/trace.proto` and what it includes (Perfetto 0.59, Apache-2.0).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from testbed.replay.protobuf import FIXED64, written, written_varint

SUFFIX = ".pftrace"

Note = str | int | float | bool

# Trace, TracePacket
_PACKET, _TIMESTAMP, _SEQUENCE, _EVENT, _DESCRIPTOR = 1, 8, 10, 11, 60
# TrackDescriptor
_UUID, _NAME, _PROCESS, _PARENT, _COUNTER, _ORDERING, _RANK = 1, 2, 3, 5, 8, 11, 12
_EXPLICIT = 3
# ProcessDescriptor, CounterDescriptor
_PID, _PROCESS_NAME, _UNIT_NAME = 1, 6, 6
# TrackEvent
_NOTE, _TYPE, _TRACK, _EVENT_NAME, _VALUE, _FLOW, _LAST_OF_FLOW = 4, 9, 11, 23, 30, 47, 48
_BEGIN, _END, _COUNT = 1, 2, 4
# DebugAnnotation
_NOTE_NAME, _NOTE_BOOL, _NOTE_INT, _NOTE_DOUBLE, _NOTE_TEXT = 10, 2, 4, 5, 6
# All packets are of one writer.
_WRITER = 1


class Trace:
    """A trace as it is written; times are ns, from 0 on. Slices of one track must follow each other or nest.

    Tracks are numbered from `first` on.
    """

    def __init__(self, first: int = 1) -> None:
        self._written = bytearray()
        self._next = first
        self._ranks: dict[int, int] = {}

    def process(self, name: str) -> int:
        """Add a process, below which its tracks stand in the order in which they were added; return its number."""
        process = written(_PROCESS, written(_PID, self._next) + written(_PROCESS_NAME, name))
        return self._track(process + written(_ORDERING, _EXPLICIT), name, None)

    def track(self, name: str, parent: int | None = None) -> int:
        """Add a track for slices and return its number."""
        return self._track(b"", name, parent)

    def counter(self, name: str, parent: int, unit: str = "") -> int:
        """Add a track for values and return its number."""
        return self._track(written(_COUNTER, written(_UNIT_NAME, unit)), name, parent)

    def _track(self, kind: bytes, name: str, parent: int | None) -> int:
        number, self._next = self._next, self._next + 1
        text = written(_UUID, number) + written(_NAME, name) + kind
        if parent is not None:
            rank = self._ranks[parent] = self._ranks.get(parent, 0) + 1
            text += written(_PARENT, parent) + written(_RANK, rank)
        self._packet(written(_SEQUENCE, _WRITER) + written(_DESCRIPTOR, text))
        return number

    def slice(
        self,
        track: int,
        name: str,
        begin_ns: int,
        end_ns: int,
        notes: Mapping[str, Note] | None = None,
        flows: Iterable[int] = (),
        ended: Iterable[int] = (),
    ) -> None:
        """Write a slice. `flows` are arrows that go on from it, by number; those `ended` lead to it and no further."""
        text = written(_TYPE, _BEGIN) + written(_TRACK, track) + written(_EVENT_NAME, name)
        text += b"".join(written(_NOTE, _note(key, value)) for key, value in (notes or {}).items())
        text += b"".join(_fixed(_FLOW, flow) for flow in flows)
        text += b"".join(_fixed(_LAST_OF_FLOW, flow) for flow in ended)
        self._event(begin_ns, text)
        self._event(end_ns, written(_TYPE, _END) + written(_TRACK, track))

    def count(self, counter: int, at_ns: int, value: int) -> None:
        """Write the value that a counter has from an instant on."""
        self._event(at_ns, written(_TYPE, _COUNT) + written(_TRACK, counter) + written(_VALUE, value))

    def _event(self, at_ns: int, event: bytes) -> None:
        self._packet(written(_TIMESTAMP, at_ns) + written(_SEQUENCE, _WRITER) + written(_EVENT, event))

    def _packet(self, fields: bytes) -> None:
        self._written += written(_PACKET, fields)

    def to_bytes(self) -> bytes:
        """Return what a file of it holds."""
        return bytes(self._written)


def _note(name: str, value: Note) -> bytes:
    if isinstance(value, bool):
        return written(_NOTE_NAME, name) + written(_NOTE_BOOL, int(value))
    if isinstance(value, float):
        return written(_NOTE_NAME, name) + _double(_NOTE_DOUBLE, value)
    return written(_NOTE_NAME, name) + written(_NOTE_INT if isinstance(value, int) else _NOTE_TEXT, value)


def _fixed(number: int, value: int) -> bytes:
    return written_varint(number << 3 | FIXED64) + value.to_bytes(8, "little")


def _double(number: int, value: float) -> bytes:
    return written_varint(number << 3 | FIXED64) + struct.pack("<d", value)
