"""Queue pairs: the ports that they take by each rule, what spreads them, and messages over several of them."""

from typing import Any

import pytest

from testbed.errors import ExperimentError
from testbed.experiment.file import Experiment
from testbed.lab.topology import Lab, lab_from, load_lab
from testbed.plan.compile import chosen_ranks, compile_fabric
from testbed.plan.queue_pairs import FIRST_ENTROPY, QueuePairs, Talk, sends_of, talks_of
from testbed.plan.workload import compile_workload, queue_pairs_of
from testbed.run.trial import with_settings
from testbed.schema.source import Source
from testbed.traffic import RankSchedule, Recv, Schedule, Send

RAIL = "rail:servers=2,accelerators=4,spines=1"


def experiment(*settings: str) -> Experiment:
    return with_settings(Experiment.model_validate({"topology": "pair"}), settings)


def queue_pairs(lab: Lab, talks: list[Talk], *settings: str) -> QueuePairs:
    return queue_pairs_of(lab, experiment(*settings), talks)


def ports(lab: Lab, talks: list[Talk], *settings: str) -> list[str | None]:
    return [
        ends and " ".join(f"{host}:{lab.ports[host][port]}" for host, port in ends)
        for ends in queue_pairs(lab, talks, *settings).ends
    ]


def rail_only() -> Lab:
    """Two servers of four accelerators, whose rails nothing joins."""
    nodes: dict[str, Any] = {name: {"kind": "host", "accelerators": 4} for name in ("s1", "s2")}
    links = []
    for rail in range(1, 5):
        nodes[f"rail{rail}"] = {"kind": "switch"}
        links += [{"endpoints": [f"s{host}:eth{rail}", f"rail{rail}:eth{host}"]} for host in (1, 2)]
    return lab_from(Source("x", {"name": "x", "topology": {"nodes": nodes, "links": links}}))


def test_ranks_are_at_home_on_their_rails_where_counts_agree() -> None:
    lab = load_lab(RAIL)
    assert [str(rank) for rank in chosen_ranks(lab, experiment())][3:6] == ["s1/3", "s2/0", "s2/1"]
    assert ports(lab, [Talk(0, 3), Talk(1, 5), Talk(1, 6)]) == [None, "s1:eth2 s2:eth2", "s1:eth2 s2:eth3"]


def test_a_rail_that_does_not_reach_the_peer_s_is_left_for_one_that_does() -> None:
    lab = rail_only()
    assert ports(lab, [Talk(1, 5)]) == ["s1:eth2 s2:eth2"]
    (chosen,) = ports(lab, [Talk(1, 6)])
    assert chosen in ("s1:eth2 s2:eth2", "s1:eth3 s2:eth3")
    reached = set(ports(lab, [Talk(1, 6)], "transport.port=hash", "transport.qps=32"))
    assert reached == {f"s1:eth{rail} s2:eth{rail}" for rail in range(1, 5)}


def test_channels_take_the_ports_in_turn() -> None:
    lab = load_lab(RAIL)
    assert ports(lab, [Talk(0, 4, channel) for channel in range(6)]) == [
        f"s1:eth{rail} s2:eth{rail}" for rail in (1, 2, 3, 4, 1, 2)
    ]
    assert ports(lab, [Talk(0, 4, 1)], "transport.port=rail") == ["s1:eth1 s2:eth1"]


def test_ports_that_are_stated_are_taken_in_turn() -> None:
    lab = load_lab(RAIL)
    settings = ("transport.port=[eth3, eth1]", "transport.qps=3")
    assert ports(lab, [Talk(0, 5)], *settings) == ["s1:eth3 s2:eth3", "s1:eth1 s2:eth1", "s1:eth3 s2:eth3"]
    with pytest.raises(ExperimentError, match=r"transport.port: s1 has no scale-out port eth9; it has eth1, eth2"):
        ports(lab, [Talk(0, 5)], "transport.port=eth9")
    with pytest.raises(ExperimentError, match=r'transport.port: "9" is not auto, rail, channel, hash, or ports like'):
        experiment("transport.port=9")


def test_ranks_of_a_domain_use_its_fabric_and_others_the_rails() -> None:
    lab = load_lab("super-node:domains=2,size=4,accelerators=2,spines=1")
    names = [str(rank) for rank in chosen_ranks(lab, experiment())]
    assert names == [f"d{domain}-s{server}/{number}" for domain in (1, 2) for server in (1, 2) for number in (0, 1)]
    assert ports(lab, [Talk(0, 1), Talk(0, 3), Talk(0, 5)]) == [
        "d1-s1:eth3 d1-s1:eth4",
        "d1-s1:eth3 d1-s2:eth4",
        "d1-s1:eth1 d2-s1:eth2",
    ]


def test_udp_source_ports_are_hashed_or_listed() -> None:
    lab = load_lab("two-dc")
    pairs = queue_pairs(lab, [Talk(0, 2), Talk(1, 3)], "transport.qps=3").compiled()
    assert len({pair["entropy"] for pair in pairs}) == 6
    assert all(FIRST_ENTROPY <= pair["entropy"] < 2**16 for pair in pairs)
    assert pairs[0]["entropy"] == queue_pairs(lab, [Talk(0, 2)]).compiled()[0]["entropy"]
    listed = queue_pairs(lab, [Talk(0, 2), Talk(1, 3)], "transport.qps=3", "transport.entropy=[5000, 5001]").compiled()
    assert [pair["entropy"] for pair in listed] == [5000, 5001, 5000] * 2
    with pytest.raises(ExperimentError, match=r'transport.entropy: "0" is not hash, or UDP ports like'):
        experiment("transport.entropy=0")


TWO = Schedule(
    (
        RankSchedule(0, (Send(1, 0, 10, 100), Send(1, 10, 7, 110), Recv(1, 0, 1, requires=(0, 1)))),
        RankSchedule(0, (Recv(0, 100, 10), Recv(0, 110, 7), Send(0, 0, 1, 0, requires=(0,)))),
    )
)


def test_whole_messages_take_queue_pairs_in_turn() -> None:
    workload = compile_workload(load_lab("pair"), experiment("transport.qps=2"), TWO)
    assert [(qp["a"], qp["b"], qp["qpn"]) for qp in workload["qps"]] == [(0, 1, 17), (0, 1, 18)]
    ops: list[Any] = workload["ranks"][0]["ops"]
    assert [(op["kind"], op["qp"], op["offset"], op["bytes"]) for op in ops] == [
        ("send", 0, 0, 10),
        ("send", 1, 10, 7),
        ("recv", 0, 0, 1),
    ]


def test_slices_of_a_message_take_all_queue_pairs_and_what_waits_waits_for_each() -> None:
    settings = ("transport.qps=3", "transport.spread=slices")
    ranks = compile_workload(load_lab("pair"), experiment(*settings), TWO)["ranks"]
    sent: list[Any] = ranks[0]["ops"]
    assert [(op["qp"], op["offset"], op["bytes"], op["remote_offset"]) for op in sent if op["kind"] == "send"] == [
        (0, 0, 4, 100),
        (1, 4, 4, 104),
        (2, 8, 2, 108),
        (0, 10, 3, 110),
        (1, 13, 3, 113),
        (2, 16, 1, 116),
    ]
    assert sent[-1]["requires"] == list(range(6)) and sent[-1]["qp"] == 0
    received: list[Any] = ranks[1]["ops"]
    assert received[-1]["requires"] == [0, 1, 2]


def test_channels_are_queue_pairs_of_their_own() -> None:
    schedule = Schedule(
        (
            RankSchedule(0, (Send(1, 0, 8, 0, channel=1), Send(1, 8, 8, 8))),
            RankSchedule(0, (Recv(0, 8, 8), Recv(0, 0, 8, channel=1))),
        )
    )
    schedule.validate()
    assert talks_of(sends_of(schedule)) == [Talk(0, 1, 0), Talk(0, 1, 1)]
    ops: list[Any] = compile_workload(load_lab("pair"), experiment(), schedule)["ranks"][0]["ops"]
    assert [op["qp"] for op in ops] == [1, 0]


def test_every_port_has_addresses_and_hosts_say_how_their_ranks_copy() -> None:
    plan = compile_fabric(load_lab(RAIL), experiment())
    stations = plan["stations"]
    assert [(station["node"], station["port"]) for station in stations] == [
        *(places := [(host, port) for host in (0, 1) for port in range(4)]),
        *places,
    ]
    assert [station["kind"] for station in stations] == ["nic"] * 8 + ["kernel"] * 8
    assert len({station["mac"] for station in stations} | {station["ip"] for station in stations}) == 32
    second: Any = plan["nodes"][1]
    assert second["station"] == 4 and second["local"] == {"rate_bps": 3_600 * 10**9, "latency_ps": 10**6}
    assert [port["mac"] for port in second["ports"]] == [station["mac"] for station in stations[12:]]
    assert "local" not in compile_fabric(load_lab("pair"), experiment())["nodes"][0]


def test_late_ranks_are_named_by_rank_or_by_host() -> None:
    schedule = Schedule(tuple(RankSchedule(0, ()) for _ in range(8)))
    ranks = compile_workload(load_lab(RAIL), experiment("workload.late={s1: 5us, s2/1: 1us}"), schedule)["ranks"]
    late: list[Any] = [rank["ops"][0]["duration_ps"] if rank["ops"] else 0 for rank in ranks]
    assert late == [5 * 10**6] * 4 + [0, 10**6, 0, 0]
    with pytest.raises(ExperimentError, match=r"workload.late.s2/9: no rank runs on s2/9"):
        compile_workload(load_lab(RAIL), experiment("workload.late={s2/9: 1us}"), schedule)


def test_a_rank_is_listed_once() -> None:
    with pytest.raises(ExperimentError, match=r"workload.ranks: s1/2 is listed twice"):
        chosen_ranks(load_lab(RAIL), experiment("workload.ranks=[s1, 's1/2']"))
