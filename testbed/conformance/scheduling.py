"""How a port that cannot send everything shares its line among priorities: deficit round robin by weight, live changes too."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from testbed.conformance.bench import Bench, Counters
from testbed.conformance.case import Case, Findings, Measured, Place, need_ports
from testbed.conformance.device import PRIORITIES, Device, DevicePort, Unsuitable, port_classes
from testbed.conformance.labs import WEIGHTED
from testbed.conformance.loads import affordable, frames_to_stop, length_between, stopping_ps
from testbed.sizes import LONGEST_ON_LINE_BYTES

_ROUNDS = 60
"""Rounds of the scheduler in which shares are measured."""
_SETTLING_ROUNDS = 4
_FROM_SWITCH = 1
"""The way of a bench's link that the switch sends on."""


def _weights(device: Device, port: DevicePort) -> dict[int, int]:
    """Return the priorities of a port that are weighted and that some DSCP leads to."""
    weights = device.switch["ports"][port.index]["weights"]
    usable = {*device.lossless, *device.lossy}
    return {priority: weights[priority] for priority in PRIORITIES if weights[priority] and priority in usable}


@dataclass(frozen=True)
class _Contest:
    """Senders that keep every weighted queue of a port filled: each offers all priorities in equal parts."""

    egress: DevicePort
    senders: Sequence[DevicePort]
    weights: Mapping[int, int]
    length: int

    @property
    def round_frames(self) -> int:
        """Frames in a round of the scheduler, about."""
        # What weight 1 may send in a round: about the longest frame.
        return -(-LONGEST_ON_LINE_BYTES * sum(self.weights.values()) // self.length)

    @property
    def span_ps(self) -> int:
        """How long shares are measured."""
        return self.egress.line_ps(self.length, _ROUNDS * self.round_frames)

    def begin_ps(self, device: Device) -> int:
        """When every queue is filled."""
        stops = [
            frames_to_stop(device, sender, priority, self.length)
            for sender in self.senders
            for priority in self.weights
            if priority in device.lossless
        ]
        filling = self.egress.line_ps(self.length, sum(stops) + _SETTLING_ROUNDS * self.round_frames)
        return filling + max(sender.delay_ps + stopping_ps(sender, self.length) for sender in self.senders)


def _contest(device: Device, place: Place) -> _Contest:
    egress, *senders = place.ports
    contest = _Contest(egress, senders, _weights(device, egress), length_between(*place.ports))
    frames = (contest.begin_ps(device) + 2 * contest.span_ps) // egress.line_ps(contest.length)
    affordable(frames * (1 + len(senders)))
    return contest


def _places(device: Device) -> list[Place]:
    need_ports(device, 3)
    places = []
    for egress in port_classes(device, lambda port: (port.rate_bps, str(_weights(device, port)))):
        weights = _weights(device, egress)
        if len(weights) < 2:
            continue
        others = sorted(
            (port for port in device.ports if port.index != egress.index), key=lambda port: (-port.rate_bps, port.index)
        )
        # Each offers every priority a part of its line, and together they must offer the heaviest more than its share.
        heaviest = max(weights.values()) / sum(weights.values())
        needed = next(
            (
                count
                for count in range(2, len(others) + 1)
                if sum(port.rate_bps for port in others[:count]) / len(weights) > 1.1 * heaviest * egress.rate_bps
            ),
            None,
        )
        if needed is None:
            raise Unsuitable(f"the other ports are too slow to fill every queue of {egress.name}")
        places.append(Place((egress, *others[:needed]), next(iter(weights))))
        _contest(device, places[-1])
    if not places:
        raise Unsuitable("no two weighted priorities: its queues are strict")
    return places


def _shares(contest: _Contest, before: Counters, after: Counters) -> dict[str, float]:
    """Return what each priority had of the line between two looks, as a share of all."""
    sent = {
        priority: after.at(contest.egress, priority)["bytes_tx"] - before.at(contest.egress, priority)["bytes_tx"]
        for priority in contest.weights
    }
    return {str(priority): round(size / max(1, sum(sent.values())), 4) for priority, size in sent.items()}


def _run(bench: Bench, place: Place, changed: Mapping[int, int] | None) -> Measured:
    """Measure shares for a while, and once more after a change of weights if there is one."""
    device = bench.device
    contest = _contest(device, place)
    begin_ps = contest.begin_ps(device)
    change_ps = begin_ps + contest.span_ps
    settled_ps = change_ps + contest.egress.line_ps(contest.length, _SETTLING_ROUNDS * contest.round_frames)
    end_ps = settled_ps + contest.span_ps if changed else change_ps
    with bench.session() as session:
        for sender in contest.senders:
            every_ps = len(contest.weights) * sender.line_ps(contest.length)
            send = functools.partial(session.send, sender, contest.egress, length=contest.length, every_ps=every_ps)
            for turn, priority in enumerate(contest.weights):
                send(priority, count=end_ps // every_ps + 1, at_ps=turn * sender.line_ps(contest.length))
        if changed:
            weights = [changed.get(priority, 0) for priority in PRIORITIES]
            change = {"link": contest.egress.index, "way": _FROM_SWITCH, "at_ps": change_ps, "weights": weights}
            session.change([change])
        looks = [session.until(at_ps) for at_ps in (begin_ps, change_ps)]
        looks += [session.until(at_ps) for at_ps in (settled_ps, end_ps)] if changed else []
    lost = {str(p): looks[-1].drops(p) for p in contest.weights if p in device.lossless}
    measured = {"weights": {str(p): weight for p, weight in contest.weights.items()}}
    shares = {"shares": _shares(contest, looks[0], looks[1])}
    if changed:
        shares["shares_after_change"] = _shares(contest, looks[2], looks[3])
        measured["weights_after_change"] = {str(p): changed[p] for p in contest.weights}
    return {**measured, **shares, "lossless_frames_lost": lost}


def _changed(device: Device, place: Place) -> dict[int, int]:
    """Return other weights: those of the port in reverse, or two to one for the first where that changes nothing."""
    weights = _weights(device, place.ports[0])
    turned = dict(zip(weights, reversed(weights.values()), strict=True))
    return turned if turned != weights else {**weights, next(iter(weights)): 2 * next(iter(weights.values()))}


def _judge_shares(findings: Findings, bench: Bench, shares: Mapping[str, float], weights: Mapping[int, int]) -> None:
    """A priority may have a round more or less than its share of all rounds."""
    total = sum(weights.values())
    slack = (1.5 if bench.is_exact else 3) / _ROUNDS
    for priority, weight in weights.items():
        share = weight / total
        findings.near(
            f"share of priority {priority}, weight {weight} of {total},", shares[str(priority)], share, slack * share
        )


def _measure(bench: Bench, place: Place) -> Measured:
    return _run(bench, place, None)


def _judge(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    _judge_shares(findings, bench, measured["shares"], _weights(bench.device, place.ports[0]))
    _judge_losses(findings, measured)
    return findings


def _judge_losses(findings: Findings, measured: Measured) -> None:
    for priority, lost in measured["lossless_frames_lost"].items():
        findings.equal(f"frames lost of lossless priority {priority}", lost, 0)


def _measure_change(bench: Bench, place: Place) -> Measured:
    return _run(bench, place, _changed(bench.device, place))


def _judge_change(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    _judge_shares(findings, bench, measured["shares"], _weights(bench.device, place.ports[0]))
    _judge_shares(findings, bench, measured["shares_after_change"], _changed(bench.device, place))
    _judge_losses(findings, measured)
    return findings


CASES = (
    Case(
        name="dwrr-shares",
        asserts="queues that are always filled share the line as their weights say",
        source="sonic-mgmt QoS suite (WRR)",
        labs=(WEIGHTED,),
        places=_places,
        measure=_measure,
        judge=_judge,
    ),
    Case(
        name="dwrr-live-change",
        asserts="weights that change while traffic flows are those by which the line is shared from then on; nothing is lost",
        source="sonic-mgmt QoS suite (WRR change)",
        labs=(WEIGHTED,),
        places=_places,
        measure=_measure_change,
        judge=_judge_change,
    ),
)
