"""Thresholds and marks by port and by priority, and the maps of DSCPs and queues: what is said of fewer groups wins."""

from typing import Any

import pytest

from testbed.buffers.deadlock import find_cycles
from testbed.errors import ExperimentError, TopologyError
from testbed.experiment.file import new_experiment
from testbed.lab.thresholds import NOTHING_LOG2, UNLIMITED_LOG2, alpha_text, parse_alpha, settled
from testbed.lab.topology import Lab, Switch, lab_from
from testbed.plan.compile import compile_fabric, dscp_of
from testbed.schema.source import Source

Json = dict[str, Any]


def lab_of(switch: Json, *, rates: tuple[str, ...] = ("100G", "100G"), kinds: Json | None = None) -> Lab:
    nodes: Json = {f"h{index}": {"kind": "host"} for index in range(len(rates))}
    nodes["sw"] = {"kind": "switch", "lossless": [3, 4], **switch}
    links = [
        {"endpoints": [f"h{index}:eth1", f"sw:eth{index + 1}"], "rate": rate, "length": "100m"}
        for index, rate in enumerate(rates)
    ]
    defaults = {"rate": "400G"}
    return lab_from(
        Source(
            "lab",
            {"name": "t", "topology": {"defaults": defaults, "kinds": kinds or {}, "nodes": nodes, "links": links}},
        )
    )


def switch_of(lab: Lab) -> Switch:
    return lab.switches[0]


def planned(lab: Lab, *overrides: str) -> Json:
    plan = compile_fabric(lab, new_experiment("x", "incast").with_overrides(overrides))
    return next(dict(node) for node in plan["nodes"] if node["kind"] == "switch")


def groups(lab: Lab, *overrides: str) -> dict[tuple[int, int], Json]:
    return {(group["port"], group["priority"]): group for group in planned(lab, *overrides)["priority_groups"]}


def test_what_is_set_for_fewer_groups_wins() -> None:
    thresholds = {
        "xoff": "100KB",
        "headroom": "50KB",
        "priorities": {"4": {"xoff": "40KB"}},
        "ports": {"eth2": {"xoff": "70KB", "headroom": "60KB", "priorities": {"4": {"headroom": "80KB"}}}},
    }
    by_place = groups(lab_of({"thresholds": thresholds}))
    figures = {place: (group["xoff_bytes"], group["headroom_bytes"]) for place, group in by_place.items()}
    assert figures == {
        (0, 3): (100_000, 50_000),
        (0, 4): (40_000, 50_000),
        (1, 3): (70_000, 60_000),
        (1, 4): (70_000, 80_000),
    }


def test_a_group_may_be_static_where_others_share_the_pool() -> None:
    thresholds = {"alpha": "1/8", "reserve": "2KB", "priorities": {"4": {"xoff": "300KB", "xon": "200KB"}}}
    switch = planned(lab_of({"buffer": "8MB", "thresholds": thresholds}))
    by_priority = {group["priority"]: group for group in switch["priority_groups"] if group["port"] == 0}
    assert (by_priority[3]["alpha_log2"], by_priority[3]["reserve_bytes"]) == (-3, 2_000)
    assert "alpha_log2" not in by_priority[4]
    assert (by_priority[4]["xoff_bytes"], by_priority[4]["xon_bytes"]) == (300_000, 200_000)
    rooms = sum(group["headroom_bytes"] for group in switch["priority_groups"])
    assert switch["pool_bytes"] + rooms + 2 * (2_000 + 300_000) + 2 * switch["lossy_queue_bytes"] == 8_000_000
    back = {"xoff": "100KB", "ports": {"eth1": {"alpha": "1/2"}}}
    by_place = groups(lab_of({"thresholds": back}))
    assert ("alpha_log2" in by_place[0, 3], "alpha_log2" in by_place[1, 3]) == (True, False)


def test_layers_of_a_lab_meet_group_by_group() -> None:
    kinds = {"switch": {"thresholds": {"alpha": 1, "priorities": {"3": {"reserve": "9KB"}, "4": {"alpha": "1/4"}}}}}
    switch = switch_of(lab_of({"thresholds": {"priorities": {"4": {"xoff": "10KB"}}}}, kinds=kinds))
    three, four = switch.group("eth1", 3), switch.group("eth1", 4)
    assert (three.alpha_log2, three.reserve_bytes, three.xoff_bytes) == (0, 9_000, None)
    assert (four.alpha_log2, four.reserve_bytes, four.xoff_bytes) == (None, 0, 10_000)
    assert Lab.model_validate(lab_of({"thresholds": {"ports": {"eth1": {"alpha": 2}}}}).model_dump(mode="json"))


def test_thresholds_of_the_experiment_hold_for_every_group() -> None:
    thresholds = {"alpha": "1/8", "ports": {"eth1": {"headroom": "1MB", "priorities": {"4": {"xoff": "40KB"}}}}}
    by_place = groups(lab_of({"thresholds": thresholds}), "lossless.xoff=90KB", "lossless.headroom=70KB")
    assert {(group["xoff_bytes"], group["headroom_bytes"]) for group in by_place.values()} == {(90_000, 70_000)}


def test_marks_by_port_and_by_priority() -> None:
    own = {"kmin": "10KB", "kmax": "20KB", "pmax": 0.5}
    thresholds = {"ecn": "hpcc-ns3", "priorities": {"4": {"ecn": own}}, "ports": {"eth2": {"ecn": "hpcc-ns3"}}}
    lab = lab_of(
        {"thresholds": {**thresholds, "priorities": {**thresholds["priorities"], "0": {"ecn": "sonic"}}}},
        rates=("100G", "400G"),
    )
    switch = planned(lab, "transport.congestion-control=dcqcn")
    assert switch["ecn"]["kmin_bytes"] == 400_000, "of the slowest port"
    marks = {(mark["port"], mark["priority"]): mark["kmin_bytes"] for mark in switch["queue_ecn"]}
    # A port wins over a priority; its preset grows with its own rate; lossy queues mark only where they are named.
    assert marks == {(0, 4): 10_000, (1, 3): 1_600_000, (1, 4): 1_600_000, (0, 0): 1_048_576, (1, 0): 1_600_000}


def test_the_experiment_decides_on_marks_if_it_says_anything() -> None:
    lab = lab_of({"thresholds": {"ecn": "sonic", "priorities": {"4": {"ecn": "hpcc-ns3"}}}})
    assert {"ecn", "queue_ecn"} <= planned(lab).keys()
    every = planned(lab, "lossless.ecn=hpcc-ns3")
    assert every["ecn"]["kmin_bytes"] == 400_000 and "queue_ecn" not in every
    assert not {"ecn", "queue_ecn"} & planned(lab, "lossless.ecn=null").keys()
    with pytest.raises(ExperimentError, match=r"dcqcn acts on marks, and lossless\.ecn is off"):
        planned(lab, "lossless.ecn=null", "transport.congestion-control=dcqcn")


@pytest.mark.parametrize(("text", "exponent"), [(0, NOTHING_LOG2), ("none", UNLIMITED_LOG2), ("1/256", -8), (128, 7)])
def test_alpha_reaches_from_nothing_to_no_limit(text: object, exponent: int) -> None:
    assert parse_alpha(text) == exponent and alpha_text(exponent) == str(text)
    lab = lab_of({"buffer": "8MB", "thresholds": {"alpha": text, "reserve": "20KB"}})
    switch = planned(lab)
    assert {group["alpha_log2"] for group in switch["priority_groups"]} == {exponent}
    assert 0 < switch["pool_bytes"] < 8_000_000


def test_where_groups_settle() -> None:
    assert settled(18_000_000, [-3] * 8) == 9_000_000, "n·alpha / (1 + n·alpha)"
    assert settled(18_000_000, [-3, UNLIMITED_LOG2]) == 18_000_000
    assert settled(18_000_000, [NOTHING_LOG2]) == 0
    assert settled(15_000_000, [0, 1]) == 11_250_000, "3 / 4"


def test_a_dscp_has_the_priority_that_switches_give_it() -> None:
    lab = lab_of({"dscp": {"26": 4, "24": 0}})
    table = planned(lab)["dscp_to_priority"]
    assert (table[26], table[24], table[25], table[34]) == (4, 0, 3, 4)
    assert (dscp_of(lab, 4), dscp_of(lab, 3)) == (32, 25), "class selectors first, where they hold"
    with pytest.raises(TopologyError, match="no DSCP is priority 3 at every switch; give the switches the same `dscp`"):
        dscp_of(lab_of({"dscp": {str(dscp): 0 for dscp in range(24, 32)}}), 3)


def test_lossless_priorities_may_share_a_queue() -> None:
    switch = planned(lab_of({"queues": {"4": 3, "1": 0}}))
    assert switch["priority_to_queue"] == [0, 0, 2, 3, 3, 5, 6, 7]
    assert switch["lossless"] == [3] and {group["priority"] for group in switch["priority_groups"]} == {3}
    assert "priority_to_queue" not in planned(lab_of({"queues": {"4": 4}}))


def test_a_circle_is_found_where_priorities_have_other_queues() -> None:
    nodes: Json = {f"h{index}": {"kind": "host"} for index in range(3)}
    nodes |= {f"s{index}": {"kind": "switch", "queues": {"3": 5, "5": 3}} for index in range(3)}
    for index in range(3):
        nodes[f"s{index}"]["routes"] = {f"h{other}": "eth2" for other in range(3) if other != index}
    links = [{"endpoints": [f"h{index}:eth1", f"s{index}:eth1"]} for index in range(3)]
    links += [{"endpoints": [f"s{index}:eth2", f"s{(index + 1) % 3}:eth3"]} for index in range(3)]
    lab = lab_from(Source("lab", {"name": "t", "topology": {"nodes": nodes, "links": links}}))
    plan = compile_fabric(lab, new_experiment("x", "all_reduce"))
    assert [cycle.priority for cycle in find_cycles(plan, [3])] == [3]
    assert find_cycles(plan, [5]) == []


def test_queues_are_lossless_or_lossy_and_credits_have_their_own() -> None:
    with pytest.raises(TopologyError, match="queue 3 has priority 3, which is lossless, and priority 0, which is not"):
        lab_of({"queues": {"0": 3}})
    lab = lab_of({"queues": {"4": 3}})
    with pytest.raises(TopologyError, match="credits go by priority"):
        planned(lab, "lossless.flow-control=credit")


def test_groups_have_a_map_apart_from_queues() -> None:
    switch = planned(lab_of({"queues": {"3": 5, "5": 3}, "groups": {"3": 3, "4": 1, "1": 4, "5": 5}}))
    assert switch["priority_to_queue"] == [0, 1, 2, 5, 4, 3, 6, 7] and switch["lossless"] == [4, 5]
    assert switch["priority_to_group"] == [0, 4, 2, 3, 1, 5, 6, 7]
    assert {group["priority"] for group in switch["priority_groups"]} == {1, 3}
    assert "priority_to_group" not in planned(lab_of({"queues": {"3": 5, "5": 3}, "groups": {"3": 5}}))


def test_thresholds_stand_by_group_and_marks_by_queue() -> None:
    marks = {"kmin": "50KB", "kmax": "100KB", "pmax": 0.5}
    own = {"1": {"xoff": "200KB"}, "4": {"ecn": marks}}
    switch = planned(lab_of({"groups": {"4": 1, "1": 4}, "thresholds": {"priorities": own}}))
    assert {group["xoff_bytes"] for group in switch["priority_groups"] if group["priority"] == 1} == {200_000}
    assert {mark["priority"] for mark in switch["queue_ecn"]} == {4}
    with pytest.raises(TopologyError, match=r"thresholds\.priorities\.4\.xoff: priority 4 is lossy here"):
        lab_of({"groups": {"4": 1, "1": 4}, "thresholds": {"priorities": {"4": {"xoff": "9KB"}}}})


def test_a_group_is_lossless_or_lossy() -> None:
    with pytest.raises(TopologyError, match="group 0 has priority 4, which is lossless, and priority 0, which is not"):
        lab_of({"groups": {"4": 0}})
    with pytest.raises(TopologyError, match="leave out `queues` and `groups`"):
        planned(lab_of({"groups": {"4": 3}}), "lossless.flow-control=credit")


def test_hosts_know_the_map_of_the_switch_that_they_are_linked_with() -> None:
    plan = compile_fabric(lab_of({"dscp": {"26": 4}}), new_experiment("x", "incast"))
    hosts = [node for node in plan["nodes"] if node["kind"] == "host"]
    assert all([table[26] for table in host["dscp_to_priority"]] == [4] for host in hosts)
    plain = compile_fabric(lab_of({}), new_experiment("x", "incast"))
    assert not any("dscp_to_priority" in node for node in plain["nodes"] if node["kind"] == "host")
