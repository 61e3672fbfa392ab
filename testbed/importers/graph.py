"""A lab as the formats of others know one: nodes and links alone. Exporters write it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Edge:
    """A link between a port of one node and a port of another; `loss` is per frame, the greater one of both directions.

    `length_mm` is None where the delay was given outright.
    """

    a: str
    port_a: str
    b: str
    port_b: str
    rate_bps: int
    delay_ps: int
    length_mm: int | None
    loss: float
    mtu_bytes: int


@dataclass(frozen=True)
class Graph:
    """The name of a lab, the kind of each node in the order of the lab, and its links."""

    name: str
    nodes: Mapping[str, Literal["host", "switch"]]
    links: tuple[Edge, ...]

    @property
    def ports_follow_links(self) -> bool:
        """Whether each node numbers its ports in the order in which its links are listed."""
        used: Counter[str] = Counter()
        for link in self.links:
            for node, port in ((link.a, link.port_a), (link.b, link.port_b)):
                used[node] += 1
                if port != f"eth{used[node]}":
                    return False
        return True
