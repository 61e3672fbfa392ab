"""What the scenarios inside measure with: a veth pair with a netem on one end, and raw frames through it.

Frames carry their number and the time at which they were handed to the kernel; the kernel stamps them on arrival.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed.system import netem, netlink
from testbed.system.netem import Netem
from testbed.system.netlink import Endpoint, Netlink
from testbed.system.qdisc import Qdisc, new_qdisc

SMALLEST_FRAME_BYTES = 60  # without the checksum, as a packet socket sees it

_PFC_HEADER = bytes.fromhex("0180c2000001 020000000001 8808 0101 0008 000000000000 ffff 0000000000000000")
_DATA_HEADER = bytes.fromhex("020000000002 020000000001 88b5")  # an EtherType for experiments
_STAMP = struct.Struct("=QQ")  # number, ns of the realtime clock
_TIMESPEC = struct.Struct("=qq")
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 32, 33, 35
_SIOCOUTQ = 0x5411
_ETH_P_ALL = 3
_RECEIVE_BUFFER_BYTES = 256 << 20
_QUIET_S = 0.3

_indices = iter(range(101, 10_000, 2))


@dataclass(frozen=True)
class Arrival:
    """One frame that came through: which, when it was sent, and how long it was under way."""

    number: int
    sent_ns: int
    delay_ns: int


@dataclass
class Wire:
    """A veth pair: what is sent on `near` passes the netem and arrives on `far`, and the other way nothing delays."""

    control: Netlink
    index: int
    near: socket.socket
    far: socket.socket
    refused: int = 0

    def set(self, settings: Netem) -> None:
        """Put a netem on the near end, or change the one that is there."""
        self.put(netem.qdisc(settings))

    def put(self, discipline: Qdisc) -> None:
        """Put a queueing discipline on the near end."""
        self.control.apply(new_qdisc(self.index, discipline))

    def configured(self) -> Netem:
        """Return what the kernel says it does."""
        return netem.read(self.control)[self.index]

    def statistics(self, handle: int = netem.HANDLE) -> netem.Statistics:
        """Return the counters of a queueing discipline of the near end."""
        return netem.read_statistics(self.control)[self.index, handle]

    def send(self, number: int, frame_bytes: int = SMALLEST_FRAME_BYTES, pfc: bool = False) -> bool:
        """Send a frame, stamped with its number and the time; False if the queue refused it, which is counted too."""
        header = _PFC_HEADER if pfc else _DATA_HEADER
        return self._send((header + _STAMP.pack(number, time.time_ns())).ljust(frame_bytes, b"\0"))

    def send_many(self, numbers: Iterable[int]) -> None:
        """Send a smallest frame for each number, without the time, as fast as can be."""
        tail = bytes(SMALLEST_FRAME_BYTES - len(_DATA_HEADER) - 8)
        for number in numbers:
            self._send(_DATA_HEADER + number.to_bytes(8, sys.byteorder) + tail)

    def _send(self, frame: bytes) -> bool:
        try:
            self.near.send(frame)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self.refused += 1
            return False
        return True

    def receive(self, quiet_s: float = _QUIET_S) -> Iterator[Arrival]:
        """Yield the frames in the order of their arrival until none has come for `quiet_s`."""
        self._wait_at_most(quiet_s)
        while True:
            try:
                frame, ancillary, _flags, _address = self.far.recvmsg(128, 256)
            except BlockingIOError:
                return
            header = _PFC_HEADER if frame.startswith(_PFC_HEADER) else _DATA_HEADER
            number, sent_ns = _STAMP.unpack_from(frame, len(header))
            stamp = next(data for _level, type_, data in ancillary if type_ == _SO_TIMESTAMPNS)
            seconds, nanoseconds = _TIMESPEC.unpack(stamp)
            yield Arrival(number, sent_ns, seconds * 1_000_000_000 + nanoseconds - sent_ns)

    def receive_many(self, quiet_s: float = _QUIET_S) -> list[int]:
        """Return the numbers of the data frames in the order of their arrival until none has come for `quiet_s`."""
        self._wait_at_most(quiet_s)
        numbers: list[int] = []
        start, end = len(_DATA_HEADER), len(_DATA_HEADER) + 8
        while True:
            try:
                frame = self.far.recv(SMALLEST_FRAME_BYTES)
            except BlockingIOError:
                return numbers
            numbers.append(int.from_bytes(frame[start:end], sys.byteorder))

    def _wait_at_most(self, quiet_s: float) -> None:
        # The kernel's own time-out: Python's would cost a system call more for every frame.
        seconds, microseconds = divmod(round(quiet_s * 1_000_000), 1_000_000)
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("=qq", seconds, microseconds))

    def send_unshaped(self, priority: int) -> None:
        """Give what the near socket sends from now on a priority of the kernel."""
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, priority)

    def unsent_bytes(self) -> int:
        """Return how much of its send buffer the near socket still has to answer for."""
        answer = fcntl.ioctl(self.near, _SIOCOUTQ, bytes(4))
        return int.from_bytes(answer, "little")

    def shrink_send_buffer(self) -> None:
        """Make the near socket's send buffer the smallest that the kernel allows."""
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0)

    def send_buffer_bytes(self) -> int:
        """Return the size of the near socket's send buffer."""
        return self.near.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


@contextmanager
def wire(settings: Netem | None = None) -> Iterator[Wire]:
    """Make a wire in the namespace of this process, up and quiet, with a netem on its near end.

    The interfaces stay; the kernel that they are in is about to halt.
    """
    for switch in Path("/proc/sys/net/ipv6/conf").glob("*/disable_ipv6"):
        switch.write_text("1")  # no frames but ours
    index = next(_indices)
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    ends = [Endpoint(home, index + end, f"wire{index + end}", None) for end in range(2)]
    with Netlink() as control:
        control.apply(
            [
                netlink.create_veth(ends[0], ends[1], 9000, "create a wire"),
                *(netlink.set_link(end.index, up=True, arp=False) for end in ends),
            ]
        )
        while not all(netlink.read_link(control, end.index).operational for end in ends):
            time.sleep(0.001)
        near, far = (socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) for _end in ends)
        with near, far:
            near.bind((ends[0].name, 0))
            far.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            far.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
            near.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _RECEIVE_BUFFER_BYTES)
            far.bind((ends[1].name, _ETH_P_ALL))
            made = Wire(control, index, near, far)
            if settings is not None:
                made.set(settings)
            yield made
    os.close(home)
