"""Recovery over distance: what loss costs under go-back-N and selective repeat, against their closed forms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, log, log10, sqrt

from testbed._dataplane import VirtualFabric
from validation.case import Case, Figures, Measured, Quantity, Topic
from validation.closed_forms import go_back_n
from validation.fabric import (
    ACK_WIRE_BYTES,
    FULL_WIRE_BYTES,
    MTU,
    PS,
    PS_PER_KM,
    flows_to_last,
    loaded_fabric,
    make_trial,
    run_until,
    spans,
)

MESSAGE_PACKETS = 4096
CHANCE = 0.025
"""The standard error of goodput that go-back-N runs are long enough for."""
PACKETS_PER_SECOND = 2e6  # of computing, roughly
QUARTERS = 16
"""Quarters of a round trip for which go-back-N may go on until nothing is sent again."""
RARE = 0.01
"""Packets in a round trip that may still be missing when the window of selective repeat ends."""
GO_BACK_N, SELECTIVE_REPEAT = "go-back-n", "selective-repeat"


@dataclass(frozen=True)
class Setting:
    """One flow over `km` at `gbps`, of which data packets are lost with a probability; `packets` of it are measured.

    `window` is in bandwidth-delay products, 0 what the testbed derives.
    """

    km: int
    gbps: int
    loss: float
    recovery: str
    packets: float
    window: int = 0

    @property
    def line(self) -> float:
        """Bytes a second."""
        return self.gbps * 1e9 / 8

    @property
    def seed(self) -> int:
        """Another one in each row, or all would lose alike."""
        return self.km * 1000 + self.gbps + round(-10 * log10(self.loss))

    @property
    def in_flight(self) -> float:
        """Packets that leave between a packet and the answer to it: the flights, the packet itself and the answer."""
        round_trip = 2 * self.km * PS_PER_KM / PS + (FULL_WIRE_BYTES + ACK_WIRE_BYTES) / self.line
        return round_trip * self.line / FULL_WIRE_BYTES


def expect(setting: Setting) -> Figures:
    """Return the share of the line that is left for new packets, and what is sent again for each loss."""
    if setting.recovery == SELECTIVE_REPEAT:
        return {"goodput": 1 - setting.loss, "again": 1}
    return {"goodput": go_back_n(setting.loss, setting.in_flight), "again": setting.in_flight}


def measure(setting: Setting) -> Measured:
    """Run the flow from the time when answers come in; goodput is the packets that are sent for the first time."""
    trial = make_trial(
        spans(1, setting.km * PS_PER_KM, f"{setting.gbps}G", setting.loss),
        "incast",
        f"transport.recovery={setting.recovery}",
        f"seed={setting.seed}",
        "workload.payload=false",
        *([f"transport.window={round(setting.window * setting.in_flight) * MTU}"] if setting.window else []),
    )
    slot_ps = FULL_WIRE_BYTES * PS / setting.line
    begin_ps = round(2 * setting.in_flight * slot_ps)
    end_ps = begin_ps + round(setting.packets * slot_ps / expect(setting)["goodput"])
    # Enough also for one that loses less than it should, and for what is under way at either end.
    messages = ceil(
        (1.15 * setting.packets + (3 + max(setting.window, QUARTERS // 4)) * setting.in_flight) / MESSAGE_PACKETS
    )
    fabric = loaded_fabric(trial, flows_to_last(1, *[MESSAGE_PACKETS * MTU] * messages))
    # What is lost is sent again a round trip and a packet later.
    lag_ps = round((setting.in_flight + 1) * slot_ps)
    times = (begin_ps - lag_ps, begin_ps, end_ps - lag_ps, end_ps)
    earlier, before, late, after = (run_until(fabric, time_ps) for time_ps in times)

    def grown(key: str) -> int:
        return int(after["qps"][0][key] - before["qps"][0][key])

    fresh = grown("packets_tx") - grown("retransmitted")
    if setting.recovery == SELECTIVE_REPEAT:
        again = grown("retransmitted") / (late["drops"]["link"] - earlier["drops"]["link"])
    else:
        again = _again(fabric, end_ps, lag_ps)
    figures = {"goodput": fresh * slot_ps / (end_ps - begin_ps), "again": again}
    return Measured(figures, {"goodput": _chance(setting, setting.packets)})


def _again(fabric: VirtualFabric, now_ps: int, round_trip_ps: int) -> float:
    """Return what was sent again for each NAK, once what was asked for last has left: soon, unless losses are so many that one
    NAK more or less is nothing."""
    counts = [0, 0]
    for step in range(QUARTERS):
        sender = run_until(fabric, now_ps + step * round_trip_ps // 4)["qps"][0]
        before, counts = counts, [sender["retransmitted"], sender["naks_rx"]]
        if counts == before:
            break
    return counts[0] / counts[1]


def _chance(setting: Setting, packets: float) -> float:
    """Return the standard error of goodput, relative: a packet is lost geometrically often, at `cost` packets each."""
    cost = setting.in_flight if setting.recovery == GO_BACK_N else 1
    mean = 1 + cost * setting.loss / (1 - setting.loss)
    return cost * sqrt(setting.loss) / (1 - setting.loss) / sqrt(packets) / mean


def _enough(setting: Setting, chance: float) -> float:
    """Return how many packets leave a standard error of `chance`."""
    return (_chance(setting, 1) / chance) ** 2


def _label(km: int, gbps: int, loss: float) -> tuple[str, ...]:
    setting = Setting(km, gbps, loss, GO_BACK_N, 0)
    return (str(km), f"{gbps}G", f"{loss:.0e}".replace("e-0", "e-"), f"{setting.in_flight:.0f}", str(setting.seed))


def _go_back_n_cases() -> Iterator[Case]:
    losses = {
        (80, 100): (1e-5, 1e-4, 1e-3),
        (80, 400): (1e-5, 1e-4, 1e-3),
        (300, 100): (1e-5, 1e-4, 1e-3),
        (300, 400): (1e-6, 1e-5),
        (1000, 100): (1e-6, 1e-5),
        (1000, 400): (1e-7, 1e-6),
        (3000, 100): (1e-6, 3e-6),
        (3000, 400): (1e-7, 3e-7),
    }
    quick = {(80, 100, 1e-4), (80, 100, 1e-3), (80, 400, 1e-5), (300, 100, 1e-5), (1000, 100, 1e-6)}
    for (km, gbps), chances in losses.items():
        for loss in chances:
            setting = Setting(km, gbps, loss, GO_BACK_N, 0)
            setting = replace(setting, packets=max(_enough(setting, CHANCE), 4 / loss))
            seconds = setting.packets / expect(setting)["goodput"] / PACKETS_PER_SECOND
            yield Case(_label(km, gbps, loss), setting, (km, gbps, loss) in quick, seconds=seconds)


def _selective_repeat_cases() -> Iterator[Case]:
    quick = {(80, 100, 1e-2), (80, 400, 1e-2), (300, 400, 1e-3), (1000, 100, 1e-3)}
    for km in (80, 300, 1000, 3000):
        for gbps in (100, 400):
            for loss in (1e-4, 1e-3, 1e-2):
                setting = Setting(km, gbps, loss, SELECTIVE_REPEAT, 0)
                # After so many repeats hardly one packet in a round trip is missing, and each takes a round trip.
                repeats = ceil(log(RARE / setting.in_flight) / log(loss))
                window = max(3, repeats + 2)
                setting = replace(setting, packets=max(200_000, 12 * setting.in_flight), window=window)
                seconds = setting.packets / PACKETS_PER_SECOND * 2
                labels = (*_label(km, gbps, loss), str(window))
                yield Case(labels, setting, (km, gbps, loss) in quick, seconds=seconds)


GOODPUT = Quantity("goodput", "goodput, % of the line", 0.05, digits=2, scale=100)

GO_BACK_N_TOPIC = Topic(
    name="go-back-n",
    title="Go-back-N over distance",
    text=f"""\
One flow over one link that loses data packets with probability p. A loss is noticed when the next packet arrives, and all
that left until the NAK came is sent again: W packets, rate·RTT over the {FULL_WIRE_BYTES} bytes of a packet on the line.
So goodput falls to (1 − p)/(1 − p + p·W). Goodput is the packets sent for the first time, counted from the second round
trip on; a run is long enough for a standard error of {CHANCE:.1%} at most. What is sent again per NAK is not left to chance: W
packets, and two or three more. Beyond the closed form a packet whose repeat is lost too waits for the timer, which
happens once in 1/p losses.""",
    source="closed form (derived)",
    axes=("km", "rate", "p", "W", "seed"),
    quantities=(GOODPUT, Quantity("again", "sent again per NAK, packets", 0.01, digits=1)),
    cases=tuple(_go_back_n_cases()),
    expect=expect,
    measure=measure,
)

SELECTIVE_REPEAT_TOPIC = Topic(
    name="selective-repeat",
    title="Selective repeat over distance",
    text="""\
The same flow when only what was lost is sent again: goodput is 1 − p of the line, whatever the distance, as long as the
window does not end before repairs are acknowledged. A packet that is lost k times in a row takes k + 1 round trips, and
there are p^k·W such in each; the window is as many round trips as leave hardly any. (The testbed derives three, which is
enough while p³·W is small.) Goodput is held to 0.2 %, since
5 % would hide the losses themselves.""",
    source="closed form: 1 − p",
    axes=("km", "rate", "p", "W", "seed", "window, BDP"),
    quantities=(replace(GOODPUT, tolerance=0.002), Quantity("again", "sent again per loss, packets", 0.01)),
    cases=tuple(_selective_repeat_cases()),
    expect=expect,
    measure=measure,
)
