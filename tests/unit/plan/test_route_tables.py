"""Tables of large fabrics: an entry for as many stations as share it, equal to one entry for each."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.buffers.deadlock import find_cycles
from testbed.contract.plan import Plan, switches_of
from testbed.contract.routes import RouteTable, tables_of
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.plan import routing
from testbed.plan.compile import compile_fabric
from testbed.plan.routing import Routing

# Stations in the order of pods, of rails (each behind another switch than the one before), and of switches with routes of
# their own policy.
TOPOLOGIES = ["clos:tiers=3,radix=8", "rail:servers=4,accelerators=4", "dragonfly", "ring:switches=6,routing=up-down"]


def plans(monkeypatch: pytest.MonkeyPatch, topology: str) -> tuple[Plan, Plan]:
    """Return the plan of a lab with every station listed, and with the stations that share an entry in one."""
    lab, experiment = load_lab(topology), new_experiment(topology, "all_reduce")
    both = []
    for most in (10**6, 0):
        monkeypatch.setattr(routing, "MOST_LISTED", most)
        both.append(compile_fabric(lab, experiment))
    return both[0], both[1]


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_shared_entries_say_what_listed_ones_say(monkeypatch: pytest.MonkeyPatch, topology: str) -> None:
    listed, shared = plans(monkeypatch, topology)
    stations = len(listed["stations"])
    for each, other in zip(switches_of(listed), switches_of(shared), strict=True):
        assert "route_counts" not in each and sum(other["route_counts"]) == stations
        table = RouteTable(other)
        assert [table[station] for station in range(stations)] == each["routes"]
        assert list(RouteTable(each).changes()) == list(table.changes())
        assert {**other, "routes": [], "route_counts": []} == {**each, "routes": [], "route_counts": []}
    assert tables_of(listed).keys() == tables_of(shared).keys()


@pytest.mark.parametrize(("topology", "cycles"), [("ring:switches=5", 2), ("clos:tiers=3,radix=4", 0)])
def test_circles_of_buffers_are_found_in_both(monkeypatch: pytest.MonkeyPatch, topology: str, cycles: int) -> None:
    listed, shared = plans(monkeypatch, topology)
    found = find_cycles(shared, [3])
    assert len(found) == cycles and found == find_cycles(listed, [3])


def test_a_fabric_of_1024_hosts_has_few_entries() -> None:
    topology = "clos:tiers=3,radix=16"
    lab = load_lab(topology)
    plan = compile_fabric(lab, new_experiment(topology, "all_reduce"))
    # An edge switch: its eight hosts, and what is before and behind them; as often for the kernels.
    assert max(len(switch["routes"]) for switch in switches_of(plan)) <= 2 * 16
    assert sum(len(switch["routes"]) for switch in switches_of(plan)) < 10_000
    rows: Any = Routing(lab).routes(lab.switches[0].name)
    assert len(rows) == 1024
