"""How much traffic it takes, and how long, to bring a switch to where a case wants it. Pure."""

from __future__ import annotations

from testbed.conformance.device import Device, DevicePort, Unsuitable
from testbed.conformance.reference import reference_group

MOST_FRAMES = 150_000
"""Frames that one session may take: seconds under the virtual clock."""

EXTRA_FRAMES = 40
"""Frames that a tester still has to send when it is stopped."""

STEADY_FRAMES = 600
"""Frames that leave a line while its use and its shares are measured, at least."""
STEADY_ROUND_TRIPS = 8
"""And as many times the longest time from XOFF to the last frame."""


def length_between(*ports: DevicePort) -> int:
    """Return the longest frame that the links of all these ports carry."""
    return min(port.frame_bytes for port in ports)


def frames_to_stop(device: Device, ingress: DevicePort, priority: int, length: int) -> int:
    """Return a number of frames with which the peer of a port, while none of them leaves, is certain to be stopped."""
    group = reference_group(device.switch, device.groups[ingress.index, priority])
    return group.most_without_xoff() // device.cells(length) + 2


def frames_of_headroom(device: Device, ingress: DevicePort, priority: int, length: int) -> int:
    """Return a number of frames that no headroom of this group holds."""
    group = reference_group(device.switch, device.groups[ingress.index, priority])
    return group.headroom_bytes // device.cells(length) + 2


def stopping_ps(ingress: DevicePort, length: int) -> int:
    """Return within what time from XOFF at a switch the last frame of its peer has come, however things fall."""
    return 2 * ingress.delay_ps + ingress.response_ps + 3 * ingress.line_ps(length)


def frames_in(port: DevicePort, length: int, span_ps: int) -> int:
    """Return how many frames a line carries in a time, rounded up."""
    return -(-span_ps // port.line_ps(length))


def affordable(frames: int) -> int:
    """Return a number of frames; raise Unsuitable if it is more than a session should take."""
    if frames > MOST_FRAMES:
        raise Unsuitable(f"it would take {frames} frames, more than {MOST_FRAMES}")
    return frames


def frames_to_fill(device: Device, ingress: DevicePort, group: int, length: int) -> int:
    """Return how many frames a tester offers to fill a group and have some left when it is stopped. Raises Unsuitable."""
    in_flight = frames_in(ingress, length, stopping_ps(ingress, length))
    return affordable(frames_to_stop(device, ingress, group, length) + in_flight + EXTRA_FRAMES)
