"""Hosts with several ports and ranks: links side by side, equal paths, copies within a host, rails and domains."""

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.run.judgement import conclude
from testbed.run.perform import run_virtual
from testbed.run.trial import Trial
from tests.virtual.harness import (
    FULL_WIRE_BYTES,
    MTU,
    PS_PER_BYTE,
    Json,
    check_conservation,
    make_trial,
    run_trial,
)

WORD = 2**64 - 1


def side_by_side(links: int) -> Json:
    """Return two hosts with so many links between them and nothing else."""
    nodes = {name: {"kind": "host"} for name in ("a", "b")}
    ends = [{"endpoints": [f"a:eth{number}", f"b:eth{number}"]} for number in range(1, links + 1)]
    return {"name": "custom", "topology": {"nodes": nodes, "links": ends}}


def time_ps(trial: Trial) -> int:
    """Return what the one row of a run took out of place, and check the run."""
    outcome = run_trial(trial)
    assert outcome.complete and not outcome.reasons
    check_conservation(outcome.report)
    (row,) = outcome.rows
    assert row["wrong"] in (0, None)
    return round(row["time_us"] * 10**6)


def test_two_links_side_by_side_take_half_of_each_message() -> None:
    """Each of them is then as a link alone is with half the size, to the picosecond."""
    two = ("transport.port=[eth1, eth2]", "transport.qps=2", "transport.spread=slices")
    both = make_trial(side_by_side(2), "incast", "workload.size=4MiB", *two)
    half = make_trial(side_by_side(1), "incast", "workload.size=2MiB")
    assert time_ps(both) == time_ps(half)
    second = make_trial(side_by_side(2), "incast", "workload.size=2MiB", "transport.port=eth2")
    assert time_ps(second) == time_ps(half)


def test_whole_messages_in_turn_use_both_links() -> None:
    settings = ("transport.port=[eth1, eth2]", "transport.qps=2", "workload.slice=256KiB", "workload.size=4MiB")
    report = run_trial(make_trial(side_by_side(2), "all_reduce", *settings)).report
    sent = {port: entry["priorities"]["3"]["bytes_tx"] for port, entry in report["ports"].items()}
    assert len(set(sent.values())) == 1 and sorted(sent) == ["a:eth1", "a:eth2", "b:eth1", "b:eth2"]


def fabric_of_four_paths() -> Json:
    """Return two leaves that four spines join, each path at a quarter of the hosts' rate."""
    nodes: Json = {"h1": {"kind": "host"}, "h2": {"kind": "host"}}
    nodes |= {name: {"kind": "switch"} for name in ("leaf1", "leaf2", *(f"spine{number}" for number in range(1, 5)))}
    links: list[Json] = [{"endpoints": [f"h{number}:eth1", f"leaf{number}:eth1"], "rate": "400G"} for number in (1, 2)]
    for spine, leaf in itertools.product(range(1, 5), (1, 2)):
        links.append({"endpoints": [f"leaf{leaf}:eth{spine + 1}", f"spine{spine}:eth{leaf}"], "rate": "100G"})
    return {"name": "custom", "topology": {"nodes": nodes, "links": links}}


def mix(word: int) -> int:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014), which switches hash flows with."""
    word = (word + 0x9E3779B97F4A7C15) & WORD
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & WORD
    word = (word ^ word >> 27) * 0x94D049BB133111EB & WORD
    return word ^ word >> 31


def paths(trial: Trial, entropies: Iterator[int]) -> Iterator[tuple[int, int]]:
    """Yield UDP source ports, and the path that each takes from h2, station 1, to h1, station 0."""
    (leaf,) = (node for node in trial.plan["nodes"] if node["name"] == "leaf2")
    assert leaf["kind"] == "switch" and len(leaf["routes"][0]) == 4
    for entropy in entropies:
        yield entropy, mix(mix(1 << 32 ^ leaf["hash_seed"]) ^ entropy) % 4


SLICE_BYTES = 2**21
FOUR = (f"workload.size={4 * SLICE_BYTES}", "workload.payload=false", "transport.qps=4", "transport.spread=slices")
SLICE_PS = SLICE_BYTES // MTU * FULL_WIRE_BYTES * PS_PER_BYTE


def test_listed_ports_reach_four_links_worth() -> None:
    plain = make_trial(fabric_of_four_paths(), "incast", *FOUR)
    first: dict[int, int] = {}
    for entropy, path in paths(plain, iter(range(49_152, 49_300))):
        first.setdefault(path, entropy)
    spread = make_trial(fabric_of_four_paths(), "incast", *FOUR, f"transport.entropy={list(first.values())}")
    assert time_ps(spread) == pytest.approx(SLICE_PS, rel=0.02)


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_hashed_ports_take_as_long_as_the_path_that_most_of_them_share(seed: int) -> None:
    """Which takes n slices' time where n queue pairs share it: the others wait for its pauses, or have been done before."""
    trial = make_trial(fabric_of_four_paths(), "incast", *FOUR, f"seed={seed}")
    hashed = (pair["entropy"] for pair in trial._queue_pairs.compiled())
    shared = Counter(path for _, path in paths(trial, hashed))
    (most,) = shared.most_common(1)
    assert most[1] > 1, "no collision to see"
    assert time_ps(trial) == pytest.approx(most[1] * SLICE_PS, rel=0.02)


def server(accelerators: int, local: Json) -> Json:
    """Return a host with so many accelerators, and another to be linked to."""
    nodes = {"s": {"kind": "host", "accelerators": accelerators, "local": local}, "other": {"kind": "host"}}
    return {"name": "custom", "topology": {"nodes": nodes, "links": [{"endpoints": ["s:eth1", "other:eth1"]}]}}


def test_copies_within_a_host_take_their_length_at_its_rate_and_then_its_latency() -> None:
    """Two ranks copy to a third, which takes in one copy at a time; all have their result at the second's arrival."""
    lab = server(3, {"rate": "800G", "latency": "700ns"})
    trial = make_trial(lab, "incast", "workload.ranks=[s]", "workload.size=1MiB", "workload.in-place=false")
    outcome = run_trial(trial)
    (row,) = outcome.rows
    assert round(row["time_us"] * 10**6) == 2 * 2**20 * 10 + 700_000 and row["wrong"] == 0
    flows = outcome.report["flows"]
    assert [flow["completion_ps"] - flow["start_ps"] for flow in flows] == [
        2**20 * 10 + 700_000,
        2 * 2**20 * 10 + 700_000,
    ]
    assert outcome.report["conservation"]["sent"] == 0 and outcome.report["qps"] == []


def test_copies_to_different_ranks_go_side_by_side() -> None:
    lab = server(4, {"rate": "800G", "latency": "1us"})
    trial = make_trial(lab, "permutation", "workload.ranks=[s]", "workload.size=1MiB")
    (row,) = run_trial(trial).rows
    assert round(row["time_us"] * 10**6) == 2**20 * 10 + 10**6


LABS = {
    "rails": "rail:servers=2,accelerators=3,spines=1",
    "domains": "super-node:domains=2,size=4,accelerators=2,spines=1",
    "hosts side by side": side_by_side(3),
}


@pytest.mark.parametrize("lab", LABS.values(), ids=LABS)
@pytest.mark.parametrize("collective", ["all_reduce", "all_to_all"])
def test_results_are_right_and_the_same_on_any_number_of_cores(lab: str | Json, collective: str) -> None:
    settings = ("workload.size=96KiB", "transport.qps=2", "transport.spread=slices")
    trial = make_trial(lab, collective, *settings)
    one, two = (run_virtual(trial, None, lambda progress: None, cores) for cores in (1, 2))
    assert one.report == two.report and one.complete
    check_conservation(one.report)
    assert {row["wrong"] for row in one.rows} == {0}


def test_a_result_says_which_ports_and_ranks_queue_pairs_join() -> None:
    trial = make_trial("rail:servers=2,accelerators=2,spines=1", "all_reduce", "workload.size=64KiB")
    judged = conclude(trial, run_trial(trial), "virtual", 1, "")
    crossing = [qp for qp in judged.qps if qp["rank_a"] == 1]
    assert [(qp["port_a"], qp["rank_b"], qp["port_b"]) for qp in crossing] == [("s1:eth2", 2, "s2:eth1")]
    assert all(49_152 <= qp["source_port"] < 2**16 for qp in judged.qps)
    plain: Any = run_trial(make_trial("pair", "all_reduce", "workload.size=64KiB")).report["qps"]
    assert all("port_a" not in qp for qp in plain)


def test_a_storm_names_one_port_of_a_host() -> None:
    entry = "{at: 5us, for: 50us, node: 'a:eth2', storm: {priorities: [3]}}"
    settings = ("workload.size=1MiB", "transport.qps=2", "transport.port=[eth1, eth2]", "transport.spread=slices")
    report = run_trial(make_trial(side_by_side(2), "incast", *settings, f"timeline=[{entry}]")).report
    paused = {port: entry["priorities"]["3"]["paused_ns"] for port, entry in report["ports"].items()}
    assert paused["b:eth2"] > 45_000 and paused["b:eth1"] == 0


def test_a_slow_receiver_holds_back_each_port_by_itself() -> None:
    lab = side_by_side(2)
    lab["topology"]["nodes"]["a"]["nic"] = {"drain": "50G"}
    settings = ("workload.size=2MiB", "transport.qps=2", "transport.port=[eth1, eth2]", "transport.spread=slices")
    trial = make_trial(lab, "incast", *settings)
    assert sorted(trial.in_force(1)["receivers"]) == ["a:eth1", "a:eth2"]
    one = side_by_side(1)
    one["topology"]["nodes"]["a"]["nic"] = {"drain": "50G"}
    assert time_ps(trial) == time_ps(make_trial(one, "incast", "workload.size=1MiB"))


def rails(servers: int, accelerators: int) -> Json:
    """Return servers with a port for each accelerator at 100G, and a leaf for each rail."""
    nodes: Json = {f"s{server}": {"kind": "host", "accelerators": accelerators} for server in range(1, servers + 1)}
    links: list[Json] = []
    for rail in range(1, accelerators + 1):
        nodes[f"rail{rail}"] = {"kind": "switch"}
        links += [
            {"endpoints": [f"s{server}:eth{rail}", f"rail{rail}:eth{server}"]} for server in range(1, servers + 1)
        ]
    return {"name": "custom", "topology": {"nodes": nodes, "links": links}}


def test_a_ring_a_rail_takes_the_time_of_its_slowest_hop() -> None:
    """Each of 2(n-1) steps sends one chunk over each rail, and copies within servers are done sooner."""
    servers, accelerators, size = 2, 4, 2**25
    ranks = servers * accelerators
    settings = (f"workload.size={size}", "workload.payload=false", "workload.in-place=false")
    ringed = make_trial(rails(servers, accelerators), "all_reduce", *settings, f"workload.channels={accelerators}")
    outcome = run_trial(ringed)
    assert outcome.complete
    check_conservation(outcome.report)
    chunk_bytes = size // (ranks * accelerators)
    ideal_ps = 2 * (ranks - 1) * (chunk_bytes // MTU) * FULL_WIRE_BYTES * PS_PER_BYTE
    assert outcome.rows[0]["time_us"] * 10**6 == pytest.approx(ideal_ps, rel=0.01)
    crossing = {(qp["port_a"], qp["port_b"]) for qp in outcome.report["qps"]}
    assert crossing == {
        (f"s{one}:eth{rail}", f"s{3 - one}:eth{rail}") for rail in range(1, accelerators + 1) for one in (1, 2)
    }


def test_rings_over_rails_add_up_right() -> None:
    trial = make_trial(rails(2, 3), "all_reduce", "workload.size=50KiB", "workload.channels=3")
    outcome = run_trial(trial)
    assert {row["wrong"] for row in outcome.rows} == {0}
    tree = make_trial(
        rails(2, 2), "all_reduce", "workload.size=50KiB", "workload.channels=2", "workload.algorithm=double-tree"
    )
    assert {row["wrong"] for row in run_trial(tree).rows} == {0}


@pytest.mark.parametrize(
    ("lab", "sites"),
    [
        ("multi-dc:sites=3,hosts=1", ["1", "2", "3"]),
        ("super-node:domains=2,size=2,accelerators=2,span=80km", ["1", "1", "2", "2"]),
        ("super-node:domains=2,size=2,accelerators=2", [None] * 4),
        ("clos:spines=1,leaves=2,hosts=1", [None] * 2),
    ],
)
def test_the_list_of_ranks_says_at_which_site_each_runs(lab: str, sites: list[str | None]) -> None:
    trial = make_trial(lab, "all_reduce", "workload.size=4KB")
    result = conclude(trial, run_virtual(trial, None, lambda progress: None), "virtual", 1, "test")
    assert [place.site for place in result.ranks] == sites
