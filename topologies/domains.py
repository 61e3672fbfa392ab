"""Labs of servers with several accelerators: rails between them, and domains of scale-up links.

Accelerator i of a server is at home on its port `eth<i+1>`, which leads to rail i + 1. Where servers are in a domain, as
many ports follow that lead to the domain's scale-up switch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from testbed.topologies.parts import Data, Generator, LabBuilder, Parameter

MAX_DOMAIN = 1024
DEFAULT_SCALE_OUT = "400G"
# NVLink 4 of the H100: 900 GB/s a GPU, both ways together (NVIDIA H100 Tensor Core GPU Architecture, 2022).
DEFAULT_SCALE_UP = "3.6T"


@dataclass(frozen=True)
class _ScaleOut:
    """How servers are joined between domains."""

    spines: int
    length: str
    profile: str
    switch: str


@dataclass(frozen=True)
class _ScaleUp:
    """How servers are joined inside a domain."""

    rate: str
    length: str
    profile: str
    switch: str
    flow: str

    def link(self, lab: LabBuilder, host: str, switch: str) -> None:
        rate = self.rate or ("" if self.profile else DEFAULT_SCALE_UP)
        lab.join(host, switch, profile=self.profile, rate=rate, length=self.length, flow_control=self.flow)


def _switches(lab: LabBuilder, names: Sequence[str], profile: str, **settings: str) -> list[str]:
    return lab.add("switch", names, **({"profile": profile} if profile else {}), **settings)


def _rails(lab: LabBuilder, servers: Mapping[str, int], out: _ScaleOut, end: str = "") -> list[str]:
    """Join servers, each with so many accelerators, by a leaf for each rail and spines over them; return the spines."""
    leaves = _switches(lab, [f"rail{rail}{end}" for rail in range(1, max(servers.values()) + 1)], out.switch)
    spines = _switches(lab, [f"spine{spine}{end}" for spine in range(1, out.spines + 1)], out.switch)
    for server, accelerators in servers.items():
        for leaf in leaves[:accelerators]:
            lab.link(server, leaf, out.profile, length=out.length)
    for leaf in leaves:
        for spine in spines:
            lab.link(leaf, spine, out.profile, length=out.length)
    return spines


def _domain(lab: LabBuilder, name: str, servers: Mapping[str, int], up: _ScaleUp) -> None:
    """Join the accelerators of servers by the scale-up switch of their domain."""
    (switch,) = _switches(lab, [f"{name}-up"], up.switch, domain=name)
    for server, accelerators in servers.items():
        for _ in range(accelerators):
            up.link(lab, server, switch)


def rail(
    servers: int,
    accelerators: int,
    spines: int,
    domain: int,
    rate: str,
    length: str,
    profile: str,
    switch: str,
    up_rate: str,
    up_length: str,
    up_profile: str,
    up_switch: str,
    up_flow: str,
) -> Data:
    """Make servers with several accelerators each, a leaf for each rail, and spines over the leaves.

    Accelerators of one server reach each other by memory; with `domain`, so many servers at a time are under a scale-up
    switch, the last domain perhaps with fewer, and theirs reach each other by that.
    """
    lab = LabBuilder(rate or ("" if profile else DEFAULT_SCALE_OUT), profile)
    names = [f"s{index}" for index in range(1, servers + 1)]
    for index, name in enumerate(names):
        within = {"domain": f"d{index // domain + 1}"} if domain else {}
        lab.add("host", [name], accelerators=accelerators, **within)
    _rails(lab, dict.fromkeys(names, accelerators), _ScaleOut(spines, length, profile, switch))
    up = _ScaleUp(up_rate, up_length, up_profile, up_switch, up_flow)
    for first in range(0, servers if domain else 0, domain or 1):
        _domain(lab, f"d{first // domain + 1}", dict.fromkeys(names[first : first + domain], accelerators), up)
    return lab.data("rail")


def super_node(
    domains: int,
    size: int,
    accelerators: int,
    spines: int,
    span: str,
    rate: str,
    length: str,
    profile: str,
    switch: str,
    span_profile: str,
    up_rate: str,
    up_length: str,
    up_profile: str,
    up_switch: str,
    up_flow: str,
) -> Data:
    """Make domains of accelerators under one scale-up switch each, and rails between the domains.

    A domain is made of servers with `accelerators` each, the last with what is left of its size. With `span` the second
    half of the domains is at a second site so far away: each site has rails and spines, and a border over them.
    """
    lab = LabBuilder(rate or ("" if profile else DEFAULT_SCALE_OUT), profile)
    out = _ScaleOut(spines, length, profile, switch)
    members: dict[str, dict[str, int]] = {}
    for number in range(1, domains + 1):
        name = f"d{number}"
        counts = [accelerators] * (size // accelerators) + ([size % accelerators] if size % accelerators else [])
        members[name] = {f"{name}-s{index}": count for index, count in enumerate(counts, 1)}
        for server, count in members[name].items():
            lab.add("host", [server], accelerators=count, domain=name)
    here = (domains + 1) // 2 if span else domains
    sites = [
        (end, list(members)[low:high]) for end, low, high in (("-a", 0, here), ("-b", here, domains)) if low < high
    ]
    for end, names in sites:
        servers = {server: count for name in names for server, count in members[name].items()}
        tops = _rails(lab, servers, out, end if len(sites) > 1 else "")
        if len(sites) > 1:
            (border,) = _switches(lab, [f"border{end}"], "")
            for spine in tops:
                lab.link(spine, border, profile, length=length)
    if len(sites) > 1:
        lab.link("border-a", "border-b", span_profile, length=span)
    up = _ScaleUp(up_rate, up_length, up_profile, up_switch, up_flow)
    for name, servers in members.items():
        _domain(lab, name, servers, up)
    return lab.data("super-node")


_OUT = {
    "rate": Parameter("", f"rate of scale-out links; {DEFAULT_SCALE_OUT} where no profile says otherwise"),
    "length": Parameter("20m", "length of scale-out links"),
    "profile": Parameter("", "optical profile of scale-out links"),
    "switch": Parameter("", "named switch of rails and spines, as tomahawk-5"),
}
_UP = {
    "up-rate": Parameter("", f"rate of scale-up links; {DEFAULT_SCALE_UP} where no profile says otherwise"),
    "up-length": Parameter("1m", "length of scale-up links"),
    "up-profile": Parameter("", "profile of scale-up links: copper, co-packaged or MicroLED, as 1600g-cpo"),
    "up-switch": Parameter("", "named switch of domains"),
    "up-flow": Parameter("credit", "flow control of scale-up links: credit, pfc or none"),
}

GENERATORS: Mapping[str, Generator] = {
    "rail": Generator(
        rail,
        "servers with several accelerators, a leaf for each rail",
        {
            "servers": Parameter(8, "servers", high=512),
            "accelerators": Parameter(8, "accelerators of each server", high=64),
            "spines": Parameter(4, "spines over the rails", high=64),
            "domain": Parameter(0, "servers in each scale-up domain; 0: none", low=0, high=MAX_DOMAIN),
            **_OUT,
            **_UP,
        },
    ),
    "super-node": Generator(
        super_node,
        "domains of scale-up links with rails between them, at one site or two",
        {
            "domains": Parameter(2, "scale-up domains", high=64),
            "size": Parameter(16, "accelerators of each domain", high=MAX_DOMAIN),
            "accelerators": Parameter(8, "accelerators of each server", high=64),
            "spines": Parameter(4, "spines over the rails of a site", high=64),
            "span": Parameter("", "distance to a second site with half of the domains, as 80km; none: one site"),
            **_OUT,
            "span-profile": Parameter("", "optical profile of the link between the sites"),
            **_UP,
        },
    ),
}
