"""Congestion marks: given as frames leave their queue, with the probability of the RED curve."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

from testbed.conformance.bench import Bench
from testbed.conformance.case import Case, Findings, Measured, Place, first, need_ports
from testbed.conformance.device import Device, DevicePort, Unsuitable, port_classes
from testbed.conformance.labs import MARKING
from testbed.conformance.loads import affordable, length_between
from testbed.conformance.reference import reference_group
from testbed.sizes import SHORTEST_FRAME_BYTES

_SPARE_FRAMES = 6
"""Frames above Kmax, and frames below Kmin."""
_LEVELS = (0.25, 0.5, 0.75)
"""Where between Kmin and Kmax a queue is kept."""
_SAMPLE_FRAMES = 6_000
_SIGMAS = 4
_CE = 3


def _ecn(device: Device) -> Mapping[str, Any]:
    ecn: Mapping[str, Any] | None = device.switch.get("ecn")
    if not ecn:
        raise Unsuitable("it marks nothing: lossless.ecn is off")
    return ecn


def _room(device: Device, ingress: DevicePort, priority: int, length: int) -> int:
    """Return how many bytes of frames the group of a port can hold for certain, as queues count them."""
    group = reference_group(device.switch, device.groups[ingress.index, priority])
    return (group.most_without_xoff() + group.headroom_bytes) // device.cells(length) * length - 2 * length


def _senders(device: Device, egress: DevicePort, priority: int, queue_bytes: int) -> list[DevicePort]:
    """Return as many other ports as it takes to fill a queue so far."""
    chosen, room = [], 0
    for port in device.ports:
        if port.index != egress.index and room < queue_bytes:
            chosen.append(port)
            room += _room(device, port, priority, length_between(port, egress))
    if room < queue_bytes:
        raise Unsuitable(f"{queue_bytes} bytes in a queue are more than its priority groups hold for certain, {room}")
    return chosen


# On dequeue


def _deep(device: Device, length: int) -> int:
    return int(_ecn(device)["kmax_bytes"]) + _SPARE_FRAMES * length


def _dequeue_places(device: Device) -> list[Place]:
    _ecn(device)
    need_ports(device, 2)
    places = []
    for egress in port_classes(device, lambda port: port.rate_bps):
        length = length_between(*device.ports)
        depth = _deep(device, length)
        affordable(2 * depth // length)
        for priority in first(device):
            places.append(Place((egress, *_senders(device, egress, priority, depth)), priority))
    return places


def _measure_dequeue(bench: Bench, place: Place) -> Measured:
    device, (egress, *senders) = bench.device, place.ports
    ecn, length = _ecn(device), length_between(*device.ports)
    left = _deep(device, length) // length + 1
    at_ps = 2 * egress.delay_ps + egress.response_ps + 2 * egress.line_ps(length)
    with bench.session(capture=True) as session:
        for sender in senders:
            room = _room(device, sender, place.priority, length_between(sender, egress)) // length
            count = min(left, room)
            left -= count
            session.send(sender, egress, place.priority, count, length=length, at_ps=at_ps, obeys=False)
            at_ps += sender.line_ps(length, count) + sender.delay_ps
        session.hold(egress, place.priority, 0, at_ps)
        session.until(at_ps + egress.delay_ps + egress.line_ps(length, 2 * _deep(device, length) // length))
        seen = [each for each in session.captured() if each.at_ps >= at_ps and each.destination == egress.station.mac]
    size = len(seen[0].frame) + 4 if seen else length
    marks = [each.frame[15] & 3 == _CE for each in seen]
    # What a frame leaves behind it, itself included.
    queued = [(len(seen) - index) * size for index in range(len(seen))]
    return {
        "frames": len(seen),
        "first_marked": bool(marks and marks[0]),
        "last_marked": bool(marks and marks[-1]),
        "unmarked_above_kmax": sum(
            not mark for mark, depth in zip(marks, queued, strict=True) if depth > ecn["kmax_bytes"]
        ),
        "marked_up_to_kmin": sum(mark for mark, depth in zip(marks, queued, strict=True) if depth <= ecn["kmin_bytes"]),
    }


def _judge_dequeue(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    length = length_between(*bench.device.ports)
    findings.at_least("frames that left", measured["frames"], _deep(bench.device, length) // length)
    findings.true("the first frame, which leaves most behind it, is not marked", measured["first_marked"])
    findings.true("the last frame, which leaves an empty queue, is marked", not measured["last_marked"])
    findings.equal("frames unmarked that left a queue above Kmax", measured["unmarked_above_kmax"], 0)
    findings.equal("frames marked that left a queue up to Kmin", measured["marked_up_to_kmin"], 0)
    return findings


# The curve


def _curve_places(device: Device) -> list[Place]:
    ecn = _ecn(device)
    if ecn["kmin_bytes"] == ecn["kmax_bytes"]:
        raise Unsuitable("Kmin is Kmax: there is no curve between them")
    need_ports(device, 2)
    places = []
    for egress in port_classes(device, lambda port: port.rate_bps):
        fast = [port for port in device.ports if port.index != egress.index and port.rate_bps >= egress.rate_bps]
        for priority in first(device):
            deepest = max(
                fast, key=lambda port: _room(device, port, priority, length_between(port, egress)), default=None
            )
            if deepest is None:
                continue
            place = Place((deepest, egress), priority)
            if _frames_at_levels(device, place):
                places.append(place)
    if not places:
        raise Unsuitable("no priority group holds as much as lies between Kmin and Kmax")
    affordable(_SAMPLE_FRAMES)
    return places


def _frames_at_levels(device: Device, place: Place) -> list[int]:
    """Return depths of the queue in frames that lie between Kmin and Kmax and that one sender's group holds."""
    ingress, egress = place.ports
    ecn, length = _ecn(device), length_between(ingress, egress)
    levels = [ecn["kmin_bytes"] + share * (ecn["kmax_bytes"] - ecn["kmin_bytes"]) for share in _LEVELS]
    frames = {round(level / length) for level in levels}
    room = _room(device, ingress, place.priority, length)
    return sorted(count for count in frames if ecn["kmin_bytes"] < count * length <= min(room, ecn["kmax_bytes"]))


def _marked_share(bench: Bench, place: Place, depth: int) -> float:
    """Keep a queue so many frames deep, by sending at the very rate at which it drains, and return the share of marks."""
    ingress, egress = place.ports
    length = length_between(ingress, egress)
    every_ps = egress.line_ps(length)
    start_ps = 2 * egress.delay_ps + egress.response_ps + 2 * every_ps
    # The pause ends half-way between the arrival of the last frame of the depth and of the next one.
    go_ps = start_ps + ingress.line_ps(length) + ingress.delay_ps + (depth - 1) * every_ps + every_ps // 2
    frames = depth + _SAMPLE_FRAMES + _SPARE_FRAMES
    with bench.session() as session:
        session.send(
            ingress, egress, place.priority, frames, length=length, at_ps=start_ps, every_ps=every_ps, obeys=False
        )
        session.hold(egress, place.priority, 0, go_ps - egress.delay_ps - egress.line_ps(SHORTEST_FRAME_BYTES))
        before = session.until(go_ps + every_ps // 4).at(egress, place.priority)
        after = session.until(go_ps + every_ps // 4 + _SAMPLE_FRAMES * every_ps).at(egress, place.priority)
    sent = after["frames_tx"] - before["frames_tx"]
    return float((after["ecn_marked"] - before["ecn_marked"]) / max(1, sent))


def _measure_curve(bench: Bench, place: Place) -> Measured:
    length = length_between(*place.ports)
    depths = _frames_at_levels(bench.device, place)
    return {
        "sampled_frames": _SAMPLE_FRAMES,
        "marked_share_by_queue_bytes": {
            str(depth * length): round(_marked_share(bench, place, depth), 4) for depth in depths
        },
    }


def _judge_curve(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    ecn = _ecn(bench.device)
    for depth, share in measured["marked_share_by_queue_bytes"].items():
        beyond = (int(depth) - ecn["kmin_bytes"]) / (ecn["kmax_bytes"] - ecn["kmin_bytes"])
        expected = ecn["pmax"] * beyond
        slack = _SIGMAS * sqrt(expected * (1 - expected) / _SAMPLE_FRAMES)
        findings.near(f"share of frames marked that left {depth} bytes", share, expected, slack + 1 / _SAMPLE_FRAMES)
    return findings


CASES = (
    Case(
        name="ecn-dequeue",
        asserts="marks are given as frames leave: the first of a long queue is marked, the last is not",
        source="sonic-mgmt ECN suite (snappi dequeue marking)",
        labs=(MARKING,),
        places=_dequeue_places,
        measure=_measure_dequeue,
        judge=_judge_dequeue,
    ),
    Case(
        name="ecn-curve",
        asserts="between Kmin and Kmax the share of marked frames is that of the RED curve",
        source="sonic-mgmt ECN suite (snappi RED accuracy)",
        labs=(MARKING,),
        places=_curve_places,
        measure=_measure_curve,
        judge=_judge_curve,
        clocks=("virtual",),
    ),
)
