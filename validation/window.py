"""What a window carries over distance, of a transport or of a link's credits: as much as fits into a round trip."""

from __future__ import annotations

from dataclasses import dataclass

from validation.case import Case, Figures, Measured, Quantity, Topic
from validation.closed_forms import window_limited
from validation.fabric import (
    ACK_WIRE_BYTES,
    FULL_FRAME_BYTES,
    FULL_WIRE_BYTES,
    MTU,
    PFC_WIRE_BYTES,
    PS,
    PS_PER_KM,
    Json,
    finish,
    flows_to_last,
    loaded_fabric,
    make_trial,
    spans,
    star,
)

WINDOWS = 20
BLOCK_BYTES = 64  # InfiniBand's


@dataclass(frozen=True)
class Setting:
    """One flow over `metres` at `gbps`, with a window in bytes: of payload, or of the buffer that credits stand for."""

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


def expect_credit(setting: Setting) -> Figures:
    """Return the share of the line for credits, which come back when the switch has the frame and has sent the credit frame."""
    line = setting.gbps * 1e9 / 8
    round_trip = 2 * setting.metres * PS_PER_KM / 1000 / PS + (FULL_WIRE_BYTES + PFC_WIRE_BYTES) / line
    return {"share": window_limited(setting.window, line, round_trip)}


def measure_credit(setting: Setting) -> Measured:
    """Send messages that fill a grant each over a link with credits to a switch, and on to a host beside it."""
    delays = {"a1": f"{setting.metres * PS_PER_KM // 1000}ps", "b1": "1us"}
    credit: Json = {"flow-control": "credit", "credits": setting.window}
    lab = star(delays, dict.fromkeys(delays, f"{setting.gbps}G"), **credit)
    trial = make_trial(lab, "incast", "transport.window=1GB", "workload.payload=false")
    frames = setting.window // BLOCK_BYTES // -(-FULL_FRAME_BYTES // BLOCK_BYTES)
    report = finish(loaded_fabric(trial, flows_to_last(1, *[frames * MTU] * (1 + WINDOWS))))
    assert report["complete"] and report["violations"] == [] and report["drops"]["lossless"] == 0
    ends = [flow["completion_ns"] for flow in report["flows"]]
    packets = WINDOWS * frames
    return Measured({"share": packets * FULL_WIRE_BYTES * 8 / setting.gbps / (ends[-1] - ends[0])})


def _cases(windows: tuple[int, ...], quick: tuple[int, ...]) -> tuple[Case, ...]:
    """Return windows, rates and distances; the quick ones at 100G."""
    return tuple(
        Case(
            (f"{window:,}", f"{gbps}G", f"{metres / 1000:g}"),
            Setting(metres, gbps, window),
            quick=gbps == 100 and metres in quick and window == windows[0],
        )
        for window in windows
        for gbps in (100, 400)
        for metres in (500, 1_000, 2_000, 10_000, 80_000, 300_000, 1_000_000)
    )


SHARE = Quantity("share", "share of the line, %", 0.02, digits=3, scale=100)
AXES = ("bytes", "rate", "km")

TOPIC = Topic(
    name="window",
    title="A window over distance",
    text="""\
One flow that may have no more than a window of payload on its way, every packet acknowledged: it carries
min(1, B/(rate·RTT)) of the line.""",
    source="closed form",
    axes=AXES,
    quantities=(SHARE,),
    cases=_cases((131_072, 16_777_216), (2_000, 10_000, 80_000)),
    expect=expect,
    measure=measure,
)

CREDIT = Topic(
    name="credit",
    title="Credits over distance",
    text="""\
A link that runs credits instead of PFC, with a grant of so many bytes: min(1, B/(rate·RTT)) of the line, and nothing is lost.
131,072 bytes are what InfiniBand can grant a virtual lane (half of 4096 blocks of 64 bytes), and last for a kilometre at
100G. The RTT is that of a credit: two flights, the frame, and the credit frame. A window holds whole frames, and a 64th of it
may be released and not told yet; both are in the error.""",
    source="closed form; limit: IBTA volume 1, 7.9.4",
    axes=AXES,
    quantities=(SHARE,),
    cases=_cases((131_072, 16_777_216), (500, 2_000, 80_000)),
    expect=expect_credit,
    measure=measure_credit,
)
