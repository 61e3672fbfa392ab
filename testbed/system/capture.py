"""Write the frames that cross a veth link into a pcapng file, with the nanoseconds of the kernel's clock.

Both ends of the link are listened to, each for what arrives there: every frame is seen once, after all that may happen to
it on its way out.
"""

from __future__ import annotations

import heapq
import select
import signal
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from testbed import pcapng
from testbed.errors import DriverError
from testbed.system import namespaces, output

# From linux/if_packet.h, linux/if_ether.h and asm-generic/socket.h; Python's socket module does not have them.
_ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_IGNORE_OUTGOING = 23
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_RECEIVE_BUFFER_BYTES = 64 * 1024 * 1024
_LEAST_BUFFER_BYTES = 1024 * 1024
_ALL_BUFFERS_BYTES = 1024 * 1024 * 1024

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_BATCH = 256
HOLD_S = 0.125
"""How long a frame is held back for others that were before it. The kernel takes microseconds, or a tick if it is busy."""


class Received(NamedTuple):
    """A frame that the kernel has stamped, in ns since 1970, the number of the socket that it came from, and its bytes."""

    time_ns: int
    source: int
    data: bytes


@dataclass(frozen=True)
class Captured:
    """How many frames were written, and how many the kernel threw away because nobody fetched them in time."""

    frames: int
    missed: int


class InOrder:
    """Put frames that come from several sockets in the order of their times.

    A frame is handed out once it has been here for HOLD_S, or one behind it has: the kernel hands frames to a socket a little
    after it has stamped them, so that one of another socket may have come before. Where a socket is behind, what it still
    holds is waited for.
    """

    def __init__(self) -> None:
        self._waiting: list[Received] = []
        self._fetched: deque[tuple[float, int]] = deque()
        self._until_ns = 0
        self._behind: dict[int, int] = {}

    def add(self, source: int, received: Sequence[Received], now_s: float, is_all: bool) -> None:
        """Take in what the socket `source` had at `now_s`, and whether that was all it had."""
        for each in received:
            heapq.heappush(self._waiting, each)
        self._behind.pop(source, None)
        if received:
            self._fetched.append((now_s, max(each.time_ns for each in received)))
            if not is_all:
                self._behind[source] = received[-1].time_ns

    def due(self, now_s: float) -> list[Received]:
        """Return the frames that nothing can come before any more."""
        while self._fetched and self._fetched[0][0] + HOLD_S <= now_s:
            self._until_ns = max(self._until_ns, self._fetched.popleft()[1])
        limit = min([self._until_ns, *self._behind.values()])
        due = []
        while self._waiting and self._waiting[0].time_ns <= limit:
            due.append(heapq.heappop(self._waiting))
        return due

    def wait_s(self, now_s: float) -> float | None:
        """Return after how long to look again; None if nothing is held back."""
        return max(self._fetched[0][0] + HOLD_S - now_s, 0) if self._fetched else None

    def remaining(self) -> list[Received]:
        """Return all that is left, when nothing comes any more."""
        rest = sorted(self._waiting)
        self._waiting.clear()
        return rest


class Sink(Protocol):
    """Where a capture goes: blocks that a file begins with, then blocks of a frame each."""

    def begin(self, head: Sequence[bytes]) -> None:
        """Write what a file begins with."""

    def write(self, blocks: Sequence[bytes]) -> None:
        """Write frames. Raises OSError, ReaderGone for a closed pipe."""


@dataclass(frozen=True)
class Choice:
    """Which frames are kept, how much of each, and when to stop: after `count` of them, or `seconds` of wall time."""

    count: int | None = None
    seconds: float | None = None
    snap_bytes: int = pcapng.SNAP_BYTES
    keeps: Callable[[bytes], bool] | None = None


def capture(
    points: Sequence[Mapping[str, str]],
    sink: Sink,
    choice: Choice,
    *,
    reader: int | None = None,
    on_listening: Callable[[], None],
) -> Captured:
    """Capture at `points` ({"netns", "interface", "port"}) until the choice says so, or KeyboardInterrupt.

    Each point is an interface of the file, named by its port. Calls `on_listening` once no frame can be missed any more. Raises
    DriverError when a point cannot be listened to, OSError when the sink cannot be written, ReaderGone as soon as nobody reads
    the pipe `reader` any more, whether there are frames or not.
    """
    with ExitStack() as stack:
        buffer_bytes = max(_LEAST_BUFFER_BYTES, min(_RECEIVE_BUFFER_BYTES, _ALL_BUFFERS_BYTES // max(1, len(points))))
        sockets = [stack.enter_context(_listen(at["netns"], at["interface"], buffer_bytes)) for at in points]
        sink.begin([pcapng.section(), *(pcapng.interface(at["port"], choice.snap_bytes) for at in points)])
        on_listening()
        order, count = InOrder(), choice.count
        deadline = None if choice.seconds is None else time.monotonic() + choice.seconds
        written = 0

        def write(received: Sequence[Received]) -> None:
            nonlocal written
            kept = received if choice.keeps is None else [each for each in received if choice.keeps(each.data)]
            chosen = kept if count is None else kept[: count - written]
            snap = choice.snap_bytes
            sink.write([pcapng.packet(e.source, e.time_ns, pcapng.INBOUND, e.data[:snap], len(e.data)) for e in chosen])
            written += len(chosen)

        with suppress(KeyboardInterrupt):  # the usual way to end a capture
            while count is None or written < count:
                now_s = time.monotonic()
                limits = [deadline - now_s] if deadline is not None else []
                if limits and limits[0] <= 0:
                    break
                held_s = order.wait_s(now_s)
                limit_s = min([*limits, *([] if held_s is None else [held_s])], default=None)
                for listener in _wait(sockets, reader, limit_s):
                    _receive(order, listener, sockets.index(listener))
                with ExitStack() if reader is not None else _undisturbed():
                    write(order.due(time.monotonic()))
        for source, listener in enumerate(sockets):
            while _receive(order, listener, source) == _BATCH:
                pass
        write(order.remaining())
        return Captured(written, sum(_missed(listener) for listener in sockets))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let signals wait until what is begun is done: a write to a file, which does not wait for anybody."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _receive(order: InOrder, listener: socket.socket, source: int) -> int:
    """Take in up to a batch of frames of a socket; return how many there were."""
    received = _fetch(listener, source)
    order.add(source, received, time.monotonic(), len(received) < _BATCH)
    return len(received)


def _wait(sockets: Sequence[socket.socket], out: int | None, seconds: float | None) -> list[socket.socket]:
    """Return the sockets that have frames, none after `seconds`. Raises ReaderGone if nobody reads `out` any more."""
    poll = select.poll()
    for listener in sockets:
        poll.register(listener, select.POLLIN)
    if out is not None and output.watched(out):
        poll.register(out, 0)  # which still tells that the other end is closed
    ready = {descriptor for descriptor, _ in poll.poll(None if seconds is None else seconds * 1000)}
    if out is not None and out in ready:
        output.require_reader(out)
    return [listener for listener in sockets if listener.fileno() in ready]


def _listen(netns: str, interface: str, buffer_bytes: int) -> socket.socket:
    """Open a packet socket in a namespace that hears what arrives on an interface."""

    def work() -> socket.socket:
        namespaces.enter(netns)
        # Protocol 0 hears nothing: only when all is set and bound to one interface does it begin to listen.
        listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            listener.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            listener.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
            listener.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            listener.bind((interface, _ETH_P_ALL))
        except OSError as error:
            listener.close()
            raise DriverError(f"listen to {interface} in {netns}", error.errno or 0) from error
        return listener

    return namespaces.in_thread(work)


def _fetch(listener: socket.socket, source: int) -> list[Received]:
    """Return up to a batch of frames that wait."""
    frames = []
    for _ in range(_BATCH):
        try:
            data, ancillary, _flags, _address = listener.recvmsg(
                pcapng.SNAP_BYTES, socket.CMSG_SPACE(16), socket.MSG_TRUNC
            )
        except BlockingIOError:
            break
        stamp = (socket.SOL_SOCKET, _SO_TIMESTAMPNS)
        seconds, nanoseconds = next(struct.unpack("qq", value) for *kind, value in ancillary if tuple(kind) == stamp)
        frames.append(Received(seconds * 10**9 + nanoseconds, source, data))
    return frames


def _missed(listener: socket.socket) -> int:
    _packets, drops = struct.unpack("II", listener.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
    return int(drops)
