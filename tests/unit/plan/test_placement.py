"""Which agent has which node, what a plan is to each of them, and how their parts are asked for and put together."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any, cast

import pytest

from testbed.bus.client import Caller
from testbed.bus.verbs import Verb
from testbed.control.agents import Agents, one_lab
from testbed.control.combine import combine
from testbed.drivers.layout import FIRST_INDEX, Tunnel, layout_of
from testbed.errors import HostError, TopologyError, UsageError
from testbed.experiment.file import new_experiment
from testbed.lab.topology import Lab, lab_from, load_lab
from testbed.plan.compile import compile_fabric
from testbed.plan.placement import check_underlay, order, part_of, place, placed
from testbed.run.execution import Outcome
from testbed.run.fidelity import FidelityBounds, judge_fidelity
from testbed.run.trial import Trial, from_spec
from testbed.schema.source import Source

Document = dict[str, Any]
MACHINES = {"a": "10.0.0.1", "b": "10.0.0.2"}
SPLIT: Document = {
    "name": "split",
    "topology": {
        "nodes": {
            "a1": {"kind": "host", "agent": "a"},
            "b1": {"kind": "host", "agent": "b"},
            "leaf": {"kind": "switch"},
        },
        "links": [{"endpoints": ["a1:eth1", "leaf:eth1"]}, {"endpoints": ["b1:eth1", "leaf:eth2"], "length": "2km"}],
    },
}


def lab_of(document: Document) -> Lab:
    return lab_from(Source("split", document))


def plan_of(lab: Lab) -> Document:
    plan: Document = compile_fabric(lab, new_experiment(lab.name, "all_reduce"))
    return placed(plan, place(lab, MACHINES), lab)


def test_nodes_are_spread_with_the_longest_links_between_the_agents() -> None:
    placement = place(load_lab("two-dc"), MACHINES)
    assert placement.nodes_of("a") == {"a1", "a2", "leaf-a", "border-a"}
    assert placement.nodes_of("b") == {"b1", "b2", "leaf-b", "border-b"}
    assert place(load_lab("two-dc"), MACHINES) == placement


@pytest.mark.parametrize("agents", [1, 2, 3, 5])
def test_no_agent_has_more_than_its_share(agents: int) -> None:
    lab = load_lab("clos:leaves=4,hosts=2,spines=2")
    placement = place(lab, {f"m{number}": f"10.0.0.{number + 1}" for number in range(agents)})
    loads = [len(placement.nodes_of(agent)) for agent in placement.machines]
    assert sum(loads) == len(lab.nodes) and max(loads) <= -(-len(lab.nodes) // agents) + 2


def test_packed_nodes_go_with_their_neighbours_or_with_the_first_agent() -> None:
    assert place(load_lab("two-dc"), MACHINES, "pack").nodes_of("b") == set()
    assert place(lab_of(SPLIT), MACHINES, "pack").nodes == {"a1": "a", "b1": "b", "leaf": "a"}


def test_an_agent_that_a_node_names_has_it_and_has_to_be_there() -> None:
    for how in ("spread", "pack"):
        assert place(lab_of(SPLIT), MACHINES, how).nodes["b1"] == "b"  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="node b1 is for agent b, and the lab is given to a, c"):
        place(lab_of(SPLIT), {"a": "10.0.0.1", "c": "10.0.0.3"})


def test_a_link_without_an_interface_keeps_its_ends_together_or_cannot_be() -> None:
    links = [dict(link, medium="memory") for link in SPLIT["topology"]["links"]]
    nodes = {name: {"kind": node["kind"]} for name, node in SPLIT["topology"]["nodes"].items()}
    together = lab_of({"name": "split", "topology": {"nodes": nodes, "links": links}})
    assert len(set(place(together, MACHINES).nodes.values())) == 1
    with pytest.raises(
        TopologyError, match=r"topology\.links\[1\]\.medium: medium memory, and its ends are with agents b and a"
    ):
        plan_of(lab_of({"name": "split", "topology": {**SPLIT["topology"], "links": links}}))


def test_links_that_cross_have_networks_of_their_own() -> None:
    lab = load_lab("clos:leaves=4,hosts=2,spines=2")
    plan = plan_of(lab)
    crossing = [link for link in plan["links"] if link["medium"] == "vxlan"]
    numbers = [link["vni"] for link in crossing]
    assert crossing and len(set(numbers)) == len(numbers) and all(0 < number < 2**24 for number in numbers)
    assert plan_of(lab) == plan
    other = lab.model_copy(update={"name": "other"})
    assert not set(numbers) & {link.get("vni") for link in plan_of(other)["links"]}


def test_each_agent_builds_its_own_nodes_and_its_ends_of_links_that_cross() -> None:
    lab = lab_of(SPLIT)
    plan = plan_of(lab)
    (vni,) = [link["vni"] for link in plan["links"] if link["medium"] == "vxlan"]
    here, there = (layout_of(part_of(plan, agent), {}) for agent in ("a", "b"))
    assert [node.name for node in here.nodes] == ["a1", "leaf"] and [node.name for node in there.nodes] == ["b1"]
    assert [(place, end.name, tunnel) for place, end, tunnel in here.tunnels] == [
        (1, "eth2", Tunnel(vni, "10.0.0.1", "10.0.0.2"))
    ]
    ((_, end, tunnel),) = there.tunnels
    assert tunnel == Tunnel(vni, "10.0.0.2", "10.0.0.1") and tunnel.overhead_bytes == 50
    assert Tunnel(vni, "fd00::1", "fd00::2").overhead_bytes == 70
    assert end.alias == f"to leaf:eth2 by VNI {vni} from 10.0.0.2 to 10.0.0.1"
    # The kernel of a host knows all others, wherever they are.
    assert [(index, address) for index, address, _ in there.nodes[0].neighbours] == [(FIRST_INDEX, "198.19.0.1")]
    assert len(here.links) == 1 and there.links == []


def test_a_plan_is_for_the_agents_that_it_names() -> None:
    plan = plan_of(lab_of(SPLIT))
    with pytest.raises(UsageError, match="lab split is for agents a, b, and this is c"):
        part_of(plan, "c")
    bare: Document = compile_fabric(lab_of(SPLIT), new_experiment("split", "all_reduce"))
    assert part_of(bare, "c") == bare


def test_a_trial_takes_its_placement_along_and_refuses_one_of_other_nodes() -> None:
    lab = lab_of(SPLIT)
    trial = Trial(new_experiment("split", "all_reduce"), lab, placement=place(lab, MACHINES))
    assert from_spec(trial.spec()).plan == trial.plan
    wrong = {**trial.spec(), "placement": {"machines": MACHINES, "nodes": {"a1": "a"}}}
    with pytest.raises(UsageError, match="of other nodes"):
        from_spec(wrong)


@pytest.mark.parametrize("address", ["here", "0.0.0.0", "224.0.0.1", "10.0.0.1/24"])
def test_an_underlay_is_the_address_of_one_machine(address: str) -> None:
    with pytest.raises(UsageError, match="--underlay"):
        check_underlay(address)
    assert check_underlay("fd00:0::1") == "fd00::1"


def test_agents_are_named_once() -> None:
    assert order(["b", "a"]) == ["b", "a"]
    with pytest.raises(UsageError, match="twice"):
        order(["a", "a"])


class FakeCaller:
    """An agent that writes down what it is asked, and answers as it is told to."""

    def __init__(self, answers: Document) -> None:
        self.asked: list[tuple[str, Document]] = []
        self._answers = answers

    async def request(self, verb: Verb[Any], body: Document | None = None, **rest: object) -> Document:
        self.asked.append((verb.name, body or {}))
        answer = self._answers[verb.name]
        if isinstance(answer, Exception):
            raise answer
        return cast(Document, answer)


def agents_of(**answers: Document) -> tuple[Agents, dict[str, FakeCaller]]:
    callers = {name: FakeCaller(each) for name, each in answers.items()}
    return Agents(cast(dict[str, Caller], callers)), callers


UP = {"lab": "split", "changed": True, "beats_port": 7}


@pytest.mark.parametrize(
    ("answer", "taken_back"),
    [(UP, True), ({**UP, "changed": False}, False), ({**UP, "changes": [{"kind": "node"}]}, False)],
    ids=["built", "was there", "changed in place"],
)
def test_a_lab_is_deployed_by_all_agents_or_taken_back_where_it_was_built(answer: Document, taken_back: bool) -> None:
    agents, callers = agents_of(
        a={"deploy": answer, "destroy": {"lab": "split", "changed": True}}, b={"deploy": HostError("no room")}
    )
    with pytest.raises(HostError, match="no room"):
        asyncio.run(agents.deploy("split", {}))
    assert [verb for verb, _ in callers["a"].asked] == ["deploy", *(["destroy"] if taken_back else [])]
    assert [verb for verb, _ in callers["b"].asked] == ["deploy"]


def test_agents_without_an_underlay_have_no_part_of_a_lab() -> None:
    lab = lab_of(SPLIT)
    trial = Trial(new_experiment("split", "all_reduce"), lab)
    agents, _ = agents_of(a={"ping": {"underlay": "10.0.0.1"}}, b={"ping": {"underlay": None}})
    with pytest.raises(UsageError, match="agent b cannot share a lab: start it with --underlay"):
        asyncio.run(agents.enlist(trial, "spread"))
    alone, _ = agents_of(a={})
    with pytest.raises(UsageError, match="node b1 is for agent b: name all agents"):
        asyncio.run(alone.enlist(trial, "spread"))


def port(drops: int = 0) -> Document:
    return {"rate_bps": 1, "priorities": {"3": {"frames_tx": 4, "drops": {"link": drops}}}}


LOST = {"lossless": 0, "lossy": 0, "link": 0, "outage": 0, "malformed": 0}
QUIET = {"sent": 0, "delivered": 0, "dropped": 0, "in_flight": 0}


def outcome(agent: str, **changed: Any) -> Outcome:
    """Return what one agent of `SPLIT` has to say."""
    fidelity = {
        "lateness_ns": {"p50": 1, "p99": 2, "max": 3}, "held_share": 0.1, "cpu_share": 0.2, "socket_drops": 0, "overflow": 0,
        "turned_away": {}, "delays": [], "links": [], **changed.pop("fidelity", {}),
    }  # fmt: skip
    crossed = {"leaf:eth2": {"out": 9, "back": 5}} if agent == "a" else {"b1:eth1": {"out": 5, "back": 9}}
    others = [{"agent": "b" if agent == "a" else "a", "offset_ns": 3, "round_trip_ns": 8, "finish_ps": 1}]
    report = {
        "start_ps": 0, "events": 1, "frame_hops": 2, "complete": True, "stalled": False, "pools": {}, "watchdog": [], "qps": [],
        "ports": {f"{agent}1:eth1": port()}, "deadlocks": [], "violations": [], "kernel_frames": QUIET,
        "conservation": {"sent": 5, "delivered": 5, "dropped": 0, "in_flight": 0}, "drops": {**LOST, "link": 1},
        "agents": {"crossed": {**crossed, **changed.pop("crossed", {})}, "apart_ns": 10, "others": others},
        "fidelity": fidelity, **changed.pop("report", {}),
    }  # fmt: skip
    return dataclasses.replace(Outcome(report=report, start_ps=1_000_000, end_ps=2_000_000), **changed)


def combined(a: Document, b: Document) -> Outcome:
    return combine(plan_of(lab_of(SPLIT)), {"a": outcome("a", **a), "b": outcome("b", **b)})


def row(wrong: int | None, in_place: Document | None = None) -> Document:
    return {"size_bytes": 64, "time_us": 1.0, "wrong": wrong, "in_place": in_place}


def test_wrong_elements_of_all_agents_count_and_none_where_none_could_be_compared() -> None:
    outcome = combined({"rows": [row(1, row(0)), row(None)]}, {"rows": [row(2, row(4)), row(None)]})
    assert [(each["wrong"], (each["in_place"] or {}).get("wrong")) for each in outcome.rows] == [(3, 4), (None, None)]
    # What only one of them completed is no row.
    assert len(combined({"rows": [row(0), row(0)]}, {"rows": [row(0)]}).rows) == 1


def test_a_flow_between_agents_begins_at_its_sender_and_ends_at_its_receiver() -> None:
    sent = {
        "src": "a1",
        "dst": "b1",
        "bytes": 100,
        "start_ps": 10_000,
        "completion_ps": None,
        "workload_ps": 0,
        "size_bytes": 64,
        "in_place": False,
        "iteration": 0,
    }
    arrived = {**sent, "start_ps": 30_000, "completion_ps": 50_000}
    (flow,) = combined({"flows": [sent]}, {"flows": [arrived]}).flows
    assert (flow["start_ns"], flow["completion_ns"], flow["goodput_bps"]) == (10, 50, 20 * 10**9)
    (flow,) = combined({"flows": [sent]}, {}).flows
    assert flow["completion_ns"] is None


def test_counts_are_added_up_and_times_are_those_of_the_first_agent() -> None:
    deadlock = {"at_ns": 5_000, "cured_ns": None, "ports": []}
    outcome = combined(
        {}, {"start_ps": 4_000_000, "complete": False, "reasons": ["stalled"], "report": {"deadlocks": [deadlock]}}
    )
    assert outcome.report["drops"] == {**LOST, "link": 2}
    assert outcome.report["conservation"] == {"sent": 10, "delivered": 10, "dropped": 0, "in_flight": 0}
    assert outcome.report["ports"].keys() == {"a1:eth1", "b1:eth1"}
    assert (outcome.complete, outcome.end_ps, outcome.reasons) == (False, None, ["agent b: stalled"])
    assert outcome.report["deadlocks"][0]["at_ns"] == 2_000


def test_fidelity_is_that_of_the_worst_agent_and_clocks_are_recorded() -> None:
    late = {"lateness_ns": {"p50": 0, "p99": 900, "max": 901}, "held_share": 0.05, "socket_drops": 2}
    fidelity = combined({}, {"fidelity": late}).report["fidelity"]
    assert fidelity["lateness_ns"] == {"p50": 1, "p99": 900, "max": 901}
    assert (fidelity["held_share"], fidelity["socket_drops"], fidelity["apart_ns"]) == (0.1, 2, 10)
    assert fidelity["clocks"][0] == {"agent": "a", "other": "b", "offset_ns": 3, "round_trip_ns": 8}


def test_frames_lost_between_machines_are_counted_by_their_sender_and_not_trusted() -> None:
    assert judge_fidelity(combined({}, {}).report["fidelity"], FidelityBounds()) == []
    report = combined(
        {"report": {"conservation": {"sent": 5, "delivered": 3, "dropped": 0, "in_flight": 0}}},
        {"crossed": {"b1:eth1": {"out": 5, "back": 6}}},
    ).report
    assert report["fidelity"]["lost_between"] == {"leaf:eth2": 3}
    # Two of the three were packets, the third was none.
    assert report["conservation"] == {"sent": 10, "delivered": 8, "dropped": 2, "in_flight": 0}
    assert judge_fidelity(report["fidelity"], FidelityBounds()) == [
        "untrusted: frames lost between machines on their way from leaf:eth2 is 3, more than 0"
    ]
    apart = {**report["fidelity"], "lost_between": {}, "apart_ns": 1_001}
    assert judge_fidelity(apart, FidelityBounds()) == [
        "untrusted: how far agents were apart is 1,001 ns, more than 1,000 ns"
    ]


def test_what_agents_say_of_their_parts_is_one_lab() -> None:
    a = {"lab": "split", "state": "running", "nodes": ["a1"], "ports": {"a1:eth1": 1}, "links": [{"ends": ["x", "y"]}]}
    b = {"lab": "split", "state": "broken", "nodes": ["b1"], "links": [{"ends": ["x", "y"]}], "faults": {"b1": "gone"}}
    lab = one_lab({"a": a, "b": b})
    assert (lab["state"], lab["nodes"], lab["agent"]) == ("broken", ["a1", "b1"], "a,b")
    assert (lab["faults"], len(lab["links"]), lab["placement"]) == ({"b1": "gone"}, 1, {"a1": "a", "b1": "b"})
    assert one_lab({"a": a})["agent"] == "a"
