"""The least headroom that loses nothing, beside what the planner asks for."""

from __future__ import annotations

import json
from dataclasses import dataclass

from testbed.buffers.headroom import headroom
from validation.case import Case, Figures, Measured, Quantity, Topic
from validation.fabric import (
    FULL_FRAME_BYTES,
    FULL_WIRE_BYTES,
    MTU,
    PS_PER_KM,
    flows_to_last,
    loaded_fabric,
    make_trial,
    priority,
    report_of,
    star,
)

PHASES = 4
XOFF_BYTES = 200_000


@dataclass(frozen=True)
class Setting:
    """A sender at `gbps`, so many metres from a switch whose other link stands still."""

    metres: int
    gbps: int

    @property
    def delay_ps(self) -> int:
        """The flight, one way."""
        return self.metres * PS_PER_KM // 1000

    @property
    def planned(self) -> int:
        """What the planner gives to a group for this traffic: the IEEE sum, and a frame counted when all of it is there."""
        return headroom(self.gbps * 10**9, self.delay_ps, FULL_FRAME_BYTES).total_bytes + FULL_FRAME_BYTES


def expect(setting: Setting) -> Figures:
    """Return the planner's figure."""
    return {"least": setting.planned, "spare": 1.5}


def measure(setting: Setting) -> Measured:
    """Return the least headroom, the worst over some phases of the frame that crosses the threshold."""
    least = max(_least(setting, XOFF_BYTES + phase * FULL_FRAME_BYTES // PHASES) for phase in range(PHASES))
    on_the_line = least * FULL_WIRE_BYTES / FULL_FRAME_BYTES
    return Measured({"least": least, "spare": (setting.planned - on_the_line) / FULL_WIRE_BYTES})


def _least(setting: Setting, xoff: int) -> int:
    """Return by bisection the least headroom with which nothing is dropped."""
    enough, too_little = 2 * setting.planned, setting.planned // 2
    assert _drops(setting, xoff, too_little) and not _drops(setting, xoff, enough)
    while enough - too_little > 1:
        room = (enough + too_little) // 2
        enough, too_little = (enough, room) if _drops(setting, xoff, room) else (room, too_little)
    return enough


def _drops(setting: Setting, xoff: int, room: int) -> int:
    """Fill the group until its sender has stopped; return the frames lost for lack of headroom."""
    delays = {"s1": f"{setting.delay_ps}ps", "r1": "1us"}
    rates = dict.fromkeys(delays, f"{setting.gbps}G")
    size = xoff + 3 * setting.planned
    trial = make_trial(
        star(delays, rates),
        "incast",
        f"lossless.xoff={xoff}",
        f"lossless.xon={xoff}",
        f"lossless.headroom={room}",
        f"transport.window={size}",
        "workload.payload=false",
    )
    fabric = loaded_fabric(trial, flows_to_last(1, size))
    fabric.impair(json.dumps([{"link": 1, "way": 1, "at_ps": 0, "drain": True}]))
    fabric.advance(20 * size // MTU)
    return int(priority(report_of(fabric), "sw:eth1")["drops"]["headroom"])


TOPIC = Topic(
    name="headroom",
    title="Headroom: the planner's figure and the least that will do",
    text=f"""\
A sender that never rests, a switch whose other link stands still, and a sender that goes on for the whole response time that
its rate allows after each PAUSE frame: the least headroom with which nothing is dropped, by bisection to the byte, the worst of
{PHASES} phases in which a frame may cross the threshold. The planner (`testbed headroom`, `headroom: auto`) must never give less.
It counts what the line carries, preambles and gaps included, which a buffer does not hold: half a per cent. Beyond that it
gives from one frame to three more: the frame that has just begun when the threshold is passed, the one that has just begun
when the PAUSE frame arrives, and the one that is counted only when all of it is there, none of which is whole in a run.""",
    source="IEEE 802.1Q, PFC headroom (the planner)",
    axes=("km", "rate"),
    quantities=(
        Quantity("least", "headroom, KB", None, scale=1e-3, digits=1),
        Quantity("spare", "spare, frames", 1.5, absolute=True, digits=2),
    ),
    cases=tuple(
        Case(
            (f"{metres / 1000:g}", f"{gbps}G"),
            Setting(metres, gbps),
            quick=gbps == 100 and metres == 2_000,
            seconds=metres * gbps / 5e6,
        )
        for metres in (300, 2_000, 10_000, 80_000, 300_000)
        for gbps in (100, 400)
    ),
    expect=expect,
    measure=measure,
)
