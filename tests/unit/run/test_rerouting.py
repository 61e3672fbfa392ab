"""How tables follow links that fail: after the time that the lab gives, by the links that are up then."""

import json
from typing import Any

import pytest

from testbed import topologies
from testbed.errors import ExperimentError, TopologyError
from testbed.experiment.file import new_experiment
from testbed.lab.topology import Lab, lab_from, load_lab
from testbed.run.rerouting import Rerouting, follow
from testbed.run.timeline import expand
from testbed.schema.source import Source

Json = dict[str, Any]
CLOS = "clos:spines=2,leaves=2,hosts=2"
US, MS = 10**6, 10**9
LEAF1_SPINE1 = 4


def lab_with(routing: Any, name: str = "clos", **parameters: str) -> Lab:
    data = topologies.generate(name, parameters or {"spines": "2", "leaves": "2", "hosts": "2"})
    data["topology"]["routing"] = routing
    return lab_from(Source("lab", data))


def changes(lab: Lab, *entries: Json) -> list[Json]:
    experiment = new_experiment(CLOS, "all_to_all").with_overrides([f"timeline={json.dumps(entries)}"])
    return list(follow(lab, expand(lab, experiment)))


def down(at: str, link: str = "leaf1:eth3", **more: Any) -> Json:
    return {"at": at, "link": link, "impair": {"down": True}, **more}


def ways(change: Json, lab: Lab) -> dict[tuple[str, str], list[int]]:
    """Return the ports of each switch and host that a change names, kernels' stations left out."""
    names = [node.name for node in lab.nodes]
    hosts = [end.node for end in lab.nics]
    return {
        (names[route["node"]], hosts[route["station"]]): route["ports"]
        for route in change["routes"]
        if route["station"] < len(hosts)
    }


def test_ways_that_a_failed_link_was_part_of_lead_by_the_other_spine() -> None:
    lab = load_lab(CLOS)
    (change,) = changes(lab, down("100us"))
    assert (change["at_ps"], change["label"]) == (100 * US + MS, "routes after timeline[0]")
    assert ways(change, lab) == {
        **{("leaf1", host): [3] for host in ("h3", "h4")},
        **{("leaf2", host): [3] for host in ("h1", "h2")},
        **{("spine1", host): [1] for host in ("h1", "h2")},
    }
    # What hosts' kernels send takes the same ways.
    assert len(change["routes"]) == 12


def test_tables_are_as_planned_once_the_link_is_back_and_they_have_converged() -> None:
    lab = lab_with({"convergence": "200us"})
    there, back = changes(lab, down("1ms", **{"for": "3ms"}))
    assert (there["at_ps"], back["at_ps"]) == (MS + 200 * US, 4 * MS + 200 * US)
    assert back["label"] == "routes after timeline[0] over"
    planned = Rerouting(lab).tables(())
    assert all(route["ports"] == list(planned[route["node"]][route["station"] % 4]) for route in back["routes"])
    assert ways(back, lab).keys() == ways(there, lab).keys()


def test_a_link_that_is_back_before_tables_have_converged_changes_nothing() -> None:
    assert changes(load_lab(CLOS), down("1ms", **{"for": "900us"})) == []


def test_one_direction_that_fails_takes_its_link_away() -> None:
    lab = load_lab(CLOS)
    (one,), (both,) = changes(lab, down("100us", direction="out")), changes(lab, down("100us"))
    assert one["routes"] == both["routes"]


def test_tables_stay_where_a_lab_says_never_and_where_there_is_no_other_way() -> None:
    assert changes(lab_with({"convergence": "never"}), down("1ms")) == []
    assert changes(load_lab(CLOS), down("1ms", "leaf1:eth1")) == [], "a host has no other link"
    two = load_lab("two-dc:hosts=2")
    span = [{"link": index, "way": 0, "at_ps": MS, "up": False, "label": ""} for index in range(len(two.links))]
    assert [change for event in span for change in follow(two, [event])] == []


def test_a_switch_goes_down_with_all_its_links() -> None:
    lab = load_lab(CLOS)
    entry = {"at": "100us", "node": "spine1", "impair": {"down": True}}
    (change,) = changes(lab, entry)
    rerouted = ways(change, lab)
    assert rerouted["leaf1", "h3"] == [3] and rerouted["leaf2", "h1"] == [3]
    assert not any(switch == "spine1" for switch, _ in rerouted), "it has no way left, and keeps the planned one"
    experiment = new_experiment(CLOS, "all_to_all").with_overrides([f"timeline={json.dumps([entry])}"])
    cut = [(each["link"], each["way"]) for each in expand(lab, experiment)]
    assert cut == [(link, way) for link in (4, 6) for way in (0, 1)]


def test_up_down_keeps_the_ranks_of_the_whole_fabric() -> None:
    """A leaf that has lost its way up must not become a way down for another: no path may turn up again."""
    lab = lab_with({"policy": "up-down"})
    (change,) = changes(lab, down("100us"))
    assert ("spine1", "h1") not in ways(change, lab), "down to leaf2 and up to spine2 is not legal"
    assert ways(change, lab)["leaf2", "h1"] == [3]


def test_a_stated_way_gives_way_to_the_policy_while_its_link_has_failed() -> None:
    data = topologies.generate("clos", {"spines": "2", "leaves": "2", "hosts": "2"})
    data["topology"]["nodes"]["leaf1"]["routes"] = {"h3": ["eth3"]}
    lab = lab_from(Source("lab", data))
    (change,) = changes(lab, down("100us"))
    assert ways(change, lab)["leaf1", "h3"] == [3]


@pytest.mark.parametrize(
    ("routing", "message"),
    [
        ("fastest", "topology.routing"),
        ({"convergence": "soon"}, "topology.routing.convergence"),
        ({"convergence": -1}, "topology.routing.convergence"),
        ({"convergance": "1ms"}, "topology.routing.convergance"),
    ],
)
def test_faults_of_routing_are_named(routing: Any, message: str) -> None:
    with pytest.raises(TopologyError, match=message):
        lab_with(routing)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"node": "spine3", "impair": {"down": True}}, r'no node is called "spine3"; did you mean'),
        ({"node": "spine1", "impair": {"loss": 0.5}}, "a node can go down, come up or flap"),
        ({"node": "spine1", "impair": {"down": True}, "direction": "out"}, "both directions"),
    ],
)
def test_faults_of_nodes_that_go_down_are_named(entry: Json, message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        changes(load_lab(CLOS), {"at": "1ms", **entry})
