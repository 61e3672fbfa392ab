"""The slowdown of a long message by retransmission timers, as the model of SDR-RDMA has it, and by our NAKs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, exp, log, log1p, sqrt
from statistics import fmean, stdev

from testbed._dataplane import VirtualFabric
from testbed.plan.workload import compile_workload
from validation.case import Case, Figures, Measured, Quantity, Topic
from validation.fabric import (
    ACK_WIRE_BYTES,
    FULL_WIRE_BYTES,
    MTU,
    PS,
    finish,
    flows_to_last,
    make_trial,
    spans,
)

MESSAGE_BYTES, CHUNK_BYTES = 128 * 2**20, 64 * 2**10
CHUNKS, PACKETS = MESSAGE_BYTES // CHUNK_BYTES, MESSAGE_BYTES // MTU
GBPS = 400
SLOT = FULL_WIRE_BYTES * 8 / (GBPS * 1e9)
ROUND_TRIP = 25e-3
TIMEOUTS = {"3rtt": 3 * ROUND_TRIP, "14": 4.096e-6 * 2**14}
"""Seconds: three round trips, as in the paper, and the step of InfiniBand's exponent that is next to them."""
PUBLISHED = {1e-4: 3.60, 1e-3: 4.81}
"""Slowdown by loss of packets, timers of three round trips: the paper's formula, evaluated for these figures."""
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
    """Loss of packets, the timeout of chunks (none where NAKs tell, and the derived one does), how many messages are sent."""

    loss: float
    timeout: str
    messages: int

    @property
    def scheme(self) -> Scheme:
        """Chunks that only a timer repeats; or packets of which a NAK tells, and another when one is lost again."""
        if self.timeout:
            packets = CHUNK_BYTES // MTU
            slot = packets * SLOT
            return Scheme(CHUNKS, slot, 1 - (1 - self.loss) ** packets, TIMEOUTS[self.timeout] + slot)
        return Scheme(PACKETS, SLOT, self.loss, ROUND_TRIP + SLOT)


def expect(setting: Setting) -> Figures:
    """Return the slowdown by the formula, and as the paper's scheme has it where that was published."""
    published = {"published": PUBLISHED[setting.loss]} if setting.timeout != "14" and setting.loss in PUBLISHED else {}
    return {"slowdown": setting.scheme.slowdown, **published}


def measure(setting: Setting) -> Measured:
    """Send messages one after the other; return the mean of their slowdowns."""
    flight = (ROUND_TRIP - ACK_WIRE_BYTES * 8 / (GBPS * 1e9)) / 2
    by_timer = ("transport.recovery=timer", f"transport.timeout={setting.timeout}")
    trial = make_trial(
        spans(1, round(flight * PS), f"{GBPS}G", setting.loss),
        "incast",
        "workload.payload=false",
        *(by_timer if setting.timeout else ("transport.recovery=selective-repeat",)),
    )
    fabric = VirtualFabric(json.dumps(trial.plan))
    workload = json.dumps(compile_workload(trial.lab, trial.experiment, flows_to_last(1, MESSAGE_BYTES)))
    slowdowns = []
    for _ in range(setting.messages):
        fabric.load(workload)
        report = finish(fabric)
        assert report["complete"] and report["violations"] == []
        time = (max(rank["finish_ps"] for rank in report["ranks"]) - report["start_ps"]) / PS
        slowdowns.append(time / (PACKETS * SLOT + ROUND_TRIP))
    mean = fmean(slowdowns)
    chance = stdev(slowdowns) / sqrt(len(slowdowns)) / mean
    return Measured({"slowdown": mean, "published": mean}, {"slowdown": chance, "published": chance})


def _cases() -> Iterator[Case]:
    quick = {("3rtt", 1e-4), ("14", 1e-2), ("", 1e-4), ("", 1e-2)}
    messages = {
        "3rtt": {1e-6: 300, 1e-5: 400, 1e-4: 100, 1e-3: 120, 1e-2: 60},
        "14": {1e-6: 300, 1e-5: 400, 1e-2: 60},
        "": {1e-4: 60, 1e-3: 240, 1e-2: 120},
    }
    who = {
        "3rtt": ("timers of chunks", "3 round trips, 75 ms"),
        "14": ("timers of chunks", "exponent 14, 67.1 ms"),
        "": ("NAKs (selective repeat)", "derived, 50 ms"),
    }
    for timeout, counts in messages.items():
        source = "" if timeout else "the same formula: a loss costs a round trip"
        for loss, count in counts.items():
            labels = (*who[timeout], f"{loss:.0e}".replace("e-0", "e-"))
            yield Case(labels, Setting(loss, timeout, count), (timeout, loss) in quick, source, seconds=count / 20)


TOPIC = Topic(
    name="sdr",
    title="SDR-RDMA's message: what a timer costs, and what a NAK",
    text="""\
128 MiB at 400G over a round trip of 25 ms; p is the loss of a packet of 4 KiB. With `recovery: timer` each chunk of 64 KiB is
sent again when its own timer ends, and by nothing else. The model of SDR-RDMA gives chunk i the time
i·T + (RTO + T)(Y − 1), Y geometric by the loss of any of its 16 packets, and the message that of its slowest chunk: 3.60 and
4.81 times the time without loss at 1e-4 and 1e-3, for an RTO of three round trips. With the step of InfiniBand's exponent
that is next to them the timer is a tenth shorter, and so is what it costs. Selective repeat does not wait for a timer: a loss
costs one round trip instead of three and a chunk's. The last packet of all, and the last that is sent again, have nothing
behind them and do wait for it, two round trips: some 3 % of the messages at 1e-2.""",
    source=f"{PAPER}: formula",
    axes=("who repeats", "timeout", "p"),
    quantities=(
        Quantity("slowdown", "slowdown", 0.05, digits=3),
        Quantity("published", "beside the paper's timers", None, digits=2),
    ),
    cases=tuple(_cases()),
    expect=expect,
    measure=measure,
)
