"""What is measured inside user-mode Linux. Run with the names of scenarios; prints one JSON object, name to figures.

Nothing is judged here: the tests on the host do that. A scenario that raises leaves its traceback instead of figures.
"""

from __future__ import annotations

import json
import struct
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from testbed.machine import doctor
from testbed.system import netem, netlink
from testbed.system.netem import FourState, GilbertElliott, Netem
from testbed.system.qdisc import SHAPER_HANDLE, Qdisc, htb, read_qdiscs
from tests.netem.wire import Wire, wire

MS, SECOND = 1_000_000, 1_000_000_000

SETTINGS = {
    "nothing": Netem(),
    "63 ns": Netem(delay_ns=63),
    "a metro span": Netem(delay_ns=391_763, limit=70_000),
    "5.4 s": Netem(delay_ns=5_400_000_001),
    "jitter": Netem(delay_ns=20 * MS, jitter_ns=1_999_999),
    "jitter out of order": Netem(delay_ns=20 * MS, jitter_ns=1_999_999, in_order=False),
    "greatest limit": Netem(limit=2**32 - 1),
    "rare loss": Netem(loss=1e-9),
    "one in a hundred": Netem(loss=0.01),
    "all lost": Netem(loss=1.0),
    "bursts": Netem(delay_ns=1 * MS, loss=GilbertElliott.of(0.001, 4.5)),
    "rare bursts": Netem(loss=GilbertElliott.of(1e-8, 20)),
    "bursts that let some pass": Netem(loss=GilbertElliott(0.01, 0.2, loss_bad=0.7, loss_good=0.001)),
    "four states": Netem(loss=FourState(0.01, 0.3, 0.2, 0.001, 0.6)),
    "seeded": Netem(delay_ns=1 * MS, loss=0.5, seed=2**64 - 1),
    "everything": Netem(30 * MS, 29 * MS, GilbertElliott.of(0.2, 3), 123_456, 7),
}

DELAYS_NS = [1 * MS, 5 * MS, 20 * MS, 60 * MS]
DELAY_FRAMES = 60

LOSSES: dict[str, tuple[netem.Loss, int]] = {
    "independent 1 %": (0.01, 20_000),
    "independent 20 %": (0.2, 20_000),
    "bursts of 2": (GilbertElliott.of(0.02, 2), 40_000),
    "bursts of 5": (GilbertElliott.of(0.1, 5), 40_000),
}

# A link full of smallest frames for longer than its delay: 5000 frames/s, 2500 of them in flight.
WINDOW_DELAY_NS = 500 * MS
WINDOW_FRAME_BYTES = 64
WINDOW_RATE_BPS = 5_000 * 8 * WINDOW_FRAME_BYTES
WINDOW_FRAMES = 6_000

SHAPED_RATE_BPS = 8_000_000
SHAPED_FRAMES = 200

FIFO_HANDLE = 0x0003_0000
JITTER = Netem(delay_ns=10 * MS, jitter_ns=8 * MS)
ORDER_FRAMES = 300

# struct tc_netem_qopt with gap 5, duplicates and losses; then TCA_NETEM_CORR, REORDER, CORRUPT, RATE, LOSS, ECN, SLOT
FOREIGN = (
    netem.encode(Netem())[:12]
    + (5).to_bytes(4, "little")
    + (1 << 30).to_bytes(4, "little")
    + bytes(4)
    + netlink.attribute(1, (1 << 20).to_bytes(4, "little") * 3)
    + netlink.attribute(3, (1 << 31).to_bytes(4, "little") + bytes(4))
    + netlink.attribute(4, (1 << 31).to_bytes(4, "little") + bytes(4))
    + netlink.attribute(6, (125_000).to_bytes(4, "little") + bytes(12))
    + netlink.attribute(5, netlink.attribute(2, (9).to_bytes(4, "little") * 4))
    + netlink.attribute(7, (1).to_bytes(4, "little"))
    + netlink.attribute(12, (MS).to_bytes(8, "little") * 2 + bytes(24))
)


def clock() -> dict[str, Any]:
    """How late sleepers wake up, and how long a system call takes."""
    late_ns = []
    for _ in range(200):
        due_ns = time.monotonic_ns() + 2 * MS
        time.sleep(0.002)
        late_ns.append(time.monotonic_ns() - due_ns)
    started_ns = time.monotonic_ns()
    for _ in range(1000):
        time.monotonic_ns()
    return {"late_ns": sorted(late_ns), "system_call_ns": (time.monotonic_ns() - started_ns) // 1000}


def probes() -> dict[str, Any]:
    """What the probes for netem say."""
    return {"netem": netem.probe(), "doctor": doctor.has_netem()}


def read_back() -> dict[str, Any]:
    """Each of SETTINGS on one device, one after the other, as the kernel reports it."""
    configurations = {}
    with wire() as link:
        for name, settings in SETTINGS.items():
            link.set(settings)
            configured = read_qdiscs(link.control)[link.index].options
            configurations[name] = {
                "options": configured.hex(),
                "differences": netem.differences(settings, link.configured()),
            }
    return configurations


def foreign() -> dict[str, Any]:
    """Settings that somebody made by hand; then ours in their place."""
    with wire() as link:
        link.put(Qdisc("netem", FOREIGN, netem.HANDLE))
        before = link.configured().foreign
        link.set(Netem())
        return {"before": before, "differences_after": netem.differences(Netem(), link.configured())}


def delay() -> dict[str, Any]:
    """One-way delays: data frames of three sizes and PFC frames in turn."""
    by_delay: dict[str, Any] = {}
    with wire() as link:
        for delay_ns in DELAYS_NS:
            link.set(Netem(delay_ns=delay_ns))
            figures: dict[str, list[int]] = {"60": [], "1500": [], "4200": [], "PFC": []}
            kinds = list(figures)
            for number in range(DELAY_FRAMES):
                kind = kinds[number % len(kinds)]
                link.send(number, 60 if kind == "PFC" else int(kind), pfc=kind == "PFC")
                time.sleep(0.0037)
            for arrival in link.receive():
                figures[kinds[arrival.number % len(kinds)]].append(arrival.delay_ns)
            by_delay[str(delay_ns)] = figures
    return by_delay


def loss() -> dict[str, Any]:
    """For each of LOSSES the lengths of the runs of lost frames, and the counters."""
    by_process = {}
    for name, (process, frames) in LOSSES.items():
        with wire(Netem(loss=process)) as link:
            link.send_many(range(frames))
            arrived = link.receive_many()
            gaps = [b - a - 1 for a, b in zip([-1, *arrived], [*arrived, frames], strict=True)]
            by_process[name] = {
                "runs": [gap for gap in gaps if gap],
                "arrived": len(arrived),
                "dropped": link.statistics().dropped,
                "refused": link.refused,
            }
    return by_process


def window() -> dict[str, Any]:
    """A link full for longer than its delay, with the limit computed for it and with the kernel's own."""
    computed = netem.limit_for(WINDOW_RATE_BPS, WINDOW_DELAY_NS, WINDOW_FRAME_BYTES)
    return {
        "computed": _fill(Netem(delay_ns=WINDOW_DELAY_NS, limit=computed)),
        "default": _fill(Netem(delay_ns=WINDOW_DELAY_NS)),
    }


def _fill(settings: Netem) -> dict[str, Any]:
    with wire(settings) as link:
        interval_ns = 8 * WINDOW_FRAME_BYTES * SECOND // WINDOW_RATE_BPS
        started_ns, sent = time.monotonic_ns(), 0
        while sent < WINDOW_FRAMES:
            due = min((time.monotonic_ns() - started_ns) // interval_ns + 1, WINDOW_FRAMES)
            link.send_many(range(sent, due))
            sent = due
        in_flight = link.statistics().queued_frames
        arrived = link.receive_many(1.0)
        dropped = link.statistics().dropped
        return {"in_flight": in_flight, "arrived": len(arrived), "dropped": dropped, "refused": link.refused}


def overflow_and_loss() -> dict[str, Any]:
    """Frames that a full queue refuses while others are lost as asked."""
    with wire(Netem(delay_ns=1 * SECOND, loss=0.1)) as link:
        link.send_many(range(3_000))
        arrived = link.receive_many(1.5)
        return {"arrived": len(arrived), "dropped": link.statistics().dropped, "refused": link.refused}


def order() -> dict[str, Any]:
    """In which order frames arrive: under jitter, and when the delay becomes shorter while they are under way."""

    def under_jitter(link: Wire) -> dict[str, Any]:
        for number in range(ORDER_FRAMES):
            link.send(number)
            time.sleep(0.0005)
        arrivals = list(link.receive())
        return {"numbers": [a.number for a in arrivals], "delays_ns": [a.delay_ns for a in arrivals]}

    def shortened(in_order: bool) -> dict[str, Any]:
        with wire(Netem(delay_ns=200 * MS, in_order=in_order)) as link:
            link.send_many(range(50))
            link.set(Netem(delay_ns=1 * MS, in_order=in_order))
            link.send_many(range(50, 100))
            return {"numbers": link.receive_many()}

    free = Netem(JITTER.delay_ns, JITTER.jitter_ns, in_order=False)
    figures = {"shortened, in order": shortened(True), "shortened, free": shortened(False)}
    with wire(JITTER) as link:
        figures["jitter, in order"] = under_jitter(link)
    with wire(free) as link:
        figures["jitter, free"] = under_jitter(link)
        link.put(netem.qdisc(free, below=Qdisc("pfifo", struct.pack("=I", 1000), FIFO_HANDLE)))
        figures["jitter, FIFO below"] = under_jitter(link)
    return figures


def shaped() -> dict[str, Any]:
    """A host's interface: its kernel sends more than its shaper lets through, its NIC passes; then the delay changes."""
    with wire() as link:
        link.put(netem.qdisc(Netem(delay_ns=20 * MS, limit=10_000), below=htb(SHAPED_RATE_BPS, 1500)))
        link.send_unshaped(0)
        for number in range(SHAPED_FRAMES):
            link.send(number, 1500)
        link.send_unshaped(SHAPER_HANDLE)
        for number in range(SHAPED_FRAMES, SHAPED_FRAMES + 50):
            link.send(number, 1500)
            time.sleep(0.002)
        arrivals = list(link.receive())
        dropped = [link.statistics(handle).dropped for handle in (netem.HANDLE, SHAPER_HANDLE)]
        link.set(Netem(delay_ns=5 * MS, limit=10_000))
        for number in range(SHAPED_FRAMES, SHAPED_FRAMES + 20):
            link.send(number, 1500)
            time.sleep(0.002)
        return {
            "nic_ns": [arrival.delay_ns for arrival in arrivals if arrival.number >= SHAPED_FRAMES],
            "kernel_at_ns": [
                arrival.sent_ns + arrival.delay_ns for arrival in arrivals if arrival.number < SHAPED_FRAMES
            ],
            "dropped": dropped,
            "refused": link.refused,
            "nic_after_ns": [arrival.delay_ns for arrival in link.receive()],
            "still_there": (link.index, SHAPER_HANDLE) in netem.read_statistics(link.control),
        }


def send_buffer() -> dict[str, Any]:
    """How much of a small send buffer frames inside a netem hold."""
    with wire(Netem(delay_ns=500 * MS)) as link:
        link.shrink_send_buffer()
        for number in range(200):
            link.send(number, 1500)
        return {
            "queued_bytes": link.statistics().queued_bytes,
            "unsent_bytes": link.unsent_bytes(),
            "buffer_bytes": link.send_buffer_bytes(),
        }


SCENARIOS: dict[str, Callable[[], dict[str, Any]]] = {
    work.__name__: work
    for work in (clock, probes, read_back, foreign, delay, loss, window, overflow_and_loss, order, shaped, send_buffer)
}


def main(names: list[str]) -> None:
    """Run scenarios and print what they found."""
    figures: dict[str, Any] = {}
    for name in names:
        try:
            figures[name] = SCENARIOS[name]()
        except Exception:  # noqa: BLE001  told to the test of this scenario alone
            figures[name] = {"error": traceback.format_exc()}
    json.dump(figures, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
