"""Erasure-coded messages: how many blocks parity cannot make whole, and what is left of the line, against the binomial law."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, comb, sqrt

from validation.case import Case, Figures, Measured, Quantity, Topic
from validation.fabric import (
    FULL_WIRE_BYTES,
    MTU,
    PS_PER_KM,
    RETH_BYTES,
    finish,
    flows_to_last,
    loaded_fabric,
    make_trial,
    spans,
)

GBPS = 100
PARITY_WIRE_BYTES = FULL_WIRE_BYTES + RETH_BYTES + 4
BLOCKS_PER_MESSAGE = 512
CHANCE = 0.01
RARE, PACKETS = 1e-4, 10**6


@dataclass(frozen=True)
class Setting:
    """One flow over `km` that loses packets with a probability, in blocks of data and parity packets."""

    km: int
    data: int
    parity: int
    loss: float

    def lost(self, packets: int) -> float:
        """Return the probability that a block loses exactly so many."""
        sent = self.data + self.parity
        return float(comb(sent, packets) * self.loss**packets * (1 - self.loss) ** (sent - packets))

    @property
    def beyond(self) -> float:
        """The probability that a block loses more than its parity: P[Bin(k + m, p) > m]."""
        return sum(self.lost(packets) for packets in range(self.parity + 1, self.data + self.parity + 1))

    @property
    def block(self) -> float:
        """What a block takes of the line, in full packets: data, parity, and what is sent again, as often as it is lost."""
        lacking = (packets - self.parity for packets in range(self.parity + 1, self.data + self.parity + 1))
        again = sum(lack * self.lost(self.parity + lack) for lack in lacking) / (1 - self.loss)
        return self.data + again + self.parity * PARITY_WIRE_BYTES / FULL_WIRE_BYTES

    @property
    def is_rare(self) -> bool:
        """Whether next to no block loses more than its parity."""
        return self.beyond < RARE

    @property
    def blocks(self) -> int:
        """How many leave the standard error asked for."""
        if self.is_rare:
            return PACKETS // (self.data + self.parity)
        return ceil((1 - self.beyond) / self.beyond / CHANCE**2)


def expect(setting: Setting) -> Figures:
    """Return the share of blocks that ask for more, or where there are too few of them what new data has of the line."""
    if setting.is_rare:
        return {"goodput": setting.data / setting.block}
    return {"asked": setting.beyond}


def measure(setting: Setting) -> Measured:
    """Run a flow to its end and count its blocks; goodput is from its first message's end to its last's."""
    trial = make_trial(
        spans(1, setting.km * PS_PER_KM, f"{GBPS}G", setting.loss),
        "incast",
        "transport.recovery=erasure",
        f"transport.erasure.data={setting.data}",
        f"transport.erasure.parity={setting.parity}",
        "workload.payload=false",
    )
    messages = 1 + ceil(setting.blocks / BLOCKS_PER_MESSAGE)
    size = BLOCKS_PER_MESSAGE * setting.data * MTU
    report = finish(loaded_fabric(trial, flows_to_last(1, *[size] * messages)), budget=10**7)
    assert report["complete"] and report["violations"] == []
    erasure = report["qps"][0]["erasure"]
    assert erasure["blocks"] == messages * BLOCKS_PER_MESSAGE
    if setting.is_rare:
        ends = [flow["completion_ns"] for flow in report["flows"]]
        packets = (len(ends) - 1) * BLOCKS_PER_MESSAGE * setting.data
        return Measured({"goodput": packets * FULL_WIRE_BYTES * 8 / GBPS / (ends[-1] - ends[0])})
    chance = sqrt((1 - setting.beyond) / setting.beyond / erasure["blocks"])
    return Measured({"asked": erasure["blocks_asked"] / erasure["blocks"]}, {"asked": chance})


def _cases() -> Iterator[Case]:
    often = [(4, 2, 0.05), (8, 1, 0.02), (16, 8, 0.2), (32, 4, 0.04)]
    rarely = [(8, 2, 1e-3), (32, 4, 1e-3), (64, 2, 1e-4)]
    for data, parity, loss in (*often, *rarely):
        for km in (10, 1000):
            setting = Setting(km, data, parity, loss)
            quick = km == 10 and data in (8, 16)
            seconds = setting.blocks * (data + parity) / 5e5
            yield Case((f"{data} + {parity}", f"{loss:g}", str(km)), setting, quick, seconds=seconds)


TOPIC = Topic(
    name="erasure",
    title="Erasure coding: what parity cannot make up for",
    text="""\
One flow at 100G in blocks of k data and m parity packets, of which each is lost with probability p. A block is made whole
without a round trip unless it loses more than m of its k + m packets; then it asks for as many as it lacks. The share of
blocks that ask is P[Bin(k + m, p) > m]; where that is next to none, new data has k of what a block takes of the line.
Where many ask, goodput is less than the line would allow, since a repeat that is lost too waits for the timer.""",
    source="closed form (binomial)",
    axes=("k + m", "p", "km"),
    quantities=(
        Quantity("asked", "blocks that ask for more, %", 0.05, scale=100),
        Quantity("goodput", "goodput, % of the line", 0.002, digits=2, scale=100),
    ),
    cases=tuple(_cases()),
    expect=expect,
    measure=measure,
)
