"""Routes: shortest, without loops, complete, the same way back, and never through a host; or up and down; or as stated."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings

from testbed.errors import UsageError
from testbed.lab.hosts import Host
from testbed.lab.paths import rank_switches
from testbed.lab.topology import Lab, Link, lab_from, load_lab
from testbed.plan.routing import PathCost, PathCosts, Routing
from testbed.schema.source import Source
from tests.unit.plan.drawn_labs import labs


def cost_of(link: Link, round_trip_ps: int) -> PathCost:
    return PathCost(round_trip_ps, link.rate_bps, link.rate_bps, 0)


def delays(link: Link) -> PathCost:
    return cost_of(link, link.delay_ps)


def one_longer(link: Link) -> PathCost:
    return cost_of(link, link.delay_ps + 1)


def hops_alone(link: Link) -> PathCost:
    return cost_of(link, 1)


def hops(lab: Lab, start: str) -> dict[str, int]:
    """Return the number of links from a host to every node that it reaches, hosts ending paths."""
    neighbours: dict[str, set[str]] = {node.name: set() for node in lab.nodes}
    for link in lab.links:
        neighbours[link.a.node].add(link.b.node)
        neighbours[link.b.node].add(link.a.node)
    ends = {host.name for host in lab.hosts}
    distances = {start: 0}
    frontier = [start]
    while frontier:
        ahead = []
        for node in frontier:
            for other in neighbours[node] if node == start or node not in ends else ():
                if other not in distances:
                    distances[other] = distances[node] + 1
                    ahead.append(other)
        frontier = ahead
    return distances


@settings(max_examples=80)
@given(labs())
def test_every_way_is_one_hop_nearer_and_all_such_ways_are_kept(lab: Lab) -> None:
    routing = Routing(lab)
    for index, host in enumerate(lab.hosts):
        distance = hops(lab, host.name)
        for switch in lab.switches:
            ways = routing.adjacent[switch.name]
            ports = routing.routes(switch.name)[index]
            nearer = [way.port for way in ways if distance.get(way.node) == distance.get(switch.name, 0) - 1]
            # Other hosts may be as near, but they carry nothing on.
            carrying = [port for port in nearer if ways[port].node == host.name or ways[port].node not in routing.hosts]
            assert ports == (carrying if switch.name in distance else [])


@settings(max_examples=60)
@given(labs())
def test_paths_are_the_same_in_both_directions(lab: Lab) -> None:
    costs = PathCosts(Routing(lab), one_longer)
    for a in lab.hosts:
        for b in lab.hosts:
            if a.name != b.name:
                assert costs.between((a.name, 0), (b.name, 0)) == costs.between((b.name, 0), (a.name, 0))


def worst(lab: Lab, a: str, b: str) -> PathCost | None:
    """Return the worst cost over all shortest paths by walking every one of them."""
    distance = hops(lab, b)
    if a not in distance:
        return None
    routing = Routing(lab)
    costs: list[PathCost] = []

    def walk(node: str, delay: int, rate: int, links: int) -> None:
        if node == b:
            costs.append(PathCost(delay, rate, rate, 0, links))
            return
        for way in routing.adjacent[node]:
            nearer = distance.get(way.node) == distance[node] - 1
            if nearer and (way.node == b or way.node not in routing.hosts):
                walk(way.node, delay + way.link.delay_ps, min(rate, way.link.rate_bps), links + 1)

    walk(a, 0, 2**63, 0)
    rate = min(cost.rate_bps for cost in costs)
    links = max(cost.links for cost in costs)
    return PathCost(max(cost.round_trip_ps for cost in costs), rate, rate, 0, links)


@settings(max_examples=60)
@given(labs())
def test_costs_are_the_worst_over_all_shortest_paths(lab: Lab) -> None:
    costs = PathCosts(Routing(lab), delays)
    for a, b in pairwise(host.name for host in lab.hosts):
        assert costs.between((a, 0), (b, 0)) == worst(lab, a, b)


def test_hosts_can_face_each_other() -> None:
    nodes = {"a1": {"kind": "host"}, "b1": {"kind": "host"}, "c1": {"kind": "host"}, "s": {"kind": "switch"}}
    links = [{"endpoints": ["a1:eth1", "b1:eth1"], "delay": "3ns"}, {"endpoints": ["c1:eth1", "s:eth1"]}]
    lab = lab_from(Source("direct", {"name": "direct", "topology": {"nodes": nodes, "links": links}}))
    routing = Routing(lab)
    assert routing.routes("s") == [[], [], [0]]
    costs = PathCosts(routing, delays)
    assert costs.between(("a1", 0), ("b1", 0)) == PathCost(3000, 100 * 10**9, 100 * 10**9, 0)
    assert costs.between(("a1", 0), ("c1", 0)) is None and costs.between(("c1", 0), ("a1", 0)) is None


def test_a_fat_tree_offers_every_core() -> None:
    lab = load_lab("clos:tiers=3")
    routing = Routing(lab)
    far = routing.routes("leaf1")[-1]
    assert len(far) == 2 and all(len(routing.routes(f"agg{index}")[-1]) == 2 for index in (1, 2))
    assert all(isinstance(node, Host) or len(routing.routes(node.name)) == 16 for node in lab.nodes)


@settings(max_examples=120)
@given(labs(routing="up-down"))
def test_up_down_paths_are_legal_end_and_join_all_that_hang_together(lab: Lab) -> None:
    """A walk by any of the ways never goes up after it went down, so it ends; and it ends at the host."""
    routing = Routing(lab)
    ranks = rank_switches(lab.adjacent, routing.hosts)
    for index, host in enumerate(lab.hosts):
        reach = hops(lab, host.name)
        routes = {switch.name: routing.routes(switch.name)[index] for switch in lab.switches}
        assert {name for name, ports in routes.items() if ports} == {n.name for n in lab.switches} & reach.keys()
        walks = [(switch.name, False) for switch in lab.switches if switch.name in reach]
        seen = set()
        while walks:
            node, down = walks.pop()
            if node == host.name or (node, down) in seen:
                continue
            seen.add((node, down))
            for port in routes[node]:
                far = lab.adjacent[node][port].node
                falls = far == host.name or ranks[far] > ranks[node]
                assert falls or not down
                walks.append((far, falls))


@settings(max_examples=60)
@given(labs(routing="up-down"))
def test_costs_of_up_down_paths_are_known_wherever_there_is_one(lab: Lab) -> None:
    costs = PathCosts(Routing(lab), one_longer)
    shortest = PathCosts(Routing(lab.model_copy(update={"routing": "shortest"})), hops_alone)
    longer = PathCosts(Routing(lab), hops_alone)
    for a, b in pairwise(host.name for host in lab.hosts):
        assert (costs.between((a, 0), (b, 0)) is None) == (b not in hops(lab, a))
        if (short := shortest.between((a, 0), (b, 0))) is not None and (
            long := longer.between((a, 0), (b, 0))
        ) is not None:
            assert long.round_trip_ps >= short.round_trip_ps


@pytest.mark.parametrize("spec", ["clos", "clos:tiers=3", "two-dc", "three-leaves", "incast"])
def test_in_a_tree_of_tiers_up_down_paths_are_the_shortest_and_as_many(spec: str) -> None:
    lab = load_lab(spec)
    shortest, up_down = Routing(lab), Routing(lab.model_copy(update={"routing": "up-down"}))
    assert all(shortest.routes(switch.name) == up_down.routes(switch.name) for switch in lab.switches)


def test_up_down_in_a_ring_turns_back_at_the_bottom() -> None:
    """Of two switches of equal rank the first in the file is above the other: that link only leads down, or begins a way up."""
    lab = load_lab("ring:switches=5,routing=up-down")
    ranks = rank_switches(lab.adjacent, [host.name for host in lab.hosts])
    assert [ranks[f"switch{number}"][0] for number in range(1, 6)] == [0, 1, 2, 2, 1]
    routing = Routing(lab)
    to_h4 = {switch.name: routing.routes(switch.name)[3] for switch in lab.switches}
    assert to_h4 == {"switch1": [2], "switch2": [2], "switch3": [2], "switch4": [0], "switch5": [1]}
    assert routing.routes("switch4")[1] == [1]


def test_roots_can_be_chosen() -> None:
    lab = load_lab("ring:switches=4,routing=up-down").model_copy(update={"roots": ("switch3",)})
    ranks = rank_switches(lab.adjacent, [host.name for host in lab.hosts], lab.roots)
    assert [ranks[f"switch{number}"][0] for number in range(1, 5)] == [2, 1, 0, 1]


def test_stated_routes_win_and_both_ways_count() -> None:
    """Clockwise in a ring of three: one link there is two links back."""
    lab = load_lab("ring:routing=clockwise")
    routing = Routing(lab)
    assert [routing.routes(f"switch{number}") for number in (1, 2, 3)] == [
        [[0], [1], [1]],
        [[2], [0], [2]],
        [[2], [2], [0]],
    ]
    costs = PathCosts(routing, hops_alone)
    assert (
        costs.between(("h1", 0), ("h2", 0))
        == costs.between(("h2", 0), ("h1", 0))
        == PathCost(4, 100 * 10**9, 100 * 10**9, 0, 4)
    )


def test_a_switch_that_states_nothing_goes_by_policy() -> None:
    nodes: dict[str, Any] = {f"h{number}": {"kind": "host"} for number in (1, 2, 3)}
    nodes |= {
        "s1": {"kind": "switch", "routes": {"h3": ["eth3", "eth2"]}},
        "s2": {"kind": "switch"},
        "s3": {"kind": "switch"},
    }
    pairs = [("h1:eth1", "s1:eth1"), ("h2:eth1", "s2:eth1"), ("h3:eth1", "s3:eth1")]
    pairs += [("s1:eth2", "s2:eth2"), ("s2:eth3", "s3:eth2"), ("s3:eth3", "s1:eth3")]
    links = [{"endpoints": list(pair)} for pair in pairs]
    lab = lab_from(Source("test", {"name": "some", "topology": {"nodes": nodes, "links": links}}))
    routing = Routing(lab)
    assert [routing.routes(switch) for switch in ("s1", "s2", "s3")] == [
        [[0], [1], [1, 2]],
        [[1], [0], [2]],
        [[2], [1], [0]],
    ]
    assert lab == Lab.model_validate(lab.model_dump(mode="json", by_alias=True))


def test_a_ring_has_three_routings() -> None:
    with pytest.raises(UsageError, match='routing must be shortest, up-down or clockwise, not "left"'):
        load_lab("ring:routing=left")
