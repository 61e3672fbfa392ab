"""How tables follow links between switches that fail and come back, after the time that a lab says they take. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from testbed.lab.topology import Lab, Switch
from testbed.plan.routing import Routing

Json = dict[str, Any]
Place = tuple[int, int]
Tables = Mapping[int, Sequence[Sequence[int]]]
"""By index of a switch, by port of a host in the order of `Lab.nics`: the ports towards it."""


class Rerouting:
    """The tables of a lab whose links between switches may have failed.

    Cost: for each set of failed links that is new, what `Routing` costs.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.switches = {node.name: index for index, node in enumerate(lab.nodes) if isinstance(node, Switch)}
        self._known: dict[frozenset[int], Tables] = {}

    def joins_switches(self, link: int) -> bool:
        """Return whether both ends of a link are switches: what leads to a host has no other way."""
        return all(end.node in self.switches for end in (self.lab.links[link].a, self.lab.links[link].b))

    def tables(self, failed: Collection[int]) -> Tables:
        """Return the tables while these links carry nothing. Where no way is left, a switch forwards as planned."""
        key = frozenset(failed)
        if key not in self._known:
            routing = Routing(self.lab, key)
            self._known[key] = {index: routing.routes(name) for name, index in self.switches.items()}
            if key:
                planned = self.tables(())
                self._known[key] = {
                    index: [own or then for own, then in zip(table, planned[index], strict=True)]
                    for index, table in self._known[key].items()
                }
        return self._known[key]

    def between(self, before: Tables, after: Tables) -> list[Json]:
        """Return what differs, as the data plane has it: each port of a host is a NIC's station, and one of its kernel's.

        Of switches that `before` does not name all differs.
        """
        stations = len(self.lab.nics)
        return [
            {"node": node, "station": station, "ports": list(ports)}
            for node, table in after.items()
            for number, ports in enumerate(table)
            if node not in before or list(before[node][number]) != list(ports)
            for station in (number, stations + number)
        ]


def follow(lab: Lab, changes: Sequence[Json]) -> Iterator[Json]:
    """Yield what tables do about the links that changes take down or bring up, in the order of time.

    `changes` are in that order. Tables are those of the links that are up at that moment: a link that is back before they
    have converged changes nothing.
    """
    rerouting = Rerouting(lab)
    events = [change for change in changes if "up" in change and rerouting.joins_switches(change["link"])]
    if lab.convergence_ps is None or not events:
        return
    causes = {change["at_ps"] + lab.convergence_ps: change for change in events}
    down: set[Place] = set()
    waiting = list(events)
    installed = rerouting.tables(())
    for moment, cause in sorted(causes.items()):
        while waiting and waiting[0]["at_ps"] <= moment:
            event = waiting.pop(0)
            (down.discard if event["up"] else down.add)((event["link"], event["way"]))
        tables = rerouting.tables({link for link, _ in down})
        if routes := rerouting.between(installed, tables):
            place = {"link": cause["link"], "way": cause["way"], "at_ps": moment}
            yield {**place, "routes": routes, "label": f"routes after {cause['label']}"}
        installed = tables
