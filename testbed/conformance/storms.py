"""Pause storms from a peer: what they may stop, and how much they slow down."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.conformance.bench import Bench
from testbed.conformance.case import Case, Findings, Measured, Place, filling_each, first, need_ports, partner
from testbed.conformance.device import PRIORITIES, Device, DevicePort, port_classes
from testbed.conformance.labs import PAIR, QUARTET
from testbed.conformance.loads import affordable, frames_in, frames_to_stop, length_between, stopping_ps
from testbed.sizes import LONGEST_PAUSE_QUANTA

_STORM_FRAMES = 16
"""PAUSE frames that a storm sends for every one that would do."""
_FLOW_FRAMES = 200
_PERIOD_FRAMES = 200
"""Frame times from one pause of a throttling storm to the next."""
_PERIODS = 6
_DUTIES = (0.25, 0.5, 0.75)


# A storm reaches those whose frames wait for the stormy port, and nobody else


def _storm_places(device: Device) -> list[Place]:
    """Return a stormy port, one whose peer sends to it, and two between which traffic flows."""
    need_ports(device, 4)
    places = []
    for stormy in port_classes(device):
        victim = partner(device, stormy)
        rest = [port for port in device.ports if port.index not in (stormy.index, victim.index)]
        source, to = sorted(rest, key=lambda port: (-port.rate_bps, port.index))[:2]
        places += [Place((stormy, victim, source, to), priority) for priority in first(device)]
    for place in places:
        affordable(_victims_frames(device, place))
    return places


def _victims_frames(device: Device, place: Place) -> int:
    stormy, victim, *_ = place.ports
    length = length_between(stormy, victim)
    in_flight = frames_in(victim, length, stopping_ps(victim, length))
    return frames_to_stop(device, victim, place.priority, length) + in_flight


def _flow_every_ps(source: DevicePort, to: DevicePort) -> int:
    length = length_between(source, to)
    return max(source.line_ps(length), to.line_ps(length))


def _measure_storm(bench: Bench, place: Place) -> Measured:
    (stormy, victim, source, to), device = place.ports, bench.device
    every_ps = _flow_every_ps(source, to)
    length = length_between(stormy, victim)
    frames = _victims_frames(device, place)
    # By then the storm is in force.
    start_ps = stormy.delay_ps + stormy.response_ps + 2 * stormy.line_ps(length)
    filled_ps = start_ps + victim.line_ps(length, frames) + stopping_ps(victim, length)
    over_ps = filled_ps + source.delay_ps + (_FLOW_FRAMES + 2) * every_ps + to.delay_ps
    with bench.session() as session:
        storm_ps = stormy.quanta_ps() // _STORM_FRAMES
        count = over_ps // storm_ps + 1
        session.pause(stormy, {place.priority: LONGEST_PAUSE_QUANTA}, every_ps=storm_ps, count=count)
        session.send(victim, stormy, place.priority, frames, length=length, at_ps=start_ps)
        flow = {"at_ps": filled_ps, "every_ps": every_ps}
        session.send(source, to, place.priority, _FLOW_FRAMES, **flow)  # type: ignore[arg-type]
        counters = session.until(over_ps)
    others = [port for port in device.ports if port.index != victim.index]
    return {
        "storm_frames": counters.at(stormy, place.priority)["pause_rx"],
        "victim_pauses": counters.tester(victim, place.priority)["pause_rx"],
        "victim_other_priorities": sum(
            counters.tester(victim, p)["pause_rx"] for p in PRIORITIES if p != place.priority
        ),
        "others_pauses": sum(counters.tester(port, p)["pause_rx"] for port in others for p in PRIORITIES),
        "flow_frames": counters.at(to, place.priority)["frames_tx"],
        "frames_lost": counters.drops(place.priority),
    }


def _judge_storm(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    findings.at_least("PAUSE frames to the peer that sends to the stormy port", measured["victim_pauses"], 1)
    findings.equal("PAUSE frames to it for other priorities", measured["victim_other_priorities"], 0)
    findings.equal("PAUSE frames to other peers", measured["others_pauses"], 0)
    findings.equal("frames of a flow past the storm", measured["flow_frames"], _FLOW_FRAMES)
    findings.equal("frames lost", measured["frames_lost"], 0)
    return findings


# A storm that throttles


@dataclass(frozen=True)
class _Throttle:
    """Pauses of a share of every period, and what they leave of the line."""

    duty: float
    period_ps: int
    quanta: int
    frame_ps: int
    response_ps: int
    quantum_ps: float

    @property
    def expected(self) -> float:
        """The share of the line that is left.

        Frames go on until the response time is over, which counts from when the pause came, and the pause from then too.
        """
        stopped_ps = max(0.0, self.quanta * self.quantum_ps - self.response_ps)
        return 1 - stopped_ps / self.period_ps

    @property
    def slack(self) -> float:
        """A pause begins somewhere in a frame, which goes out all the same: a frame a period, and one for counting."""
        return 1.5 * self.frame_ps / self.period_ps


def _throttle(egress: DevicePort, frame_ps: int, duty: float) -> _Throttle:
    quantum_ps = egress.quanta_ps(LONGEST_PAUSE_QUANTA) / LONGEST_PAUSE_QUANTA
    # Long beside the response time, and not longer than a pause can be.
    period_ps = min(max(_PERIOD_FRAMES * frame_ps, 8 * egress.response_ps), egress.quanta_ps())
    quanta = min(LONGEST_PAUSE_QUANTA, round(duty * period_ps / quantum_ps))
    return _Throttle(duty, period_ps, quanta, frame_ps, egress.response_ps, quantum_ps)


def _throttles(bench: Bench, place: Place) -> list[_Throttle]:
    _, egress = place.ports
    length = length_between(*place.ports)
    return [_throttle(egress, egress.line_ps(length), duty) for duty in _DUTIES]


def _measure_throttling(bench: Bench, place: Place) -> Measured:
    left, lost = {}, 0
    for throttle in _throttles(bench, place):
        share, drops = _throttled(bench, place, throttle)
        left[str(throttle.duty)] = round(share, 4)
        lost += drops
    return {"throughput_by_duty": left, "frames_lost": lost}


def _throttled(bench: Bench, place: Place, throttle: _Throttle) -> tuple[float, int]:
    ingress, egress = place.ports
    length = length_between(ingress, egress)
    begin_ps = ingress.delay_ps + egress.delay_ps + throttle.period_ps
    span_ps = _PERIODS * throttle.period_ps
    frames = frames_in(egress, length, begin_ps + span_ps + throttle.period_ps)
    with bench.session() as session:
        storms = (begin_ps + span_ps) // throttle.period_ps + 1
        session.pause(egress, {place.priority: throttle.quanta}, every_ps=throttle.period_ps, count=storms)
        session.send(ingress, egress, place.priority, frames, length=length, every_ps=throttle.frame_ps)
        before = session.until(begin_ps)
        after = session.until(begin_ps + span_ps)
    count = after.at(egress, place.priority)["frames_tx"] - before.at(egress, place.priority)["frames_tx"]
    return count * throttle.frame_ps / (after.now_ps - before.now_ps), after.drops(place.priority)


def _judge_throttling(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    for throttle in _throttles(bench, place):
        share = measured["throughput_by_duty"][str(throttle.duty)]
        slack = throttle.slack if bench.is_exact else throttle.slack + 0.03
        findings.near(f"throughput while paused {throttle.duty:.0%} of the time", share, throttle.expected, slack)
    findings.equal("frames lost", measured["frames_lost"], 0)
    return findings


CASES = (
    Case(
        name="storm-containment",
        asserts="a pause storm at one port stops those whose frames wait for that port, in its priority, and nobody else",
        source="sonic-mgmt PFC suite (snappi pause storms)",
        labs=(QUARTET,),
        places=_storm_places,
        measure=_measure_storm,
        judge=_judge_storm,
    ),
    Case(
        name="storm-throttling",
        asserts="a storm that pauses a share of the time leaves the rest of the line, and nothing is lost",
        source="sonic-mgmt PFC suite (snappi pause storms)",
        labs=(PAIR,),
        places=filling_each,
        measure=_measure_throttling,
        judge=_judge_throttling,
    ),
)
