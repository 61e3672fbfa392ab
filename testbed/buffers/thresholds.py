"""When each priority group of a switch says stop and go, and how deep the switch's buffer must be for it.

Three sources, the first that speaks wins: the experiment, the lab's switch, and what the port's link asks for:

- headroom: the IEEE sum, and one frame more, or a share of that. A switch counts a frame when all of it has arrived, so
  the frame that crosses the threshold stands in the headroom with nearly its whole length.
  Under the real clock also the lateness that a trusted run may show: data read late, XOFF sent late and read late.
  Where frames take whole cells, as many as it takes if all of them are the smallest: 2.5 times the bytes for cells of
  208. Acknowledgements that waited for the end of a pause come like that, one behind another. With `small-share` only so
  many of a hundred frames are small, as SONiC has it. `testbed headroom --model lab` gives the same answer, term by term.
- XOFF: as much as a round trip of the link carries and two frames, at least 100 KB; so a queue that drains at line rate
  does not run dry before its peer, told to go on, is heard again. Scaled down, to two frames at least, where the
  buffer has not that much.
- XON: two frames below XOFF.

A port whose link runs credits has a group of its own that holds what was granted, and neither threshold nor headroom.

With a dynamic threshold XOFF moves with what is left of a pool, and XON with it, two frames below unless told otherwise.
The pool is what all else leaves over, or in a buffer of no given depth so much that any one group alone may hold what it
would wish for as XOFF. A pool of headroom may be smaller than all headrooms together, but not than one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.buffers import credits
from testbed.buffers.headroom import Headroom, group_headroom, headroom
from testbed.buffers.lossy_queues import PRIORITIES, aside_bytes, default_queue_bytes
from testbed.contract.plan import Plan, switches_of
from testbed.errors import Fault, TopologyError
from testbed.experiment.sections import Lossless
from testbed.lab.switches import DEFAULT_BUFFER_BYTES
from testbed.lab.thresholds import NOTHING_LOG2
from testbed.lab.topology import Link, Switch
from testbed.schema.fields import AUTO
from testbed.units import LARGEST, format_size

SMALLEST_AUTO_XOFF_BYTES = 100_000
_AUTO_BUFFER_STEP_BYTES = 1_000_000


@dataclass(frozen=True)
class Group:
    """The static thresholds of one priority group, as the plan has them."""

    port: int
    priority: int
    xoff_bytes: int
    xon_bytes: int
    headroom_bytes: int


@dataclass(frozen=True)
class DynamicGroup:
    """The dynamic threshold of one priority group, as the plan has it."""

    port: int
    priority: int
    alpha_log2: int
    reserve_bytes: int
    xon_offset_bytes: int
    headroom_bytes: int


@dataclass(frozen=True)
class Buffering:
    """How a switch divides its memory: its groups, their pools if any, and beside them one lossy queue for every port."""

    buffer_bytes: int
    lossy_queue_bytes: int
    groups: tuple[Group | DynamicGroup, ...]
    cell_bytes: int = 1
    pool_bytes: int = 0
    headroom_pool_bytes: int = 0

    def sharing(self) -> dict[str, int]:
        """Return the keys of the plan that only switches with cells or pools have."""
        keys = {"pool_bytes": self.pool_bytes, "headroom_pool_bytes": self.headroom_pool_bytes}
        cell = {"cell_bytes": self.cell_bytes} if self.cell_bytes > 1 else {}
        return cell | {key: size for key, size in keys.items() if size}


@dataclass(frozen=True)
class _Wish:
    """What one group asks for; `fixed` is an XOFF that was given and is not scaled. With an alpha it shares the pool."""

    port: int
    name: str
    priority: int
    frame_bytes: int
    headroom_bytes: int
    xoff_bytes: int
    fixed: bool
    xon_bytes: int | None = None
    alpha_log2: int | None = None
    reserve_bytes: int = 0
    xon_offset_bytes: int = 0


def _first(*values: int | float | str | None) -> int | None:
    return next((value for value in values if isinstance(value, int)), None)


def divide_buffer(
    lab: str,
    switch: Switch,
    links: Sequence[tuple[str, Link]],
    settings: Lossless,
    late_frames: int = 0,
    packet_bytes: int = 4096,
) -> Buffering:
    """Divide the memory of a switch among its ports, given as name and link in the order of the plan.

    `late_frames`: how many frame times late a frame may be handled, which derived headroom has to bear.
    `packet_bytes`: the payload of a full packet, by which credits are reckoned.

    An XOFF or XON of the experiment makes thresholds static. Raises TopologyError naming ports and bytes if the buffer,
    or the headroom pool, cannot hold what must not be dropped, or the buffer what lossy queues are promised.
    """
    buffering = _divide(lab, switch, links, settings, late_frames, packet_bytes)
    return _with_promises(lab, switch, len(links), buffering)


def _with_promises(lab: str, switch: Switch, ports: int, buffering: Buffering) -> Buffering:
    """Return a division whose buffer holds what lossy queues are promised; deepen one that nobody chose."""
    promises = {
        "lossy-pool": switch.lossy_pool_bytes,
        "lossy-reserve": PRIORITIES * ports * switch.lossy_reserve_bytes,
    }
    key, most = max(promises.items(), key=lambda item: item[1])
    if switch.buffer_bytes is None and most > buffering.buffer_bytes:
        buffering = dataclasses.replace(buffering, buffer_bytes=_round_megabytes(most))
    where = f"topology.nodes.{switch.name}"
    if most > buffering.buffer_bytes:
        message = f"{most} bytes on {ports} ports are more than the buffer, {format_size(buffering.buffer_bytes)}"
        raise TopologyError.at(f"lab {lab}", f"{where}.{key}", message)
    if buffering.buffer_bytes > LARGEST:
        message = f"what its ports need comes to {buffering.buffer_bytes} bytes, and a switch counts to {LARGEST}"
        raise TopologyError.at(f"lab {lab}", f"{where}.buffer", message)
    return buffering


def _divide(
    lab: str,
    switch: Switch,
    links: Sequence[tuple[str, Link]],
    settings: Lossless,
    late_frames: int,
    packet_bytes: int,
) -> Buffering:
    """Divide the memory between what lossless groups need and what is left, as `divide_buffer` says."""
    lossy = default_queue_bytes(switch, len(links))
    aside = aside_bytes(switch, len(links), lossy, shares=False)
    cell = switch.cell_bytes
    wishes = [
        _wish(index, name, priority, link, switch, settings, late_frames)
        for index, (name, link) in enumerate(links)
        for priority in switch.lossless_groups
        if credits.flow_control(link, settings) == "pfc"
    ]
    granted = _granted(switch, links, settings, late_frames, packet_bytes)
    if not wishes and not granted:
        return Buffering(switch.buffer_bytes or DEFAULT_BUFFER_BYTES, lossy, (), cell)
    if any(wish.alpha_log2 is not None for wish in wishes):
        return _divide_pool(lab, switch, wishes, granted, len(links))
    reserved = aside + sum(wish.headroom_bytes for wish in wishes) + sum(wish.xoff_bytes for wish in granted)
    wanted = reserved + sum(wish.xoff_bytes for wish in wishes)
    total = _round_megabytes(wanted) if switch.buffer_bytes is None else switch.buffer_bytes
    fixed = sum(wish.xoff_bytes for wish in wishes if wish.fixed)
    smallest = reserved + fixed + sum(2 * wish.frame_bytes for wish in wishes if not wish.fixed)
    if smallest > total:
        raise TopologyError([_too_small(lab, switch, wishes, granted, "XOFF thresholds", aside, smallest, total)])
    groups = _share(wishes, total - reserved - fixed)
    return Buffering(total, lossy, _by_port([*groups, *_credited(granted)]), cell)


def _granted(
    switch: Switch, links: Sequence[tuple[str, Link]], settings: Lossless, late_frames: int, packet_bytes: int
) -> list[_Wish]:
    """Return what the links with credits ask for: as much as the switch grants, and no headroom."""
    return [
        _Wish(port, name, grant.priority, link.frame_bytes, 0, grant.buffer_bytes, True)
        for port, (name, link) in enumerate(links)
        if credits.flow_control(link, settings) == "credit"
        for grant in credits.grants(link, switch, switch, settings, late_frames, packet_bytes)
    ]


def _credited(granted: Sequence[_Wish]) -> list[Group]:
    return [Group(wish.port, wish.priority, wish.xoff_bytes, wish.xoff_bytes, 0) for wish in granted]


def _by_port(groups: Sequence[Group | DynamicGroup]) -> tuple[Group | DynamicGroup, ...]:
    return tuple(sorted(groups, key=lambda group: (group.port, group.priority)))


def _round_megabytes(wanted: int) -> int:
    """Return a depth that nobody chose: a round number of megabytes, the usual one at least."""
    return max(DEFAULT_BUFFER_BYTES, -(-wanted // _AUTO_BUFFER_STEP_BYTES) * _AUTO_BUFFER_STEP_BYTES)


def _divide_pool(lab: str, switch: Switch, wishes: Sequence[_Wish], granted: Sequence[_Wish], ports: int) -> Buffering:
    """Divide a memory whose groups share a pool, and perhaps their headroom; those with a static XOFF have it beside."""
    _check_headroom_pool(lab, switch, wishes)
    headrooms = switch.headroom_pool_bytes or sum(wish.headroom_bytes for wish in wishes)
    static = [wish for wish in wishes if wish.alpha_log2 is None]
    sharing = [wish for wish in wishes if wish.alpha_log2 is not None]
    own = sum(wish.reserve_bytes for wish in sharing) + sum(wish.xoff_bytes for wish in (*static, *granted))
    claimed = headrooms + own
    # A threshold is positive only while something is left of the pool; so much must be left for one frame at least.
    least = max((_pool_for(2 * wish.frame_bytes, wish.alpha_log2) for wish in sharing), default=0)
    pool = switch.pool_bytes
    lossy = default_queue_bytes(switch, ports)
    if switch.lossy_queue_bytes is None and switch.buffer_bytes is not None:
        # They make do with what is over, or with a quarter of it where the pool too has no given size; not with less
        # than two frames.
        over = (
            max(0, switch.buffer_bytes - claimed - least) // 4 if pool is None else switch.buffer_bytes - claimed - pool
        )
        lossy = min(lossy, max(over // max(1, ports), 2 * max((wish.frame_bytes for wish in wishes), default=0)))
    aside = aside_bytes(switch, ports, lossy, shares=True)
    smallest = claimed + aside + (least if pool is None else pool)
    total = switch.buffer_bytes
    if total is None:
        wished = max((_pool_for(wish.xoff_bytes, wish.alpha_log2) for wish in sharing), default=0)
        total = _round_megabytes(claimed + aside + (wished if pool is None else pool))
    if smallest > total:
        raise TopologyError([_too_small(lab, switch, wishes, granted, "reserves and pool", aside, smallest, total)])
    shared = total - claimed - aside if pool is None else pool
    groups = [_static(wish, wish.xoff_bytes) if wish.alpha_log2 is None else _dynamic(wish) for wish in wishes]
    placed = _by_port([*groups, *_credited(granted)])
    return Buffering(total, lossy, placed, switch.cell_bytes, shared, switch.headroom_pool_bytes)


def _dynamic(wish: _Wish) -> DynamicGroup:
    assert wish.alpha_log2 is not None
    return DynamicGroup(
        port=wish.port,
        priority=wish.priority,
        alpha_log2=wish.alpha_log2,
        reserve_bytes=wish.reserve_bytes,
        xon_offset_bytes=wish.xon_offset_bytes,
        headroom_bytes=wish.headroom_bytes,
    )


def _static(wish: _Wish, xoff_bytes: int) -> Group:
    xon = max(0, xoff_bytes - 2 * wish.frame_bytes) if wish.xon_bytes is None else min(wish.xon_bytes, xoff_bytes)
    return Group(wish.port, wish.priority, xoff_bytes, xon, wish.headroom_bytes)


def _pool_for(threshold_bytes: int, alpha_log2: int | None) -> int:
    """Return the pool in which one group alone settles at a threshold t: t·(1 + alpha)/alpha, rounded up.

    One whose alpha is 0 takes nothing of any.
    """
    if alpha_log2 in (None, NOTHING_LOG2):
        return 0
    return threshold_bytes + (threshold_bytes << -alpha_log2 if alpha_log2 < 0 else -(-threshold_bytes >> alpha_log2))


def _check_headroom_pool(lab: str, switch: Switch, wishes: Sequence[_Wish]) -> None:
    pool = switch.headroom_pool_bytes
    larger = [wish for wish in wishes if pool and wish.headroom_bytes > pool]
    if larger:
        message = (
            f"{format_size(pool)} cannot hold the headroom of {_deepest(larger)}: no group may need more than "
            "the whole pool. Give a larger pool, or none: each group then has its own headroom"
        )
        raise TopologyError.at(f"lab {lab}", f"topology.nodes.{switch.name}.headroom-pool", message)


def pool_notes(plan: Plan) -> list[str]:
    """Return by how much its headroom pool is oversubscribed, for each switch that cannot hold all headrooms at once."""
    notes = []
    for node in switches_of(plan):
        pool, groups = node.get("headroom_pool_bytes", 0), node["priority_groups"]
        caps = sum(group["headroom_bytes"] for group in groups)
        if pool and caps > pool:
            tenths = (10 * caps + pool // 2) // pool
            notes.append(
                f"{node['name']}: the headroom pool of {format_size(pool)} is oversubscribed {tenths // 10}.{tenths % 10} "
                f"times: {len(groups)} groups may need {caps} bytes; if too many need it at once, frames are lost"
            )
    return notes


def auto_headroom(
    link: Link, switch: Switch, settings: Lossless, late_frames: int = 0, small_percent: int | None = None
) -> Headroom:
    """Return what `headroom: auto` comes to, term by term, for a lossless priority of a switch behind a link.

    `small_percent` is what the lab says of its group, which the experiment may say otherwise.
    """
    small = small_percent if settings.small_share is None else settings.small_share
    return group_headroom(
        link.rate_bps,
        link.delay_ps,
        link.frame_bytes,
        None if settings.response == AUTO else settings.response,
        cell_bytes=switch.cell_bytes,
        small_percent=small,
        late_frames=late_frames,
    )


def _wish(
    index: int,
    name: str,
    priority: int,
    link: Link,
    switch: Switch,
    settings: Lossless,
    late_frames: int,
) -> _Wish:
    figures = switch.group(name, priority)
    response = None if settings.response == AUTO else settings.response
    needed = headroom(link.rate_bps, link.delay_ps, link.frame_bytes, response).total_bytes
    room = _first(settings.headroom, figures.headroom_bytes)
    if room is None:
        room = auto_headroom(link, switch, settings, late_frames, figures.small_percent).total_bytes
    if isinstance(settings.headroom, float):
        room = int(room * settings.headroom) // switch.cell_bytes * switch.cell_bytes
    static = figures.alpha_log2 is None or _first(settings.xoff, settings.xon) is not None
    xoff = _first(settings.xoff, figures.xoff_bytes)
    offset = figures.xon_offset_bytes
    return _Wish(
        port=index,
        name=name,
        priority=priority,
        frame_bytes=link.frame_bytes,
        headroom_bytes=room,
        xoff_bytes=max(SMALLEST_AUTO_XOFF_BYTES, needed + 2 * link.frame_bytes) if xoff is None else xoff,
        fixed=xoff is not None,
        xon_bytes=_first(settings.xon, figures.xon_bytes),
        alpha_log2=None if static else figures.alpha_log2,
        reserve_bytes=figures.reserve_bytes,
        xon_offset_bytes=2 * link.frame_bytes if offset is None else offset,
    )


def _share(wishes: Sequence[_Wish], pool: int) -> tuple[Group, ...]:
    """Give every group the XOFF it wishes for, or its part of a pool that is too small for all wishes."""
    least = sum(2 * wish.frame_bytes for wish in wishes if not wish.fixed)
    beyond = sum(wish.xoff_bytes - 2 * wish.frame_bytes for wish in wishes if not wish.fixed)
    spare = min(pool - least, beyond)
    groups = []
    for wish in wishes:
        xoff = wish.xoff_bytes
        if not wish.fixed:
            xoff = 2 * wish.frame_bytes + (xoff - 2 * wish.frame_bytes) * spare // max(1, beyond)
        groups.append(_static(wish, xoff))
    return tuple(groups)


def _deepest(wishes: Sequence[_Wish]) -> str:
    """Name the groups that need most headroom or credits, and how many more there are."""
    needs = [(wish, wish.headroom_bytes or wish.xoff_bytes) for wish in wishes]
    deepest = sorted(needs, key=lambda need: (-need[1], need[0].port))
    shown = [f"{wish.name} priority {wish.priority} {size} bytes" for wish, size in deepest[:4]]
    more = [f"and {len(deepest) - len(shown)} more"] if len(deepest) > len(shown) else []
    return ", ".join([*shown, *more])


def _too_small(
    lab: str,
    switch: Switch,
    wishes: Sequence[_Wish],
    granted: Sequence[_Wish],
    besides: str,
    lossy: int,
    smallest: int,
    total: int,
) -> Fault:
    needs = [f"credits of {_deepest(granted)}"] if granted else []
    headrooms = f"headroom of {_deepest(wishes)}"
    if any(wish.alpha_log2 is not None for wish in wishes) and switch.headroom_pool_bytes:
        headrooms = f"a headroom pool of {switch.headroom_pool_bytes} bytes"
    needs += [headrooms, besides] if wishes else []
    message = (
        f"{format_size(total)} cannot hold the {smallest} bytes that must not be dropped: {'; '.join(needs)}; "
        f"{lossy} bytes for lossy queues. Give a deeper buffer, or buffer: auto"
    )
    return Fault(f"lab {lab}", 0, f"topology.nodes.{switch.name}.buffer", message)
