"""PFC over distance: the cycle of pauses that one sender and a slower receiver fall into, against its closed form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from testbed._dataplane import VirtualFabric
from validation.case import Case, Figures, Measured, Quantity, Topic
from validation.closed_forms import PauseCycle
from validation.fabric import (
    FULL_FRAME_BYTES,
    FULL_WIRE_BYTES,
    PFC_WIRE_BYTES,
    PS,
    PS_PER_BYTE,
    PS_PER_KM,
    flows_to_last,
    loaded_fabric,
    make_trial,
    priority,
    run_until,
    star,
)

ARRIVAL = PS / PS_PER_BYTE * FULL_FRAME_BYTES / FULL_WIRE_BYTES  # a buffer counts neither preamble nor gap
WARM_UP_CYCLES = 4
MESSAGE_BYTES = 10**9


@dataclass(frozen=True)
class Setting:
    """A sender at 100G, `km` away from the switch; a receiver at `percent` of that; XOFF as a share of drain · trip."""

    km: int
    percent: int
    share: float
    cycles: int = 20

    @property
    def form(self) -> PauseCycle:
        """A frame counts when all of it has arrived, so the trip is longer than the flights by the PAUSE frame and one frame."""
        trip = (2 * self.km * PS_PER_KM + (PFC_WIRE_BYTES + FULL_WIRE_BYTES) * PS_PER_BYTE) / PS
        drain = ARRIVAL * self.percent / 100
        return PauseCycle(ARRIVAL, drain, round(self.share * drain * trip), trip)


def expect(setting: Setting) -> Figures:
    """Return what the closed form says."""
    form = setting.form
    return {
        "utilisation": form.utilisation,
        "paused": form.paused,
        "peak": form.peak,
        "peak_stopped": form.peak_stopped,
    }


def measure(setting: Setting) -> Measured:
    """Run an endless flow for some cycles, and another whose receiver never takes anything."""
    form = setting.form
    cycle_ps = round(form.period * PS)
    fabric = _fabric(setting, stopped=False)
    before = run_until(fabric, WARM_UP_CYCLES * cycle_ps)
    after = run_until(fabric, (WARM_UP_CYCLES + setting.cycles) * cycle_ps)
    assert after["qps"][0]["retransmitted"] == 0
    span_ps = setting.cycles * cycle_ps

    def grown(port: str, key: str) -> int:
        return int(priority(after, port)[key] - priority(before, port)[key])

    line_ps_per_byte = PS_PER_BYTE * 100 / setting.percent
    return Measured(
        {
            "utilisation": grown("sw:eth2", "frames_tx") * FULL_WIRE_BYTES * line_ps_per_byte / span_ps,
            "paused": grown("s1:eth1", "paused_ns") * 1000 / span_ps,
            "peak": priority(after, "sw:eth1")["ingress_bytes_max"],
            "peak_stopped": _stopped(setting),
        }
    )


def _stopped(setting: Setting) -> int:
    """Return the most that the switch holds when its receiver's link stands still from the start."""
    fabric = _fabric(setting, stopped=True)
    form = setting.form
    report = run_until(fabric, round((form.threshold / form.arrival + 2 * form.trip) * PS))
    return int(priority(report, "sw:eth1")["ingress_bytes_max"])


def _fabric(setting: Setting, stopped: bool) -> VirtualFabric:
    """Return the fabric with one flow loaded that never ends, and never waits for its window."""
    form = setting.form
    delays = {"s1": f"{setting.km * PS_PER_KM}ps", "r1": "1us"}
    window = round(2 * form.peak_stopped + 10**6)
    trial = make_trial(
        star(delays, {"r1": f"{setting.percent}G"}),
        "incast",
        f"lossless.xoff={setting.form.threshold}",
        f"lossless.xon={setting.form.threshold}",
        "lossless.response=0",
        f"transport.window={window}",
        "workload.payload=false",
    )
    endless = round(2 * (WARM_UP_CYCLES + setting.cycles) * form.period * form.drain) + window
    fabric = loaded_fabric(trial, flows_to_last(1, *[MESSAGE_BYTES] * -(-endless // MESSAGE_BYTES)))
    if stopped:
        fabric.impair(json.dumps([{"link": 1, "way": 1, "at_ps": 0, "drain": True}]))
    return fabric


def _cases() -> Iterator[Case]:
    for km, cycles in ((10, 20), (80, 20), (300, 10), (1000, 5)):
        for percent in (25, 50, 75):
            for share in (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.5):
                setting = Setting(km, percent, share, cycles)
                threshold = f"{setting.form.threshold / 1e6:.3f}"
                labels = (str(km), f"{percent} %", f"{share:.2f}", threshold)
                quick = km <= 80 and share in (0.1, 0.5, 1.0, 1.5)
                yield Case(labels, setting, quick, seconds=setting.form.period * cycles * percent * 0.5)


TOPIC = Topic(
    name="pause",
    title="PFC over distance: throughput and buffer",
    text="""\
One sender at 100G, a switch `km` away, and a receiver at a share of that rate. With XOFF = XON = X the queue behind the
sender fills at Rs and drains at Rd, and a threshold takes effect a trip τ later: two flights, the PAUSE frame, and one
frame, since a frame counts when all of it has arrived. Per cycle of 2τ + τ(Rs − Rd)/Rd + min(X, Rd·τ)/(Rs − Rd) the
receiver's link is idle for max(0, τ − X/Rd) and the sender is paused for τ·Rs/Rd; the queue peaks at X + (Rs − Rd)τ, and
at X + Rs·τ when the receiver stops for good. Throughput is full if and only if X ≥ Rd·τ. What is left of an error is the
grain of a frame: it matters where X is some ten frames.""",
    source="closed form (derived: fluid queue)",
    axes=("km", "Rd/Rs", "X/(Rd·τ)", "X, MB"),
    quantities=(
        Quantity("utilisation", "utilisation, %", 0.02, digits=2, scale=100),
        Quantity("paused", "sender paused, %", 0.02, digits=2, scale=100),
        Quantity("peak", "peak, MB", 0.02, scale=1e-6),
        Quantity("peak_stopped", "peak when stopped, MB", 0.02, scale=1e-6),
    ),
    cases=tuple(_cases()),
    expect=expect,
    measure=measure,
)
