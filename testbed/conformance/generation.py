"""The PAUSE frames that a switch sends: what they say, how often, and to whom."""

from __future__ import annotations

from itertools import pairwise

from testbed.conformance.bench import Bench, Session
from testbed.conformance.case import Case, Findings, Measured, Place, first, from_each, need_ports, partner, suitable
from testbed.conformance.device import PRIORITIES, Device, port_classes
from testbed.conformance.frames import XON, pauses
from testbed.conformance.labs import PAIR, TRIO
from testbed.conformance.loads import frames_to_fill, frames_to_stop, length_between, stopping_ps
from testbed.sizes import FCS_BYTES, SHORTEST_FRAME_BYTES

_LONGEST_PAUSES = 3
_INNOCENT_FRAMES = 100


def _frames(device: Device, place: Place) -> int:
    ingress, egress = place.ports[:2]
    return frames_to_fill(device, ingress, place.priority, length_between(ingress, egress))


def _stop(session: Session, place: Place, for_ps: int) -> tuple[int, int]:
    """Let one tester fill its group while the egress is held for some time more; return from when it is stopped, and until."""
    ingress, egress = place.ports[:2]
    length = length_between(ingress, egress)
    count = frames_to_stop(session.device, ingress, place.priority, length)
    start_ps = egress.delay_ps + egress.response_ps + 2 * egress.line_ps(length)
    stopped_ps = start_ps + ingress.line_ps(length, count) + ingress.delay_ps + stopping_ps(ingress, length)
    session.hold(egress, place.priority, 0, stopped_ps + for_ps)
    frames = _frames(session.device, place)
    session.send(ingress, egress, place.priority, frames, length=length, at_ps=start_ps)
    return stopped_ps, stopped_ps + for_ps


def _measure_format(bench: Bench, place: Place) -> Measured:
    ingress, egress = place.ports
    testers = {port.station.mac for port in bench.device.ports}
    with bench.session(capture=True) as session:
        _, over_ps = _stop(session, place, ingress.line_ps(ingress.frame_bytes, 4))
        drained_ps = egress.line_ps(egress.frame_bytes, _frames(bench.device, place))
        session.until(over_ps + egress.delay_ps + drained_ps + 2 * ingress.delay_ps)
        sent = [each.frame for each in session.captured() if each.is_control and each.source not in testers]
    quanta = [pauses(frame) for frame in sent]
    return {
        "frames": len(sent),
        "destinations": sorted({frame[:6].hex(":") for frame in sent}),
        "sources": sorted({frame[6:12].hex(":") for frame in sent}),
        "opcodes": sorted({f"{int.from_bytes(frame[14:16]):#06x}" for frame in sent}),
        "vectors": sorted({f"{int.from_bytes(frame[16:18]):#06x}" for frame in sent}),
        "first_quanta": quanta[0].get(place.priority) if quanta else None,
        "last_quanta": quanta[-1].get(place.priority) if quanta else None,
        "times_of_others": sorted(
            {
                int.from_bytes(frame[18 + 2 * other : 20 + 2 * other])
                for frame in sent
                for other in PRIORITIES
                if other != place.priority
            }
        ),
        "lengths": sorted({len(frame) + FCS_BYTES for frame in sent}),
        "padding": sorted({frame[34:].strip(b"\0").hex() for frame in sent}),
    }


def _judge_format(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    ingress = place.ports[0]
    findings.at_least("PFC frames sent", measured["frames"], 2)
    findings.equal("destination addresses", measured["destinations"], ["01:80:c2:00:00:01"])
    findings.equal("source addresses", measured["sources"], [ingress.mac.hex(":")])
    group_or_zero = [source for source in measured["sources"] if int(source[:2], 16) & 1 or source == "00:" * 5 + "00"]
    findings.equal("source addresses that no station can have", group_or_zero, [])
    findings.equal("opcodes", measured["opcodes"], ["0x0101"])
    findings.equal("enable vectors", measured["vectors"], [f"{1 << place.priority:#06x}"])
    findings.true("the first frame asks for no pause", measured["first_quanta"])
    findings.equal("quanta of the last frame", measured["last_quanta"], XON)
    findings.equal("times of priorities that are not enabled", measured["times_of_others"], [0])
    findings.equal("lengths", measured["lengths"], [SHORTEST_FRAME_BYTES])
    findings.equal("padding other than zeros", measured["padding"], [""])
    return findings


def _measure_refresh(bench: Bench, place: Place) -> Measured:
    ingress, _ = place.ports
    with bench.session(capture=True) as session:
        stopped_ps, over_ps = _stop(session, place, _LONGEST_PAUSES * ingress.quanta_ps())
        before = session.until(stopped_ps).tester(ingress, place.priority)
        after = session.until(over_ps).tester(ingress, place.priority)
        sent = [each for each in session.captured() if each.source == ingress.mac and each.is_control]
    pauses_sent = [(each.at_ps, pauses(each.frame).get(place.priority, 0)) for each in sent]
    gaps = [next_ps - (at_ps + ingress.quanta_ps(quanta)) for (at_ps, quanta), (next_ps, _) in pairwise(pauses_sent)]
    return {
        "frames_while_stopped": after["frames_tx"] - before["frames_tx"],
        "frames_left_to_send": _frames(bench.device, place) - after["frames_tx"],
        "pause_frames": after["pause_rx"],
        "paused_longest_pauses": round((over_ps - stopped_ps) / ingress.quanta_ps(), 3),
        "latest_refresh_ns": max(gaps, default=0) / 1000,
    }


def _judge_refresh(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    findings.equal("frames that a stopped peer sent", measured["frames_while_stopped"], 0)
    findings.at_least("frames that the peer had left to send", measured["frames_left_to_send"], 1)
    findings.at_least("PAUSE frames", measured["pause_frames"], _LONGEST_PAUSES + 1)
    findings.at_most(
        "lateness of the latest refresh, in ns after the pause was over,", measured["latest_refresh_ns"], 0
    )
    return findings


def _places(device: Device) -> list[Place]:
    return suitable(device, from_each(device), _frames)


def _trios(device: Device) -> list[Place]:
    """Return an ingress, its egress, and an innocent third port that sends to the ingress's peer."""
    need_ports(device, 3)
    trios = []
    for ingress in port_classes(device):
        egress = partner(device, ingress)
        others = [port for port in device.ports if port.index not in (ingress.index, egress.index)]
        innocent = min(others, key=lambda port: (port.rate_bps != ingress.rate_bps, port.index))
        trios += [Place((ingress, egress, innocent), priority) for priority in first(device)]
    for place in trios:
        _frames(device, place)
    return trios


def _measure_peer(bench: Bench, place: Place) -> Measured:
    (ingress, _, innocent), device = place.ports, bench.device
    slower = min(ingress, innocent, key=lambda port: port.rate_bps)
    length = length_between(ingress, innocent)
    every_ps = slower.line_ps(length)
    with bench.session() as session:
        for_ps = (_INNOCENT_FRAMES + 8) * every_ps + innocent.delay_ps
        stopped_ps, over_ps = _stop(session, place, for_ps)
        session.send(
            innocent,
            ingress,
            place.priority,
            _INNOCENT_FRAMES,
            length=length,
            at_ps=stopped_ps,
            every_ps=every_ps,
        )
        counters = session.until(over_ps)
    received = {port.name: {p: counters.tester(port, p)["pause_rx"] for p in PRIORITIES} for port in device.ports}
    mistaken = sum(
        count
        for name, counts in received.items()
        for priority, count in counts.items()
        if (name, priority) != (ingress.name, place.priority)
    )
    return {
        "pauses_to_the_right_peer": received[ingress.name][place.priority],
        "pauses_to_others": mistaken,
        "innocent_frames": counters.at(ingress, place.priority)["frames_tx"],
        "innocent_paused_ns": counters.tester(innocent, place.priority)["paused_ns"],
        "frames_lost": counters.drops(place.priority),
    }


def _judge_peer(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    findings.at_least("PAUSE frames to the peer whose frames wait", measured["pauses_to_the_right_peer"], 1)
    findings.equal("PAUSE frames to other peers or for other priorities", measured["pauses_to_others"], 0)
    findings.equal("frames of an innocent flow that left", measured["innocent_frames"], _INNOCENT_FRAMES)
    findings.equal("pause of an innocent peer in ns", measured["innocent_paused_ns"], 0)
    findings.equal("frames lost", measured["frames_lost"], 0)
    return findings


CASES = (
    Case(
        name="pause-frame",
        asserts="PAUSE frames have the right addresses, opcode, enable vector and length; the last asks for no more pause",
        source="IEEE 802.3 annex 31D",
        labs=(PAIR,),
        places=_places,
        measure=_measure_format,
        judge=_judge_format,
    ),
    Case(
        name="pause-refresh",
        asserts="a peer that has to wait longer than one pause lasts is told again in time, and sends nothing in between",
        source="IEEE 802.1Q clause 36",
        labs=(PAIR,),
        places=_places,
        measure=_measure_refresh,
        judge=_judge_refresh,
    ),
    Case(
        name="pause-right-peer",
        asserts="XOFF goes to the peer whose frames wait, for their priority, and to nobody else",
        source="sonic-mgmt QoS suite",
        labs=(TRIO,),
        places=_trios,
        measure=_measure_peer,
        judge=_judge_peer,
    ),
)
