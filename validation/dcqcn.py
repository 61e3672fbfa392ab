"""DCQCN: how often frames are marked where flows have settled, and whether near and far flows share alike."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import exp, sqrt

from validation.case import Case, Figures, Measured, Quantity, Topic
from validation.closed_forms import jain
from validation.fabric import (
    FULL_WIRE_BYTES,
    PS,
    flows_to_last,
    loaded_fabric,
    make_trial,
    priority,
    run_until,
    star,
)

# The parameters of Zhu et al., SIGCOMM 2015; seconds, bit/s, packets.
CUT_S, ALPHA_S, TIMER_S = 50e-6, 55e-6, 55e-6
ADDITIVE_BPS = 40e6
BYTE_COUNTER_PACKETS = 10e6 / FULL_WIRE_BYTES
FAST_RECOVERY = 5
FRAME_BITS = FULL_WIRE_BYTES * 8

EQUILIBRIUM = "fluid model: Zhu et al., ECN or delay, CoNEXT 2016"
MARKS = "{kmin: 5KB, kmax: 2MB, pmax: 10%}"
WARM_UP_PS = 200 * 10**9
LEAST_MARKS = 2500


@dataclass(frozen=True)
class Setting:
    """So many flows share a line."""

    flows: int
    gbps: int


def fluid(flows: int, rate: float) -> float:
    """Return the share of marked frames at the fluid model's fixed point, as the paper approximates it for small shares."""
    packets = rate / FRAME_BITS
    rounds = 1 / BYTE_COUNTER_PACKETS + flows / (packets * TIMER_S)
    return float((ADDITIVE_BPS / FRAME_BITS * flows**2 / (ALPHA_S * packets**2) * rounds**2) ** (1 / 3))


def renewal(flows: int, rate: float) -> float:
    """Return the share of marked frames at which cuts and increases of a flow balance, step by step.

    Derived: from one cut to the next passes the cut interval, and then an exponential time until the next mark. In it the rate,
    cut by alpha/2, halves its distance to the target at each tick of the timer, and from the sixth on the target rises. (The byte
    counter is slower than all that.) Alpha rests where its one rise a cut makes up for its decays. Marks are independent
    here, so the queue must be where the curve is gentle.
    """
    low, high = 1e-6, 0.5
    while high / low > 1 + 1e-9:
        marked = sqrt(low * high)
        low, high = (marked, high) if _growth(flows, rate, marked) > 0 else (low, marked)
    return low


def _growth(flows: int, rate: float, marked: float) -> float:
    """Return by how much a flow's rate grows from one cut to the next, in bit/s."""
    fair = rate / flows
    pace = marked * fair / FRAME_BITS

    def beyond(time: float) -> float:
        """Return the probability that a cycle is longer."""
        return 1.0 if time <= CUT_S else exp(-pace * (time - CUT_S))

    def until(time: float) -> float:
        """Return the mean of the cycle's part before `time`."""
        return time if time <= CUT_S else CUT_S + (1 - beyond(time)) / pace

    alpha = 1 / (1 + beyond(ALPHA_S) / -(exp(-pace * ALPHA_S) - 1))
    # Rates are `of_start` times the rate before the cut, and `risen` more.
    of_start, risen, target = 1 - alpha / 2, 0.0, 0.0
    mean_of_start = mean_risen = end_of_start = end_risen = 0.0
    tick = 0
    while beyond(tick * TIMER_S) > 1e-12:
        here, there = tick * TIMER_S, (tick + 1) * TIMER_S
        mean_of_start += of_start * (until(there) - until(here))
        mean_risen += risen * (until(there) - until(here))
        end_of_start += of_start * (beyond(here) - beyond(there))
        end_risen += risen * (beyond(here) - beyond(there))
        tick += 1
        target += ADDITIVE_BPS * (tick > FAST_RECOVERY)
        of_start, risen = (1 + of_start) / 2, (target + risen) / 2
    cycle = CUT_S + 1 / pace
    start = (fair * cycle - mean_risen) / mean_of_start
    return (end_of_start - 1) * start + end_risen


def _expect(setting: Setting) -> Figures:
    rate = setting.gbps * 1e9
    return {"marked": renewal(setting.flows, rate), "fluid": fluid(setting.flows, rate)}


def _measure(setting: Setting) -> Measured:
    """Count frames and marks on the way to the receiver, from a time when the flows have settled."""
    hosts = [*(f"s{number}" for number in range(1, setting.flows + 1)), "r1"]
    trial = make_trial(
        star(dict.fromkeys(hosts, "1us"), dict.fromkeys(hosts, f"{setting.gbps}G")),
        "incast",
        f"lossless.ecn={MARKS}",
        "lossless.xoff=20MB",
        "transport.congestion-control=dcqcn",
        "workload.payload=false",
    )
    expected = renewal(setting.flows, setting.gbps * 1e9)
    span_ps = round(LEAST_MARKS / expected * FRAME_BITS / (setting.gbps * 1e9) * PS)
    fabric = loaded_fabric(trial, flows_to_last(setting.flows, *[2**30] * 16))
    port = f"sw:eth{setting.flows + 1}"
    before = priority(run_until(fabric, WARM_UP_PS), port)
    after = priority(run_until(fabric, WARM_UP_PS + span_ps), port)
    frames, marks = (after[key] - before[key] for key in ("frames_tx", "ecn_marked"))
    marked, chance = marks / frames, 1 / sqrt(marks)
    return Measured({"marked": marked, "fluid": marked}, {"marked": chance, "fluid": chance})


MARKED = Topic(
    name="dcqcn-marks",
    title="DCQCN: marks at rest",
    text=f"""\
n flows of the paper's parameters into one port, marked along a gentle slope ({MARKS.strip("{}")}), so that
marks are nearly independent; the share of frames that are marked once the flows have settled. A law that follows
cuts, timer and alpha step by step foretells it. The fluid model of the paper on DCQCN's stability lets every mark start
recovery anew, not only those that a notification may follow, 50 µs after the last; what was published is its
approximation for small shares of marks.""",
    source=f"law derived step by step; {EQUILIBRIUM}",
    axes=("n", "rate"),
    quantities=(
        Quantity("marked", "frames marked, %, by the law", 0.05, scale=100),
        Quantity("fluid", "by the fluid model", None, scale=100),
    ),
    cases=tuple(
        Case(
            (str(flows), f"{gbps}G"),
            Setting(flows, gbps),
            quick=(flows, gbps) == (4, 40),
            seconds=0.1 * gbps,
        )
        for flows, gbps in ((2, 40), (4, 40), (8, 40), (16, 40), (2, 100), (8, 100))
    ),
    expect=_expect,
    measure=_measure,
)


WINDOW_PS, WINDOWS = 10**10, 120
EARLY = "{kmin: 5KB, kmax: 200KB, pmax: 1%}"


def _expect_fair(parameters: str) -> Figures:
    return {"jain": 1, "near": 0.5, "busy": 1, "pauses": 0}


def _measure_fair(parameters: str) -> Measured:
    """Run both flows for 1.2 s, counting frames every 10 ms; the second half counts."""
    lab = star({"near": "500ns", "far": "999500ns", "r1": "500ns"})
    settings = [f"lossless.ecn={EARLY}", "lossless.xoff=4MB", "workload.payload=false"]
    control = ["transport.congestion-control=dcqcn", f"transport.dcqcn={parameters}"]
    trial = make_trial(lab, "incast", *settings, *control)
    fabric = loaded_fabric(trial, flows_to_last(2, *[2**29] * 30))
    counts = [[0, 0]]
    for number in range(1, WINDOWS + 1):
        report = run_until(fabric, number * WINDOW_PS)
        counts.append([priority(report, f"sw:eth{port}")["frames_rx"] for port in (1, 2)])
    gbps = FRAME_BITS * 1000 / WINDOW_PS
    trace = {
        name: [
            (number * WINDOW_PS / 1e9, (b[flow] - a[flow]) * gbps) for number, (a, b) in enumerate(pairwise(counts), 1)
        ]
        for flow, name in enumerate(("near", "far"))
    }
    late = [b - a for a, b in zip(counts[WINDOWS // 2], counts[-1], strict=True)]
    busy = sum(late) * gbps / (WINDOWS - WINDOWS // 2) / 100
    pauses = sum(entry["pause_tx"] for port in report["ports"].values() for entry in port["priorities"].values())
    return Measured({"jain": jain(late), "near": late[0] / sum(late), "busy": busy, "pauses": pauses}, trace=trace)


FAIR = Topic(
    name="dcqcn-fairness",
    title="DCQCN: a near and a far flow",
    text="""\
Two flows at 100G with round trips of 2 µs and 2 ms into one 100G port, marks as in the paper of 2015, started together. The fluid
model has one fixed point, in which all flows have the same rate whatever their round trips, since rates rise by time and
bytes and not by acknowledgements. The figures are of the second half of 1.2 s. With the paper's parameters it takes a third
of a second to get there: the far flow hears of marks 2 ms late, when both have long been cut to the bone, and they rise by
40 Mb/s in 55 µs.""",
    source="Zhu et al., CoNEXT 2016: one fixed point, equal rates",
    axes=("parameters",),
    quantities=(
        Quantity("jain", "Jain's index", 0.02, absolute=True),
        Quantity("near", "share of the near flow, %", 0.1, digits=1, scale=100),
        Quantity("busy", "line busy, %", 0.05, digits=1, scale=100),
        Quantity("pauses", "PAUSE frames", 0, absolute=True, digits=0),
    ),
    cases=tuple(Case((name,), name, quick=True, seconds=8) for name in ("paper", "hpcc-ns3")),
    expect=_expect_fair,
    measure=_measure_fair,
)
