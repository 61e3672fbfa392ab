"""Gates at the host's end of a link: a kernel's frames of one priority held back in its own queues while that is paused.

Each priority with a gate has a class of the host's shaper, and in it a tbf, which holds a frame until its bucket has room for
it. Closed, it counts each frame as longer than the bucket: nothing passes, whatever its length, and it looks again every half
millisecond, so that it goes on by itself when it is open. What waits stays the property of the socket that sent it, and blocks
its program. The data plane opens and closes it (dataplane/src/io/gate.rs has the twin of `_OPEN` and of the handles).
"""

from __future__ import annotations

import functools
import socket
import struct
from collections.abc import Collection, Mapping

from testbed.errors import DriverError
from testbed.system import namespaces, netlink, qdisc
from testbed.system.netlink import Endpoint, Netlink, attribute
from testbed.system.qdisc import Filter, Qdisc, TrafficClass

GATE_MAJOR = 0x20
"""Major number of the handle of the gate of priority 0; the others follow."""

# Waiting frames belong to their sockets, whose send buffers bound them: the limit is never met.
_WAITING_BYTES = 256 << 20
_TBF_PARAMETERS, _TBF_RATE64 = 1, 4
# Faster than any line: 1 Tbit/s, and what passes at that in the 4,096 ns of the bucket (in ticks of 64 ns), 512 kB.
_OPEN_RATE = 125_000_000_000
_OPEN_TICKS = 64
_REST_CLASS = qdisc.SHAPER_HANDLE | 0x11
_GATE_CLASS = qdisc.SHAPER_HANDLE | 0x20
_U32_CLASS, _U32_SELECTOR = 1, 5
_TERMINAL = 1
_IPV4 = 0x0800  # ETH_P_IP
# Of the first word of an IPv4 header, in the order of the network: the DSCP.
_DSCP_MASK, _DSCP_SHIFT = 0x00FC0000, 18
_PROBE_INDEX = 103


def gated(rate_bps: int, mtu_bytes: int, dscps: Mapping[int, Collection[int]]) -> Qdisc:
    """Describe the shaper of a host with a gate for each priority of `dscps`, which has the DSCPs of that.

    Together the kernel's frames leave at `rate_bps`, as behind `qdisc.htb`; those of other priorities pass no gate.
    """
    plain = qdisc.htb(rate_bps, mtu_bytes)
    (shaped,) = plain.classes
    # A class takes what it needs of the rate of all; its own is the least there is.
    share = qdisc.class_options(qdisc.MINIMUM_RATE_BPS, mtu_bytes, ceiling_bps=rate_bps)
    inner = TrafficClass(shaped.class_id, shaped.options)
    classes = [inner, TrafficClass(_REST_CLASS, share, shaped.leaf, shaped.class_id)]
    filters = []
    for priority, own in sorted(dscps.items()):
        tbf = Qdisc("tbf", _open(), (GATE_MAJOR + priority) << 16)
        classes.append(TrafficClass(_GATE_CLASS + priority, share, tbf, shaped.class_id))
        filters += [_of_dscp(dscp, _GATE_CLASS + priority) for dscp in sorted(own)]
    start = qdisc.htb_start(_REST_CLASS)
    return Qdisc(plain.kind, start, plain.handle, tuple(classes), tuple(filters))


def _open() -> bytes:
    speed = qdisc.rate_spec(_OPEN_RATE)
    parameters = speed + bytes(len(speed)) + struct.pack("=3I", _WAITING_BYTES, _OPEN_TICKS, 0)
    return attribute(_TBF_PARAMETERS, parameters) + attribute(_TBF_RATE64, struct.pack("=Q", _OPEN_RATE))


def _of_dscp(dscp: int, class_id: int) -> Filter:
    """Return the filter that puts IPv4 packets of a DSCP into a class."""
    # struct tc_u32_sel: flags, shift and number of keys, masks and offsets of which none is used; then one key.
    selector = struct.pack("=BBBxHHhhI", _TERMINAL, 0, 1, 0, 0, 0, 0, 0)
    key = struct.pack("=4s4sii", _DSCP_MASK.to_bytes(4, "big"), (dscp << _DSCP_SHIFT).to_bytes(4, "big"), 0, 0)
    options = attribute(_U32_CLASS, struct.pack("=I", class_id)) + attribute(_U32_SELECTOR, selector + key)
    return Filter("u32", 1 + dscp, socket.htons(_IPV4), options)


@functools.cache
def probe() -> str:
    """Return why this kernel cannot have gates; empty if it can. Leaves nothing behind."""
    if missing := namespaces.missing_capabilities():
        return f"{', '.join(missing)} missing"
    return namespaces.in_thread(_probe)


def _probe() -> str:
    namespaces.unshare_network()
    with Netlink() as control, open("/proc/thread-self/ns/net", "rb") as home:
        ends = [Endpoint(home.fileno(), _PROBE_INDEX + end, f"gate{end}", None) for end in range(2)]
        try:
            control.apply([netlink.create_veth(ends[0], ends[1], 1500, "create a veth pair")])
            qdisc.set_qdisc(control, _PROBE_INDEX, gated(10**9, 1500, {3: (24,)}))
        except DriverError as error:
            return str(error)
    return ""
