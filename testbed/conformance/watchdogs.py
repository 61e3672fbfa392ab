"""The watchdog against pause storms: what it takes for one, what it does then, and when all is as before."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.conformance.bench import Bench
from testbed.conformance.case import Case, Findings, Measured, Place, first, need_ports, partner
from testbed.conformance.device import Device, Unsuitable, port_classes
from testbed.conformance.labs import WATCHED
from testbed.conformance.loads import affordable

_FRAMES = 48
"""Frames of each flow, spread over the time of a case: so few and small that they fill no buffer."""
_FRAME_BYTES = 256
_BURSTS = 6
_NS = 1000


@dataclass(frozen=True)
class _Times:
    """What the watchdog of a plan was given, in ps."""

    detection_ps: int
    restoration_ps: int
    poll_ps: int
    drops: bool


def _times(device: Device) -> _Times:
    watchdog: Mapping[str, Any] | None = device.switch.get("watchdog")
    if not watchdog:
        raise Unsuitable("it has no watchdog: lossless.watchdog is off")
    return _Times(
        watchdog["detection_ps"], watchdog["restoration_ps"], watchdog["poll_ps"], watchdog["action"] == "drop"
    )


def _places(device: Device) -> list[Place]:
    """Return a stormy port, one that sends to it, and one that sends to that: the third where there is one."""
    times = _times(device)
    need_ports(device, 2)
    places = []
    for stormy in port_classes(device, lambda port: port.rate_bps):
        sender = partner(device, stormy)
        others = [port for port in device.ports if port.index not in (stormy.index, sender.index)]
        # A storm takes two PAUSE frames for every pause of the longest.
        longest_ps = max(times.detection_ps + 3 * times.poll_ps, _BURSTS * times.detection_ps // 2)
        affordable(2 * longest_ps // stormy.quanta_ps())
        places += [Place((stormy, sender, (others or [stormy])[0]), priority) for priority in first(device)]
    return places


@dataclass(frozen=True)
class _Storm:
    """Spans in which a port is paused without a break, and how long frames are sent: to it, past it, of other priorities."""

    spans: Sequence[tuple[int, int]]
    frames_from_ps: int
    frames_until_ps: int
    over_ps: int


def _measure(bench: Bench, place: Place, storm: _Storm) -> dict[str, Any]:
    device, (stormy, sender, third) = bench.device, place.ports
    every_ps = (storm.frames_until_ps - storm.frames_from_ps) // _FRAMES
    others = [p for p in (*device.lossless, *device.lossy) if p != place.priority][:1]
    with bench.session() as session:
        for from_ps, until_ps in storm.spans:
            session.hold(stormy, place.priority, from_ps, until_ps)
        flows = [(sender, stormy, place.priority), *((sender, stormy, other) for other in others)]
        for source, to, priority in [*flows, (third, sender, place.priority)]:
            send = functools.partial(session.send, source, to, priority, _FRAMES, length=_FRAME_BYTES)
            send(at_ps=storm.frames_from_ps, every_ps=every_ps)
        after = session.until(storm.over_ps)
    records = [each for each in after.report["watchdog"] if each["priority"] == place.priority]
    start_ps = after.start_ps
    lost = after.drops(place.priority)
    return {
        "storms_found": len(records),
        "storms_found_elsewhere": len(after.report["watchdog"])
        - sum(each["port"] == f"switch:{stormy.name}" for each in records),
        "detected_after_ns": [(each["detected_ps"] - each["paused_since_ps"]) / _NS for each in records],
        "restored_at_ns": [
            None if each["restored_ps"] is None else (each["restored_ps"] - start_ps) / _NS for each in records
        ],
        "frames_offered": _FRAMES,
        "frames_lost": lost,
        "frames_left_stormy_port": after.at(stormy, place.priority)["frames_tx"],
        "other_priorities_lost": sum(after.drops(p) for p in others),
        "other_priorities_left": sum(after.at(stormy, p)["frames_tx"] for p in others),
        "frames_of_other_flow": after.at(sender, place.priority)["frames_tx"],
        "others_offered": _FRAMES * len(others),
    }


def _judge_others(findings: Findings, measured: Measured) -> None:
    """What is not of the stormy queue goes on."""
    findings.equal("storms found at other ports or priorities", measured["storms_found_elsewhere"], 0)
    findings.equal("frames of other priorities lost", measured["other_priorities_lost"], 0)
    findings.equal(
        "frames of other priorities that left", measured["other_priorities_left"], measured["others_offered"]
    )
    findings.equal("frames of a flow to another port that left", measured["frames_of_other_flow"], _FRAMES)


def _margin_ps(device: Device, place: Place) -> int:
    """Return what PAUSE frames and frames may be on their way."""
    stormy, sender, third = place.ports
    return 4 * max(port.delay_ps + port.response_ps for port in (stormy, sender, third))


# A storm


def _storm(device: Device, place: Place) -> _Storm:
    times = _times(device)
    margin_ps = _margin_ps(device, place)
    until_ps = times.detection_ps + 3 * times.poll_ps + margin_ps
    return _Storm(((0, until_ps),), margin_ps, until_ps - margin_ps, until_ps + margin_ps)


def _measure_storm(bench: Bench, place: Place) -> Measured:
    return _measure(bench, place, _storm(bench.device, place))


def _judge_storm(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings, times = Findings(), _times(bench.device)
    findings.equal("storms found", measured["storms_found"], 1)
    for after_ns in measured["detected_after_ns"]:
        findings.true(
            f"the storm was found after {after_ns / 1e3:g} µs, not later than {times.detection_ps / 1e6:g} µs",
            after_ns * _NS > times.detection_ps,
        )
        findings.at_most("time in ns until it was found", after_ns, (times.detection_ps + times.poll_ps) / _NS)
    left, lost = measured["frames_left_stormy_port"], measured["frames_lost"]
    if times.drops:
        findings.at_least("frames of the stormy queue that were dropped", lost, 1)
        findings.equal("frames of the stormy queue that were dropped or left", lost + left, _FRAMES)
    else:
        findings.equal("frames lost of a queue that is forwarded", lost, 0)
        findings.equal("frames that left in spite of the storm", left, _FRAMES)
    _judge_others(findings, measured)
    return findings


# Pauses that are no storm


def _short(device: Device, place: Place) -> _Storm:
    times = _times(device)
    margin_ps = _margin_ps(device, place)
    until_ps = times.detection_ps * 9 // 10
    return _Storm(((0, until_ps),), margin_ps, until_ps, until_ps + times.detection_ps + 3 * times.poll_ps)


def _bursts(device: Device, place: Place) -> _Storm:
    times = _times(device)
    margin_ps = _margin_ps(device, place)
    period_ps = times.detection_ps * 3 // 4
    spans = [(turn * period_ps, turn * period_ps + times.detection_ps // 2) for turn in range(_BURSTS)]
    return _Storm(spans, margin_ps, spans[-1][1], spans[-1][1] + times.detection_ps + 3 * times.poll_ps)


def _measure_short(bench: Bench, place: Place) -> Measured:
    return _measure(bench, place, _short(bench.device, place))


def _measure_bursts(bench: Bench, place: Place) -> Measured:
    return _measure(bench, place, _bursts(bench.device, place))


def _judge_patient(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    findings.equal("storms found", measured["storms_found"], 0)
    findings.equal("frames lost", measured["frames_lost"], 0)
    findings.equal("frames that left in the end", measured["frames_left_stormy_port"], _FRAMES)
    _judge_others(findings, measured)
    return findings


# Afterwards


def _after(device: Device, place: Place) -> _Storm:
    """Let a storm be found and end; frames come when the queue must have been restored."""
    times = _times(device)
    margin_ps = _margin_ps(device, place)
    until_ps = times.detection_ps + 2 * times.poll_ps + margin_ps
    again_ps = until_ps + times.restoration_ps + 2 * times.poll_ps + margin_ps
    return _Storm(((0, until_ps),), again_ps, again_ps + times.poll_ps, again_ps + 2 * times.poll_ps + margin_ps)


def _measure_after(bench: Bench, place: Place) -> Measured:
    measured = _measure(bench, place, _after(bench.device, place))
    ended_ps = _after(bench.device, place).spans[-1][1] + place.ports[0].delay_ps
    restored = [None if at_ns is None else at_ns - ended_ps / _NS for at_ns in measured["restored_at_ns"]]
    return {**measured, "restored_after_ns": restored}


def _judge_after(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings, times = Findings(), _times(bench.device)
    stormy = place.ports[0]
    findings.equal("storms found", measured["storms_found"], 1)
    for after_ns in measured["restored_after_ns"]:
        if after_ns is None:
            findings.append("the queue was not restored")
            continue
        # The storm's last PAUSE frame takes a moment on the line.
        slack_ns = stormy.line_ps(_FRAME_BYTES) / _NS
        findings.at_least("time in ns until the queue was restored", after_ns, times.restoration_ps / _NS)
        findings.at_most(
            "time in ns until the queue was restored", after_ns, (times.restoration_ps + times.poll_ps) / _NS + slack_ns
        )
    findings.equal("frames lost after the storm", measured["frames_lost"], 0)
    findings.equal("frames that left after the storm", measured["frames_left_stormy_port"], _FRAMES)
    _judge_others(findings, measured)
    return findings


_SOURCE = "SONiC PFC watchdog; sonic-mgmt PFC watchdog suite"

CASES = (
    Case(
        name="watchdog-storm",
        asserts="a storm is found later than the detection time, at most one poll time later; only its queue suffers",
        source=_SOURCE,
        labs=(WATCHED,),
        places=_places,
        measure=_measure_storm,
        judge=_judge_storm,
        watchdog=True,
    ),
    Case(
        name="watchdog-short-storm",
        asserts="a pause shorter than the detection time loses nothing",
        source=_SOURCE,
        labs=(WATCHED,),
        places=_places,
        measure=_measure_short,
        judge=_judge_patient,
        watchdog=True,
    ),
    Case(
        name="watchdog-bursts",
        asserts="pauses of half the detection time, one after the other, are never taken for a storm",
        source=_SOURCE,
        labs=(WATCHED,),
        places=_places,
        measure=_measure_bursts,
        judge=_judge_patient,
        watchdog=True,
    ),
    Case(
        name="watchdog-restoration",
        asserts="when a storm has been over for the restoration time its queue is as before, at most one poll time later",
        source=_SOURCE,
        labs=(WATCHED,),
        places=_places,
        measure=_measure_after,
        judge=_judge_after,
        watchdog=True,
    ),
)
