"""Labs made by functions. Each returns plain data in the shape of a lab file, and says what it may be asked for.

Rates and lengths pass through as text: whoever reads the lab reads its units.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Data = dict[str, Any]

DEFAULT_RATE = "100G"
DEFAULT_LENGTH = "50m"
DEFAULT_DELAY = "1us"
RING_ROUTINGS = ("shortest", "up-down", "clockwise")


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
    """A lab under construction: ports are handed out in the order of the links.

    An empty setting is one that was not given. Links with a profile have its rate, unless a rate was given, and so have
    the NICs where the hosts' links have one.
    """

    def __init__(self, rate: str, host_profile: str = "", **switch: Any) -> None:
        self.nodes: dict[str, Data] = {}
        self.links: list[Data] = []
        self.rate = rate
        host = {} if host_profile and not rate else {"nic": {"rate": rate or DEFAULT_RATE}}
        self.kinds: Data = {"switch": {"buffer": "auto", "lossless": [3], **switch}, "host": host}
        self.used: dict[str, int] = {}

    def add(self, kind: str, names: Iterable[str], **settings: Any) -> list[str]:
        added = list(names)
        self.nodes.update({name: {"kind": kind, **settings} for name in added})
        return added

    def link(self, a: str, b: str, profile: str = "", **settings: str) -> None:
        optics = {"profile": profile, **({"rate": self.rate} if self.rate else {})} if profile else {}
        given = {key: value for key, value in settings.items() if value}
        self.links.append({"endpoints": [self._port(a), self._port(b)], **optics, **given})

    def _port(self, node: str) -> str:
        self.used[node] = self.used.get(node, 0) + 1
        return f"{node}:eth{self.used[node]}"

    def data(self, name: str) -> Data:
        body = {
            "defaults": {"rate": self.rate or DEFAULT_RATE},
            "kinds": self.kinds,
            "nodes": self.nodes,
            "links": self.links,
        }
        return {"name": name, "topology": body}


def pair(rate: str, length: str, profile: str) -> Data:
    """Make two hosts on one switch, the smallest lab in which PFC has something to do."""
    lab = _Lab(rate, profile)
    hosts = lab.add("host", ["a1", "b1"])
    lab.add("switch", ["leaf"])
    for host in hosts:
        lab.link(host, "leaf", profile, length=length)
    return lab.data("pair")


def incast(senders: int, rate: str, length: str, profile: str) -> Data:
    """Make one receiver and many senders on one switch; the receiver is the first host, rank 0."""
    lab = _Lab(rate, profile)
    hosts = lab.add("host", ["r1", *(f"s{index}" for index in range(1, senders + 1))])
    lab.add("switch", ["leaf"])
    for host in hosts:
        lab.link(host, "leaf", profile, length=length)
    return lab.data("incast")


def two_dc(hosts: int, rate: str, length: str, loss: str, local: str, profile: str, local_profile: str) -> Data:
    """Make two sites, each with hosts, a leaf and a border switch, joined by one long span between the borders.

    The borders have buffers as deep as the span asks for: two frames of headroom are enough in a rack, but 80 km at
    100G need 10 MB for every lossless priority.
    """
    lab = _Lab(rate, local_profile)
    sites = {site: lab.add("host", [f"{site}{index}" for index in range(1, hosts + 1)]) for site in "ab"}
    lab.add("switch", ["leaf-a", "leaf-b"])
    lab.add("switch", ["border-a", "border-b"])
    for site, names in sites.items():
        for host in names:
            lab.link(host, f"leaf-{site}", local_profile, length=local)
        lab.link(f"leaf-{site}", f"border-{site}", local_profile, length=local)
    lab.link("border-a", "border-b", profile, length=length, loss=loss)
    return lab.data("two-dc")


def clos(
    tiers: int, spines: int, leaves: int, hosts: int, radix: int, rate: str, delay: str, length: str, profile: str
) -> Data:
    """Make a folded Clos: two tiers of leaves and spines, or three tiers of switches with `radix` ports each."""
    if not delay and not length:
        delay, length = ("", DEFAULT_LENGTH) if profile else (DEFAULT_DELAY, "")
    link = {"profile": profile, "delay": delay, "length": length}
    return _fat_tree(radix, rate, link) if tiers == 3 else _leaf_spine(spines, leaves, hosts, rate, link)


def _leaf_spine(spines: int, leaves: int, hosts: int, rate: str, link: Mapping[str, str]) -> Data:
    lab = _Lab(rate, link["profile"])
    ranks = lab.add("host", (f"h{index}" for index in range(1, leaves * hosts + 1)))
    below = lab.add("switch", (f"leaf{index}" for index in range(1, leaves + 1)))
    above = lab.add("switch", (f"spine{index}" for index in range(1, spines + 1)))
    for index, host in enumerate(ranks):
        lab.link(host, below[index // hosts], **link)
    for leaf in below:
        for spine in above:
            lab.link(leaf, spine, **link)
    return lab.data("clos")


def _fat_tree(radix: int, rate: str, link: Mapping[str, str]) -> Data:
    """Make the k-ary fat tree: k pods of k/2 leaves and k/2 aggregation switches, (k/2)^2 cores, k^3/4 hosts."""
    if radix % 2:
        raise ParameterError(f"radix must be even, not {radix}")
    half = radix // 2
    lab = _Lab(rate, link["profile"])
    ranks = lab.add("host", (f"h{index}" for index in range(1, radix * half * half + 1)))
    leaves = lab.add("switch", (f"leaf{index}" for index in range(1, radix * half + 1)))
    middles = lab.add("switch", (f"agg{index}" for index in range(1, radix * half + 1)))
    cores = lab.add("switch", (f"core{index}" for index in range(1, half * half + 1)))
    for index, host in enumerate(ranks):
        lab.link(host, leaves[index // half], **link)
    for index, leaf in enumerate(leaves):
        pod = index // half
        for middle in middles[pod * half : (pod + 1) * half]:
            lab.link(leaf, middle, **link)
    for index, middle in enumerate(middles):
        group = index % half
        for core in cores[group * half : (group + 1) * half]:
            lab.link(middle, core, **link)
    return lab.data("clos")


def ring(switches: int, hosts: int, rate: str, length: str, profile: str, routing: str) -> Data:
    """Make a ring of switches with hosts on each: the smallest lab whose buffers can wait in a circle.

    Routed clockwise, every switch sends all that is not for its own hosts to the next switch.
    """
    if routing not in RING_ROUTINGS:
        raise ParameterError(f'routing must be {", ".join(RING_ROUTINGS[:-1])} or {RING_ROUTINGS[-1]}, not "{routing}"')
    lab = _Lab(rate, profile)
    ranks = lab.add("host", (f"h{index}" for index in range(1, switches * hosts + 1)))
    names = lab.add("switch", (f"switch{index}" for index in range(1, switches + 1)))
    for index, host in enumerate(ranks):
        lab.link(host, names[index // hosts], profile, length=length)
    for index, name in enumerate(names):
        lab.link(name, names[(index + 1) % switches], profile, length=length)
    data = lab.data("ring")
    if routing == "clockwise":
        # The first switch is linked to the next before the last is linked to it.
        for index, name in enumerate(names):
            onward = f"eth{hosts + (1 if index == 0 else 2)}"
            others = [host for number, host in enumerate(ranks) if number // hosts != index]
            lab.nodes[name]["routes"] = dict.fromkeys(others, onward)
    else:
        data["topology"]["routing"] = routing
    return data


_RATE = Parameter("", f"rate of every link; {DEFAULT_RATE} where no profile says otherwise")
_LENGTH = Parameter(DEFAULT_LENGTH, "length of every link")
_PROFILE = Parameter("", "optical profile of every link")

GENERATORS: Mapping[str, Generator] = {
    "pair": Generator(pair, "two hosts on one switch", {"rate": _RATE, "length": _LENGTH, "profile": _PROFILE}),
    "incast": Generator(
        incast,
        "many senders and one receiver on one switch",
        {"senders": Parameter(8, "hosts that send", high=1024), "rate": _RATE, "length": _LENGTH, "profile": _PROFILE},
    ),
    "two-dc": Generator(
        two_dc,
        "two data centres joined by a long span",
        {
            "hosts": Parameter(2, "hosts in each data centre", high=1024),
            "rate": _RATE,
            "length": Parameter("80km", "length of the span"),
            "loss": Parameter("", "probability that the span loses a frame"),
            "local": Parameter(DEFAULT_LENGTH, "length of the links inside a data centre"),
            "profile": Parameter("", "optical profile of the span"),
            "local-profile": Parameter("", "optical profile of the links inside a data centre"),
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
            "delay": Parameter("", f"delay of every link; {DEFAULT_DELAY} where no length or profile is given"),
            "length": Parameter("", f"length of every link, instead of a delay; {DEFAULT_LENGTH} with a profile"),
            "profile": _PROFILE,
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
            "profile": _PROFILE,
            "routing": Parameter("shortest", f"which way around: {', '.join(RING_ROUTINGS)}"),
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
        key.replace("-", "_"): parameter.read(key, parameters[key]) if key in parameters else parameter.default
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
