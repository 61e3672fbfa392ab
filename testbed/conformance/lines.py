"""As much traffic as lines carry: full rate everywhere, and from a fast port to a slow one."""

from __future__ import annotations

from testbed.conformance.bench import Bench
from testbed.conformance.case import Case, Findings, Measured, Place, first, need_ports
from testbed.conformance.device import Device, Unsuitable, port_classes
from testbed.conformance.labs import MIXED, QUARTET
from testbed.conformance.loads import (
    STEADY_FRAMES,
    STEADY_ROUND_TRIPS,
    affordable,
    frames_in,
    frames_to_stop,
    length_between,
    stopping_ps,
)

_LINE_FRAMES = 200


def _steps_down(device: Device) -> list[Place]:
    places = [
        Place((fast, slow), priority)
        for fast in port_classes(device)
        for slow in port_classes(device, lambda port: port.rate_bps)
        if fast.rate_bps > slow.rate_bps
        for priority in first(device)
    ]
    if not places:
        raise Unsuitable("all its ports have one rate")
    for place in places:
        affordable(_step_frames(device, place))
    return places


def _step_frames(device: Device, place: Place) -> int:
    fast, slow = place.ports
    length = length_between(fast, slow)
    filling = frames_to_stop(device, fast, place.priority, length) * fast.rate_bps // (fast.rate_bps - slow.rate_bps)
    return filling + STEADY_FRAMES + frames_in(slow, length, STEADY_ROUND_TRIPS * stopping_ps(fast, length))


def _measure_step(bench: Bench, place: Place) -> Measured:
    fast, slow = place.ports
    length = length_between(fast, slow)
    frames = _step_frames(bench.device, place)
    first_ps = fast.delay_ps + 2 * fast.line_ps(length)
    last_ps = first_ps + slow.line_ps(length, frames - 4)
    with bench.session() as session:
        session.send(fast, slow, place.priority, frames, length=length)
        before = session.until(first_ps)
        during = session.until(last_ps)
        after = session.until(last_ps + slow.line_ps(length, frames) + 4 * stopping_ps(fast, length))
    left = during.at(slow, place.priority)["frames_tx"] - before.at(slow, place.priority)["frames_tx"]
    return {
        "rates_gbps": [fast.rate_bps / 1e9, slow.rate_bps / 1e9],
        "pauses": after.tester(fast, place.priority)["pause_rx"],
        "egress_utilisation": round(slow.line_ps(length, left) / (during.now_ps - before.now_ps), 4),
        "frames_lost": after.drops(place.priority),
        "frames_offered": frames,
        "frames_delivered": after.at(slow, place.priority)["frames_tx"],
    }


def _judge_step(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    findings.at_least("PAUSE frames to the fast peer", measured["pauses"], 1)
    findings.equal("frames lost", measured["frames_lost"], 0)
    findings.equal("frames that left", measured["frames_delivered"], measured["frames_offered"])
    findings.at_least("utilisation of the slow line", measured["egress_utilisation"], 0.98)
    return findings


def _everybody(device: Device) -> list[Place]:
    need_ports(device, 2)
    return [Place(device.ports, priority) for priority in first(device)]


def _measure_line(bench: Bench, place: Place) -> Measured:
    ring = list(zip(place.ports, place.ports[1:] + place.ports[:1], strict=True))
    end_ps = 0
    shapes = []
    for source, to in ring:
        length = length_between(source, to)
        every_ps = max(source.line_ps(length), to.line_ps(length))
        shapes.append((source, to, length, every_ps))
        end_ps = max(end_ps, source.delay_ps + (_LINE_FRAMES + 2) * every_ps + to.delay_ps)
    with bench.session() as session:
        for source, to, length, every_ps in shapes:
            session.send(source, to, place.priority, _LINE_FRAMES, length=length, every_ps=every_ps)
        shares = []
        for _, to, _, every_ps in sorted(shapes, key=lambda shape: shape[0].delay_ps + _LINE_FRAMES * shape[3]):
            source = next(shape[0] for shape in shapes if shape[1] is to)
            # The last frame starts to leave when it has come, which is when all before it have left at full rate.
            due_ps = source.delay_ps + (_LINE_FRAMES + 1) * every_ps
            counters = session.until(due_ps)
            shares.append(counters.at(to, place.priority)["frames_tx"] / _LINE_FRAMES)
        after = session.until(end_ps)
    return {
        "flows": len(ring),
        "least_throughput": round(min(shares), 4),
        "pauses": sum(after.tester(port, place.priority)["pause_rx"] for port in place.ports),
        "frames_lost": after.drops(place.priority),
        "frames_offered": _LINE_FRAMES * len(ring),
        "frames_delivered": sum(after.at(port, place.priority)["frames_tx"] for port in place.ports),
    }


def _judge_line(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    findings.equal("PAUSE frames", measured["pauses"], 0)
    findings.equal("frames lost", measured["frames_lost"], 0)
    findings.equal("frames that left", measured["frames_delivered"], measured["frames_offered"])
    findings.at_least("throughput of the slowest flow", measured["least_throughput"], 1.0 if bench.is_exact else 0.95)
    return findings


CASES = (
    Case(
        name="line-rate",
        asserts="as much as every line carries goes through without a loss and without a pause",
        source="sonic-mgmt QoS suite",
        labs=(QUARTET,),
        places=_everybody,
        measure=_measure_line,
        judge=_judge_line,
    ),
    Case(
        name="mixed-speeds",
        asserts="from a fast port to a slow one at full rate the slow line stays full, and nothing is lost",
        source="sonic-mgmt QoS suite (snappi mixed speeds)",
        labs=(MIXED,),
        places=_steps_down,
        measure=_measure_step,
        judge=_judge_step,
    ),
)
