"""Cyclic buffer dependencies: found where routes close a circle of lossless links, and nowhere else."""

import json
import subprocess
from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from testbed.buffers.deadlock import Cycle, Plan, find_cycles, knots, shortest_cycle
from testbed.experiment.file import experiment_from, new_experiment
from testbed.lab.topology import Lab, load_lab
from testbed.plan.compile import compile_fabric
from testbed.run.trial import Trial
from testbed.schema.source import Source
from tests.unit.plan.drawn_labs import labs


def plan_of(lab: str | Lab, *overrides: str) -> Plan:
    experiment = new_experiment("test", "all_reduce").with_overrides(overrides)
    return compile_fabric(load_lab(lab) if isinstance(lab, str) else lab, experiment)


def ports(cycles: list[Cycle]) -> list[tuple[str, ...]]:
    return [cycle.ports for cycle in cycles]


CLOCKWISE = ("switch1:eth2", "switch2:eth3", "switch3:eth3")


def test_three_switches_routed_clockwise_wait_in_a_circle() -> None:
    (cycle,) = find_cycles(plan_of("ring:routing=clockwise"), [3])
    assert cycle == Cycle(3, CLOCKWISE, 3)
    assert str(cycle).endswith("priority 3: switch1:eth2 → switch2:eth3 → switch3:eth3 → switch1:eth2")


@pytest.mark.parametrize("switches", [5, 6, 9])
def test_shortest_paths_around_a_larger_ring_close_both_circles(switches: int) -> None:
    cycles = find_cycles(plan_of(f"ring:switches={switches}"), [3])
    assert [len(cycle.ports) for cycle in cycles] == [switches, switches]
    assert {port.partition(":")[0] for port in cycles[0].ports} == {f"switch{n}" for n in range(1, switches + 1)}
    assert not set(cycles[0].ports) & set(cycles[1].ports)


def test_in_a_ring_of_four_one_link_and_the_next_are_enough() -> None:
    """Opposite switches are two links apart either way, and every pair of links in a row is on such a path."""
    assert [len(cycle.ports) for cycle in find_cycles(plan_of("ring:switches=4"), [3])] == [4, 4]


@pytest.mark.parametrize(
    "lab",
    ["pair", "incast", "two-dc", "clos", "clos:tiers=3", "three-leaves", "ring", "ring:switches=9,routing=up-down"],
)
def test_labs_without_a_circle(lab: str) -> None:
    assert find_cycles(plan_of(lab), [3]) == []


def test_only_pairs_that_talk_count() -> None:
    plan = plan_of("ring:switches=6,routing=clockwise")
    around = [(number, (number + 2) % 6) for number in range(6)]
    assert ports(find_cycles(plan, [3], around)) == ports(find_cycles(plan, [3]))
    # One of the links in a row is on nobody's way any more.
    assert find_cycles(plan, [3], around[1:]) == []
    assert find_cycles(plan, [3], [(number, (number + 1) % 6) for number in range(6)]) == []


def test_priorities_and_links_that_lose_take_no_part() -> None:
    plan: Any = plan_of("ring:routing=clockwise")
    assert find_cycles(plan, [4]) == []
    assert find_cycles(plan_of("ring:routing=clockwise", "lossless.pfc=false"), [3]) == []
    plan["links"][4]["flow_control"] = "none"
    assert find_cycles(plan, [3]) == []
    # Credits stop a sender as pauses do, on the priorities that they are granted for.
    grant = {"priority": 3, "block_bytes": 64, "blocks": 2048, "update_blocks": 512}
    plan["links"][4] |= {"flow_control": "credit", "credits": [[grant], []]}
    assert ports(find_cycles(plan, [3])) == [CLOCKWISE]
    plan["links"][4]["credits"] = [[], [grant]]
    assert find_cycles(plan, [3]) == []


def test_a_lossy_switch_opens_the_circle() -> None:
    lab = load_lab("ring:routing=clockwise")
    plan: Any = plan_of(lab)
    for node in plan["nodes"]:
        if node["name"] == "switch2":
            node["priority_groups"] = []
    assert find_cycles(plan, [3]) == []


def test_the_workload_decides() -> None:
    def cycles(collective: str, hosts: list[str]) -> list[tuple[str, ...]]:
        workload = {"collective": collective, "ranks": hosts}
        experiment = experiment_from(Source("test", {"topology": "ring", "workload": workload}))
        return ports(Trial(experiment, load_lab("ring:switches=5,routing=clockwise")).cycles)

    everyone = [f"h{number}" for number in range(1, 6)]
    assert len(cycles("permutation", everyone)) == 1
    # Data go one link clockwise, and acknowledgements the rest of the way round.
    assert len(cycles("all_reduce", everyone)) == 1
    assert cycles("incast", ["h1", "h2"]) == []


def walked(plan: Plan) -> dict[tuple[int, int], set[tuple[int, int]]]:
    """Return what waits for what, (node, port) by (node, port), by walking every path between every two hosts."""
    far = {tuple(a): tuple(b) for link in plan["links"] for a, b in ((link["a"], link["b"]), (link["b"], link["a"]))}
    waits: dict[tuple[int, int], set[tuple[int, int]]] = {}

    def walk(node: int, came_by: tuple[int, int] | None, station: int) -> None:
        for port in plan["nodes"][node]["routes"][station]:
            onward = far[node, port][0]
            if plan["nodes"][onward]["kind"] == "host":
                continue
            if came_by is not None:
                waits.setdefault(came_by, set()).add((node, port))
            walk(onward, (node, port), station)

    nics = [station["node"] for station in plan["stations"] if station["kind"] == "nic"]
    for station, host in enumerate(nics):
        for other in nics:
            start = far[other, 0][0]
            if other != host and plan["nodes"][start]["kind"] == "switch":
                walk(start, None, station)
    return waits


@settings(max_examples=60)
@given(labs())
def test_circles_are_those_of_all_paths(lab: Lab) -> None:
    plan = plan_of(lab)
    waits = walked(plan)
    try:
        TopologicalSorter(waits).prepare()
        circular = False
    except CycleError:
        circular = True
    cycles = find_cycles(plan, [3])
    assert bool(cycles) == circular
    place = {
        f"{node['name']}:{port['name']}": (index, number)
        for index, node in enumerate(plan["nodes"])
        for number, port in enumerate(node["ports"])
    }
    for cycle in cycles:
        around = [place[port] for port in (*cycle.ports, cycle.ports[0])]
        assert all(after in waits[before] for before, after in pairwise(around))
    ports_found = [port for cycle in cycles for port in cycle.ports]
    assert len(set(ports_found)) == len(ports_found)


@settings(max_examples=60)
@given(labs(routing="up-down"))
def test_up_down_routing_never_closes_a_circle(lab: Lab) -> None:
    assert find_cycles(plan_of(lab), [3]) == []


def test_one_shortest_cycle_of_each_knot() -> None:
    graph = {0: [1], 1: [2, 4], 2: [3], 3: [0], 4: [0], 5: [5, 0], 6: [5, 7], 7: []}
    knotted = knots(graph)
    assert sorted(map(sorted, knotted)) == [[0, 1, 2, 3, 4], [5]]
    assert [shortest_cycle(knot, graph) for knot in sorted(knotted, key=min)] == [[0, 1, 4], [5]]


def test_long_circles_and_wide_trees_are_no_trouble() -> None:
    """Neither recursion nor the number of paths stands in the way."""
    around = [(number, (number + 2) % 200) for number in range(200)]
    (cycle,) = find_cycles(plan_of("ring:switches=200"), [3], around)
    assert len(cycle.ports) == 200
    assert find_cycles(plan_of("clos:tiers=3,radix=8"), [3]) == []


Cli = Callable[..., "subprocess.CompletedProcess[str]"]

WAITING = """\
name: waiting
topology:
  nodes:
    h1: {kind: host}
    h2: {kind: host}
    h3: {kind: host}
    s1: {kind: switch, routes: {h2: eth2, h3: eth2}}
    s2: {kind: switch, routes: {h3: eth2, h1: eth2}}
    s3: {kind: switch, routes: {h1: eth2, h2: eth2}}
  links:
    - {endpoints: ["h1:eth1", "s1:eth1"]}
    - {endpoints: ["h2:eth1", "s2:eth1"]}
    - {endpoints: ["h3:eth1", "s3:eth1"]}
    - {endpoints: ["s1:eth2", "s2:eth3"]}
    - {endpoints: ["s2:eth2", "s3:eth3"]}
    - {endpoints: ["s3:eth2", "s1:eth3"]}
"""


def test_the_command_line_warns_or_refuses_at_the_link(run_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(WAITING)
    fault = "lab.yaml:14: topology.links[3].endpoints: buffers can wait in a circle on priority 3: "
    fault += "s1:eth2 → s2:eth2 → s3:eth2 → s1:eth2"
    warned = run_testbed("validate", "lab.yaml", "ring", "--format", "json", cwd=tmp_path)
    assert (warned.returncode, warned.stderr) == (0, f"warning: {fault}\n")
    assert [row["warnings"] for row in json.loads(warned.stdout)["files"]] == [[fault], []]
    refused = run_testbed("run", "all_reduce", "-t", "lab.yaml", "--clock", "virtual", "--strict", cwd=tmp_path)
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", f"testbed: {fault}\n")
