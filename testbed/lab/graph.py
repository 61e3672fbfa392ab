"""A lab as other formats know one, and which of its settings they do not carry."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from testbed.importers.draft import Remainder
from testbed.importers.graph import Edge, Graph
from testbed.lab.topology import Lab
from testbed.schema.source import KeyPath, Source, dotted

# What a resolved link says of these is carried as a rate and a delay.
_LINK = frozenset(("endpoints", "rate", "length", "delay", "profile"))
_NAMES = ("nodes", "links")


def graph_of(lab: Lab) -> Graph:
    """Return the nodes and links of a lab."""
    links = [
        Edge(
            a=link.a.node,
            port_a=link.a.port,
            b=link.b.node,
            port_b=link.b.port,
            rate_bps=link.rate_bps,
            delay_ps=link.delay_ps,
            length_mm=link.length_mm,
            loss=max(link.loss),
            mtu_bytes=link.mtu_bytes,
        )
        for link in lab.links
    ]
    return Graph(lab.name, {node.name: node.kind for node in lab.nodes}, tuple(links))


def not_carried(source: Source, carried: Collection[str]) -> Remainder:
    """Return the settings of a lab file that a format leaves out which carries `carried` of links."""
    remainder = Remainder()
    body = source.data["topology"]
    for path in _settings(body, ("topology",), frozenset(carried) | _LINK):
        # The same setting of many nodes or links is one thing that is left out.
        parts = path[1:] if len(path) < 4 or path[1] not in _NAMES else (path[1], *path[3:])
        remainder.add(dotted(parts), source.file, source.line(path))
    for key in source.data:
        if key not in ("name", "topology") and source.data[key]:
            remainder.add(key, source.file, source.line((key,)))
    return remainder


def _settings(body: Mapping[str, Any], path: KeyPath, of_links: Collection[str]) -> Iterator[KeyPath]:
    for key, value in body.items():
        if key == "links":
            for index, link in enumerate(value):
                yield from ((*path, key, index, inner) for inner in link if inner not in of_links)
        elif key == "nodes":
            for name, entry in value.items():
                yield from ((*path, key, name, inner) for inner in entry if inner not in ("kind", "nic"))
        elif key == "kinds":
            for kind, entry in value.items():
                yield from ((*path, key, kind, inner) for inner in entry or {} if inner != "nic")
        elif key == "defaults":
            yield from ((*path, key, inner) for inner in value if inner not in (*of_links, "nic"))
        else:
            yield (*path, key)
