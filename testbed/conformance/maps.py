"""The maps of a switch: which queue a PAUSE frame for a priority stops, and which priorities a full priority group pauses."""

from __future__ import annotations

from testbed.conformance.bench import Bench
from testbed.conformance.case import Case, Findings, Measured, Place, need_ports, partner, suitable
from testbed.conformance.device import PRIORITIES, Device, Unsuitable
from testbed.conformance.frames import pauses
from testbed.conformance.labs import MAPPED, SHARED_GROUP
from testbed.conformance.loads import frames_to_fill, length_between, stopping_ps
from testbed.contract.plan import group_of, queue_of

_FRAMES = 20
"""Frames of each priority that a tester offers while one of them is paused."""
_SPACING = 16
"""Frame times from one frame of a tester to its next: how fast they come is of no account here, and a busy machine keeps up."""


def _mapped(device: Device) -> list[Place]:
    """Return a place for each lossless priority whose queue has another number, or whose group counts others too."""
    need_ports(device, 2)
    ingress = device.ports[0]
    mapped = [priority for priority in device.named if priority not in device.lossless]
    if not mapped:
        raise Unsuitable("every lossless priority has the queue and the priority group of its own number")
    return [Place((ingress, partner(device, ingress)), priority) for priority in mapped]


def _other(device: Device, priority: int) -> int:
    """Return a priority of another queue, that in the queue with the number of this priority if there is one."""
    own = queue_of(device.switch, priority)
    others = [each for each in device.reachable if queue_of(device.switch, each) != own]
    if not others:
        raise Unsuitable("all DSCPs lead to one queue")
    return min(others, key=lambda each: (queue_of(device.switch, each) != priority, each))


def _measure_queue(bench: Bench, place: Place) -> Measured:
    (ingress, egress), device = place.ports, bench.device
    other = _other(device, place.priority)
    length = length_between(ingress, egress)
    every_ps = _SPACING * max(port.line_ps(length) for port in place.ports)
    start_ps = egress.delay_ps + egress.response_ps + 2 * egress.line_ps(length)
    over_ps = start_ps + ingress.delay_ps + (_FRAMES + 4) * every_ps
    queues = {each: queue_of(device.switch, each) for each in (place.priority, other)}
    with bench.session() as session:
        session.hold(egress, place.priority, 0, over_ps)
        for turn, each in enumerate(queues):
            at_ps = start_ps + turn * every_ps // 2
            session.send(ingress, egress, each, _FRAMES, length=length, at_ps=at_ps, every_ps=every_ps, obeys=False)
        during = session.until(over_ps - every_ps)
        left = {each: during.at(egress, queue)["frames_tx"] for each, queue in queues.items()}
        after = session.until(over_ps + egress.delay_ps + 2 * _FRAMES * every_ps)
        finally_left = {each: after.at(egress, queue)["frames_tx"] for each, queue in queues.items()}
    return {
        "other_priority": other,
        "frames_while_paused": left[place.priority],
        "frames_of_the_other": left[other],
        "frames_in_the_end": [finally_left[each] for each in queues],
    }


def _judge_queue(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    findings.equal("frames of the paused priority that left its queue", measured["frames_while_paused"], 0)
    what = f"frames of priority {measured['other_priority']} that left their queue"
    findings.equal(what, measured["frames_of_the_other"], _FRAMES)
    findings.equal("frames in the end", measured["frames_in_the_end"], [_FRAMES, _FRAMES])
    return findings


def _fill(device: Device, place: Place) -> int:
    group = group_of(device.switch, place.priority)
    return frames_to_fill(device, place.ports[0], group, length_between(*place.ports))


def _filled(device: Device) -> list[Place]:
    return suitable(device, _mapped(device), _fill)


def _measure_group(bench: Bench, place: Place) -> Measured:
    (ingress, egress), device = place.ports, bench.device
    count, length = _fill(device, place), length_between(ingress, egress)
    start_ps = egress.delay_ps + egress.response_ps + 2 * egress.line_ps(length)
    every_ps = _SPACING * ingress.line_ps(length)
    stopped_ps = start_ps + count * every_ps + ingress.delay_ps + stopping_ps(ingress, length)
    testers = {port.station.mac for port in device.ports}
    with bench.session(capture=True) as session:
        session.hold(egress, place.priority, 0, stopped_ps)
        session.send(ingress, egress, place.priority, count, length=length, at_ps=start_ps, every_ps=every_ps)
        counters = session.until(stopped_ps)
        held = counters.tester(ingress, place.priority)["frames_tx"]
        sent = [each.frame for each in session.captured() if each.is_control and each.source not in testers]
    named = {tuple(sorted(pauses(frame))) for frame in sent}
    return {
        "pause_frames": len(sent),
        "priorities_named": [list(each) for each in sorted(named)],
        "frames_left_to_send": count - held,
        "frames_lost": sum(counters.drops(number) for number in PRIORITIES),
    }


def _judge_group(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    switch = bench.device.switch
    group = group_of(switch, place.priority)
    counted = [priority for priority in PRIORITIES if group_of(switch, priority) == group]
    findings.at_least("PAUSE frames", measured["pause_frames"], 1)
    findings.equal("priorities that they name", measured["priorities_named"], [counted])
    findings.at_least("frames that the peer had left to send", measured["frames_left_to_send"], 1)
    findings.equal("frames lost", measured["frames_lost"], 0)
    return findings


CASES = (
    Case(
        name="pause-queue",
        asserts="a PAUSE frame for a priority stops the queue in which its frames stand, and no other queue",
        source="SONiC, MAP_PFC_PRIORITY_TO_QUEUE; SAI_QOS_MAP_TYPE_PFC_PRIORITY_TO_QUEUE",
        labs=(MAPPED,),
        places=_mapped,
        measure=_measure_queue,
        judge=_judge_queue,
    ),
    Case(
        name="group-priorities",
        asserts="a full priority group pauses all priorities that it counts, and no others",
        source="SONiC, TC_TO_PRIORITY_GROUP_MAP and PFC_PRIORITY_TO_PRIORITY_GROUP_MAP",
        labs=(MAPPED, SHARED_GROUP),
        places=_filled,
        measure=_measure_group,
        judge=_judge_group,
    ),
)
