"""Labs of several data centres, joined by long spans."""

from __future__ import annotations

import itertools
import string
from collections.abc import Mapping

from testbed.topologies.parts import (
    DEFAULT_LENGTH,
    RATE,
    Data,
    Generator,
    LabBuilder,
    Parameter,
    ParameterError,
    check_word,
)

SHAPES = ("ring", "mesh", "chain")
ROUTINGS = ("up-down", "shortest")


def two_dc(hosts: int, rate: str, length: str, loss: str, local: str, profile: str, local_profile: str) -> Data:
    """Make two sites, each with hosts, a leaf and a border switch, joined by one long span between the borders.

    The borders have buffers as deep as the span asks for: two frames of headroom are enough in a rack, but 80 km at
    100G need 10 MB for every lossless priority.
    """
    lab = LabBuilder(rate, local_profile)
    sites = {site: lab.add("host", [f"{site}{index}" for index in range(1, hosts + 1)]) for site in "ab"}
    lab.add("switch", ["leaf-a", "leaf-b"])
    lab.add("switch", ["border-a", "border-b"])
    for site, names in sites.items():
        for host in names:
            lab.link(host, f"leaf-{site}", local_profile, length=local)
        lab.link(f"leaf-{site}", f"border-{site}", local_profile, length=local)
    lab.link("border-a", "border-b", profile, length=length, loss=loss)
    return lab.data("two-dc")


def multi_dc(
    sites: int,
    shape: str,
    hosts: int,
    rate: str,
    length: str,
    loss: str,
    local: str,
    profile: str,
    local_profile: str,
    routing: str,
) -> Data:
    """Make several sites as those of `two-dc`, their borders joined in a ring, each with each (a mesh), or in a chain.

    Spans are in the order of their sites: a-b, b-c … and in a ring the last back to a; in a mesh a-b, a-c … b-c. Around a
    ring of more than three sites shortest paths would let the buffers of borders wait in a circle; up and down, the
    default, they cannot.
    """
    check_word("shape", shape, SHAPES)
    check_word("routing", routing, ROUTINGS)
    letters = string.ascii_lowercase[:sites]
    lab = LabBuilder(rate, local_profile)
    names = {site: lab.add("host", [f"{site}{index}" for index in range(1, hosts + 1)]) for site in letters}
    lab.add("switch", (f"leaf-{site}" for site in letters))
    lab.add("switch", (f"border-{site}" for site in letters))
    for site in letters:
        for host in names[site]:
            lab.link(host, f"leaf-{site}", local_profile, length=local)
        lab.link(f"leaf-{site}", f"border-{site}", local_profile, length=local)
    spans = _spans(letters, shape)
    for (a, b), each in zip(spans, _each(length, len(spans)), strict=True):
        lab.link(f"border-{a}", f"border-{b}", profile, length=each, loss=loss)
    data = lab.data("multi-dc")
    data["topology"]["routing"] = routing
    return data


def _spans(letters: str, shape: str) -> list[tuple[str, str]]:
    if shape == "mesh":
        return list(itertools.combinations(letters, 2))
    chain = list(itertools.pairwise(letters))
    # Two sites are joined once; a second span between them is no ring.
    return [*chain, (letters[-1], letters[0])] if shape == "ring" and len(letters) > 2 else chain


def _each(text: str, spans: int) -> list[str]:
    """Return the length of each span: one for all, or as many as there are, separated by slashes."""
    lengths = text.split("/")
    if len(lengths) not in (1, spans):
        raise ParameterError(f"length must be one for all, or one for each of {spans} spans, not {len(lengths)}")
    return lengths * spans if len(lengths) == 1 else lengths


GENERATORS: Mapping[str, Generator] = {
    "two-dc": Generator(
        two_dc,
        "two data centres joined by a long span",
        {
            "hosts": Parameter(2, "hosts in each data centre", high=1024),
            "rate": RATE,
            "length": Parameter("80km", "length of the span"),
            "loss": Parameter("", "probability that the span loses a frame"),
            "local": Parameter(DEFAULT_LENGTH, "length of the links inside a data centre"),
            "profile": Parameter("", "optical profile of the span"),
            "local-profile": Parameter("", "optical profile of the links inside a data centre"),
        },
    ),
    "multi-dc": Generator(
        multi_dc,
        "several data centres in a ring, a full mesh or a chain",
        {
            "sites": Parameter(4, "data centres", low=2, high=26),
            "shape": Parameter("ring", f"how they are joined: {', '.join(SHAPES)}"),
            "hosts": Parameter(2, "hosts in each data centre", high=256),
            "rate": RATE,
            "length": Parameter("80km", "length of the spans, one for all, or one for each as 80km/300km/80km/120km"),
            "loss": Parameter("", "probability that a span loses a frame"),
            "local": Parameter(DEFAULT_LENGTH, "length of the links inside a data centre"),
            "profile": Parameter("", "optical profile of the spans"),
            "local-profile": Parameter("", "optical profile of the links inside a data centre"),
            "routing": Parameter("up-down", f"how switches find paths: {', '.join(ROUTINGS)}"),
        },
    ),
}
