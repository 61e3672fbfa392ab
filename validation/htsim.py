"""Flows and incasts of uet-htsim and csg-htsim without congestion control, held against their closed forms and their figures.

Both send a message as N packets over L links of one rate, store and forward, and count until the sender has the last
acknowledgement: (N - 1 + L - 1) full packets, the last one, the flight, L acknowledgements, and the flight back. The form is
held with the sizes of RoCEv2 and with theirs, and theirs against the figures that they print.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from testbed.experiment.file import experiment_from
from testbed.importers.htsim import read_htsim
from testbed.importers.text import Text
from testbed.lab.topology import Lab, lab_from
from testbed.run.trial import Trial
from testbed.schema.source import Source
from testbed.traffic import RankSchedule, Recv, Schedule, Send
from validation.case import Case, Figures, Measured, Quantity, Topic
from validation.fabric import ACK_WIRE_BYTES, FCS_BYTES, GAP_BYTES, MTU, PS_PER_BYTE, ROCE_BYTES, finish, loaded_fabric

PS_PER_US = 10**6
FLIGHT_PS = 10**6
"""Of a link of 1 us."""


@dataclass(frozen=True)
class Sizes:
    """What a packet holds, what stands around it on the line, and what an acknowledgement takes; what the testbed calls them.

    `padded`: every packet is a full one, the last of a message too.
    """

    payload: int
    header: int
    ack: int
    name: str | None = None
    padded: bool = False

    def sent(self, length: int) -> int:
        """Return how much is sent of a message."""
        return -(-length // self.payload) * self.payload if self.padded else length

    def line_ps(self, length: int) -> tuple[int, int, int]:
        """Return the number of packets of a message, and how long a full one and the last one take on the line."""
        sent = self.sent(length)
        count = -(-sent // self.payload)
        full_ps = (self.payload + self.header) * PS_PER_BYTE
        return count, full_ps, (sent - (count - 1) * self.payload + self.header) * PS_PER_BYTE


OURS = Sizes(MTU, ROCE_BYTES + FCS_BYTES + GAP_BYTES, ACK_WIRE_BYTES)
UET = Sizes(4086, 64, 64, "uet-htsim")
CSG = Sizes(4096, 64, 64, "csg-htsim", padded=True)


@dataclass(frozen=True)
class Setting:
    """Senders that send so many bytes each to one host of a fat tree, or over one long link; and what others gave for it."""

    senders: tuple[int, ...]
    receiver: int
    bytes: int
    sizes: Sizes
    published_us: float
    hosts: int = 16
    span_us: int | None = None
    nearer: int = 0
    """Links by which the nearest sender is nearer than the others."""
    flights: tuple[int, ...] = field(default=(1,) * 6)


def closed_form_us(setting: Setting, sizes: Sizes) -> float:
    """Return when the last sender has its last acknowledgement, if the place where all meet never waits for the first packet.

    It begins when the first packet of a sender as far away as most is there.
    """
    count, full_ps, last_ps = sizes.line_ps(setting.bytes)
    flight_ps = sum(setting.flights) * FLIGHT_PS
    links = len(setting.flights)
    sent_ps = len(setting.senders) * ((count - 1) * full_ps + last_ps)
    return (sent_ps + (links - 1) * full_ps + 2 * flight_ps + links * sizes.ack * PS_PER_BYTE) / PS_PER_US


def earlier_us(setting: Setting, sizes: Sizes) -> float:
    """Return by how much it begins sooner, since the nearest sender has fewer links."""
    _, full_ps, _ = sizes.line_ps(setting.bytes)
    return setting.nearer * (full_ps + FLIGHT_PS) / PS_PER_US


def expect(setting: Setting) -> Figures:
    """Return the closed form with either sizes, and the figure that was published."""
    ours, theirs = (closed_form_us(setting, sizes) - earlier_us(setting, sizes) for sizes in (OURS, setting.sizes))
    return {"time": ours, "framed": theirs, "published": setting.published_us}


def measure(setting: Setting) -> Measured:
    """Run the flows with either sizes."""
    ours, theirs = (_last_us(setting, sizes) for sizes in (OURS, setting.sizes))
    return Measured({"time": ours, "framed": theirs, "published": theirs + earlier_us(setting, setting.sizes)})


def _last_us(setting: Setting, sizes: Sizes) -> float:
    lab = _span(setting.span_us) if setting.span_us else _tree(setting.hosts)
    framed = {"frames": sizes.name} if sizes.name else {"mtu": MTU}
    settings = {
        "topology": "htsim",
        "lossless": {"priority": 3},
        "transport": {**framed, "verb": "send", "window": "256MB", "timeout": "1s"},
        "workload": {"collective": "incast"},
    }
    trial = Trial(experiment_from(Source("htsim", settings)), lab)
    report = finish(loaded_fabric(trial, _schedule(setting, sizes, len(lab.hosts))), budget=10**7)
    assert report["complete"] and report["drops"]["lossless"] == 0 and report["violations"] == []
    last_ps = max(report["ranks"][sender]["finish_ps"] for sender in setting.senders)
    return float(last_ps - report["start_ps"]) / PS_PER_US


def _schedule(setting: Setting, sizes: Sizes, hosts: int) -> Schedule:
    ranks = [RankSchedule(0, ()) for _ in range(hosts)]
    length = sizes.sent(setting.bytes)
    for sender in setting.senders:
        ranks[sender] = RankSchedule(0, (Send(setting.receiver, 0, length, 0),))
    receives = tuple(Recv(sender, 0, length) for sender in setting.senders)
    ranks[setting.receiver] = RankSchedule(0, receives)
    return Schedule(tuple(ranks))


def _tree(hosts: int) -> Lab:
    """Return the fat tree of three tiers of so many hosts that keeps every rate, of links of 100G and 1 us."""
    half = round((hosts / 2) ** (1 / 3))
    tier = "Downlink_speed_Gbps 100\nDownlink_Latency_ns 1000\n"
    text = (
        f"Nodes {hosts}\nTiers 3\nPodsize {half * half}\n"
        f"Tier 0\n{tier}Radix_Down {half}\nRadix_Up {half}\n"
        f"Tier 1\n{tier}Radix_Down {half}\nRadix_Up {half}\n"
        f"Tier 2\n{tier}Radix_Down {2 * half}\n"
    )
    return lab_from(read_htsim(Text("tree.topo", text)).source)


def _span(length_us: int) -> Lab:
    """Return two senders and a receiver on either side of a long link; all others are of 1 us."""
    nodes = {name: {"kind": "host"} for name in ("a", "b", "c")}
    switches = {name: {"kind": "switch", "buffer": "auto"} for name in ("left", "right")}
    ends = [("a", "left:eth1"), ("b", "left:eth2"), ("c", "right:eth1")]
    links = [{"endpoints": [f"{host}:eth1", port], "delay": "1us"} for host, port in ends]
    links.append({"endpoints": ["left:eth3", "right:eth2"], "delay": f"{length_us}us"})
    return lab_from(Source("span", {"name": "span", "topology": {"nodes": {**nodes, **switches}, "links": links}}))


def _cases() -> tuple[Case, ...]:
    uet, csg = "uet-htsim 40ccb052, shipped outputs", "csg-htsim 841d9e7b, lossless RoCE"
    return (
        Case(("uet, one flow", "40,860 B"), Setting((0,), 13, 40_860, UET, 17.0107), quick=True, source=uet),
        Case(("uet, one flow", "408,600 B"), Setting((0,), 13, 408_600, UET, 46.8907), quick=True, source=uet),
        Case(("uet, one flow", "2,000,000 B"), Setting((0,), 13, 2_000_000, UET, 176.2), quick=True, source=uet),
        Case(
            ("uet, 15 to 1", "2,000,000 B"), Setting(tuple(range(15)), 15, 2_000_000, UET, 2451.3, nearer=4), True, uet
        ),
        Case(
            ("csg, 16 to 1", "4,000,000 B"),
            Setting(tuple(range(16, 128, 7)), 0, 4_000_000, CSG, 5216.0, hosts=128),
            source=csg,
        ),
        Case(
            ("csg, 2 to 1 over 1,500 us", "1,000,000,000 B"),
            Setting((0, 1), 2, 10**9, CSG, 165_504.5, span_us=1500, flights=(1, 1500, 1)),
            source=csg,
            seconds=2,
        ),
    )


TOPIC = Topic(
    name="htsim",
    title="Flows and incasts of htsim",
    text="""\
Flows that uet-htsim ships outputs of, without its congestion controls, and incasts of it and of csg-htsim's lossless RoCE: on
fat trees of three tiers that keep every rate, 16 hosts or 128, links of 100G and 1 us, and over a link of 1,500 us. Each is run
with the sizes of RoCEv2 (4,096 bytes a packet, 82 around them, acknowledgements of 86) and with theirs
(`transport.frames`: 4,086 bytes and 64, acknowledgements of 64; for csg-htsim 4,096 and 64, and whole packets alone, since it
sends the last one as long as the others). PAUSE holds senders back in every incast, and the place where all meet never waits.
In the incast of uet-htsim it begins 5.3 us sooner than the drain time of that simulator counts, since one sender is near; the
last column has that added.""",
    source="uet-htsim, csg-htsim",
    axes=("case", "message"),
    quantities=(
        Quantity("time", "last acknowledgement, RoCEv2, us", 1e-9, digits=5),
        Quantity("framed", "with its sizes, us", 1e-9, digits=5),
        Quantity("published", "as it prints it, us", 1e-5, digits=5),
    ),
    cases=_cases(),
    expect=expect,
    measure=measure,
)
