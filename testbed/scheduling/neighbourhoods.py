"""Accelerators as a tree of neighbourhoods: host, scale-up domain or leaf, site, and the whole lab."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from testbed.lab.hosts import Host
from testbed.lab.ranks import Rank
from testbed.lab.sites import sites
from testbed.lab.topology import Lab

Key = Hashable


@dataclass(frozen=True)
class Neighbourhoods:
    """Which host, block and site an accelerator is in. A block is a scale-up domain, or the hosts of one leaf without one."""

    lab: Lab

    @cached_property
    def hosts(self) -> Mapping[str, Host]:
        """The hosts by name."""
        return {host.name: host for host in self.lab.hosts}

    @cached_property
    def _sites(self) -> Mapping[str, int]:
        return sites(self.lab)

    def host(self, rank: Rank) -> Key:
        """Return the host of a rank."""
        return rank.host

    def domain(self, rank: Rank) -> Key:
        """Return the scale-up domain of a rank; a host without one is its own."""
        return self.hosts[rank.host].domain or ("", rank.host)

    def block(self, rank: Rank) -> Key:
        """Return the scale-up domain of a rank, or without one the switch that its host is plugged into."""
        host = self.hosts[rank.host]
        if host.domain is not None:
            return host.domain
        port = self.lab.ports[host.name].index((host.scale_out or host.scale_up)[0])
        return "", self.lab.adjacent[host.name][port].node

    def site(self, rank: Rank) -> Key:
        """Return the site of a rank."""
        return self._sites[rank.host]

    def delay_ps(self, start: Key) -> Mapping[Key, int]:
        """Return how long light takes from a site to each other by the shortest way."""
        nodes = [node.name for node in self.lab.nodes if self._sites[node.name] == start]
        reached = dict.fromkeys(nodes, 0)
        front = set(nodes)
        while front:
            name = min(front, key=lambda node: (reached[node], node))
            front.remove(name)
            for way in self.lab.adjacent[name]:
                length = reached[name] + way.link.delay_ps
                if length < reached.get(way.node, length + 1):
                    reached[way.node] = length
                    front.add(way.node)
        shortest: dict[Key, int] = {}
        for name, length in reached.items():
            site = self._sites[name]
            shortest[site] = min(length, shortest.get(site, length))
        return shortest


def grouped(ranks: Iterable[Rank], keys: Sequence[Key]) -> list[list[Rank]]:
    """Return ranks in groups of equal keys, in the order in which keys first occur."""
    groups: dict[Key, list[Rank]] = {}
    for rank, key in zip(ranks, keys, strict=True):
        groups.setdefault(key, []).append(rank)
    return list(groups.values())
