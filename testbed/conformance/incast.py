"""Many senders and one receiver: what PFC saves when a line is offered more than it carries, and what is dropped."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from testbed.conformance.bench import Bench, Session, departures
from testbed.conformance.case import Case, Findings, Measured, Place, first, need_lossy, need_ports
from testbed.conformance.device import Device, DevicePort, Unsuitable, kind_of, port_classes
from testbed.conformance.frames import number
from testbed.conformance.labs import FIVE, TRIO_SHORT_QUEUES
from testbed.conformance.loads import (
    STEADY_FRAMES,
    STEADY_ROUND_TRIPS,
    affordable,
    frames_in,
    frames_to_stop,
    length_between,
    stopping_ps,
)

_OVERLOAD = 1.075
"""Offered load over what a port carries: between 105 and 110 %."""
_LOSSY_LOAD = 0.8
_MOST_SENDERS = 16
_CAPTURED_FRAMES = 20_000
_SPARE_FRAMES = 8


@dataclass(frozen=True)
class Incast:
    """Senders that overload a port a little, each with a burst before that fills its group."""

    egress: DevicePort
    senders: tuple[DevicePort, ...]
    length: int
    every_ps: int
    burst: int
    steady: int

    @property
    def frames(self) -> int:
        """Frames that each sender offers."""
        return self.burst + self.rest

    @property
    def rest(self) -> int:
        """Frames that each sender offers after its burst: more than leave while shares are measured."""
        return self.burst + self.steady + _SPARE_FRAMES

    @property
    def begin_ps(self) -> int:
        """When shares begin to be measured: the bursts have been sent, and PFC has taken hold."""
        filling = self.egress.line_ps(self.length, self.burst * len(self.senders))
        return filling + max(port.delay_ps + stopping_ps(port, self.length) for port in self.senders)

    @property
    def over_ps(self) -> int:
        """When all of it has left, and every peer been heard again."""
        all_frames = self.egress.line_ps(self.length, self.frames * len(self.senders))
        return all_frames + 4 * max(stopping_ps(port, self.length) for port in self.senders)


def incast_of(device: Device, place: Place) -> Incast:
    egress, *senders = place.ports
    length = length_between(*place.ports)
    every_ps = round(len(senders) * egress.line_ps(length) / _OVERLOAD)
    burst = 0
    for port in senders:
        # A group fills at what its line carries beyond its share of the egress line.
        line_ps, share_ps = port.line_ps(length), len(senders) * egress.line_ps(length)
        filling = frames_to_stop(device, port, place.priority, length) * share_ps // (share_ps - line_ps) + 1
        burst = max(burst, filling)
    longest_ps = max(stopping_ps(port, length) for port in senders)
    steady = max(STEADY_FRAMES, frames_in(egress, length, STEADY_ROUND_TRIPS * longest_ps)) // len(senders)
    affordable(2 * (2 * burst + steady) * len(senders))
    return Incast(egress, tuple(senders), length, every_ps, burst, steady)


def incasts(device: Device) -> list[Place]:
    """Return each kind of egress port with all others whose lines are fast enough, 16 at most."""
    need_ports(device, 3)
    incasts = []
    for egress in port_classes(device):
        others = [port for port in device.ports if port.index != egress.index][:_MOST_SENDERS]
        while others and min(port.rate_bps for port in others) * len(others) <= _OVERLOAD * egress.rate_bps:
            others.remove(min(others, key=lambda port: port.rate_bps))
        if len(others) < 2:
            continue
        for priority in first(device):
            incasts.append(Place((egress, *others), priority))
            incast_of(device, incasts[-1])
    if not incasts:
        raise Unsuitable("no two ports are fast enough to overload a third")
    return incasts


def fairness(shares: Sequence[float]) -> float:
    """Return Jain's index of fairness: 1 if all are equal, 1/n if one of n has everything (Jain et al., DEC-TR-301)."""
    squares = len(shares) * sum(share * share for share in shares)
    return sum(shares) ** 2 / squares if squares else 0.0


def _fairness_of_equals(device: Device, senders: Sequence[DevicePort], shares: Sequence[float]) -> float:
    """Return the least index of the senders of one kind: PFC promises nothing to those that are nearer, or faster."""
    kinds: dict[object, list[float]] = {}
    for sender, share in zip(senders, shares, strict=True):
        kinds.setdefault(kind_of(device, sender), []).append(share)
    return min(fairness(group) for group in kinds.values())


def _measure_incast(bench: Bench, place: Place) -> Measured:
    incast = incast_of(bench.device, place)
    captures = 2 * incast.frames * len(incast.senders) <= _CAPTURED_FRAMES
    with bench.session(capture=captures) as session:
        for sender in incast.senders:
            _send_all(session, incast, sender, place.priority)
        before = session.until(incast.begin_ps)
        steady_ps = incast.egress.line_ps(incast.length, incast.steady * len(incast.senders))
        during = session.until(incast.begin_ps + steady_ps)
        after = session.until(incast.begin_ps + incast.over_ps)
        disorder = _disorder(session, incast) if captures else None
    took = [
        during.at(sender, place.priority)["frames_rx"] - before.at(sender, place.priority)["frames_rx"]
        for sender in incast.senders
    ]
    left = during.at(incast.egress, place.priority)["frames_tx"] - before.at(incast.egress, place.priority)["frames_tx"]
    return {
        "offered": _OVERLOAD,
        "senders": len(incast.senders),
        "pauses_by_sender": [after.tester(sender, place.priority)["pause_rx"] for sender in incast.senders],
        "egress_utilisation": round(incast.egress.line_ps(incast.length, left) / (during.now_ps - before.now_ps), 4),
        "fairness": round(_fairness_of_equals(bench.device, incast.senders, took), 4),
        "shares": [round(count * len(incast.senders) / max(1, sum(took)), 4) for count in took],
        "frames_lost": after.drops(place.priority),
        "frames_delivered": after.at(incast.egress, place.priority)["frames_tx"],
        "frames_out_of_order": disorder,
    }


def _send_all(session: Session, incast: Incast, sender: DevicePort, priority: int) -> None:
    """Send the burst, and after it, at the sender's share of the overload, the rest."""
    shape = functools.partial(session.send, sender, incast.egress, priority, length=incast.length, numbered=True)
    shape(incast.burst)
    shape(incast.rest, every_ps=incast.every_ps, psn=incast.burst)


def _disorder(session: Session, incast: Incast) -> int:
    """Count packets that left the switch after one of a higher number from the same sender."""
    seen = session.captured()
    disorder = 0
    for sender in incast.senders:
        numbers = [int.from_bytes(number(each.frame)) for each in departures(seen, sender, incast.egress)]
        disorder += sum(later < earlier for earlier, later in pairwise(numbers))
    return disorder


def _judge_incast(bench: Bench, place: Place, measured: Measured) -> list[str]:
    incast = incast_of(bench.device, place)
    findings = Findings()
    for sender, pauses in zip(incast.senders, measured["pauses_by_sender"], strict=True):
        findings.at_least(f"PAUSE frames to the peer at {sender.name}", pauses, 1)
    findings.equal("frames lost", measured["frames_lost"], 0)
    findings.equal("frames that left", measured["frames_delivered"], incast.frames * len(incast.senders))
    if measured["frames_out_of_order"] is not None:
        findings.equal("frames out of order", measured["frames_out_of_order"], 0)
    findings.at_least("utilisation of the egress line", measured["egress_utilisation"], 0.98)
    findings.at_least("Jain's index of the shares of senders that are alike", measured["fairness"], 0.99)
    return findings


def _measure_lossy(bench: Bench, place: Place) -> Measured:
    device, (egress, *senders) = bench.device, place.ports
    lossy = need_lossy(device)
    incast = incast_of(device, place)
    with bench.session() as session:
        for sender in senders:
            # More lossless frames than the egress line carries, and lossy ones for most of it.
            for priority, load in ((place.priority, _OVERLOAD), (lossy, _LOSSY_LOAD)):
                every_ps = round(len(senders) * egress.line_ps(incast.length) / load)
                session.send(sender, egress, priority, incast.frames, length=incast.length, every_ps=every_ps)
        after = session.until(2 * incast.over_ps)
    offered = incast.frames * len(senders)
    return {
        "lossy_priority": lossy,
        "frames_offered": offered,
        "lossless_frames_lost": after.drops(place.priority),
        "lossless_frames_delivered": after.at(egress, place.priority)["frames_tx"],
        "lossy_frames_lost": after.drops(lossy),
        "lossy_frames_delivered": after.at(egress, lossy)["frames_tx"],
    }


def _lossy_places(device: Device) -> list[Place]:
    need_lossy(device)
    return incasts(device)


def _judge_lossy(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    offered = measured["frames_offered"]
    findings.equal("lossless frames lost", measured["lossless_frames_lost"], 0)
    findings.equal("lossless frames that left", measured["lossless_frames_delivered"], offered)
    findings.at_least("lossy frames lost", measured["lossy_frames_lost"], 1)
    known = measured["lossy_frames_lost"] + measured["lossy_frames_delivered"]
    findings.equal("lossy frames lost and delivered", known, offered)
    return findings


CASES = (
    Case(
        name="oversubscription",
        asserts="a line offered 107.5 % stays full, all senders are paused, equal ones share it equally, none loses or reorders",
        source="sonic-mgmt QoS suite (snappi multidut PFC)",
        labs=(FIVE,),
        places=incasts,
        measure=_measure_incast,
        judge=_judge_incast,
    ),
    Case(
        name="lossy-beside-lossless",
        asserts="where lossless and lossy traffic overload a port together, only lossy frames are lost",
        source="sonic-mgmt QoS suite",
        labs=(TRIO_SHORT_QUEUES,),
        places=_lossy_places,
        measure=_measure_lossy,
        judge=_judge_lossy,
    ),
)
