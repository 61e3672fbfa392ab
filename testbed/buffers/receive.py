"""NICs that take packets in more slowly than they may come: the receive buffer, its thresholds, and the plan's keys for it.

A NIC that drains at less than its line's rate holds what it has not taken in. With PFC it asks its switch to stop above one
threshold and to go on at another; what is on the way until then needs headroom, as at a switch. Without, it drops.
"""

from __future__ import annotations

from typing import Any

from testbed.buffers.headroom import group_headroom
from testbed.errors import TopologyError
from testbed.lab.hosts import Host, ReceiveSettings
from testbed.lab.topology import Link
from testbed.units import format_size

SMALLEST_XOFF_BYTES = 100_000
UNCREDITED_BYTES = 100_000  # notifications of congestion come without leave


def plan_keys(
    lab: str, host: Host, port: str, link: Link, priority: int | None, response_ps: int | None, late_frames: int
) -> dict[str, Any]:
    """Return the plan's keys for the receive buffer of a host without credits; none if it takes everything in at once.

    `priority` is what it asks to be stopped, None without PFC; `response_ps` the response time of its peer, None for that of
    the rate; `late_frames` as in `thresholds.divide_buffer`. A threshold that is not given leaves the headroom that its link
    needs, and XON two frames below. Raises TopologyError naming port and bytes where the buffer has not that much.
    """
    settings = host.receive
    if settings is None:
        return {}
    needed = group_headroom(
        link.rate_bps, link.delay_ps, link.frame_bytes, response_ps, late_frames=late_frames
    ).total_bytes
    wished = max(SMALLEST_XOFF_BYTES, needed)
    buffer = needed + wished if settings.buffer_bytes is None else settings.buffer_bytes
    xoff = buffer - needed if settings.xoff_bytes is None else settings.xoff_bytes
    if priority is None:
        xoff = min(max(0, xoff), buffer)
    elif settings.xoff_bytes is None and xoff < link.frame_bytes:
        message = (
            f"{format_size(buffer)} cannot hold what must not be dropped: headroom of {host.name}:{port} priority {priority} "
            f"{needed} bytes and a frame of {link.frame_bytes}. Give a larger buffer, or none: it is then as large as it must be"
        )
        raise TopologyError.at(f"lab {lab}", f"topology.nodes.{host.name}.nic.buffer", message)
    xon = max(0, xoff - 2 * link.frame_bytes) if settings.xon_bytes is None else min(settings.xon_bytes, xoff)
    return _keys(settings, buffer, xoff, xon, priority)


def credited(host: Host, granted_bytes: int) -> dict[str, Any]:
    """Return the plan's keys for the receive buffer of a host that grants credits for so many bytes, and never pauses."""
    settings = host.receive
    if settings is None:
        return {}
    buffer = granted_bytes + UNCREDITED_BYTES if settings.buffer_bytes is None else settings.buffer_bytes
    return _keys(settings, buffer, buffer, buffer, None)


def _keys(settings: ReceiveSettings, buffer: int, xoff: int, xon: int, priority: int | None) -> dict[str, Any]:
    figures = {"drain_bps": settings.drain_bps, "buffer_bytes": buffer, "xoff_bytes": xoff, "xon_bytes": xon}
    return {"receive": {**figures, **({} if priority is None else {"priority": priority})}}
