"""Random labs and experiments, each a pure function of a seed: what a campaign runs.

A drawn case is data as files hold it, so that it can be written down and run by hand. Its labs have no circle in which
buffers could wait; each fault of its timeline has an end. Nothing is drawn that would take more than a second or two.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import traffic
from testbed import units
from testbed.profiles import Profile, load_catalogue

Data = dict[str, Any]
Item = TypeVar("Item")

# Packets sent by all ranks of a case together; each costs some ten events, and is sent again where links lose.
PACKETS = 60_000
# A frame in so many is sent again at the worst that is drawn; what has no end is not.
WORST_LOSS = 0.02

RATES = ("10G", "25G", "40G", "100G", "200G", "400G")
SHORT_MM = (1_000, 2_000_000)
SPAN_MM = (1_000_000, 3_000_000_000)


@dataclass(frozen=True)
class Case:
    """A lab and an experiment, as data; `traits` are the words for what was drawn, for counting."""

    seed: int
    lab: Data
    experiment: Data
    traits: tuple[str, ...]


@dataclass
class _Wiring:
    """A lab under construction: ports are handed out in the order of the links."""

    nodes: Data = field(default_factory=dict)
    links: list[Data] = field(default_factory=list)
    used: dict[str, int] = field(default_factory=dict)
    spans: list[int] = field(default_factory=list)

    def switch(self, name: str) -> str:
        self.nodes[name] = {"kind": "switch"}
        return name

    def host(self, home: str) -> str:
        name = f"h{sum(1 for node in self.nodes.values() if node['kind'] == 'host') + 1}"
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


class _Luck:
    """A generator of random numbers with the questions that are asked of it here."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def pick(self, items: Sequence[Item]) -> Item:
        return items[self.random.randrange(len(items))]

    def whole(self, low: int, high: int) -> int:
        return self.random.randrange(low, high + 1)

    def spread(self, low: float, high: float) -> float:
        """Draw so that each factor of ten is as likely."""
        return math.exp(self.random.uniform(math.log(low), math.log(high)))


def _star(luck: _Luck, lab: _Wiring) -> None:
    leaf = lab.switch("leaf")
    for _ in range(luck.whole(2, 8)):
        lab.host(leaf)


def _clos(luck: _Luck, lab: _Wiring) -> None:
    leaves = [lab.switch(f"leaf{index}") for index in range(1, luck.whole(2, 4) + 1)]
    spines = [lab.switch(f"spine{index}") for index in range(1, luck.whole(1, 3) + 1)]
    hosts = luck.whole(1, 3)
    for leaf in leaves:
        for _ in range(hosts):
            lab.host(leaf)
        for spine in spines:
            lab.link(leaf, spine)


def _tree(luck: _Luck, lab: _Wiring) -> None:
    switches = [lab.switch("s1")]
    for index in range(2, luck.whole(2, 6) + 1):
        parent = luck.pick(switches)
        switches.append(lab.switch(f"s{index}"))
        lab.link(switches[-1], parent)
    for _ in range(luck.whole(2, 8)):
        lab.host(luck.pick(switches))


def _dumbbell(luck: _Luck, lab: _Wiring) -> None:
    left, right = lab.switch("left"), lab.switch("right")
    for side in (left, right):
        for _ in range(luck.whole(1, 4)):
            lab.host(side)
    for _ in range(luck.whole(1, 3)):
        lab.link(left, right, span=True)


def _sites(luck: _Luck, lab: _Wiring, names: str) -> None:
    for site in names:
        leaf, border = lab.switch(f"leaf-{site}"), lab.switch(f"border-{site}")
        for _ in range(luck.whole(1, 3)):
            lab.host(leaf)
        lab.link(leaf, border)
    for a, b in itertools.pairwise(names):
        lab.link(f"border-{a}", f"border-{b}", span=True)


def _ring(luck: _Luck, lab: _Wiring) -> None:
    switches = [lab.switch(f"s{index}") for index in range(1, luck.whole(3, 5) + 1)]
    for index, switch in enumerate(switches):
        lab.host(switch)
        lab.link(switch, switches[(index + 1) % len(switches)], span=luck.chance(0.2))


SHAPES: dict[str, Callable[[_Luck, _Wiring], None]] = {
    "star": _star,
    "clos": _clos,
    "tree": _tree,
    "dumbbell": _dumbbell,
    "two sites": lambda luck, lab: _sites(luck, lab, "ab"),
    "three sites": lambda luck, lab: _sites(luck, lab, "abc"),
    "ring": _ring,
}


def draw(seed: int) -> Case:
    """Draw the case of a seed; the same seed gives the same case."""
    luck = _Luck(seed)
    shape = luck.pick(list(SHAPES))
    wiring = _Wiring()
    SHAPES[shape](luck, wiring)
    traits = [shape]
    _furnish(luck, wiring, traits)
    body: Data = {"kinds": {"switch": _switch(luck, traits)}, "nodes": wiring.nodes, "links": wiring.links}
    if shape == "ring":
        body["routing"] = "up-down"
    experiment = _experiment(luck, wiring, traits)
    priority = experiment["lossless"]["priority"]
    body["kinds"]["switch"]["lossless"] = sorted({priority, luck.pick([3, 4, 5])})
    experiment["timeline"] = _timeline(luck, wiring, experiment, traits)
    lab = {"name": f"drawn-{seed}", "topology": body}
    return Case(seed, lab, experiment, tuple(traits))


def _furnish(luck: _Luck, wiring: _Wiring, traits: list[str]) -> None:
    """Give every link its rate, length or profile, and some of them a loss."""
    usual = luck.pick(RATES)
    mixed, optical, lossy = luck.chance(0.4), luck.chance(0.3), luck.chance(0.2)
    for index, link in enumerate(wiring.links):
        span = index in wiring.spans
        rate = luck.pick(RATES) if mixed and luck.chance(0.5) else usual
        length = round(luck.spread(*(SPAN_MM if span else SHORT_MM)))
        fitting = _profiles(rate, length) if optical and luck.chance(0.6) else []
        link |= {"length": f"{length}mm", **({"profile": luck.pick(fitting)} if fitting else {"rate": rate})}
        ends = [end.partition(":")[0] for end in link["endpoints"]]
        for host in (end for end in ends if wiring.nodes[end]["kind"] == "host"):
            wiring.nodes[host]["nic"] = {"rate": rate}
        if lossy and luck.chance(0.5):
            link["loss"] = [_loss(luck), _loss(luck) if luck.chance(0.5) else 0]
        found = {"profile": "optical", "loss": "lossy link"}
        traits += [word for key, word in found.items() if key in link and word not in traits]
    if any(units.parse_length(wiring.links[index]["length"]) > 10**9 for index in wiring.spans):
        traits.append("over 1000 km")
    if mixed:
        traits.append("mixed rates")


def _profiles(rate: str, length_mm: int) -> list[str]:
    wanted = units.parse_rate(rate)
    catalogue: dict[str, Profile] = dict(load_catalogue().profiles)
    return [name for name, entry in catalogue.items() if entry.rate == wanted and length_mm <= entry.reach]


def _loss(luck: _Luck) -> float:
    return float(f"{luck.spread(1e-6, WORST_LOSS):.2g}")


def _switch(luck: _Luck, traits: list[str]) -> Data:
    settings: Data = {"buffer": "auto"}
    if luck.chance(0.3):
        settings["cell"] = luck.pick([64, 192, 208, 256])
        traits.append("cells")
    if luck.chance(0.4):
        settings["thresholds"] = {"alpha": luck.pick(["1/16", "1/8", "1/2", "1", "2", "8"])}
        traits.append("dynamic thresholds")
    return settings


def _experiment(luck: _Luck, wiring: _Wiring, traits: list[str]) -> Data:
    lossless: Data = {"pfc": luck.chance(0.85), "priority": luck.pick([3, 4])}
    transport: Data = {
        "recovery": luck.pick(["go-back-n", "selective-repeat", "erasure"]),
        "verb": luck.pick(["write", "send"]),
        "mtu": luck.pick([1024, 2048, 4096]),
        "ack-every": luck.pick([1, 4, 16, 64]),
    }
    if transport["recovery"] == "erasure":
        transport["erasure"] = {"data": luck.pick([4, 8, 16, 32]), "parity": luck.pick([1, 2, 4])}
    traits += ["PFC" if lossless["pfc"] else "no PFC", transport["recovery"]]
    if luck.chance(0.4):
        lossless["ecn"] = luck.pick(["sonic", "hpcc-ns3", {"kmin": "20KB", "kmax": "200KB", "pmax": 0.2}])
        traits.append("marking")
        if luck.chance(0.7):
            transport |= {"congestion-control": "dcqcn", "dcqcn": luck.pick(["paper", "hpcc-ns3"])}
            traits.append("dcqcn")
    if luck.chance(0.2):
        # A window holds a block at least.
        block = transport.get("erasure", {"data": 0})["data"] * transport["mtu"] // 1024
        transport["window"] = f"{max(block, luck.whole(4, 400))}KiB"
    return {
        "topology": "lab.yaml",
        "clock": "virtual",
        "seed": luck.whole(0, 2**31),
        "lossless": lossless,
        "transport": transport,
        "workload": _workload(luck, wiring, transport["mtu"], traits),
    }


def _workload(luck: _Luck, wiring: _Wiring, mtu: int, traits: list[str]) -> Data:
    hosts = [name for name, node in wiring.nodes.items() if node["kind"] == "host"]
    largest = PACKETS * mtu // (2 * len(hosts))
    size = round(luck.spread(largest / 300, largest)) // 4 * 4
    workload: Data = {"size": size, "datatype": luck.pick(["float", "int32"])}
    if len(hosts) > 2 and luck.chance(0.3):
        luck.random.shuffle(hosts)
        workload["ranks"] = hosts[: luck.whole(2, len(hosts))]
    ranks = len(workload.get("ranks", hosts))
    known = [found for algorithms in traffic.ALGORITHMS.values() for found in algorithms.values()]
    chosen = luck.pick([found for found in known if _takes(found, ranks)])
    workload |= {"collective": chosen.name, "algorithm": chosen.algorithm}
    traits.append(f"{chosen.name} {chosen.algorithm}")
    if luck.chance(0.3):
        workload["slice"] = max(mtu, size // luck.whole(4, 64) // 4 * 4)
    return workload


def _takes(collective: traffic.Collective, ranks: int) -> bool:
    """Tell whether an algorithm works with so many ranks, on two sites if it asks for any."""
    try:
        collective.check(traffic.Shape(ranks, ranks, sites=2))
    except ValueError:
        return False
    return True


def _timeline(luck: _Luck, wiring: _Wiring, experiment: Data, traits: list[str]) -> list[Data]:
    """Draw up to four faults within the time that the workload might take; each of them ends."""
    if luck.chance(0.4):
        return []
    slowest = min(_rate_bps(link) for link in wiring.links)
    flight_ps = sum(units.fibre_delay_ps(units.parse_length(link["length"])) for link in wiring.links)
    span_ps = 4 * units.serialisation_ps(experiment["workload"]["size"], slowest) + 4 * flight_ps + 10**6
    entries = []
    for _ in range(luck.whole(1, 4)):
        kind = luck.pick(list(FAULTS))
        link = luck.pick(wiring.links)
        entry = {
            "at": f"{round(luck.random.uniform(0, span_ps))}ps",
            "link": luck.pick(link["endpoints"]),
            "impair": FAULTS[kind](luck, link, span_ps),
            "for": f"{round(luck.spread(span_ps / 100, span_ps))}ps",
            "direction": luck.pick(["both", "out", "in"]),
        }
        entries.append(entry)
        if kind not in traits:
            traits.append(kind)
    return entries


def _rate_bps(link: Data) -> int:
    if "rate" in link:
        return units.parse_rate(link["rate"])
    return load_catalogue().profiles[link["profile"]].rate or 0


def _slower(luck: _Luck, link: Data, span_ps: int) -> Data:
    return {"rate": round(_rate_bps(link) * luck.random.uniform(0.1, 0.9))}


def _delayed(luck: _Luck, link: Data, span_ps: int) -> Data:
    return {"delay": f"{round(luck.spread(10**5, 10**9))}ps"}


def _losing(luck: _Luck, link: Data, span_ps: int) -> Data:
    return {"loss": _loss(luck), **({"burst": luck.whole(2, 20)} if luck.chance(0.5) else {})}


def _flapping(luck: _Luck, link: Data, span_ps: int) -> Data:
    period = round(luck.spread(span_ps / 50, span_ps / 2))
    return {"flap": {"period": f"{period}ps", "duty": luck.pick([0.1, 0.3, 0.6]), "count": luck.whole(1, 4)}}


def _ramping(luck: _Luck, link: Data, span_ps: int) -> Data:
    ends = [f"{round(luck.spread(10**5, 10**8))}ps" for _ in "ab"]
    return {"ramp": {"delay": ends, "steps": luck.whole(1, 10)}}


FAULTS: dict[str, Callable[[_Luck, Data, int], Data]] = {
    "down": lambda luck, link, span_ps: {"down": True},
    "flap": _flapping,
    "loss": _losing,
    "delay": _delayed,
    "jitter": lambda luck, link, span_ps: {"jitter": f"{round(luck.spread(10**4, 10**8))}ps"},
    "delay ramp": _ramping,
    "rate": _slower,
    "drain": lambda luck, link, span_ps: {"drain": True},
}
