"""Two long links into one: the XOFF that reaches full throughput, as the testbed of Bifrost has it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from testbed.buffers.headroom import headroom
from validation.case import Case, Figures, Measured, Quantity, Topic
from validation.closed_forms import PauseCycle
from validation.fabric import (
    FULL_FRAME_BYTES,
    FULL_WIRE_BYTES,
    PFC_WIRE_BYTES,
    PS,
    PS_PER_BYTE,
    RATE_BPS,
    flows_to_last,
    loaded_fabric,
    make_trial,
    priority,
    run_until,
    star,
)

FLIGHT_PS = 400 * 10**6  # 80 km as the paper counts it: 5 us a kilometre
TRIP = (2 * FLIGHT_PS + (PFC_WIRE_BYTES + FULL_WIRE_BYTES) * PS_PER_BYTE) / PS
ARRIVAL = PS / PS_PER_BYTE * FULL_FRAME_BYTES / FULL_WIRE_BYTES
WARM_UP_CYCLES, CYCLES = 4, 12
FULL = 0.999
STEP_BYTES = 20_000
FLOOR_BYTES, PAPER_BYTES, PAPER_RESERVE_BYTES = 5_000_000, 6_000_000, 15_500_000
GAP_BYTES = 1_000_000
PAPER = "Yu et al., Bifrost, ICNP 2023"


def form(xoff: int) -> PauseCycle:
    """Return the cycle of each of the two queues; half the receiver's link is its share."""
    return PauseCycle(ARRIVAL, ARRIVAL / 2, xoff, TRIP)


def throughput(xoff: int, gap: int = 0) -> float:
    """Run two endless flows into one link; return the share of time in which it is busy, with XON `gap` below XOFF."""
    cycle_ps = round(form(xoff).period * PS)
    delay = f"{FLIGHT_PS}ps"
    trial = make_trial(
        star({"s1": delay, "s2": delay, "r1": "1us"}),
        "incast",
        f"lossless.xoff={xoff}",
        f"lossless.xon={xoff - gap}",
        "transport.window=100MB",
        "workload.payload=false",
    )
    fabric = loaded_fabric(trial, flows_to_last(2, *[10**9] * 2))
    before = run_until(fabric, WARM_UP_CYCLES * cycle_ps)
    after = run_until(fabric, (WARM_UP_CYCLES + CYCLES) * cycle_ps)
    frames = priority(after, "sw:eth3")["frames_tx"] - priority(before, "sw:eth3")["frames_tx"]
    return float(frames * FULL_WIRE_BYTES * PS_PER_BYTE / (CYCLES * cycle_ps))


@cache
def knee(gap: int = 0) -> int:
    """Return the smallest XOFF, in steps, that reaches full throughput."""
    low, high = 4_500_000 + gap, 5_500_000 + gap
    assert throughput(low, gap) < FULL <= throughput(high, gap)
    while high - low > STEP_BYTES:
        middle = (low + high) // 2
        low, high = (low, middle) if throughput(middle, gap) >= FULL else (middle, high)
    return high


def _expect(xoff: int) -> Figures:
    return {"throughput": form(xoff).utilisation}


def _measure(xoff: int) -> Measured:
    return Measured({"throughput": throughput(xoff)})


CURVE = Topic(
    name="bifrost",
    title="Bifrost's testbed: two links of 80 km into one",
    text="""\
Two senders at 100G, 400 µs away, into one 100G link without congestion control; each queue drains at half the rate. The
share of time in which the receiver's link is busy, over XOFF = XON.""",
    source=f"closed form; set-up of {PAPER}",
    axes=("XOFF, MB",),
    quantities=(Quantity("throughput", "throughput, Gb/s", 0.01, digits=2, scale=100),),
    cases=tuple(
        Case((f"{xoff / 1e6:.2f}",), xoff, quick=xoff in (2_000_000, 4_500_000, 5_000_000))
        for xoff in (1_000_000, 2_000_000, 3_000_000, 4_000_000, 4_500_000, 4_750_000, 5_000_000, 6_000_000)
    ),
    expect=_expect,
    measure=_measure,
)


@dataclass(frozen=True)
class Sum:
    """A buffer in bytes: the knee for a gap between XOFF and XON, and the headroom if that is part of it."""

    expected: int
    gap: int = 0
    reserve: bool = False


def _expect_sum(setting: Sum) -> Figures:
    return {"bytes": setting.expected}


def _measure_sum(setting: Sum) -> Measured:
    room = headroom(RATE_BPS, FLIGHT_PS, FULL_FRAME_BYTES).total_bytes if setting.reserve else 0
    return Measured({"bytes": knee(setting.gap) + room})


KNEE = Topic(
    name="bifrost-knee",
    title="Bifrost's testbed: the XOFF of full throughput",
    text=f"""\
The smallest XOFF that keeps the receiver's link busy for {FULL:.1%} of the time, by bisection to {STEP_BYTES // 1000} KB.
The model's floor is Rd·τ = 5 MB a port. The paper reports that XOFF had to exceed about 6 MB, a fifth more. What counts
is XON, and a real switch does not tell its peer to go on at the very byte at which it told it to stop: with XON 1 MB
below XOFF our knee is where the paper's is. What gap that switch had we do not know. Knee and headroom together are
within a few per cent of the 15.5 MB that the paper counts for PFC.""",
    source=PAPER,
    axes=("what",),
    quantities=(Quantity("bytes", "MB", 0.02, scale=1e-6),),
    cases=(
        Case(("XOFF = XON, against the floor Rd·τ",), Sum(FLOOR_BYTES), True, "closed form (derived)", seconds=4),
        Case(("XOFF = XON, against the paper",), Sum(PAPER_BYTES), held=False, seconds=4),
        Case(("XOFF = XON + 1 MB, against the paper",), Sum(PAPER_BYTES, GAP_BYTES), seconds=4),
        Case(("XOFF = XON and headroom, against the paper",), Sum(PAPER_RESERVE_BYTES, 0, True), held=False, seconds=4),
    ),
    expect=_expect_sum,
    measure=_measure_sum,
)
