"""Queueing disciplines: what becomes of the frames that are sent on an interface.

At a host, the kernel's own traffic is held to the rate of the port, but not the frames of the emulated NIC, which leave
by the same interface at times that are right already. An htb of handle `SHAPER_HANDLE` does both: it sends frames whose
socket priority is its handle on at once, before all others, and puts the rest into its one class. Such frames pass the
qdisc all the same, since the kernel shows the frames of a socket that bypasses it to no listener on the interface.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pyroute2.netlink.rtnl import (  # type: ignore[import-untyped]
    RTM_DELQDISC,
    RTM_DELTFILTER,
    RTM_GETQDISC,
    RTM_GETTCLASS,
    RTM_NEWQDISC,
    RTM_NEWTCLASS,
    RTM_NEWTFILTER,
    TC_H_ROOT,
)

from testbed.sizes import ETHERNET_HEADER_BYTES
from testbed.system.netlink import CREATE, DUMP, REPLACE, Message, Netlink, attribute, attributes, encode_request

SHAPER_HANDLE = 0x0001_0000
"""Handle of the htb at hosts, 1:0 as tc writes it; the data plane sends the NIC's frames with it as SO_PRIORITY."""

MINIMUM_RATE_BPS = 8_000
"""The slowest class: htb forgets what a class owes it beyond a minute, so that slower ones would send too much."""

_SHAPED_CLASS = SHAPER_HANDLE | 0x10
# More frames than the send buffer of the NIC's socket (4 MiB, of which a frame takes 768 bytes or more) can hold.
_DIRECT_FRAMES = 16_384
_BURST_PER_SECOND = 4_000  # a burst of 250 µs, so that a late timer costs no throughput
_WAITING_FRAMES = 64
_WAITING_PER_SECOND = 10  # 100 ms
_WAITING_BYTES = 16 << 20
# Kinds of which the kernel changes the classes alone.
_NOT_CHANGEABLE = ("htb",)
_GATE = "tbf"
_TICK_NS = 64  # what the kernel counts a bucket's size in
_U32 = 0xFFFFFFFF
_ETHERNET = 1  # a link layer that is named frees us from the rate tables of old

_TCMSG = struct.Struct("=BxxxiIII")  # family, interface index, handle, parent, info
_RATE = struct.Struct("=BBHhHI")  # struct tc_ratespec: cell_log, linklayer, overhead, cell_align, mpu, rate in bytes/s
_TCA_KIND, _TCA_OPTIONS = 1, 2
_HTB_PARAMETERS, _HTB_INIT, _HTB_DIRECT_QLEN, _HTB_RATE64, _HTB_CEIL64 = 1, 2, 5, 6, 7


@dataclass(frozen=True)
class TrafficClass:
    """A class of a queueing discipline. `options` None: the discipline makes this class by itself; `parent` 0: no class."""

    class_id: int
    options: bytes | None
    leaf: Qdisc | None = None
    parent: int = 0


@dataclass(frozen=True)
class Filter:
    """A filter of a queueing discipline: kind, number (which is its preference), protocol in the order of the network."""

    kind: str
    number: int
    protocol: int
    options: bytes


@dataclass(frozen=True)
class Qdisc:
    """A queueing discipline: kind, encoded attributes in TCA_OPTIONS, handle (0: the kernel chooses), classes, filters."""

    kind: str
    options: bytes = b""
    handle: int = 0
    classes: tuple[TrafficClass, ...] = ()
    filters: tuple[Filter, ...] = ()


def htb(rate_bps: int, mtu_bytes: int) -> Qdisc:
    """Describe what a host's interface has: the NIC's frames pass, all others leave at `rate_bps` of wall time.

    `mtu_bytes` is that of the interface. Others may leave in bursts of 250 µs or two of the longest frames, and of them
    100 ms (at most 16 MiB) or 64 frames may wait; more are dropped.
    """
    if rate_bps < MINIMUM_RATE_BPS or mtu_bytes < 1:
        raise ValueError(f"at least {MINIMUM_RATE_BPS} bit/s and packets of 1 byte, not {rate_bps} and {mtu_bytes}")
    options = class_options(rate_bps, mtu_bytes, ceiling_bps=rate_bps)
    frame_bytes, rate = mtu_bytes + ETHERNET_HEADER_BYTES, rate_bps // 8
    waiting_bytes = max(_WAITING_FRAMES * frame_bytes, min(rate // _WAITING_PER_SECOND, _WAITING_BYTES))
    leaf = Qdisc("bfifo", struct.pack("=I", waiting_bytes))
    return Qdisc("htb", htb_start(_SHAPED_CLASS), SHAPER_HANDLE, (TrafficClass(_SHAPED_CLASS, options, leaf),))


def htb_start(default_class: int) -> bytes:
    """Encode the options of an htb whose frames are in `default_class` unless a filter has them elsewhere."""
    # struct tc_htb_glob: version, divisor of the quantum, default class, debug, direct packets
    start = attribute(_HTB_INIT, struct.pack("=5I", 3, 10, default_class & 0xFFFF, 0, 0))
    return start + attribute(_HTB_DIRECT_QLEN, struct.pack("=I", _DIRECT_FRAMES))


def class_options(rate_bps: int, mtu_bytes: int, ceiling_bps: int) -> bytes:
    """Encode the options of a class of an htb: what it has for sure, and what it may have of its parent's."""
    frame_bytes = mtu_bytes + ETHERNET_HEADER_BYTES
    rate, ceiling = rate_bps // 8, ceiling_bps // 8
    burst_ticks, ceiling_ticks = (
        min(max(2 * frame_bytes, speed // _BURST_PER_SECOND) * 1_000_000_000 // speed // _TICK_NS, _U32)
        for speed in (rate, ceiling)
    )
    # struct tc_htb_opt: rate, ceiling, the bucket of each, quantum (by which classes take turns), level, priority
    parameters = rate_spec(rate) + rate_spec(ceiling)
    parameters += struct.pack("=5I", burst_ticks, ceiling_ticks, frame_bytes, 0, 0)
    options = attribute(_HTB_PARAMETERS, parameters)
    if rate >= _U32:
        options += attribute(_HTB_RATE64, struct.pack("=Q", rate))
    if ceiling >= _U32:
        options += attribute(_HTB_CEIL64, struct.pack("=Q", ceiling))
    return options


def rate_spec(rate: int) -> bytes:
    """Encode a rate in bytes/s; from 2**32 on its attribute of 64 bits has the rest."""
    return _RATE.pack(0, _ETHERNET, 0, 0, 0, min(rate, _U32))


def new_qdisc(index: int, qdisc: Qdisc) -> list[Message]:
    """Ask for `qdisc` at the root of an interface that has none but the kernel's default.

    The one place that decides what happens to frames which the kernel sends on an endpoint.
    """
    return list(_messages(index, qdisc, TC_H_ROOT))


def set_qdisc(netlink: Netlink, index: int, qdisc: Qdisc | None) -> None:
    """Make `qdisc` the root of an interface, whatever it has; None restores the kernel's default. Raises DriverError.

    Of disciplines that are there already only settings and classes change, and no frame that waits is lost. What is there
    below them and not in `qdisc` stays.
    """
    there = {present.handle: present.kind for place, _parent, present in _read_all(netlink) if place == index}
    present = read_qdiscs(netlink).get(index)
    same = qdisc is not None and present is not None and (present.kind, present.handle) == (qdisc.kind, qdisc.handle)
    if qdisc and present and present.handle and same and _has_gates(qdisc) == (_GATE in there.values()):
        netlink.apply(list(_update_messages(index, qdisc, TC_H_ROOT, there)))
        return
    messages = []
    if present is not None and present.handle:
        remove = encode_request(RTM_DELQDISC, 0, _TCMSG.pack(socket.AF_UNSPEC, index, 0, TC_H_ROOT, 0))
        messages.append(Message(remove, f"remove the qdisc of interface {index}"))
    if qdisc is not None:
        messages += new_qdisc(index, qdisc)
    netlink.apply(messages)


def _has_gates(qdisc: Qdisc) -> bool:
    """Return whether a discipline, or one below it, has gates: an htb with them has other classes than one without."""
    leaves = [entry.leaf for entry in qdisc.classes if entry.leaf is not None]
    return qdisc.kind == _GATE or any(map(_has_gates, leaves))


def _messages(index: int, qdisc: Qdisc, parent: int) -> Iterator[Message]:
    """Ask for a discipline below `parent` with all that is below it; what is there of the same kind is changed."""
    yield _message(RTM_NEWQDISC, index, qdisc.handle, parent, qdisc.kind, qdisc.options)
    yield from _class_messages(index, qdisc)


def _class_messages(index: int, qdisc: Qdisc) -> Iterator[Message]:
    for entry in qdisc.classes:
        if entry.options is not None:
            parent = entry.parent or qdisc.handle
            yield _message(RTM_NEWTCLASS, index, entry.class_id, parent, qdisc.kind, entry.options)
        if entry.leaf is not None:
            yield from _messages(index, entry.leaf, entry.class_id)
    for own in qdisc.filters:
        yield _filter_message(index, qdisc.handle, own)


def _update_messages(index: int, qdisc: Qdisc, parent: int, there: Mapping[int, str]) -> Iterator[Message]:
    """Ask for a discipline of which part is `there`, by handle: what cannot be changed as a whole is left as it is."""
    if qdisc.kind not in _NOT_CHANGEABLE or there.get(qdisc.handle) != qdisc.kind:
        yield _message(RTM_NEWQDISC, index, qdisc.handle, parent, qdisc.kind, qdisc.options)
    for entry in qdisc.classes:
        if entry.options is not None:
            parent = entry.parent or qdisc.handle
            yield _message(RTM_NEWTCLASS, index, entry.class_id, parent, qdisc.kind, entry.options)
        if entry.leaf is not None:
            yield from _update_messages(index, entry.leaf, entry.class_id, there)
    if qdisc.filters:
        data = _TCMSG.pack(socket.AF_UNSPEC, index, 0, qdisc.handle, 0)
        yield Message(encode_request(RTM_DELTFILTER, 0, data), f"remove filters of interface {index}")
    for own in qdisc.filters:
        yield _filter_message(index, qdisc.handle, own)


def _message(kind: int, index: int, handle: int, parent: int, name: str, options: bytes) -> Message:
    data = _TCMSG.pack(socket.AF_UNSPEC, index, handle, parent, 0) + attribute(_TCA_KIND, name.encode() + b"\0")
    if options:
        data += attribute(_TCA_OPTIONS, options)
    what = "qdisc" if kind == RTM_NEWQDISC else "class of"
    hint = f"does this kernel have sch_{name}?"
    return Message(encode_request(kind, CREATE | REPLACE, data), f"set {what} {name} on interface {index}", hint)


def _filter_message(index: int, parent: int, entry: Filter) -> Message:
    """Ask for a filter."""
    info = entry.number << 16 | entry.protocol
    data = _TCMSG.pack(socket.AF_UNSPEC, index, 0, parent, info) + attribute(_TCA_KIND, entry.kind.encode() + b"\0")
    data += attribute(_TCA_OPTIONS, entry.options)
    hint = f"does this kernel have cls_{entry.kind}?"
    return Message(encode_request(RTM_NEWTFILTER, CREATE | REPLACE, data), f"set filter on interface {index}", hint)


def read_qdiscs(netlink: Netlink) -> dict[int, Qdisc]:
    """Return the root queueing discipline, without classes, of every interface of the socket's namespace, by index."""
    return {index: discipline for index, parent, discipline in _read_all(netlink) if parent == TC_H_ROOT}


def _read_all(netlink: Netlink) -> Iterator[tuple[int, int, Qdisc]]:
    """Yield every queueing discipline of the socket's namespace with its interface index and its parent."""
    message = Message(encode_request(RTM_GETQDISC, DUMP, _TCMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)), "list qdiscs")
    for kind, payload in netlink.query(message):
        if kind == RTM_NEWQDISC:
            _family, index, handle, parent, _info = _TCMSG.unpack_from(payload)
            values = attributes(payload, _TCMSG.size)
            name = values.get(_TCA_KIND, b"").rstrip(b"\0").decode()
            yield index, parent, Qdisc(name, values.get(_TCA_OPTIONS, b""), handle)


def read_shaped_rate(netlink: Netlink, index: int) -> int | None:
    """Return the bit/s to which the kernel's traffic on an interface is held; None if it is not."""
    data = _TCMSG.pack(socket.AF_UNSPEC, index, 0, 0, 0)
    for kind, payload in netlink.query(Message(encode_request(RTM_GETTCLASS, DUMP, data), "list classes")):
        if kind != RTM_NEWTCLASS or _TCMSG.unpack_from(payload)[2] != _SHAPED_CLASS:
            continue
        return _class_rate(attributes(payload, _TCMSG.size).get(_TCA_OPTIONS, b""))
    return None


def rate_of(shaper: Qdisc) -> int | None:
    """Return the bit/s of an `htb`, as `read_shaped_rate` returns it once the kernel has that."""
    return next((_class_rate(entry.options) for entry in shaper.classes if entry.options is not None), None)


def _class_rate(options: bytes) -> int | None:
    values = attributes(options, 0)
    if _HTB_RATE64 in values:
        return 8 * int.from_bytes(values[_HTB_RATE64], "little")
    return 8 * int(_RATE.unpack_from(values[_HTB_PARAMETERS])[5]) if _HTB_PARAMETERS in values else None
