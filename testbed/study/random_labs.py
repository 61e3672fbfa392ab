"""Random labs for a campaign: shapes of networks, what their links are made of, and what switches and NICs are given.

Words for what was drawn are added to `traits`. The traffic is not known here, so what a lab can hold is left to its compiler:
buffers of their own are given where links are short, and named switches where their memory suffices.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from testbed import units
from testbed.optics.catalogue import load_catalogue
from testbed.optics.profiles import Profile

Data = dict[str, Any]
Item = TypeVar("Item")

# A frame in so many is sent again at the worst that is drawn; what has no end is not.
WORST_LOSS = 0.02

RATES = ("10G", "25G", "40G", "100G", "200G", "400G")
SHORT_MM = (1_000, 2_000_000)
SPAN_MM = (1_000_000, 3_000_000_000)
MIRRORS_MM = 1_900_000
"""The longest path through a circuit switch, a little below the reach of its profile."""


@dataclass
class Wiring:
    """A lab under construction: ports are handed out in the order of the links."""

    nodes: Data = field(default_factory=dict)
    links: list[Data] = field(default_factory=list)
    used: dict[str, int] = field(default_factory=dict)
    spans: list[int] = field(default_factory=list)

    def hosts(self) -> list[str]:
        return [name for name, node in self.nodes.items() if node["kind"] == "host"]

    def switches(self) -> list[str]:
        return [name for name, node in self.nodes.items() if node["kind"] == "switch"]

    def between_switches(self) -> list[Data]:
        hosts = set(self.hosts())
        return [link for link in self.links if not hosts & {end.partition(":")[0] for end in link["endpoints"]}]

    def longest_mm(self) -> int:
        return max(units.parse_length(link["length"]) for link in self.links)

    def switch(self, name: str) -> str:
        self.nodes[name] = {"kind": "switch"}
        return name

    def host(self, home: str) -> str:
        name = f"h{len(self.hosts()) + 1}"
        self.nodes[name] = {"kind": "host"}
        self.link(name, home)
        return name

    def link(self, a: str, b: str, span: bool = False) -> None:
        if span:
            self.spans.append(len(self.links))
        self.links.append({"endpoints": [self._port(a), self._port(b)]})

    def _port(self, node: str) -> str:
        self.used[node] = self.used.get(node, 0) + 1
        return f"{node}:eth{self.used[node]}"


class Luck:
    """A generator of random numbers with the questions that are asked of it here."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def pick(self, items: Sequence[Item]) -> Item:
        return items[self.random.randrange(len(items))]

    def some(self, items: Sequence[Item]) -> list[Item]:
        """Draw a part of the items, in their order; one at least, if there is any."""
        kept = [item for item in items if self.chance(0.5)]
        return kept or list(items[:1])

    def whole(self, low: int, high: int) -> int:
        return self.random.randrange(low, high + 1)

    def spread(self, low: float, high: float) -> float:
        """Draw so that each factor of ten is as likely."""
        return math.exp(self.random.uniform(math.log(low), math.log(high)))


def _star(luck: Luck, lab: Wiring) -> None:
    leaf = lab.switch("leaf")
    for _ in range(luck.whole(2, 8)):
        lab.host(leaf)


def _clos(luck: Luck, lab: Wiring) -> None:
    leaves = [lab.switch(f"leaf{index}") for index in range(1, luck.whole(2, 4) + 1)]
    spines = [lab.switch(f"spine{index}") for index in range(1, luck.whole(1, 3) + 1)]
    hosts = luck.whole(1, 3)
    for leaf in leaves:
        for _ in range(hosts):
            lab.host(leaf)
        for spine in spines:
            lab.link(leaf, spine)


def _tree(luck: Luck, lab: Wiring) -> None:
    switches = [lab.switch("s1")]
    for index in range(2, luck.whole(2, 6) + 1):
        parent = luck.pick(switches)
        switches.append(lab.switch(f"s{index}"))
        lab.link(switches[-1], parent)
    for _ in range(luck.whole(2, 8)):
        lab.host(luck.pick(switches))


def _dumbbell(luck: Luck, lab: Wiring) -> None:
    left, right = lab.switch("left"), lab.switch("right")
    for side in (left, right):
        for _ in range(luck.whole(1, 4)):
            lab.host(side)
    for _ in range(luck.whole(1, 3)):
        lab.link(left, right, span=True)


def _sites(luck: Luck, lab: Wiring, names: str) -> None:
    for site in names:
        leaf, border = lab.switch(f"leaf-{site}"), lab.switch(f"border-{site}")
        for _ in range(luck.whole(1, 3)):
            lab.host(leaf)
        lab.link(leaf, border)
    for a, b in itertools.pairwise(names):
        lab.link(f"border-{a}", f"border-{b}", span=True)


def _ring(luck: Luck, lab: Wiring) -> None:
    switches = [lab.switch(f"s{index}") for index in range(1, luck.whole(3, 5) + 1)]
    for index, switch in enumerate(switches):
        lab.host(switch)
        lab.link(switch, switches[(index + 1) % len(switches)], span=luck.chance(0.2))


def route_ring(luck: Luck, wiring: Wiring, traits: list[str]) -> Data:
    """Return the routing of a ring: up and down, or so that buffers may wait in a circle: the shorter way, or clockwise."""
    routing = luck.pick(["up-down", "shortest", "clockwise", "clockwise"])
    traits.append(f"ring routed {routing}")
    if routing == "clockwise":
        # Buffers fill where hosts send as fast as the links around the ring take frames on.
        rate = luck.pick(RATES)
        for link in wiring.links:
            link["rate"] = rate
            if link.get("profile") != "ocs":
                link.pop("profile", None)
        for host in wiring.hosts():
            wiring.nodes[host]["nic"] = {"rate": rate}
        onward = {link["endpoints"][0].partition(":")[0]: link["endpoints"][0] for link in wiring.between_switches()}
        homes = [[end.partition(":")[0] for end in link["endpoints"]] for link in wiring.links]
        for switch, port in onward.items():
            beyond = [host for host in wiring.hosts() if [host, switch] not in homes]
            wiring.nodes[switch]["routes"] = {host: port.partition(":")[2] for host in beyond}
    return {"routing": "up-down"} if routing == "up-down" else {}


SHAPES: dict[str, Callable[[Luck, Wiring], None]] = {
    "star": _star,
    "clos": _clos,
    "tree": _tree,
    "dumbbell": _dumbbell,
    "two sites": lambda luck, lab: _sites(luck, lab, "ab"),
    "three sites": lambda luck, lab: _sites(luck, lab, "abc"),
    "ring": _ring,
}


def furnish(luck: Luck, wiring: Wiring, traits: list[str]) -> None:
    """Give every link its rate, length or profile, and some of them a loss."""
    usual = luck.pick(RATES)
    mixed, optical, lossy = luck.chance(0.4), luck.chance(0.3), luck.chance(0.2)
    for index, link in enumerate(wiring.links):
        span = index in wiring.spans
        rate = luck.pick(RATES) if mixed and luck.chance(0.5) else usual
        length = round(luck.spread(*(SPAN_MM if span else SHORT_MM)))
        fitting = fitting_profiles(rate, length) if optical and luck.chance(0.6) else []
        link |= {"length": f"{length}mm", **({"profile": luck.pick(fitting)} if fitting else {"rate": rate})}
        ends = [end.partition(":")[0] for end in link["endpoints"]]
        for host in (end for end in ends if wiring.nodes[end]["kind"] == "host"):
            wiring.nodes[host]["nic"] = {"rate": rate}
        if lossy and luck.chance(0.5):
            link["loss"] = [loss(luck), loss(luck) if luck.chance(0.5) else 0]
        words = {"profile": "optical", "loss": "lossy link"}
        traits += [word for key, word in words.items() if key in link and word not in traits]
    if any(units.parse_length(wiring.links[index]["length"]) > 10**9 for index in wiring.spans):
        traits.append("over 1000 km")
    if mixed:
        traits.append("mixed rates")


def fitting_profiles(rate: str, length_mm: int) -> list[str]:
    """Return the profiles of a rate that reach so far."""
    wanted = units.parse_rate(rate)
    catalogue: dict[str, Profile] = dict(load_catalogue().profiles)
    return [name for name, entry in catalogue.items() if entry.rate == wanted and length_mm <= entry.reach]


def loss(luck: Luck) -> float:
    """Return a loss of frames that retransmission can make up for."""
    return float(f"{luck.spread(1e-6, WORST_LOSS):.2g}")


def equip(luck: Luck, wiring: Wiring, traits: list[str]) -> Data:
    """Return what all switches are given; give single ones, NICs and links something of their own."""
    settings = _switches(luck, wiring, traits)
    if luck.chance(0.2):
        # Strict priorities go first, and what the collective sends is never without a weight.
        settings["weights"] = {priority: luck.whole(1, 8) for priority in (0, 3, 4, 5, 6)}
        traits.append("weights")
    if luck.chance(0.2):
        settings["watchdog"] = watchdog(luck)
        traits.append("watchdog")
    if luck.chance(0.2):
        for host in luck.some(wiring.hosts()):
            nic = wiring.nodes[host]["nic"]
            nic["drain"] = round(units.parse_rate(nic["rate"]) * luck.spread(0.03, 0.9))
            if wiring.longest_mm() <= SHORT_MM[1] and luck.chance(0.5):
                nic["buffer"] = f"{luck.whole(2, 16)}MB"
        traits.append("slow NIC")
    if luck.chance(0.15):
        for link in luck.some(wiring.links):
            link["flow-control"] = luck.pick(["credit", "credit", "none"])
            if link["flow-control"] == "credit" and luck.chance(0.5):
                link["credits"] = f"{luck.whole(64, 1024)}KiB"
        traits.append("links of several kinds")
    return settings


def _switches(luck: Luck, wiring: Wiring, traits: list[str]) -> Data:
    short = wiring.longest_mm() <= SHORT_MM[1]
    if short and luck.chance(0.25):
        traits.append("named switches")
        return {"profile": luck.pick(["azure-24mb", "tomahawk-32mb", "spectrum", "jericho-8gb"])}
    settings: Data = {"buffer": "auto"}
    if luck.chance(0.3):
        settings["cell"] = luck.pick([64, 192, 208, 256])
        traits.append("cells")
    if luck.chance(0.4):
        settings["thresholds"] = {"alpha": luck.pick(["1/16", "1/8", "1/2", "1", "2", "8"])}
        traits.append("dynamic thresholds")
    elif short and luck.chance(0.5):
        settings |= {"buffer": f"{luck.whole(32, 64)}MB", "lossy-queue": f"{luck.whole(50, 500)}KB"}
        thresholds = {"xoff": f"{luck.whole(20, 200)}KB", "xon": f"{luck.whole(5, 20)}KB"}
        settings["thresholds"] = thresholds | ({"headroom": f"{luck.whole(20, 400)}KB"} if luck.chance(0.5) else {})
        traits.append("own buffers")
    return settings


def watchdog(luck: Luck) -> Data:
    """Return a watchdog that is quick enough to see something in a short run."""
    times = {name: f"{round(luck.spread(2e6, 5e8))}ps" for name in ("detection", "restoration", "poll")}
    return {**times, "action": luck.pick(["drop", "forward"])}


def join_by_mirrors(luck: Luck, wiring: Wiring, traits: list[str]) -> Data:
    """Lead some links between switches through a circuit switch that moves its mirrors; every path comes back."""
    paths = luck.some(wiring.between_switches())
    if not paths or not luck.chance(0.15):
        return {}
    traits.append("circuits")
    for link in paths:
        link |= {"profile": "ocs", "length": f"{round(luck.spread(SHORT_MM[0], MIRRORS_MM))}mm"}
        link.setdefault("rate", luck.pick(RATES))
        link.pop("loss", None)
    joined = [link["endpoints"] for link in paths]
    later = f"{round(luck.spread(1e7, 1e9))}ps"
    first = joined if luck.chance(0.7) else joined[1:]
    moved = {"at": later, "circuits": joined, "repoint": luck.chance(0.7) or first == joined}
    drain = luck.pick(["0s", "20us", "200us"])
    return {"mirrors": {"drain": drain, "steps": [{"at": "0s", "circuits": first}, moved]}}
