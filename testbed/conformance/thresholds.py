"""When a switch says stop and go, and when it drops: exact to the cell.

The egress port is kept paused, so that a group only fills. Long frames fill it to a little below its threshold, small
ones cross it one by one: once so that one fills it exactly, once a cell beyond.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

from testbed.conformance.bench import Bench, Session
from testbed.conformance.case import Case, Findings, Measured, Place, from_each
from testbed.conformance.device import Device, Unsuitable
from testbed.conformance.frames import XON, is_pause
from testbed.conformance.labs import BYTES, PAIR, POOLED
from testbed.conformance.reference import ReferenceGroup, Verdict, reference_group
from testbed.sizes import SHORTEST_FRAME_BYTES

_STEPS = 3
"""Small frames below a threshold, and as many beyond it."""
_STOPPED: tuple[Verdict, ...] = ("xoff", "dropped")
_DROPPED: tuple[Verdict, ...] = ("dropped",)
_SMALL_BYTES = 200
"""Long enough that captures tell one small frame's start from the next at 800G."""
_MOST_FRAMES = 25_000


@dataclass(frozen=True)
class _Sizes:
    """Lengths of long and small frames, both whole cells."""

    cell: int
    long: int
    small: int

    def split(self, total: int) -> list[int]:
        """Return lengths of one frame or two that take so much together, each a frame that there can be."""
        if total <= self.long:
            return [total] if total else []
        rest = total - self.long
        return [self.long, rest] if rest >= self.least else [self.long - self.least, rest + self.least]

    def fillers(self) -> Sequence[int]:
        """Return every size from nothing to two long frames that frames can make up, in steps of a cell."""
        return [0, *range(self.least, 2 * self.long + 1, self.cell)]

    @property
    def least(self) -> int:
        """The shortest frame of whole cells."""
        return -(-SHORTEST_FRAME_BYTES // self.cell) * self.cell

    def filling(self, total: int) -> list[int]:
        """Return lengths that take so much together, as nearly as whole cells can; none if that is less than one frame."""
        total = total // self.cell * self.cell
        if total < self.least:
            return []
        longs = max(0, total // self.long - 1)
        return [self.long] * longs + self.split(total - longs * self.long)


def _sizes(device: Device, place: Place) -> _Sizes:
    cell = int(device.switch.get("cell_bytes", 1))
    longest = min(port.frame_bytes for port in place.ports)
    sizes = _Sizes(cell, longest // cell * cell, -(-_SMALL_BYTES // cell) * cell)
    if sizes.long < 2 * sizes.small:
        raise Unsuitable(f"cells of {cell} bytes are too large for frames of {longest}")
    return sizes


def _model(device: Device, place: Place) -> ReferenceGroup:
    return reference_group(device.switch, device.groups[place.ports[0].index, place.priority])


def _places(device: Device) -> list[Place]:
    candidates = from_each(device)
    for place in candidates:
        group = _model(device, place)
        sizes = _sizes(device, place)
        most = group.most_without_xoff() + group.headroom_bytes
        if most // sizes.long > _MOST_FRAMES:
            raise Unsuitable(f"a group holds {most} bytes, more than {_MOST_FRAMES} frames")
    return candidates


def _approach(group: ReferenceGroup, sizes: _Sizes, ends: Sequence[Verdict]) -> tuple[list[int], list[int]]:
    """Return what fills a group so that the small frames after it end at a verdict: exactly at the threshold, and a cell beyond.

    `ends` are the verdicts that are sought. The group is left as it was.
    """
    # First the reserve, or all that the threshold allows, so that what follows is charged to one part whatever its length.
    longs = sizes.filling(group.reserve_bytes)
    if ends == _DROPPED:
        longs = [*_approach(group, sizes, _STOPPED)[0], *[sizes.small] * _STEPS]
    near = group.copy()
    for length in longs:
        near.arrive(length)
    while _ends_after(near, [sizes.long] * 2 + [sizes.small] * _STEPS, ends) is None:
        near.arrive(sizes.long)
        longs.append(sizes.long)
    fillers = sizes.fillers()

    def is_beyond(index: int) -> bool:
        frames = [*sizes.split(fillers[index]), *[sizes.small] * _STEPS]
        return _ends_after(near, frames, ends) is not None

    # The largest filler with which all steps fit, and the next one.
    last = bisect.bisect_left(range(len(fillers)), True, key=is_beyond) - 1
    return [*longs, *sizes.split(fillers[last])], [*longs, *sizes.split(fillers[last + 1])]


def _ends_after(group: ReferenceGroup, lengths: Sequence[int], ends: Sequence[Verdict]) -> int | None:
    """Return the index of the frame that gets one of these verdicts; None if none does. The group is left as it was."""
    trial = group.copy()
    return next((index for index, length in enumerate(lengths) if trial.arrive(length) in ends), None)


class _Ladder:
    """Frames of one tester that fill a group, then small ones a step apart, after each of which counters are read."""

    def __init__(self, session: Session, place: Place, sizes: _Sizes) -> None:
        self.session = session
        self.place = place
        self.sizes = sizes
        self.ingress, self.egress = place.ports
        self.next_ps = 2 * (self.egress.delay_ps + self.egress.line_ps(sizes.long)) + self.egress.response_ps
        round_trip_ps = 2 * self.ingress.delay_ps + self.ingress.line_ps(sizes.long, 4)
        self.step_ps = round_trip_ps + session.step_ps
        self.looks: list[tuple[int, int]] = []
        self.sent = 0

    def fill(self, lengths: Sequence[int]) -> None:
        """Send frames back to back."""
        for length, run in groupby(lengths):
            count = len(list(run))
            self._send(length, count)
            self.next_ps += self.ingress.line_ps(length, count)
            self.sent += count * length
        self.next_ps += self.step_ps

    def climb(self, count: int) -> None:
        """Send small frames a step apart, and note when each of them has had its effect."""
        for _ in range(count):
            self._send(self.sizes.small, 1)
            self.sent += self.sizes.small
            # Half-way to the next frame's effect, if looks may be late.
            self.looks.append((self.next_ps + self.step_ps - self.session.step_ps // 2, self.sent))
            self.next_ps += self.step_ps

    def _send(self, length: int, count: int) -> None:
        self.session.send(
            self.ingress,
            self.egress,
            self.place.priority,
            count,
            length=length,
            at_ps=self.next_ps,
            obeys=False,
            plain=True,
        )

    def run(self, count: Callable[[Any], int]) -> int | None:
        """Hold the egress and run; return how many bytes had been sent when `count` of the counters was no longer zero."""
        self.session.hold(self.egress, self.place.priority, 0, self.next_ps + self.step_ps)
        for at_ps, sent in self.looks:
            if count(self.session.until(at_ps)):
                return sent
        return None


def _crossing(bench: Bench, place: Place, of_drops: bool) -> list[int | None]:
    """Return at how many bytes a threshold was crossed, approached both ways."""
    sizes, group = _sizes(bench.device, place), _model(bench.device, place)
    ingress, _ = place.ports
    crossed = []
    for filled in _approach(group, sizes, _DROPPED if of_drops else _STOPPED):
        with bench.session() as session:
            ladder = _Ladder(session, place, sizes)
            ladder.fill(filled)
            ladder.climb(2 * _STEPS)
            if of_drops:
                crossed.append(ladder.run(lambda counters: counters.drops(place.priority)))
            else:
                crossed.append(ladder.run(lambda counters: counters.tester(ingress, place.priority)["pause_rx"]))
    return crossed


def _expected(bench: Bench, place: Place, of_drops: bool) -> list[int]:
    """Return what `_crossing` returns for a switch that does as its plan says."""
    sizes, group = _sizes(bench.device, place), _model(bench.device, place)
    ends = _DROPPED if of_drops else _STOPPED
    expected = []
    for filled in _approach(group, sizes, ends):
        frames = [*filled, *[sizes.small] * 2 * _STEPS]
        index = _ends_after(group, frames, ends)
        expected.append(sum(frames[: (index or 0) + 1]))
    return expected


@dataclass(frozen=True)
class _Threshold:
    """The threshold of XOFF, or that of drops."""

    of_drops: bool

    def measure(self, bench: Bench, place: Place) -> Measured:
        """Approach the threshold both ways."""
        exactly, beyond = _crossing(bench, place, self.of_drops)
        small = _sizes(bench.device, place).small
        return {"held_at_most_bytes": None if exactly is None else exactly - small, "crossed_at_bytes": beyond}

    def judge(self, bench: Bench, place: Place, measured: Measured) -> list[str]:
        """Compare with the model of the group."""
        findings = Findings()
        exactly, beyond = _expected(bench, place, self.of_drops)
        small = _sizes(bench.device, place).small
        what = "a drop" if self.of_drops else "XOFF"
        findings.equal(f"most bytes held without {what}", measured["held_at_most_bytes"], exactly - small)
        findings.equal(f"bytes with which {what} came", measured["crossed_at_bytes"], beyond)
        return findings


@dataclass(frozen=True)
class _Draining:
    """Frames that fill a group beyond XOFF: its reserve, long ones, small ones, and what is there still when XON is due."""

    reserve: tuple[int, ...]
    longs: int
    after: tuple[int, ...]
    sizes: _Sizes

    @property
    def before(self) -> int:
        """How many frames leave before the first small one."""
        return len(self.reserve) + self.longs

    def frames(self) -> list[int]:
        """Return the lengths in the order in which they arrive and leave."""
        sizes = self.sizes
        return [*self.reserve, *[sizes.long] * self.longs, *[sizes.small] * 2 * _STEPS, *self.after]

    def left_at_xon(self, group: ReferenceGroup) -> int | None:
        """Return how many frames have left when the peer may go on; None if it is never stopped, or frames are lost."""
        trial = group.copy()
        verdicts = {trial.arrive(length) for length in self.frames()}
        if "xoff" not in verdicts or "dropped" in verdicts:
            return None
        return next((left for left, length in enumerate(self.frames(), start=1) if trial.leave(length)), None)

    def held_after(self, left: int) -> int:
        """Return the bytes that are still there when so many frames have left."""
        return sum(self.frames()[left:])


def _xon_level(group: ReferenceGroup, sizes: _Sizes, full: list[int]) -> int:
    """Return about how many bytes are held when XON comes: to a small frame near the bottom, to a long one above."""
    trial = group.copy()
    lengths = [*full[:-2], *[sizes.small] * (4 * sizes.long // sizes.small)]
    held = [length for length in lengths if trial.arrive(length) != "dropped"]
    for left, length in enumerate(held, start=1):
        if trial.leave(length):
            return sum(held[left:])
    return 0


def _drainings(group: ReferenceGroup, sizes: _Sizes) -> list[_Draining]:
    return _drainings_of(dataclasses.astuple(group), sizes)


@lru_cache
def _drainings_of(settings: tuple[int, ...], sizes: _Sizes) -> list[_Draining]:
    """Return two fillings: one of which XON comes when a certain small frame has left, and with a cell more it does not.

    Raises Unsuitable where headroom is too small for what has to be held.
    """
    group = ReferenceGroup(*settings)
    full, _ = _approach(group, sizes, _STOPPED)
    reserve = tuple(sizes.filling(group.reserve_bytes))
    level = _xon_level(group, sizes, full)
    target = 2 * _STEPS - min(_STEPS, level // sizes.small)
    for behind in range(max(0, level // sizes.long - 1), level // sizes.long + 2):
        fewest = max(0, len(full) - len(reserve) - behind - 3)
        for longs in range(fewest, fewest + 8):
            tight = _tight(group, _Draining(reserve, longs, (sizes.long,) * behind, sizes), target)
            if tight is not None:
                return tight
    raise Unsuitable("its headroom is too small to hold what shows its XON threshold")


def _tight(group: ReferenceGroup, draining: _Draining, target: int) -> list[_Draining] | None:
    """Add to what is there when XON is due as much as lets it come with the `target`-th small frame, and a cell more."""
    # What is certain to be stopped with the smallest filler is so with the others.
    if draining.left_at_xon(group) is None:
        return None
    sizes, fillers = draining.sizes, draining.sizes.fillers()

    def with_filler(index: int) -> _Draining:
        return dataclasses.replace(draining, after=(*draining.after, *sizes.split(fillers[index])))

    def is_late(index: int) -> bool:
        left = with_filler(index).left_at_xon(group)
        return left is None or left > draining.before + target

    last = bisect.bisect_left(range(len(fillers)), True, key=is_late) - 1
    if not 0 <= last < len(fillers) - 1:
        return None
    fillings = [with_filler(last), with_filler(last + 1)]
    return fillings if all(each.left_at_xon(group) is not None for each in fillings) else None


def _places_with_xon(device: Device) -> list[Place]:
    candidates = _places(device)
    for place in candidates:
        _drainings(_model(device, place), _sizes(device, place))
    return candidates


def _drained(bench: Bench, place: Place, draining: _Draining) -> int | None:
    """Fill a group, let it drain, and return how many bytes it held when the XON frame came; None if none did."""
    ingress, egress = place.ports
    with bench.session(capture=True) as session:
        ladder = _Ladder(session, place, draining.sizes)
        ladder.fill(draining.frames())
        go_ps = ladder.next_ps + ladder.step_ps
        session.hold(egress, place.priority, 0, go_ps)
        drained_ps = ingress.delay_ps + egress.delay_ps + sum(egress.line_ps(length) for length in draining.frames())
        session.until(go_ps + 2 * drained_ps + ladder.step_ps)
        seen = [each for each in session.captured() if each.at_ps >= go_ps]
    is_xon = (each.at_ps for each in seen if each.source == ingress.mac and is_pause(each.frame, place.priority, XON))
    xon_ps = next(is_xon, None)
    if xon_ps is None:
        return None
    return draining.held_after(sum(each.destination == egress.station.mac and each.at_ps <= xon_ps for each in seen))


def _measure_xon(bench: Bench, place: Place) -> Measured:
    group, sizes = _model(bench.device, place), _sizes(bench.device, place)
    at, late = (_drained(bench, place, draining) for draining in _drainings(group, sizes))
    return {"xon_at_bytes": at, "with_a_cell_more_at_bytes": late}


def _judge_xon(bench: Bench, place: Place, measured: Measured) -> list[str]:
    group, sizes = _model(bench.device, place), _sizes(bench.device, place)
    findings = Findings()
    at, late = (each.held_after(each.left_at_xon(group) or 0) for each in _drainings(group, sizes))
    findings.equal("bytes held when XON came", measured["xon_at_bytes"], at)
    findings.equal("bytes held when XON came, with a cell more", measured["with_a_cell_more_at_bytes"], late)
    return findings


_XOFF = _Threshold(of_drops=False)
_DROP = _Threshold(of_drops=True)
_LABS = (PAIR, BYTES, POOLED)

CASES = (
    Case(
        name="xoff-threshold",
        asserts="XOFF comes with the first cell beyond the threshold of a priority group, and not before",
        source="sonic-mgmt QoS suite (PfcXoffLimit); SAI buffer model",
        labs=_LABS,
        places=_places,
        measure=_XOFF.measure,
        judge=_XOFF.judge,
    ),
    Case(
        name="drop-threshold",
        asserts="frames drop from the first cell beyond threshold and headroom on, and not before",
        source="sonic-mgmt QoS suite (PfcXoffLimit); SAI buffer model",
        labs=_LABS,
        places=_places,
        measure=_DROP.measure,
        judge=_DROP.judge,
    ),
    Case(
        name="xon-threshold",
        asserts="XON comes when what a priority group holds has fallen to its XON threshold, and not before",
        source="sonic-mgmt QoS suite (PfcXonLimit); SAI buffer model",
        labs=_LABS,
        places=_places_with_xon,
        measure=_measure_xon,
        judge=_judge_xon,
    ),
)
