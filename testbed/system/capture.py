"""Write the frames that cross a veth link into a pcap file, with the nanoseconds of the kernel's clock.

Both ends of the link are listened to, each for what arrives there: every frame is seen once, after all that may happen to
it on its way out.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

from testbed.errors import DriverError
from testbed.system import namespaces, output

_SNAP_BYTES = 65_535
_NANOSECOND_MAGIC = 0xA1B23C4D
_LINKTYPE_ETHERNET = 1

# From linux/if_packet.h, linux/if_ether.h and asm-generic/socket.h; Python's socket module does not have them.
_ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_IGNORE_OUTGOING = 23
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_RECEIVE_BUFFER_BYTES = 64 * 1024 * 1024

_BATCH = 256


@dataclass(frozen=True)
class Captured:
    """How many frames were written, and how many the kernel threw away because nobody fetched them in time."""

    frames: int
    missed: int


def capture(
    points: Sequence[Mapping[str, str]],
    out: BinaryIO,
    *,
    count: int | None,
    seconds: float | None,
    on_listening: Callable[[], None],
) -> Captured:
    """Capture at `points` ({"netns", "interface"}) until `count` frames, `seconds` of wall time, or KeyboardInterrupt.

    Calls `on_listening` once no frame can be missed any more. Raises DriverError when a point cannot be listened to, ReaderGone
    as soon as nobody reads `out` any more, whether there are frames or not.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(_listen(point["netns"], point["interface"])) for point in points]
        out.write(struct.pack("<IHHiIII", _NANOSECOND_MAGIC, 2, 4, 0, 0, _SNAP_BYTES, _LINKTYPE_ETHERNET))
        out.flush()
        on_listening()
        deadline = None if seconds is None else time.monotonic() + seconds
        written = 0
        try:
            while count is None or written < count:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    break
                ready = _wait(sockets, out.fileno(), left)
                frames = sorted(frame for listener in ready for frame in _fetch(listener))
                for time_ns, original_bytes, data in frames if count is None else frames[: count - written]:
                    seconds_part, nanoseconds = divmod(time_ns, 10**9)
                    out.write(struct.pack("<IIII", seconds_part, nanoseconds, len(data), original_bytes) + data)
                    written += 1
                out.flush()
        except KeyboardInterrupt:
            pass  # the usual way to end a capture
        except BrokenPipeError:
            raise output.ReaderGone from None
        return Captured(written, sum(_missed(listener) for listener in sockets))


def _wait(sockets: Sequence[socket.socket], out: int, seconds: float | None) -> list[socket.socket]:
    """Return the sockets that have frames, none after `seconds`. Raises ReaderGone if nobody reads `out` any more."""
    poll = select.poll()
    for listener in sockets:
        poll.register(listener, select.POLLIN)
    if output.watched(out):
        poll.register(out, 0)  # which still tells that the other end is closed
    ready = {descriptor for descriptor, _ in poll.poll(None if seconds is None else seconds * 1000)}
    if out in ready:
        output.require_reader(out)
    return [listener for listener in sockets if listener.fileno() in ready]


def _listen(netns: str, interface: str) -> socket.socket:
    """Open a packet socket in a namespace that hears what arrives on an interface."""

    def work() -> socket.socket:
        namespaces.enter(netns)
        # Protocol 0 hears nothing: only when all is set and bound to one interface does it begin to listen.
        listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            listener.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            listener.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
            listener.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            listener.bind((interface, _ETH_P_ALL))
        except OSError as error:
            listener.close()
            raise DriverError(f"listen to {interface} in {netns}", error.errno or 0) from error
        return listener

    return namespaces.in_thread(work)


def _fetch(listener: socket.socket) -> list[tuple[int, int, bytes]]:
    """Return up to a batch of frames that wait: (time in ns since 1970, length on the wire without FCS, bytes)."""
    frames = []
    for _ in range(_BATCH):
        try:
            data, ancillary, _flags, _address = listener.recvmsg(_SNAP_BYTES, socket.CMSG_SPACE(16), socket.MSG_TRUNC)
        except BlockingIOError:
            break
        stamp = (socket.SOL_SOCKET, _SO_TIMESTAMPNS)
        seconds, nanoseconds = next(struct.unpack("qq", value) for *kind, value in ancillary if tuple(kind) == stamp)
        frames.append((seconds * 10**9 + nanoseconds, len(data), data))
    return frames


def _missed(listener: socket.socket) -> int:
    _packets, drops = struct.unpack("II", listener.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
    return int(drops)
