"""Congestion of a class among others: a lossy one stops nobody, and each of two lossless ones stops its senders."""

from __future__ import annotations

from testbed.conformance.bench import Bench
from testbed.conformance.case import Case, Findings, Measured, Place, need_lossy, need_ports
from testbed.conformance.device import PRIORITIES, Device, DevicePort, Unsuitable
from testbed.conformance.labs import TRIO, TRIO_SHORT_QUEUES
from testbed.conformance.loads import EXTRA_FRAMES, affordable, frames_to_stop, length_between, stopping_ps


def _converging(device: Device) -> tuple[DevicePort, DevicePort, DevicePort]:
    """Return a port, and two others whose lines together carry more than its own; raise Unsuitable for none."""
    need_ports(device, 3)
    for egress in device.ports:
        others = [port for port in device.ports if port.index != egress.index and port.rate_bps >= egress.rate_bps]
        if len(others) >= 2:
            return egress, others[0], others[1]
    raise Unsuitable("no two ports are as fast as a third")


def _lossy_places(device: Device) -> list[Place]:
    place = Place(_converging(device), need_lossy(device))
    _lossy_frames(device, place)
    return [place]


def _lossy_frames(device: Device, place: Place) -> int:
    """Return how many frames each of two senders offers at the rate of the egress to overflow a lossy queue for sure."""
    switch = device.switch
    deep = switch["buffer_bytes"] if switch.get("lossy_alpha_log2") is not None else switch["lossy_queue_bytes"]
    return affordable(2 * deep // length_between(*place.ports) + EXTRA_FRAMES)


def _measure_lossy(bench: Bench, place: Place) -> Measured:
    egress, *senders = place.ports
    length, frames = length_between(*place.ports), _lossy_frames(bench.device, place)
    every_ps = egress.line_ps(length)
    with bench.session() as session:
        for sender in senders:
            session.send(sender, egress, place.priority, frames, length=length, every_ps=every_ps)
        after = session.until(3 * frames * every_ps + 4 * max(stopping_ps(port, length) for port in place.ports))
    return {
        "pauses": sum(after.at(port, each)["pause_tx"] for port in place.ports for each in PRIORITIES),
        "frames_offered": frames * len(senders),
        "frames_lost": after.drops(place.priority),
        "frames_delivered": after.at(egress, place.priority)["frames_tx"],
    }


def _judge_lossy(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    findings.equal("PAUSE frames to peers", measured["pauses"], 0)
    findings.at_least("frames lost", measured["frames_lost"], 1)
    known = measured["frames_lost"] + measured["frames_delivered"]
    findings.equal("frames lost and delivered", known, measured["frames_offered"])
    return findings


def _class_places(device: Device) -> list[Place]:
    if len(device.lossless) < 2:
        raise Unsuitable("it has no two lossless priorities with queues and groups of their own")
    place = Place(_converging(device), device.lossless[0])
    _class_frames(device, place)
    return [place]


def _class_frames(device: Device, place: Place) -> int:
    """Return how many frames of each class each sender offers: more than its group takes before it asks for a stop."""
    length = length_between(*place.ports)
    classes = device.lossless[:2]
    most = max(frames_to_stop(device, port, each, length) for port in place.ports[1:] for each in classes)
    return affordable(2 * most + EXTRA_FRAMES)


def _measure_classes(bench: Bench, place: Place) -> Measured:
    egress, *senders = place.ports
    length, frames = length_between(*place.ports), _class_frames(bench.device, place)
    classes = bench.device.lossless[:2]
    every_ps = 2 * egress.line_ps(length)
    start_ps = egress.delay_ps + egress.response_ps + 2 * egress.line_ps(length)
    held_ps = start_ps + frames * every_ps
    with bench.session() as session:
        for each in classes:
            session.hold(egress, each, 0, held_ps)
        for sender in senders:
            for each in classes:
                session.send(sender, egress, each, frames, length=length, every_ps=every_ps, at_ps=start_ps)
        over_ps = held_ps + len(senders) * len(classes) * frames * egress.line_ps(length)
        after = session.until(over_ps + 16 * max(stopping_ps(port, length) for port in place.ports))
    return {
        "classes": list(classes),
        "pauses": [[after.at(sender, each)["pause_tx"] for each in classes] for sender in senders],
        "frames_offered": frames * len(senders),
        "frames_lost": [after.drops(each) for each in classes],
        "frames_delivered": [after.at(egress, each)["frames_tx"] for each in classes],
    }


def _judge_classes(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    for sender, pauses in zip(place.ports[1:], measured["pauses"], strict=True):
        for priority, count in zip(measured["classes"], pauses, strict=True):
            findings.at_least(f"PAUSE frames of priority {priority} to the peer at {sender.name}", count, 1)
    for index, priority in enumerate(measured["classes"]):
        findings.equal(f"frames of priority {priority} lost", measured["frames_lost"][index], 0)
        offered = measured["frames_offered"]
        findings.equal(f"frames of priority {priority} that left", measured["frames_delivered"][index], offered)
    return findings


CASES = (
    Case(
        name="lossy-congestion",
        asserts="a lossy priority that overloads a port loses frames, and no peer is asked to stop anything",
        source="sonic-mgmt PFC lossy test plan (Y06)",
        labs=(TRIO_SHORT_QUEUES,),
        places=_lossy_places,
        measure=_measure_lossy,
        judge=_judge_lossy,
    ),
    Case(
        name="equal-classes",
        asserts="where a peer stops two lossless priorities alike both are paused at every sender, and neither loses a frame",
        source="sonic-mgmt PFC lossless test plan (L02, L08)",
        labs=(TRIO,),
        places=_class_places,
        measure=_measure_classes,
        judge=_judge_classes,
    ),
)
