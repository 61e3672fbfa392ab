"""When each priority group of a switch says stop and go, and how deep the switch's buffer must be for it.

Three sources, the first that speaks wins: the experiment, the lab's switch, and what the port's link asks for:

- headroom: the IEEE sum, and one frame more. A switch counts a frame when all of it has arrived, so the frame that
  crosses the threshold stands in the headroom with nearly its whole length.
  Under the real clock also the lateness that a trusted run may show: data read late, XOFF sent late and read late.
- XOFF: as much as a round trip of the link carries and two frames, at least 100 KB; so a queue that drains at line rate
  does not run dry before its peer, told to go on, is heard again. Scaled down, to two frames at least, where the
  buffer has not that much.
- XON: two frames below XOFF.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from testbed.errors import Fault, TopologyError
from testbed.experiment import Lossless
from testbed.headroom import headroom
from testbed.models import AUTO
from testbed.topology import DEFAULT_BUFFER_BYTES, Link, Switch
from testbed.units import format_size

LOSSY_QUEUE_BYTES = 1_000_000
SMALLEST_AUTO_XOFF_BYTES = 100_000
_AUTO_BUFFER_STEP_BYTES = 1_000_000
# Data read late, XOFF sent late, XOFF read late.
_LATE_STAGES = 3


@dataclass(frozen=True)
class Group:
    """The thresholds of one priority group, as the plan has them."""

    port: int
    priority: int
    xoff_bytes: int
    xon_bytes: int
    headroom_bytes: int


@dataclass(frozen=True)
class Buffering:
    """How a switch divides its memory: its groups, and beside them one lossy queue for every port."""

    buffer_bytes: int
    lossy_queue_bytes: int
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class _Wish:
    """What one group asks for; `fixed` is an XOFF that was given and is not scaled."""

    port: int
    name: str
    priority: int
    frame_bytes: int
    headroom_bytes: int
    xoff_bytes: int
    fixed: bool


def _first(*values: int | str | None) -> int | None:
    return next((value for value in values if isinstance(value, int)), None)


def divide_buffer(
    lab: str, switch: Switch, links: Sequence[tuple[str, Link]], settings: Lossless, late_frames: int = 0
) -> Buffering:
    """Divide the memory of a switch among its ports, given as name and link in the order of the plan.

    `late_frames`: how many frame times late a frame may be handled, which derived headroom has to bear.

    Raises TopologyError naming ports and bytes if the buffer cannot hold what must not be dropped.
    """
    lossy = _lossy_queue(switch, len(links))
    if not settings.pfc:
        return Buffering(switch.buffer_bytes or DEFAULT_BUFFER_BYTES, lossy, ())
    wishes = [
        _wish(index, name, priority, link, switch, settings, late_frames)
        for index, (name, link) in enumerate(links)
        for priority in switch.lossless
    ]
    reserved = lossy * len(links) + sum(wish.headroom_bytes for wish in wishes)
    wanted = reserved + sum(wish.xoff_bytes for wish in wishes)
    # A depth nobody chose is a round number of megabytes.
    auto = max(DEFAULT_BUFFER_BYTES, -(-wanted // _AUTO_BUFFER_STEP_BYTES) * _AUTO_BUFFER_STEP_BYTES)
    total = auto if switch.buffer_bytes is None else switch.buffer_bytes
    fixed = sum(wish.xoff_bytes for wish in wishes if wish.fixed)
    smallest = reserved + fixed + sum(2 * wish.frame_bytes for wish in wishes if not wish.fixed)
    if smallest > total:
        raise TopologyError([_too_small(lab, switch, wishes, lossy * len(links), smallest, total)])
    return Buffering(total, lossy, _share(wishes, total - reserved - fixed, switch, settings))


def _lossy_queue(switch: Switch, ports: int) -> int:
    if switch.lossy_queue_bytes is not None:
        return switch.lossy_queue_bytes
    if switch.buffer_bytes is None:
        return LOSSY_QUEUE_BYTES
    # All lossy queues together leave three quarters of the memory to lossless priorities.
    return min(LOSSY_QUEUE_BYTES, switch.buffer_bytes // (4 * max(1, ports)))


def _wish(
    index: int, name: str, priority: int, link: Link, switch: Switch, settings: Lossless, late_frames: int
) -> _Wish:
    response = None if settings.response == AUTO else settings.response
    needed = headroom(link.rate_bps, link.delay_ps, link.frame_bytes, response).total_bytes
    room = _first(settings.headroom, switch.headroom_bytes)
    xoff = _first(settings.xoff, switch.xoff_bytes)
    return _Wish(
        port=index,
        name=name,
        priority=priority,
        frame_bytes=link.frame_bytes,
        headroom_bytes=needed + (1 + _LATE_STAGES * late_frames) * link.frame_bytes if room is None else room,
        xoff_bytes=max(SMALLEST_AUTO_XOFF_BYTES, needed + 2 * link.frame_bytes) if xoff is None else xoff,
        fixed=xoff is not None,
    )


def _share(wishes: Sequence[_Wish], pool: int, switch: Switch, settings: Lossless) -> tuple[Group, ...]:
    """Give every group the XOFF it wishes for, or its part of a pool that is too small for all wishes."""
    least = sum(2 * wish.frame_bytes for wish in wishes if not wish.fixed)
    beyond = sum(wish.xoff_bytes - 2 * wish.frame_bytes for wish in wishes if not wish.fixed)
    spare = min(pool - least, beyond)
    groups = []
    for wish in wishes:
        xoff = wish.xoff_bytes
        if not wish.fixed:
            xoff = 2 * wish.frame_bytes + (xoff - 2 * wish.frame_bytes) * spare // max(1, beyond)
        given = _first(settings.xon, switch.xon_bytes)
        xon = max(0, xoff - 2 * wish.frame_bytes) if given is None else min(given, xoff)
        groups.append(Group(wish.port, wish.priority, xoff, xon, wish.headroom_bytes))
    return tuple(groups)


def _too_small(lab: str, switch: Switch, wishes: Sequence[_Wish], lossy: int, smallest: int, total: int) -> Fault:
    deepest = sorted(wishes, key=lambda wish: (-wish.headroom_bytes, wish.port))
    shown = [f"{wish.name} priority {wish.priority} {wish.headroom_bytes} bytes" for wish in deepest[:4]]
    more = [f"and {len(deepest) - len(shown)} more"] if len(deepest) > len(shown) else []
    message = (
        f"{format_size(total)} cannot hold the {smallest} bytes that must not be dropped: headroom of "
        f"{', '.join([*shown, *more])}; XOFF thresholds; {lossy} bytes for lossy queues. "
        "Give a deeper buffer, or buffer: auto"
    )
    return Fault(f"lab {lab}", 0, f"topology.nodes.{switch.name}.buffer", message)
