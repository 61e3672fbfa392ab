"""What headroom has to bear, and what it does not."""

from __future__ import annotations

from testbed.conformance.bench import Bench, Session
from testbed.conformance.case import Case, Findings, Measured, Place, first, from_each, suitable
from testbed.conformance.device import Device, DevicePort, Unsuitable
from testbed.conformance.labs import PAIR, POOLED
from testbed.conformance.loads import affordable, frames_of_headroom, frames_to_stop, length_between, stopping_ps

_SPARE_FRAMES = 8


def _late_places(device: Device) -> list[Place]:
    return suitable(device, from_each(device), _late_frames)


def _late_frames(device: Device, place: Place) -> int:
    ingress, egress = place.ports
    length = length_between(ingress, egress)
    frames = frames_to_stop(device, ingress, place.priority, length)
    return affordable(frames + 2 * frames_of_headroom(device, ingress, place.priority, length) + _SPARE_FRAMES)


def _overrun(bench: Bench, place: Place, later_ps: int) -> tuple[int, int]:
    """Hold the egress while a peer sends at line rate and heeds XOFF so much later; return headroom used, and frames lost."""
    ingress, egress = place.ports
    length = length_between(ingress, egress)
    frames = _late_frames(bench.device, place)
    plan = bench.with_response(ingress, ingress.response_ps + later_ps)
    start_ps = egress.delay_ps + egress.response_ps + 2 * egress.line_ps(length)
    end_ps = start_ps + ingress.line_ps(length, frames) + stopping_ps(ingress, length) + later_ps
    with bench.session(plan=plan) as session:
        session.hold(egress, place.priority, 0, end_ps)
        session.send(ingress, egress, place.priority, frames, length=length, at_ps=start_ps)
        counters = session.until(end_ps)
    return counters.at(ingress, place.priority)["headroom_bytes_max"], counters.drops(place.priority)


def _measure_late(bench: Bench, place: Place) -> Measured:
    ingress, egress = place.ports
    length = length_between(ingress, egress)
    headroom = bench.device.groups[ingress.index, place.priority]["headroom_bytes"]
    used, lost = _overrun(bench, place, 0)
    # What is left of the headroom and some frames more, in the cells that they take.
    frames = max(0, headroom - used) // bench.device.cells(length) + _SPARE_FRAMES
    _, lost_beyond = _overrun(bench, place, ingress.line_ps(length, frames))
    return {
        "headroom_bytes": headroom,
        "headroom_used_bytes": used,
        "frames_lost": lost,
        "response_beyond_ns": (ingress.response_ps + ingress.line_ps(length, frames)) / 1000,
        "frames_lost_beyond": lost_beyond,
    }


def _judge_late(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    findings.equal("frames lost by a peer at its distance, within its response time,", measured["frames_lost"], 0)
    findings.at_most("headroom used", measured["headroom_used_bytes"], measured["headroom_bytes"])
    findings.at_least("frames lost by a peer that is later than the headroom bears", measured["frames_lost_beyond"], 1)
    return findings


# A pool of headroom


def _pool_places(device: Device) -> list[Place]:
    """Return an egress port, and so many ingress ports that their headrooms together exceed the pool."""
    pool = device.switch.get("headroom_pool_bytes", 0)
    if not pool:
        raise Unsuitable("every priority group has its own headroom")
    places = []
    for priority in first(device):
        egress = min(device.ports, key=lambda port: device.groups[port.index, priority]["headroom_bytes"])
        senders, caps = [], 0
        for port in (port for port in device.ports if port.index != egress.index):
            if caps <= pool:
                senders.append(port)
                caps += device.groups[port.index, priority]["headroom_bytes"]
        if caps <= pool:
            raise Unsuitable(f"the pool, {pool} bytes, holds all headroom that the other ports may use, {caps} bytes")
        places.append(Place((egress, *senders), priority))
        affordable(sum(_flood_frames(device, places[-1], port) for port in senders))
    return places


def _flood_frames(device: Device, place: Place, port: DevicePort) -> int:
    length = length_between(*place.ports)
    return frames_to_stop(device, port, place.priority, length) + frames_of_headroom(
        device, port, place.priority, length
    )


def _measure_pool(bench: Bench, place: Place) -> Measured:
    """Let each peer fill its headroom in turn, a frame at a time, and see what all of it held when the first frame was lost."""
    device, (egress, *senders) = bench.device, place.ports
    length = length_between(*place.ports)
    at_ps = 2 * egress.delay_ps + egress.response_ps + 2 * egress.line_ps(length)
    spans = []
    with bench.session() as session:
        for sender in senders:
            frames = _flood_frames(device, place, sender)
            session.send(sender, egress, place.priority, frames, length=length, at_ps=at_ps, obeys=False)
            until_ps = at_ps + sender.delay_ps + sender.line_ps(length, frames + 2)
            spans.append((at_ps + sender.delay_ps, until_ps, sender))
            at_ps = until_ps
        session.hold(egress, place.priority, 0, at_ps)
        lost_before = _before_loss(session, place, spans)
        after = session.until(at_ps)
    used = [after.at(sender, place.priority)["headroom_bytes_max"] for sender in senders]
    return {
        "pool_bytes": device.switch["headroom_pool_bytes"],
        "held_bytes": sum(used),
        "held_by_group_bytes": used,
        "lost_while_pool_had_room": lost_before,
        "frames_lost": after.drops(place.priority),
    }


def _before_loss(session: Session, place: Place, spans: list[tuple[int, int, DevicePort]]) -> int:
    """Count the peers that lost a frame before the last one began, though neither pool nor their cap was full."""
    device = session.device
    pool = device.switch["headroom_pool_bytes"]
    length = device.cells(length_between(*place.ports))
    count = 0
    for _, until_ps, sender in spans[:-1]:
        counters = session.until(until_ps)
        used = [counters.at(port, place.priority)["headroom_bytes_max"] for _, _, port in spans]
        cap = device.groups[sender.index, place.priority]["headroom_bytes"]
        own = counters.at(sender, place.priority)["headroom_bytes_max"]
        has_room = sum(used) + length <= pool and own + length <= cap
        count += bool(has_room and counters.drops(place.priority, sender))
    return count


def _judge_pool(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    pool, frame = bench.device.switch["headroom_pool_bytes"], bench.device.cells(length_between(*place.ports))
    findings.at_most("headroom held by all groups", measured["held_bytes"], pool)
    findings.at_least("headroom held by all groups", measured["held_bytes"], pool - frame + 1)
    findings.equal("peers that lost frames while there was room", measured["lost_while_pool_had_room"], 0)
    findings.at_least("frames lost beyond the pool", measured["frames_lost"], 1)
    for sender, used in zip(place.ports[1:], measured["held_by_group_bytes"], strict=True):
        cap = bench.device.groups[sender.index, place.priority]["headroom_bytes"]
        findings.at_most(f"headroom held by the group of {sender.name}", used, cap)
    return findings


CASES = (
    Case(
        name="late-peer",
        asserts="a peer at the distance of its link loses nothing until its response is later than the headroom bears",
        source="IEEE 802.1Q annex on PFC headroom; sonic-mgmt PFC suite",
        labs=(PAIR,),
        places=_late_places,
        measure=_measure_late,
        judge=_judge_late,
    ),
    Case(
        name="headroom-pool",
        asserts="groups that share a pool of headroom lose nothing until it is full, and frames beyond that",
        source="SAI buffer model; sonic-mgmt QoS suite (shared headroom pool)",
        labs=(POOLED,),
        places=_pool_places,
        measure=_measure_pool,
        judge=_judge_pool,
    ),
)
