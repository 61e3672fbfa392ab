"""Load that comes and goes: PFC has to follow it."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from testbed.conformance.bench import Bench
from testbed.conformance.case import Case, Findings, Measured, Place, suitable
from testbed.conformance.device import Device
from testbed.conformance.incast import incast_of, incasts
from testbed.conformance.labs import QUARTET
from testbed.conformance.loads import affordable, frames_in

_CYCLES = 3


@dataclass(frozen=True)
class _Tide:
    """Overload and calm by turns; `quiet` is the last part of a calm, when nobody may be paused any more."""

    high_frames: int
    low_frames: int
    high_every_ps: int
    low_every_ps: int

    @property
    def high_ps(self) -> int:
        return self.high_frames * self.high_every_ps

    @property
    def low_ps(self) -> int:
        return self.low_frames * self.low_every_ps


def _tide(device: Device, place: Place) -> _Tide:
    """Offer twice what the egress carries until all groups are full, then half of it until they are empty, and longer."""
    egress, *senders = place.ports
    incast = incast_of(device, place)
    share_ps = len(senders) * egress.line_ps(incast.length)
    high_every_ps = max(share_ps // 2, *(sender.line_ps(incast.length) for sender in senders))
    high = 2 * incast.burst + frames_in(egress, incast.length, 2 * incast.begin_ps) // len(senders) // 4
    low = 4 * high
    affordable(2 * _CYCLES * (high + low) * len(senders))
    return _Tide(high, low, high_every_ps, 2 * share_ps)


def _measure_tide(bench: Bench, place: Place) -> Measured:
    egress, *senders = place.ports
    tide, incast = _tide(bench.device, place), incast_of(bench.device, place)
    period_ps = tide.high_ps + tide.low_ps
    high, paused = [], []
    with bench.session() as session:
        for cycle in range(_CYCLES):
            for sender in senders:
                at_ps = cycle * period_ps
                send = functools.partial(session.send, sender, egress, place.priority, length=incast.length)
                send(tide.high_frames, at_ps=at_ps, every_ps=tide.high_every_ps)
                send(tide.low_frames, at_ps=at_ps + tide.high_ps, every_ps=tide.low_every_ps)
        for cycle in range(_CYCLES):
            begin = session.until(cycle * period_ps)
            calm = session.until(cycle * period_ps + tide.high_ps)
            quiet = session.until(cycle * period_ps + tide.high_ps + tide.low_ps * 3 // 4)
            end = session.until((cycle + 1) * period_ps)
            counts = [(look.tester(sender, place.priority)) for look in (begin, calm) for sender in senders]
            count = len(senders)
            high.append(min(counts[count + n]["pause_rx"] - counts[n]["pause_rx"] for n in range(count)))
            paused.append(
                sum(
                    end.tester(sender, place.priority)["paused_ns"] - quiet.tester(sender, place.priority)["paused_ns"]
                    for sender in senders
                )
            )
        after = session.until(_CYCLES * period_ps + incast.over_ps)
    return {
        "pauses_in_overload": high,
        "paused_ns_in_calm": paused,
        "frames_lost": after.drops(place.priority),
        "frames_offered": _CYCLES * (tide.high_frames + tide.low_frames) * len(senders),
        "frames_delivered": after.at(egress, place.priority)["frames_tx"],
    }


def _judge_tide(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    for turn, (pauses, paused_ns) in enumerate(
        zip(measured["pauses_in_overload"], measured["paused_ns_in_calm"], strict=True), start=1
    ):
        findings.at_least(f"PAUSE frames to each peer in overload {turn}", pauses, 1)
        findings.equal(f"time in ns that peers were paused late in calm {turn}", paused_ns, 0)
    findings.equal("frames lost", measured["frames_lost"], 0)
    findings.equal("frames that left", measured["frames_delivered"], measured["frames_offered"])
    return findings


def _tides(device: Device) -> list[Place]:
    return suitable(device, incasts(device), _tide)


CASES = (
    Case(
        name="fluctuating-load",
        asserts="PFC follows the load: peers are paused in every overload, and no longer in the calm after it; nothing is lost",
        source="sonic-mgmt QoS suite (snappi fluctuating traffic)",
        labs=(QUARTET,),
        places=_tides,
        measure=_measure_tide,
        judge=_judge_tide,
    ),
)
