"""Fabrics of many switches: Clos networks and dragonflies."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from testbed.topologies.parts import (
    DEFAULT_LENGTH,
    PROFILE,
    RATE,
    Data,
    Generator,
    LabBuilder,
    Parameter,
    ParameterError,
    check_word,
)

DEFAULT_DELAY = "1us"
DRAGONFLY_ROUTINGS = ("up-down", "shortest")


def clos(
    tiers: int, spines: int, leaves: int, hosts: int, radix: int, rate: str, delay: str, length: str, profile: str
) -> Data:
    """Make a folded Clos: two tiers of leaves and spines, or three tiers of switches with `radix` ports each."""
    if not delay and not length:
        delay, length = ("", DEFAULT_LENGTH) if profile else (DEFAULT_DELAY, "")
    link = {"profile": profile, "delay": delay, "length": length}
    return _fat_tree(radix, rate, link) if tiers == 3 else _leaf_spine(spines, leaves, hosts, rate, link)


def _leaf_spine(spines: int, leaves: int, hosts: int, rate: str, link: Mapping[str, str]) -> Data:
    lab = LabBuilder(rate, link["profile"])
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
    lab = LabBuilder(rate, link["profile"])
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


def dragonfly(
    groups: int,
    routers: int,
    hosts: int,
    trunk: int,
    rate: str,
    length: str,
    span: str,
    profile: str,
    span_profile: str,
    routing: str,
) -> Data:
    """Make a dragonfly: groups of switches that are all linked to each other, and links between every two groups.

    The links of a group to others are dealt out evenly to its switches: with 9 groups of 4 each switch has two, the
    balance of Kim, Dally, Scott and Abts (ISCA 2008). Frames have one priority on their way, where a dragonfly has virtual
    channels that they climb. So shortest paths let buffers wait in a circle, which `testbed validate` says and `run`
    warns of; up and down, the default, they cannot, but paths are longer and crowd around the root.
    """
    check_word("routing", routing, DRAGONFLY_ROUTINGS)
    lab = LabBuilder(rate, profile)
    ranks = lab.add("host", (f"h{index}" for index in range(1, groups * routers * hosts + 1)))
    names = [
        lab.add("switch", (f"g{group}-r{index}" for index in range(1, routers + 1))) for group in range(1, groups + 1)
    ]
    switches = [name for group in names for name in group]
    for index, host in enumerate(ranks):
        lab.link(host, switches[index // hosts], profile, length=length)
    for group in names:
        for a, b in itertools.combinations(group, 2):
            lab.link(a, b, profile, length=length)
    # Link d of a group leads to the group d places on, and is met there by its link groups - d.
    channels = (groups - 1) * trunk
    for (one, group), (two, other) in itertools.combinations(enumerate(names), 2):
        for copy in range(trunk):
            there, back = (copy * (groups - 1) + (step - 1) % groups for step in (two - one, one - two))
            ends = group[there * routers // channels], other[back * routers // channels]
            lab.link(*ends, span_profile, length=span)
    data = lab.data("dragonfly")
    data["topology"]["routing"] = routing
    return data


GENERATORS: Mapping[str, Generator] = {
    "clos": Generator(
        clos,
        "leaves and spines, or with tiers=3 a fat tree of equal switches",
        {
            "tiers": Parameter(2, "2, or 3 for a fat tree", low=2, high=3),
            "spines": Parameter(2, "spines (2 tiers)", high=256),
            "leaves": Parameter(4, "leaves (2 tiers)", high=1024),
            "hosts": Parameter(2, "hosts on each leaf (2 tiers)", high=256),
            "radix": Parameter(4, "ports of each switch, even (3 tiers)", low=2, high=64),
            "rate": RATE,
            "delay": Parameter("", f"delay of every link; {DEFAULT_DELAY} where no length or profile is given"),
            "length": Parameter("", f"length of every link, instead of a delay; {DEFAULT_LENGTH} with a profile"),
            "profile": PROFILE,
        },
    ),
    "dragonfly": Generator(
        dragonfly,
        "groups of switches, each linked to every other",
        {
            "groups": Parameter(9, "groups of switches", low=2, high=129),
            "routers": Parameter(4, "switches in each group", high=64),
            "hosts": Parameter(2, "hosts on each switch", high=64),
            "trunk": Parameter(1, "links between every two groups", high=16),
            "rate": RATE,
            "length": Parameter(DEFAULT_LENGTH, "length of the links within a group"),
            "span": Parameter("100m", "length of the links between groups"),
            "profile": Parameter("", "optical profile of the links within a group"),
            "span-profile": Parameter("", "optical profile of the links between groups"),
            "routing": Parameter("up-down", f"how switches find paths: {', '.join(DRAGONFLY_ROUTINGS)}"),
        },
    ),
}
