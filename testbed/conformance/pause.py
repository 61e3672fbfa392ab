"""What a switch does with the PAUSE frames that it receives: which of them stop what, and for how long."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from testbed.conformance import frames
from testbed.conformance.bench import Bench, Session, departures
from testbed.conformance.case import Case, Findings, Measured, Place, filling_each, need_lossy, to_each
from testbed.conformance.device import PRIORITIES, Device, DevicePort
from testbed.conformance.labs import PAIR
from testbed.sizes import LONGEST_PAUSE_QUANTA, SHORTEST_FRAME_BYTES

_FRAMES = 60
"""Frames of each priority that a tester offers while another is, or is not, paused."""
_MARGIN_FRAMES = 4
"""Of these, those at either end that are not looked at."""
_PAUSED_FRAMES = 30
"""Frame times that a pause of a counted number of quanta lasts."""
_NS = 1000
"""Captures count in nanoseconds."""
_REAL_FRAMES = 6
"""Frame times by which the real clock may be off where a moment is asked for."""


@dataclass(frozen=True)
class _Told:
    """What the tester behind an egress port says, until when, and whether the priority that it speaks of is to stop."""

    say: Callable[[Session, DevicePort, int, int], None]
    stops: bool
    of_lossy: bool = False

    def subject(self, device: Device, place: Place) -> int:
        return need_lossy(device) if self.of_lossy else place.priority

    def places(self, device: Device) -> list[Place]:
        candidates = to_each(device)
        if self.of_lossy:
            need_lossy(device)
        return candidates

    def measure(self, bench: Bench, place: Place) -> Measured:
        """Fill a line with several priorities, say it, and count what leaves."""
        (ingress, egress), device = place.ports, bench.device
        subject = self.subject(device, place)
        priorities = list(dict.fromkeys([subject, place.priority, *device.lossy[:1], *device.lossless]))[:3]
        slower = min(ingress, egress, key=lambda port: port.rate_bps)
        length = min(ingress.frame_bytes, egress.frame_bytes)
        frame_ps = slower.line_ps(length)
        every_ps = len(priorities) * frame_ps
        # By then what was said at the beginning is in force.
        start_ps = egress.delay_ps + egress.response_ps + 2 * egress.line_ps(length)
        first_ps = start_ps + ingress.delay_ps + every_ps // 2
        over_ps = first_ps + _FRAMES * every_ps
        with bench.session() as session:
            for turn, priority in enumerate(priorities):
                at_ps = start_ps + turn * frame_ps
                session.send(ingress, egress, priority, _FRAMES, length=length, at_ps=at_ps, every_ps=every_ps)
            self.say(session, egress, subject, over_ps)
            before = session.until(first_ps + _MARGIN_FRAMES * every_ps)
            during = session.until(over_ps - _MARGIN_FRAMES * every_ps)
            round_trips = 2 * (ingress.delay_ps + egress.delay_ps) + ingress.response_ps
            after = session.until(over_ps + round_trips + 2 * _FRAMES * every_ps)
        span = (during.now_ps - before.now_ps) / every_ps
        left = {p: during.at(egress, p)["frames_tx"] - before.at(egress, p)["frames_tx"] for p in priorities}
        return {
            "told_of_priority": subject,
            "frames_while_told": during.at(egress, subject)["frames_tx"],
            "shares": {str(p): round(left[p] / span, 4) for p in priorities},
            "pauses_counted": during.at(egress, subject)["pause_rx"],
            "held_bytes": during.at(ingress, subject)["ingress_bytes_max"],
            "frames_in_the_end": {str(p): after.at(egress, p)["frames_tx"] for p in priorities},
            "frames_lost": sum(after.drops(p) for p in priorities),
        }

    def judge(self, bench: Bench, place: Place, measured: Measured) -> list[str]:
        """A priority that is to stop sends nothing, all others go on at their full rate, and nothing is lost."""
        findings = Findings()
        subject = measured["told_of_priority"]
        if self.stops:
            findings.equal(f"frames of paused priority {subject} that left", measured["frames_while_told"], 0)
            findings.at_least("PAUSE frames counted", measured["pauses_counted"], 1)
            findings.at_most("bytes held", measured["held_bytes"], bench.device.switch["buffer_bytes"] - 1)
        for priority, share in measured["shares"].items():
            if not (self.stops and int(priority) == subject):
                findings.near(f"share of priority {priority} that left", share, 1.0, 0.0 if bench.is_exact else 0.05)
        for priority, count in measured["frames_in_the_end"].items():
            findings.equal(f"frames of priority {priority} in the end", count, _FRAMES)
        findings.equal("frames lost", measured["frames_lost"], 0)
        return findings


def _hold(session: Session, port: DevicePort, priority: int, until_ps: int) -> None:
    session.hold(port, priority, 0, until_ps)


def _hold_from_zero(session: Session, port: DevicePort, priority: int, until_ps: int) -> None:
    session.hold(port, priority, 0, until_ps, source=bytes(6))


def _enable_nothing(session: Session, port: DevicePort, priority: int, until_ps: int) -> None:
    every_ps = until_ps // 8
    session.pause(port, dict.fromkeys(PRIORITIES, LONGEST_PAUSE_QUANTA), enable=0, every_ps=every_ps, count=8)


def _stop_port(session: Session, port: DevicePort, priority: int, until_ps: int) -> None:
    frame = frames.global_pause(LONGEST_PAUSE_QUANTA, port.station.mac)
    session.raw(port, frame, every_ps=until_ps // 8, count=8)


_LOSSLESS = _Told(_hold, stops=True)
_LOSSY = _Told(_hold, stops=False, of_lossy=True)
_GLOBAL = _Told(_stop_port, stops=False)
_NO_VECTOR = _Told(_enable_nothing, stops=False)
_NO_SOURCE = _Told(_hold_from_zero, stops=True)


@dataclass(frozen=True)
class _Timed:
    """PFC frames said at these times and with these quanta, both as shares of a pause; the last of them counts."""

    says: tuple[tuple[float, float], ...]

    def measure(self, bench: Bench, place: Place) -> Measured:
        """Fill a line with one priority, say it, and see when the last frame before and the first one after started."""
        ingress, egress = place.ports
        length = min(ingress.frame_bytes, egress.frame_bytes)
        frame_ps = max(port.line_ps(length) for port in place.ports)
        quanta = self._quanta(egress, length)
        begin_ps = ingress.delay_ps + 2 * _MARGIN_FRAMES * frame_ps
        count = 2 * _MARGIN_FRAMES + egress.delay_ps // frame_ps + 2 * _PAUSED_FRAMES
        with bench.session(capture=True) as session:
            session.send(ingress, egress, place.priority, count, length=length, every_ps=frame_ps, numbered=True)
            for at, share in self.says:
                at_ps = begin_ps + round(at * egress.quanta_ps(quanta))
                session.pause(egress, {place.priority: round(share * quanta)}, at_ps=at_ps)
            said_ps = begin_ps + egress.line_ps(SHORTEST_FRAME_BYTES) + egress.delay_ps
            end_ps = said_ps + 2 * egress.quanta_ps(quanta) + 3 * _PAUSED_FRAMES * frame_ps
            after = session.until(end_ps + 4 * ingress.delay_ps + ingress.quanta_ps(quanta))
            left = [seen.at_ps - said_ps for seen in departures(session.captured(), ingress, egress)]
        gaps = [(next_ps - last_ps, last_ps, next_ps) for last_ps, next_ps in itertools.pairwise(left)]
        _, last_ps, next_ps = max(gaps, default=(0, 0, 0))
        lost = after.drops(place.priority)
        return {"quanta": quanta, "last_start_ns": last_ps / _NS, "next_start_ns": next_ps / _NS, "frames_lost": lost}

    def _quanta(self, egress: DevicePort, length: int) -> int:
        return -(-_PAUSED_FRAMES * egress.line_ps(length) // egress.quanta_ps(1))

    def judge(self, bench: Bench, place: Place, measured: Measured) -> list[str]:
        """Frames stop within the response time, and start again when the pause is over, to the nanosecond."""
        ingress, egress = place.ports
        findings = Findings()
        frame_ps = egress.line_ps(min(ingress.frame_bytes, egress.frame_bytes))
        slack_ns = 2 if bench.is_exact else _REAL_FRAMES * frame_ps / _NS
        findings.at_most("start of the last frame", measured["last_start_ns"], egress.response_ps / _NS + slack_ns)
        at, share = self.says[-1]
        over_ps = round(at * egress.quanta_ps(measured["quanta"])) + egress.quanta_ps(round(share * measured["quanta"]))
        findings.near("start of the next frame", measured["next_start_ns"], over_ps / _NS, slack_ns)
        findings.equal("frames lost", measured["frames_lost"], 0)
        return findings


_COUNTED = _Timed(((0.0, 1.0),))
_REPLACED = _Timed(((0.0, 1.0), (0.25, 0.5)))
_ENDED = _Timed(((0.0, 1.0), (0.5, 0.0)))

CASES = (
    Case(
        name="pause-lossless",
        asserts="while a lossless priority is paused none of its frames leave, and all other priorities go on at full rate",
        source="IEEE 802.1Q clause 36; sonic-mgmt PFC suite",
        labs=(PAIR,),
        places=_LOSSLESS.places,
        measure=_LOSSLESS.measure,
        judge=_LOSSLESS.judge,
    ),
    Case(
        name="pause-lossy",
        asserts="a PAUSE frame for a lossy priority stops nothing",
        source="sonic-mgmt PFC suite",
        labs=(PAIR,),
        places=_LOSSY.places,
        measure=_LOSSY.measure,
        judge=_LOSSY.judge,
    ),
    Case(
        name="global-pause",
        asserts="an 802.3x PAUSE frame, which speaks of no priority, stops nothing",
        source="IEEE 802.3 annex 31B and 31D; sonic-mgmt PFC suite",
        labs=(PAIR,),
        places=_GLOBAL.places,
        measure=_GLOBAL.measure,
        judge=_GLOBAL.judge,
    ),
    Case(
        name="zero-vector",
        asserts="a PFC frame that enables no priority stops nothing, whatever its times say",
        source="IEEE 802.3 annex 31D",
        labs=(PAIR,),
        places=_NO_VECTOR.places,
        measure=_NO_VECTOR.measure,
        judge=_NO_VECTOR.judge,
    ),
    Case(
        name="zero-source",
        asserts="a PFC frame from MAC address 00:00:00:00:00:00 counts like any other",
        source="sonic-mgmt PFC suite",
        labs=(PAIR,),
        places=_NO_SOURCE.places,
        measure=_NO_SOURCE.measure,
        judge=_NO_SOURCE.judge,
    ),
    Case(
        name="pause-quanta",
        asserts="a pause of n quanta stops frames within the response time and lasts n x 512 bit times",
        source="IEEE 802.3 annex 31B; IEEE 802.1Q clause 36",
        labs=(PAIR,),
        places=filling_each,
        measure=_COUNTED.measure,
        judge=_COUNTED.judge,
    ),
    Case(
        name="pause-replaced",
        asserts="a new pause time replaces what is left of the last, though it be shorter",
        source="IEEE 802.1Q clause 36",
        labs=(PAIR,),
        places=filling_each,
        measure=_REPLACED.measure,
        judge=_REPLACED.judge,
    ),
    Case(
        name="pause-ended",
        asserts="a pause time of zero lets the priority go on at once",
        source="IEEE 802.1Q clause 36",
        labs=(PAIR,),
        places=filling_each,
        measure=_ENDED.measure,
        judge=_ENDED.judge,
    ),
)
