"""The table of a switch in a plan, by station, whether it has an entry a station or one for many in succession."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from testbed.contract.plan import Plan, Switch


class RouteTable:
    """The ports of equal cost towards each station. To look one up takes a binary search where entries are for many."""

    def __init__(self, switch: Switch) -> None:
        self._rows = switch["routes"]
        counts = switch.get("route_counts")
        self._ends = range(1, len(self._rows) + 1) if counts is None else list(accumulate(counts))

    def __getitem__(self, station: int) -> Sequence[int]:
        """Return the ports towards a station."""
        return self._rows[bisect_right(self._ends, station)]

    def changes(self) -> Iterator[int]:
        """Yield each station, but the first, whose ports are others than those of the station before it."""
        for before, row, station in zip(self._rows, self._rows[1:], self._ends, strict=False):
            if row != before:
                yield station


def tables_of(plan: Plan) -> dict[int, RouteTable]:
    """Return the tables of the switches of a plan, by index of the node."""
    return {index: RouteTable(node) for index, node in enumerate(plan["nodes"]) if node["kind"] == "switch"}
