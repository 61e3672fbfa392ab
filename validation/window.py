"""What a window carries over distance: as much as fits into a round trip."""

from __future__ import annotations

from dataclasses import dataclass

from validation.case import Case, Figures, Measured, Quantity, Topic
from validation.closed_forms import window_limited
from validation.fabric import (
    ACK_WIRE_BYTES,
    FULL_WIRE_BYTES,
    MTU,
    PS,
    PS_PER_KM,
    finish,
    flows_to_last,
    loaded_fabric,
    make_trial,
    spans,
)

WINDOWS = 20


@dataclass(frozen=True)
class Setting:
    """One flow over `metres` at `gbps`, with a window in bytes of payload."""

    metres: int
    gbps: int
    window: int

    @property
    def round_trip(self) -> float:
        """From a packet's first bit to its acknowledgement's last, in seconds."""
        return 2 * self.metres * PS_PER_KM / 1000 / PS + (FULL_WIRE_BYTES + ACK_WIRE_BYTES) * 8 / (self.gbps * 1e9)


def expect(setting: Setting) -> Figures:
    """Return the share of the line that is used."""
    packets = setting.window // MTU
    return {"share": window_limited(packets * FULL_WIRE_BYTES, setting.gbps * 1e9 / 8, setting.round_trip)}


def measure(setting: Setting) -> Measured:
    """Send messages that fill a window each, every packet acknowledged; take the time from the first one's end to the last's."""
    lab = spans(1, setting.metres * PS_PER_KM // 1000, f"{setting.gbps}G")
    settings = [f"transport.window={setting.window}", "transport.ack-every=1", "workload.payload=false"]
    trial = make_trial(lab, "incast", *settings)
    report = finish(loaded_fabric(trial, flows_to_last(1, *[setting.window] * (1 + WINDOWS))))
    assert report["complete"] and report["violations"] == [] and report["qps"][0]["retransmitted"] == 0
    ends = [flow["completion_ns"] for flow in report["flows"]]
    packets = WINDOWS * setting.window // MTU
    return Measured({"share": packets * FULL_WIRE_BYTES * 8 / setting.gbps / (ends[-1] - ends[0])})


TOPIC = Topic(
    name="window",
    title="A window over distance",
    text="""\
One flow that may have no more than a window of payload on its way, every packet acknowledged: it carries
min(1, B/(rate·RTT)) of the line. 131,072 bytes are what InfiniBand's credits can grant to a virtual lane, and last for a
kilometre at 100G.""",
    source="closed form",
    axes=("window, bytes", "rate", "km"),
    quantities=(Quantity("share", "share of the line, %", 0.02, digits=3, scale=100),),
    cases=tuple(
        Case(
            (f"{window:,}", f"{gbps}G", f"{metres / 1000:g}"),
            Setting(metres, gbps, window),
            quick=gbps == 100 and metres in (2_000, 10_000, 80_000),
        )
        for window in (131_072, 16_777_216)
        for gbps in (100, 400)
        for metres in (500, 1_000, 2_000, 10_000, 80_000, 300_000, 1_000_000)
    ),
    expect=expect,
    measure=measure,
)
