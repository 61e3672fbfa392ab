"""Labs of one or two switches, and rings of them: each shows one thing."""

from __future__ import annotations

from collections.abc import Mapping

from testbed.topologies.parts import (
    DEFAULT_LENGTH,
    LENGTH,
    PROFILE,
    RATE,
    Data,
    Generator,
    LabBuilder,
    Parameter,
    check_word,
)

RING_ROUTINGS = ("shortest", "up-down", "clockwise")


def pair(rate: str, length: str, profile: str) -> Data:
    """Make two hosts on one switch, the smallest lab in which PFC has something to do."""
    lab = LabBuilder(rate, profile)
    hosts = lab.add("host", ["a1", "b1"])
    lab.add("switch", ["leaf"])
    for host in hosts:
        lab.link(host, "leaf", profile, length=length)
    return lab.data("pair")


def incast(senders: int, rate: str, length: str, profile: str) -> Data:
    """Make one receiver and many senders on one switch; the receiver is the first host, rank 0."""
    lab = LabBuilder(rate, profile)
    hosts = lab.add("host", ["r1", *(f"s{index}" for index in range(1, senders + 1))])
    lab.add("switch", ["leaf"])
    for host in hosts:
        lab.link(host, "leaf", profile, length=length)
    return lab.data("incast")


def dumbbell(
    hosts: int, rate: str, bottleneck: str, length: str, loss: str, local: str, profile: str, local_profile: str
) -> Data:
    """Make two switches joined by one link, with as many hosts on either: all that crosses shares that link."""
    lab = LabBuilder(rate, local_profile)
    sides = {side: lab.add("host", [f"{side}{index}" for index in range(1, hosts + 1)]) for side in "ab"}
    switches = lab.add("switch", ["left", "right"])
    for switch, names in zip(switches, sides.values(), strict=True):
        for host in names:
            lab.link(host, switch, local_profile, length=local)
    lab.link("left", "right", profile, length=length, loss=loss, rate=bottleneck)
    return lab.data("dumbbell")


def ring(switches: int, hosts: int, rate: str, length: str, profile: str, routing: str) -> Data:
    """Make a ring of switches with hosts on each: the smallest lab whose buffers can wait in a circle.

    Routed clockwise, every switch sends all that is not for its own hosts to the next switch.
    """
    check_word("routing", routing, RING_ROUTINGS)
    lab = LabBuilder(rate, profile)
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


GENERATORS: Mapping[str, Generator] = {
    "pair": Generator(pair, "two hosts on one switch", {"rate": RATE, "length": LENGTH, "profile": PROFILE}),
    "incast": Generator(
        incast,
        "many senders and one receiver on one switch",
        {"senders": Parameter(8, "hosts that send", high=1024), "rate": RATE, "length": LENGTH, "profile": PROFILE},
    ),
    "dumbbell": Generator(
        dumbbell,
        "two switches, and one link that all traffic between them shares",
        {
            "hosts": Parameter(4, "hosts on each switch", high=256),
            "rate": RATE,
            "bottleneck": Parameter("", "rate of the link in the middle; that of every link where none is given"),
            "length": Parameter(DEFAULT_LENGTH, "length of the link in the middle"),
            "loss": Parameter("", "probability that the link in the middle loses a frame"),
            "local": Parameter(DEFAULT_LENGTH, "length of the hosts' links"),
            "profile": Parameter("", "optical profile of the link in the middle"),
            "local-profile": Parameter("", "optical profile of the hosts' links"),
        },
    ),
    "ring": Generator(
        ring,
        "a ring of switches",
        {
            "switches": Parameter(3, "switches in the ring", low=3, high=1024),
            "hosts": Parameter(1, "hosts on each switch", high=256),
            "rate": RATE,
            "length": LENGTH,
            "profile": PROFILE,
            "routing": Parameter("shortest", f"which way around: {', '.join(RING_ROUTINGS)}"),
        },
    ),
}
