"""The slowdown of a long message by retransmission timers, as the model of SDR-RDMA has it, and by our NAKs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import ceil, exp, log, log1p, sqrt
from statistics import fmean, stdev

from testbed._dataplane import VirtualFabric
from testbed.workload import compile_workload
from traffic import RankSchedule, Recv, Schedule, Send
from validation.case import Case, Figures, Measured, Quantity, Topic
from validation.fabric import (
    ACK_WIRE_BYTES,
    FULL_WIRE_BYTES,
    MTU,
    PS,
    RETH_BYTES,
    Json,
    finish,
    flows_to_last,
    make_trial,
    spans,
)

MESSAGE_BYTES, CHUNK_BYTES = 128 * 2**20, 64 * 2**10
CHUNKS, PACKETS = MESSAGE_BYTES // CHUNK_BYTES, MESSAGE_BYTES // MTU
GBPS = 400
ROUND_TRIP, RTO = 25e-3, 75e-3
PAIRS = 16
PUBLISHED = {1e-4: 3.60, 1e-3: 4.81}
"""Slowdown by loss of packets: the paper's formula, evaluated for these figures."""
PAPER = "Khalilov et al., SDR-RDMA, SC 2025"


@dataclass(frozen=True)
class Scheme:
    """`units` leave one after the other, `slot` seconds apart; each is lost with a probability, and then later by `again`."""

    units: int
    slot: float
    loss: float
    again: float

    @property
    def slowdown(self) -> float:
        """The mean time of a message over that of one that loses nothing, exactly.

        The last unit is through at the maximum of the units' times; its distribution is the product of theirs.
        """
        tries = ceil(log(1e-9 / self.units) / log(self.loss))
        steps = [
            ((unit + 1) * self.slot + losses * self.again, losses)
            for unit in range(self.units)
            for losses in range(tries)
        ]
        untried, log_all, mean, before = self.units, 0.0, 0.0, 0.0
        for at, losses in sorted(steps):
            mean += (at - before) * (1 - (exp(log_all) if not untried else 0))
            before = at
            # From here on the unit may have been lost so often.
            log_all += log1p(-(self.loss ** (losses + 1))) - (log1p(-(self.loss**losses)) if losses else 0)
            untried -= losses == 0
        return (mean + ROUND_TRIP) / (self.units * self.slot + ROUND_TRIP)


@dataclass(frozen=True)
class Setting:
    """Loss of packets, who notices it (timers as in the paper, or NAKs), and how many messages are sent."""

    loss: float
    timers: bool
    messages: int

    @property
    def scheme(self) -> Scheme:
        """Chunks that only a timer repeats; or packets of which a NAK tells, and another when one is lost again."""
        if self.timers:
            slot = CHUNK_BYTES * 8 / (GBPS * 1e9)
            return Scheme(CHUNKS, slot, 1 - (1 - self.loss) ** (CHUNK_BYTES // MTU), RTO + slot)
        slot = FULL_WIRE_BYTES * 8 / (GBPS * 1e9)
        return Scheme(PACKETS, slot, self.loss, ROUND_TRIP + slot)


def expect(setting: Setting) -> Figures:
    """Return the slowdown by the formula, and as the paper's scheme has it."""
    return {"slowdown": setting.scheme.slowdown, "published": PUBLISHED[setting.loss]}


def measure(setting: Setting) -> Measured:
    """Send messages one after the other; return the mean of their slowdowns."""
    fabric, workload = _by_timers(setting) if setting.timers else _by_naks(setting)
    times = []
    for _ in range(setting.messages):
        fabric.load(workload)
        report = finish(fabric)
        assert report["complete"] and report["violations"] == []
        times.append((max(rank["finish_ps"] for rank in report["ranks"]) - report["start_ps"]) / PS)
    scheme = setting.scheme
    slowdowns = [time / (scheme.units * scheme.slot + ROUND_TRIP) for time in times]
    mean = fmean(slowdowns)
    chance = stdev(slowdowns) / sqrt(len(slowdowns)) / mean
    return Measured({"slowdown": mean, "published": mean}, {"slowdown": chance, "published": chance})


def _by_timers(setting: Setting) -> tuple[VirtualFabric, str]:
    """Make each chunk a packet on a connection of its own: none comes after it, so nothing but its timer can repeat it.

    The packet is lost as often as one of the chunk's is, and takes as long: `PAIRS` hosts side by side, each on a line of
    its own, send every so manieth chunk, each as slowly as makes them keep step with the one line.
    """
    scheme, each = setting.scheme, CHUNKS // PAIRS
    rate = round((FULL_WIRE_BYTES + RETH_BYTES) * 8 / (scheme.slot * PAIRS))
    flight_ps = round((ROUND_TRIP - ACK_WIRE_BYTES * 8 / rate) / 2 * PS)
    sending = [RankSchedule(0, tuple(Send(PAIRS + pair, 0, MTU, 0) for _ in range(each))) for pair in range(PAIRS)]
    taking = [RankSchedule(0, tuple(Recv(pair, 0, MTU) for _ in range(each))) for pair in range(PAIRS)]
    trial = make_trial(spans(PAIRS, flight_ps, str(rate), scheme.loss), "incast", "workload.payload=false")
    workload = compile_workload(trial.lab, trial.experiment, Schedule((*sending, *taking)))
    workload["qps"] = [qp | {"qpn": qp["qpn"] + PAIRS * number} for qp in workload["qps"] for number in range(each)]
    for rank in workload["ranks"]:
        rank["ops"] = [op | {"qp": op["qp"] * each + number} for number, op in enumerate(rank["ops"])]
    return _loaded(trial.plan, workload)


def _by_naks(setting: Setting) -> tuple[VirtualFabric, str]:
    flight = (ROUND_TRIP - ACK_WIRE_BYTES * 8 / (GBPS * 1e9)) / 2
    trial = make_trial(
        spans(1, round(flight * PS), f"{GBPS}G", setting.loss),
        "incast",
        "transport.recovery=selective-repeat",
        "workload.payload=false",
    )
    return _loaded(trial.plan, compile_workload(trial.lab, trial.experiment, flows_to_last(1, MESSAGE_BYTES)))


def _loaded(plan: Json, workload: Json) -> tuple[VirtualFabric, str]:
    workload["transport"]["timeout_ps"] = round(RTO * PS)
    return VirtualFabric(json.dumps(plan)), json.dumps(workload)


def _cases() -> tuple[Case, ...]:
    timers, naks = "timers, chunks of 64 KiB", "NAKs (selective repeat), packets"
    ours = "the same formula: a loss costs a round trip"
    return (
        Case((timers, "1e-4"), Setting(1e-4, True, 60), True, seconds=6),
        Case((timers, "1e-3"), Setting(1e-3, True, 240), seconds=24),
        Case((naks, "1e-4"), Setting(1e-4, False, 60), True, ours, seconds=3),
        Case((naks, "1e-3"), Setting(1e-3, False, 300), source=ours, seconds=10),
    )


TOPIC = Topic(
    name="sdr",
    title="SDR-RDMA's message: what a timer costs, and what a NAK",
    text="""\
128 MiB at 400G over a round trip of 25 ms, in chunks of 64 KiB of which each lost one is repeated when its timer of three
round trips ends; p is the loss of a packet of 4 KiB. The model of SDR-RDMA gives chunk i the time i·T + (RTO + T)(Y − 1), Y
geometric, and the message that of its slowest chunk: 3.60 and 4.81 times the time without loss. Our NICs know no mode in
which timers alone repeat; the scheme is mirrored by making each chunk a packet on a connection of its own, on which nothing
follows that could draw a NAK. Our selective repeat does not wait for a timer: a loss costs one round trip instead of three,
so that the same message takes half as long. (The last packet of all, and the last that is sent again, have nothing behind
them and do wait for it.)""",
    source=f"{PAPER}: formula",
    axes=("who repeats", "p"),
    quantities=(
        Quantity("slowdown", "slowdown", 0.05, digits=2),
        Quantity("published", "beside the paper's timers", None, digits=2),
    ),
    cases=_cases(),
    expect=expect,
    measure=measure,
)
