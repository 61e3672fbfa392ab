"""A ring all-reduce between two sites: what distance adds to it, and how that compares with the field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from testbed.traffic import COLLECTIVES, RankSchedule, Schedule, Shape
from validation.case import Case, Figures, Measured, Quantity, Topic
from validation.fabric import FULL_WIRE_BYTES, MTU, PS, PS_PER_KM, RATE_BPS, finish, loaded_fabric, make_trial

KM = 500
FLIGHT = KM * PS_PER_KM / PS
HOSTS = 2
RANKS = 2 * HOSTS
SLICE_BYTES = 2**20
FIELD_SHARE = 0.98


@dataclass(frozen=True)
class Setting:
    """Bytes a rank, in chunks that are passed on whole or slice by slice."""

    size: int
    sliced: bool

    @property
    def flights(self) -> int:
        """How many flights the span adds, at sizes whose step takes longer than half a flight.

        Of 2(n − 1) hops in a row every other one crosses the span, and one more flight brings the last acknowledgement.
        Slices pass through while the next follow, so that only the first crossing is waited for.
        """
        return (1 if self.sliced else RANKS - 1) + 1


def expect(setting: Setting) -> Figures:
    """Return what the span adds, and the share of the single site's busbw that is left; beside it what the field has."""
    line = RATE_BPS / 8 * MTU / FULL_WIRE_BYTES
    alone = 2 * (RANKS - 1) / RANKS * setting.size / line
    share = alone / (alone + setting.flights * FLIGHT)
    return {"flights": setting.flights, "share": share, "field": FIELD_SHARE}


def measure(setting: Setting) -> Measured:
    """Run the collective with sites side by side and with sites apart."""
    near, far = (_seconds(setting, length) for length in ("20m", f"{KM}km"))
    return Measured({"flights": (far - near) / FLIGHT, "share": near / far, "field": near / far})


def _seconds(setting: Setting, length: str) -> float:
    """Return how long it takes, lengths only: what is added up does not matter here."""
    trial = make_trial(f"two-dc:hosts={HOSTS},length={length}", "all_reduce")
    shape = Shape(RANKS, setting.size // 4, slice_bytes=SLICE_BYTES if setting.sliced else None)
    ring = COLLECTIVES["all_reduce"].schedule(shape)
    lengths = Schedule(tuple(RankSchedule(0, ranked.ops) for ranked in ring.ranks))
    report = finish(loaded_fabric(trial, lengths), budget=10**7)
    assert report["complete"] and report["drops"]["lossless"] == 0 and report["violations"] == []
    return float((max(rank["finish_ps"] for rank in report["ranks"]) - report["start_ps"]) / PS)


def _cases() -> Iterator[Case]:
    for sliced, name in ((False, "whole chunks"), (True, "slices of 1 MiB")):
        for mib in (64, 256, 1024, 4096) if sliced else (64, 256, 1024):
            setting = Setting(mib * 2**20, sliced)
            yield Case((f"{mib} MiB", name), setting, quick=mib == 64, seconds=mib / 250)


TOPIC = Topic(
    name="all-reduce",
    title="All-reduce over 500 km, and the field",
    text=f"""\
Ring all-reduce of {RANKS} ranks at 100G, half of them on each side of {KM} km, lossless by PFC with the planner's headroom;
busbw beside that of the same ranks in one place. Distance adds a number of flights that follows from the ring, so its
share shrinks as messages grow. China Telecom reports 97 to 99 % of single-site *training* throughput over 500 km, and
asks wide-area lossless networks for more than 85 % utilisation. That is another figure: training also computes, overlaps
that with communication, and has many more ranks. What can be said is that the network does not stand in its way: without
any overlap, a ring that passes on slices comes to 97 % with some 1.3 GiB a rank, and to 85 % with a quarter of that.""",
    source="closed form (derived); field: China Telecom, the middle of 97 to 99 %",
    axes=("bytes a rank", "passed on"),
    quantities=(
        Quantity("flights", "added, flights", 0.01, digits=3),
        Quantity("share", "busbw, % of one site's", 0.01, digits=1, scale=100),
        Quantity("field", "beside the field's training", None, digits=1, scale=100),
    ),
    cases=tuple(_cases()),
    expect=expect,
    measure=measure,
)
