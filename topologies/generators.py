"""Labs made by functions. Each returns plain data in the shape of a lab file, and says what it may be asked for.

Rates and lengths pass through as text: whoever reads the lab reads its units.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Data = dict[str, Any]


class ParameterError(ValueError):
    """A parameter that a generator does not have, or a value that it cannot use."""


@dataclass(frozen=True)
class Parameter:
    """What one parameter means; an integer has bounds, text has none."""

    default: int | str
    help: str
    low: int = 1
    high: int = 4096

    def read(self, name: str, text: str) -> int | str:
        """Return the value that `text` stands for."""
        if isinstance(self.default, str):
            return text
        try:
            value = int(text)
        except ValueError:
            raise ParameterError(f'{name} must be a whole number, not "{text}"') from None
        if not self.low <= value <= self.high:
            raise ParameterError(f"{name} must be between {self.low} and {self.high}, not {value}")
        return value


@dataclass(frozen=True)
class Generator:
    """A function that makes a lab, with what help text needs to know about it."""

    make: Callable[..., Data]
    summary: str
    parameters: Mapping[str, Parameter]


class _Lab:
    """A lab under construction: ports are handed out in the order of the links."""

    def __init__(self, rate: int | str, **switch: Any) -> None:
        self.nodes: dict[str, Data] = {}
        self.links: list[Data] = []
        self.kinds: Data = {"switch": {"buffer": "auto", "lossless": [3], **switch}, "host": {"nic": {"rate": rate}}}
        self.rate = rate
        self.used: dict[str, int] = {}

    def add(self, kind: str, names: Iterable[str], **settings: Any) -> list[str]:
        added = list(names)
        self.nodes.update({name: {"kind": kind, **settings} for name in added})
        return added

    def link(self, a: str, b: str, **settings: Any) -> None:
        self.links.append({"endpoints": [self._port(a), self._port(b)], **settings})

    def _port(self, node: str) -> str:
        self.used[node] = self.used.get(node, 0) + 1
        return f"{node}:eth{self.used[node]}"

    def data(self, name: str) -> Data:
        body = {"defaults": {"rate": self.rate}, "kinds": self.kinds, "nodes": self.nodes, "links": self.links}
        return {"name": name, "topology": body}


def pair(rate: str, length: str) -> Data:
    """Make two hosts on one switch, the smallest lab in which PFC has something to do."""
    lab = _Lab(rate)
    hosts = lab.add("host", ["a1", "b1"])
    lab.add("switch", ["leaf"])
    for host in hosts:
        lab.link(host, "leaf", length=length)
    return lab.data("pair")


def incast(senders: int, rate: str, length: str) -> Data:
    """Make one receiver and many senders on one switch; the receiver is the first host, rank 0."""
    lab = _Lab(rate)
    hosts = lab.add("host", ["r1", *(f"s{index}" for index in range(1, senders + 1))])
    lab.add("switch", ["leaf"])
    for host in hosts:
        lab.link(host, "leaf", length=length)
    return lab.data("incast")


def two_dc(hosts: int, rate: str, length: str, local: str) -> Data:
    """Make two sites, each with hosts, a leaf and a border switch, joined by one long span between the borders.

    The borders have buffers as deep as the span asks for: two frames of headroom are enough in a rack, but 80 km at
    100G need 10 MB for every lossless priority.
    """
    lab = _Lab(rate)
    sites = {site: lab.add("host", [f"{site}{index}" for index in range(1, hosts + 1)]) for site in "ab"}
    lab.add("switch", ["leaf-a", "leaf-b"])
    lab.add("switch", ["border-a", "border-b"])
    for site, names in sites.items():
        for host in names:
            lab.link(host, f"leaf-{site}", length=local)
        lab.link(f"leaf-{site}", f"border-{site}", length=local)
    lab.link("border-a", "border-b", length=length)
    return lab.data("two-dc")


def clos(tiers: int, spines: int, leaves: int, hosts: int, radix: int, rate: str, delay: str) -> Data:
    """Make a folded Clos: two tiers of leaves and spines, or three tiers of switches with `radix` ports each."""
    return _fat_tree(radix, rate, delay) if tiers == 3 else _leaf_spine(spines, leaves, hosts, rate, delay)


def _leaf_spine(spines: int, leaves: int, hosts: int, rate: str, delay: str) -> Data:
    lab = _Lab(rate)
    ranks = lab.add("host", (f"h{index}" for index in range(1, leaves * hosts + 1)))
    below = lab.add("switch", (f"leaf{index}" for index in range(1, leaves + 1)))
    above = lab.add("switch", (f"spine{index}" for index in range(1, spines + 1)))
    for index, host in enumerate(ranks):
        lab.link(host, below[index // hosts], delay=delay)
    for leaf in below:
        for spine in above:
            lab.link(leaf, spine, delay=delay)
    return lab.data("clos")


def _fat_tree(radix: int, rate: str, delay: str) -> Data:
    """Make the k-ary fat tree: k pods of k/2 leaves and k/2 aggregation switches, (k/2)^2 cores, k^3/4 hosts."""
    if radix % 2:
        raise ParameterError(f"radix must be even, not {radix}")
    half = radix // 2
    lab = _Lab(rate)
    ranks = lab.add("host", (f"h{index}" for index in range(1, radix * half * half + 1)))
    leaves = lab.add("switch", (f"leaf{index}" for index in range(1, radix * half + 1)))
    middles = lab.add("switch", (f"agg{index}" for index in range(1, radix * half + 1)))
    cores = lab.add("switch", (f"core{index}" for index in range(1, half * half + 1)))
    for index, host in enumerate(ranks):
        lab.link(host, leaves[index // half], delay=delay)
    for index, leaf in enumerate(leaves):
        pod = index // half
        for middle in middles[pod * half : (pod + 1) * half]:
            lab.link(leaf, middle, delay=delay)
    for index, middle in enumerate(middles):
        group = index % half
        for core in cores[group * half : (group + 1) * half]:
            lab.link(middle, core, delay=delay)
    return lab.data("clos")


def ring(switches: int, hosts: int, rate: str, length: str) -> Data:
    """Make a ring of switches with hosts on each: the smallest lab whose buffers can wait in a circle."""
    lab = _Lab(rate)
    ranks = lab.add("host", (f"h{index}" for index in range(1, switches * hosts + 1)))
    names = lab.add("switch", (f"switch{index}" for index in range(1, switches + 1)))
    for index, host in enumerate(ranks):
        lab.link(host, names[index // hosts], length=length)
    for index, name in enumerate(names):
        lab.link(name, names[(index + 1) % switches], length=length)
    return lab.data("ring")


_RATE = Parameter("100G", "rate of every link")
_LENGTH = Parameter("50m", "length of every link")

GENERATORS: Mapping[str, Generator] = {
    "pair": Generator(pair, "two hosts on one switch", {"rate": _RATE, "length": _LENGTH}),
    "incast": Generator(
        incast,
        "many senders and one receiver on one switch",
        {"senders": Parameter(8, "hosts that send", high=1024), "rate": _RATE, "length": _LENGTH},
    ),
    "two-dc": Generator(
        two_dc,
        "two data centres joined by a long span",
        {
            "hosts": Parameter(2, "hosts in each data centre", high=1024),
            "rate": _RATE,
            "length": Parameter("80km", "length of the span"),
            "local": Parameter("50m", "length of the links inside a data centre"),
        },
    ),
    "clos": Generator(
        clos,
        "leaves and spines, or with tiers=3 a fat tree of equal switches",
        {
            "tiers": Parameter(2, "2, or 3 for a fat tree", low=2, high=3),
            "spines": Parameter(2, "spines (2 tiers)", high=256),
            "leaves": Parameter(4, "leaves (2 tiers)", high=1024),
            "hosts": Parameter(2, "hosts on each leaf (2 tiers)", high=256),
            "radix": Parameter(4, "ports of each switch, even (3 tiers)", low=2, high=32),
            "rate": _RATE,
            "delay": Parameter("1us", "delay of every link"),
        },
    ),
    "ring": Generator(
        ring,
        "a ring of switches",
        {
            "switches": Parameter(3, "switches in the ring", low=3, high=1024),
            "hosts": Parameter(1, "hosts on each switch", high=256),
            "rate": _RATE,
            "length": _LENGTH,
        },
    ),
}


def generators() -> Mapping[str, Generator]:
    """Return the generators by name."""
    return GENERATORS


def generate(name: str, parameters: Mapping[str, str]) -> Data:
    """Make the lab `name`; besides its own parameters every generator takes `name`, to have the lab called otherwise.

    Raises ParameterError for a generator, parameter or value that does not exist.
    """
    if name not in GENERATORS:
        raise ParameterError(f'no generator is called "{name}"{_nearest(name, GENERATORS)}')
    generator = GENERATORS[name]
    for key in parameters:
        if key != "name" and key not in generator.parameters:
            known = _nearest(key, [*generator.parameters, "name"])
            raise ParameterError(f'{name} has no parameter "{key}"{known}')
    values = {
        key: parameter.read(key, parameters[key]) if key in parameters else parameter.default
        for key, parameter in generator.parameters.items()
    }
    data = generator.make(**values)
    if "name" in parameters:
        data["name"] = parameters["name"]
    return data


def _nearest(word: str, known: Iterable[str]) -> str:
    choices = sorted(known)
    close = difflib.get_close_matches(word, choices, n=1)
    return f'; did you mean "{close[0]}"?' if close else f"; known: {', '.join(choices)}"
