"""Route netlink in few, batched messages: what is asked of the kernel, and how it is sent and answered.

Messages are encoded with pyroute2's classes, but for the attributes of interfaces, of which a big lab has thousands:
those are appended by hand, at a tenth of the cost. Many messages go in one system call. Only the last message of a
send asks for an acknowledgement; the kernel reports errors whether asked or not and answers in order, so that one reply
settles them all.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any

from pyroute2.netlink.rtnl import (  # type: ignore[import-untyped]
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_NEWLINK,
)
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # type: ignore[import-untyped]

from testbed.errors import DriverError

IFF_UP, IFF_NOARP, IFF_LOWER_UP = 0x1, 0x80, 0x10000
LOOPBACK_INDEX = 1

# Flags of a request: NLM_F_DUMP, NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE
DUMP = 0x300
REPLACE, EXCLUSIVE, CREATE = 0x100, 0x200, 0x400

_NLM_F_REQUEST, _NLM_F_ACK = 0x1, 0x4
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_OPERSTATE_UP = b"\x06"

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port id
_IFINFO = struct.Struct("=BxHiII")  # family, type, index, flags, change mask
_ATTRIBUTE = struct.Struct("=HH")  # length with this header, type

# Attribute types of an interface: pyroute2 lists their names in the order of their numbers.
_IFLA = {entry[0].removeprefix("IFLA_"): number for number, entry in enumerate(ifinfmsg.nla_map)}

# Bounds on one send: the errors of every message must fit the receive buffer, the messages the send buffer.
_MESSAGES_PER_SEND = 512
_BYTES_PER_SEND = 128 * 1024
_BUFFER_BYTES = 4 * 1024 * 1024
_ANSWER_TIMEOUT_S = 60


@dataclass(frozen=True)
class Message:
    """One encoded request. `purpose` names it in the error raised if the kernel refuses it; `hint` says what to do."""

    data: bytes
    purpose: str
    hint: str = ""


@dataclass(frozen=True)
class Endpoint:
    """One end of a veth pair to create: where, as what. `mac` None lets the kernel choose."""

    namespace_fd: int
    index: int
    name: str
    mac: str | None


@dataclass(frozen=True)
class Link:
    """An interface as the kernel reports it. `operational`: what is sent on it leaves."""

    index: int
    name: str
    flags: int
    mac: str
    mtu_bytes: int
    alias: str
    operational: bool

    @property
    def has_carrier(self) -> bool:
        """Return whether both ends of the link are up, as the driver has it at this moment."""
        return bool(self.flags & IFF_LOWER_UP)


class Netlink:
    """A route netlink socket in the namespace of the thread that makes it; usable from any thread afterwards.

    Not for use by two threads at once.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._sequence = 0
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER_BYTES)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
            self._socket.settimeout(_ANSWER_TIMEOUT_S)
            self._socket.bind((0, 0))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the socket's descriptor; interface ioctls on it act in its namespace."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket. May be called twice."""
        self._socket.close()

    def __enter__(self) -> Netlink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def apply(self, messages: Sequence[Message]) -> None:
        """Send requests in order and wait until the kernel has done them all.

        Raises DriverError for the first one refused; those after it in the same send may have been done.
        """
        batch: list[Message] = []
        size = 0
        for message in messages:
            if batch and (len(batch) == _MESSAGES_PER_SEND or size + len(message.data) > _BYTES_PER_SEND):
                self._send(batch)
                batch, size = [], 0
            batch.append(message)
            size += len(message.data)
        if batch:
            self._send(batch)

    def query(self, message: Message) -> list[tuple[int, bytes]]:
        """Send one request and return the (type, payload) of every message that answers it."""
        first = self._sequence + 1
        self._transmit([message])
        answers: list[tuple[int, bytes]] = []
        for kind, flags, sequence, payload in self._answers():
            if sequence != first:
                continue
            if kind == _NLMSG_DONE:
                return answers
            if kind == _NLMSG_ERROR:
                _raise_for(message, payload, flags)
                return answers
            answers.append((kind, payload))
        raise AssertionError("unreachable: answers end only by return")

    def _send(self, batch: list[Message]) -> None:
        first = self._sequence + 1
        self._transmit(batch)
        failure: tuple[Message, bytes, int] | None = None
        for kind, flags, sequence, payload in self._answers():
            if kind != _NLMSG_ERROR or sequence < first:
                continue
            if failure is None and payload[:4] != b"\0\0\0\0":
                failure = (batch[sequence - first], payload, flags)
            if sequence == self._sequence:
                break
        if failure is not None:
            _raise_for(*failure)

    def _transmit(self, batch: list[Message]) -> None:
        buffer = bytearray()
        for position, message in enumerate(batch):
            start = len(buffer)
            buffer += message.data
            buffer += bytes(-len(buffer) % 4)
            _length, kind, flags, _sequence, _port = _HEADER.unpack_from(buffer, start)
            flags |= _NLM_F_REQUEST | (_NLM_F_ACK if position == len(batch) - 1 else 0)
            self._sequence += 1
            _HEADER.pack_into(buffer, start, len(message.data), kind, flags, self._sequence, 0)
        try:
            self._socket.send(buffer)
        except OSError as error:
            raise DriverError(batch[0].purpose, error.errno or 0, "the netlink socket refused the request") from error

    def _answers(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Yield (type, flags, sequence, payload) of every message received, for ever."""
        while True:
            try:
                data = self._socket.recv(1 << 17)
            except TimeoutError as error:
                raise DriverError("wait for netlink", errno.ETIMEDOUT, "the kernel did not answer") from error
            except OSError as error:
                raise DriverError("read netlink", error.errno or 0) from error
            offset = 0
            while offset + _HEADER.size <= len(data):
                length, kind, flags, sequence, _port = _HEADER.unpack_from(data, offset)
                if length < _HEADER.size:
                    raise DriverError("read netlink", errno.EBADMSG)
                yield kind, flags, sequence, data[offset + _HEADER.size : offset + length]
                offset += (length + 3) & ~3


def _raise_for(message: Message, payload: bytes, flags: int) -> None:
    """Raise the error that an NLMSG_ERROR payload carries, if any, with the kernel's own words where it gives some."""
    (code,) = struct.unpack_from("=i", payload)
    if code == 0:
        return
    words = ""
    if flags & _NLM_F_ACK_TLVS:  # with NETLINK_CAP_ACK only the header of the request precedes the attributes
        words = (
            attributes(payload, 4 + _HEADER.size).get(_NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode(errors="replace")
        )
    raise DriverError(message.purpose, -code, "; ".join(part for part in (words.rstrip("."), message.hint) if part))


def attributes(payload: bytes, offset: int) -> dict[int, bytes]:
    """Read the attributes of a message from `offset`: type to value. Of a type met twice the last one counts."""
    attributes: dict[int, bytes] = {}
    while offset + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if length < _ATTRIBUTE.size:
            break
        attributes[kind & 0x3FFF] = payload[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return attributes


def attribute(kind: int, value: bytes) -> bytes:
    """Encode one attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def encode_request(kind: int, flags: int, body: bytes) -> bytes:
    """Encode one request around its body: the message's own struct and its attributes."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 0, 0) + body


def encode(message: Any, kind: int, flags: int = 0) -> bytes:
    """Encode a message of pyroute2 as a request of a kind."""
    message["header"] = {"type": kind, "flags": flags}
    message.encode()
    return bytes(message.data)


@lru_cache(maxsize=1024)
def _link_message(index: int, flags: int = 0, change: int = 0, request: int = 0) -> bytes:
    """Encode RTM_NEWLINK without attributes. Cached: attributes are what differs, and they are cheaper to append."""
    message = ifinfmsg()
    message["index"], message["flags"], message["change"] = index, flags, change
    return encode(message, RTM_NEWLINK, request)


def _link_attributes(end: Endpoint, mtu_bytes: int) -> bytes:
    values = {
        "IFNAME": end.name.encode() + b"\0",
        "NET_NS_FD": struct.pack("=I", end.namespace_fd),
        "MTU": struct.pack("=I", mtu_bytes),
        # One queue each way: the frames of a priority must not overtake each other on different CPUs.
        "NUM_TX_QUEUES": struct.pack("=I", 1),
        "NUM_RX_QUEUES": struct.pack("=I", 1),
    }
    if end.mac is not None:
        values["ADDRESS"] = bytes.fromhex(end.mac.replace(":", ""))
    return b"".join(attribute(_IFLA[name], value) for name, value in values.items())


def create_veth(a: Endpoint, b: Endpoint, mtu_bytes: int, purpose: str) -> Message:
    """Create a veth pair, both ends down, each in its own namespace from the first moment. `mtu_bytes`: IP MTU."""
    peer = _IFINFO.pack(socket.AF_UNSPEC, 0, b.index, 0, 0) + _link_attributes(b, mtu_bytes)
    return create_link(a, mtu_bytes, b"veth", attribute(1, peer), purpose)  # VETH_INFO_PEER


def create_link(end: Endpoint, mtu_bytes: int, kind: bytes, data: bytes, purpose: str) -> Message:
    """Create an interface of a kind, down, in its namespace from the first moment. `data`: the attributes of that kind."""
    info = attribute(1, kind + b"\0") + attribute(2, data)  # IFLA_INFO_KIND, IFLA_INFO_DATA
    message = _link_message(end.index, request=CREATE | EXCLUSIVE) + _link_attributes(end, mtu_bytes)
    return Message(message + attribute(_IFLA["LINKINFO"], info), purpose)


def set_link(index: int, up: bool, alias: str | None = None, arp: bool = True, mtu_bytes: int | None = None) -> Message:
    """Bring an interface up or down, with or without ARP, and give it an alias or an IP MTU if one is named."""
    data = _link_message(index, (IFF_UP if up else 0) | (0 if arp else IFF_NOARP), IFF_UP | IFF_NOARP)
    if alias is not None:
        data += attribute(_IFLA["IFALIAS"], alias.encode())
    if mtu_bytes is not None:
        data += attribute(_IFLA["MTU"], struct.pack("=I", mtu_bytes))
    return Message(data, f"bring interface {index} {'up' if up else 'down'}")


def delete_link(index: int) -> Message:
    """Remove an interface, and with one end of a veth pair the other."""
    message = ifinfmsg()
    message["index"] = index
    return Message(encode(message, RTM_DELLINK), f"remove interface {index}")


def read_links(netlink: Netlink) -> list[Link]:
    """List the interfaces of the socket's namespace."""
    message = ifinfmsg()
    message["family"] = socket.AF_UNSPEC
    answers = netlink.query(Message(encode(message, RTM_GETLINK, DUMP), "list interfaces"))
    return [_link(payload) for kind, payload in answers if kind == RTM_NEWLINK]


def read_link(netlink: Netlink, index: int) -> Link:
    """Return one interface. Recent kernels first do what a change of its carrier left to be done."""
    answers = netlink.query(_get_link(index))
    return _link(answers[0][1])


@lru_cache(maxsize=1024)
def _get_link(index: int) -> Message:
    message = ifinfmsg()
    message["index"] = index
    return Message(encode(message, RTM_GETLINK), f"read interface {index}")


def _link(payload: bytes) -> Link:
    _family, _type, index, flags, _change = _IFINFO.unpack_from(payload)
    parts = attributes(payload, _IFINFO.size)
    return Link(
        index=index,
        name=parts.get(_IFLA["IFNAME"], b"").rstrip(b"\0").decode(errors="replace"),
        flags=flags,
        mac=parts.get(_IFLA["ADDRESS"], b"").hex(":"),
        mtu_bytes=int.from_bytes(parts.get(_IFLA["MTU"], b""), "little"),
        alias=parts.get(_IFLA["IFALIAS"], b"").rstrip(b"\0").decode(errors="replace"),
        operational=parts.get(_IFLA["OPERSTATE"]) == _OPERSTATE_UP,
    )
