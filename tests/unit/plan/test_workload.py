"""Workloads: one queue pair for each pair that talks, ops as scheduled, and a transport that suits the path."""

import json
from typing import Any

import pytest

from testbed.errors import ExperimentError
from testbed.experiment.file import Experiment, new_experiment
from testbed.lab.topology import lab_from, load_lab
from testbed.plan.ops import LONGEST_MESSAGE_BYTES
from testbed.plan.queue_pairs import sends_of, talks_of
from testbed.plan.workload import LARGEST_WINDOW_PACKETS, compile_workload
from testbed.schema.source import Source
from testbed.traffic import COLLECTIVES, Calc, RankSchedule, Recv, Reduce, Schedule, Send, Shape
from validation.fabric import spans

PING = Schedule(
    (
        RankSchedule(64, (Send(1, 0, 16, 32), Recv(1, 16, 16, requires=(0,)), Calc(5, (1,)))),
        RankSchedule(64, (Recv(0, 32, 16), Reduce("float", "sum", 0, 0, 32, 4, (0,)), Send(0, 0, 16, 16, 0, (1,)))),
    )
)


def experiment(*overrides: str) -> Experiment:
    return new_experiment("any", "all_reduce").with_overrides(overrides)


def test_ops_are_those_of_the_schedule() -> None:
    workload = compile_workload(load_lab("pair"), experiment(), PING)
    assert (workload["priority"], workload["dscp"]) == (3, 24)
    assert [(qp["a"], qp["b"], qp["qpn"]) for qp in workload["qps"]] == [(0, 1, 17)]
    assert [(rank["node"], rank["memory_bytes"]) for rank in workload["ranks"]] == [(0, 64), (1, 64)]
    assert workload["ranks"][0]["ops"] == [
        {"kind": "send", "qp": 0, "offset": 0, "bytes": 16, "remote_offset": 32, "requires": []},
        {"kind": "recv", "qp": 0, "offset": 16, "bytes": 16, "requires": [0]},
        {"kind": "calc", "duration_ps": 5, "requires": [1]},
    ]
    reduce = {"kind": "reduce", "dtype": "float", "redop": "sum", "dst": 0, "lhs": 0, "rhs": 32, "count": 4}
    assert workload["ranks"][1]["ops"][1] == {**reduce, "requires": [0]}


@pytest.mark.parametrize(("collective", "pairs"), [("all_reduce", 8), ("incast", 7), ("permutation", 4)])
def test_one_queue_pair_for_each_pair_that_talks(collective: str, pairs: int) -> None:
    schedule = COLLECTIVES[collective].schedule(Shape(8, 1024))
    workload = compile_workload(load_lab("clos"), experiment(), schedule)
    assert len(workload["qps"]) == len(talks_of(sends_of(schedule))) == pairs
    assert [qp["qpn"] for qp in workload["qps"]] == list(range(17, 17 + pairs))
    assert all(qp["a"] < qp["b"] and 49_152 <= qp["entropy"] <= 65_535 for qp in workload["qps"])
    assert json.dumps(workload) == json.dumps(compile_workload(load_lab("clos"), experiment(), schedule))


def test_the_seed_chooses_the_entropy() -> None:
    one, other = (compile_workload(load_lab("pair"), experiment(f"seed={seed}"), PING) for seed in (1, 2))
    assert one["qps"][0]["entropy"] != other["qps"][0]["entropy"]


def test_the_window_is_twice_what_the_longest_path_holds() -> None:
    schedule = COLLECTIVES["all_reduce"].schedule(Shape(4, 1024))
    transport = compile_workload(load_lab("two-dc"), experiment(), schedule)["transport"]
    flight = 2 * 391_760_000 * 100 * 10**9 // (8 * 10**12)  # bytes in a round trip of the span alone
    assert 2 * flight < transport["window_bytes"] < 2.02 * flight
    assert transport["window_bytes"] % 4096 == 0
    near = compile_workload(load_lab("pair"), experiment("transport.mtu=1024"), PING)["transport"]
    assert near["window_bytes"] == 64 * 1024


def test_the_window_has_the_bounds_of_its_sequence_numbers() -> None:
    far = compile_workload(load_lab("pair:length=9000000km,rate=800G"), experiment(), PING)["transport"]
    assert far["window_bytes"] == LARGEST_WINDOW_PACKETS * 4096


@pytest.mark.parametrize(("lab", "exponent"), [("pair", 12), ("pair:length=3000km", 18)])
def test_the_timeout_outlasts_round_trip_and_pause(lab: str, exponent: int) -> None:
    transport = compile_workload(load_lab(lab), experiment(), PING)["transport"]
    assert transport["timeout_ps"] == 4_096_000 << exponent


def test_the_timeout_grows_with_the_senders_that_share_a_receiver() -> None:
    schedule = COLLECTIVES["incast"].schedule(Shape(65, 1024))
    lab = load_lab("incast:senders=64")
    transport = compile_workload(lab, experiment("transport.window=16MB"), schedule)["transport"]
    drain_ps = 64 * 16_000_000 * 8 * 10  # 64 windows at 100 Gb/s, 10 ps a bit
    assert 4 * drain_ps <= transport["timeout_ps"] < 9 * drain_ps


def test_the_timeout_outlasts_a_slow_nic() -> None:
    nodes = {"a": {"kind": "host", "nic": {"drain": "1G"}}, "b": {"kind": "host"}, "s": {"kind": "switch"}}
    links = [{"endpoints": ["a:eth1", "s:eth1"]}, {"endpoints": ["b:eth1", "s:eth2"]}]
    lab = lab_from(Source("x", {"name": "x", "topology": {"nodes": nodes, "links": links}}))
    transport = compile_workload(lab, experiment("transport.window=16MB"), PING)["transport"]
    drain_ps = 16_000_000 * 8 * 1000  # 1000 ps a bit
    assert 4 * drain_ps <= transport["timeout_ps"] < 9 * drain_ps


# One link of 12.5 ms at 400G, without queues: two flights, a packet of 4096 bytes and its answer.
FAR = spans(1, 12_500_000_000, "400G")
ROUND_TRIP_PS = 25_000_000_000 + (4096 + 60 + 38) * 20 + 86 * 20


def timeout_of(*overrides: str) -> int:
    lab = lab_from(Source("x", FAR))
    timeout_ps: int = compile_workload(lab, experiment(*overrides), PING)["transport"]["timeout_ps"]
    return timeout_ps


@pytest.mark.parametrize(
    ("timeout", "expected_ps"),
    [
        ("75ms", 75_000_000_000),
        ("3rtt", 3 * ROUND_TRIP_PS),
        ("1.5 rtt", 3 * ROUND_TRIP_PS // 2),
        ("14", 4_096_000 << 14),
        ("1ps", 1),
    ],
)
def test_a_timeout_is_a_time_round_trips_or_an_exponent(timeout: str, expected_ps: int) -> None:
    assert timeout_of(f"transport.timeout={timeout}") == expected_ps
    given = experiment(f"transport.timeout={timeout}")
    assert Experiment.model_validate(given.data()) == given


@pytest.mark.parametrize(
    "timeout", ["0", "32", "true", "1.5", "0ms", "0rtt", "10001rtt", "3h", "-1ms", "9000s", "soon", "''"]
)
def test_what_a_timeout_cannot_be(timeout: str) -> None:
    with pytest.raises(ExperimentError, match=r"--set: transport\.timeout: "):
        experiment(f"transport.timeout={timeout}")


@pytest.mark.parametrize("recovery", ["selective-repeat", "erasure", "timer"])
def test_what_sends_little_again_does_not_wait_long(recovery: str) -> None:
    """Two round trips: not the 21 round trips that go-back-N waits lest it send a window again."""
    assert timeout_of(f"transport.recovery={recovery}") == 2 * ROUND_TRIP_PS
    assert timeout_of() == 4_096_000 << 17
    near = compile_workload(load_lab("pair"), experiment(f"transport.recovery={recovery}"), PING)["transport"]
    assert near["timeout_ps"] == 4_096_000 << 12
    # The windows of all others that share a receiver may stand before a packet, and before a timer of its own its window too.
    schedule = COLLECTIVES["incast"].schedule(Shape(65, 1024))
    overrides = (f"transport.recovery={recovery}", "transport.window=16MB")
    many = compile_workload(load_lab("incast:senders=64"), experiment(*overrides), schedule)["transport"]
    windows = 64 if recovery == "timer" else 63
    assert many["timeout_ps"] == pytest.approx(windows * 16_000_000 * 8 * 10, rel=0.001)


def test_what_is_given_is_taken() -> None:
    overrides = ["transport.window=1MB", "transport.timeout=14", "transport.ack-every=1", "transport.verb=send"]
    assert compile_workload(load_lab("pair"), experiment(*overrides), PING)["transport"] == {
        "recovery": "go-back-n",
        "verb": "send",
        "mtu_bytes": 4096,
        "ack_every": 1,
        "window_bytes": 1_000_000,
        "timeout_ps": 67_108_864_000,
        "retries": 7,
        "congestion_control": None,
    }


def test_selective_repeat_and_erasure_have_a_window_for_two_repairs() -> None:
    far = "workload.ranks=[a1, b1]"
    once, repeat, coded = (
        compile_workload(load_lab("two-dc"), experiment(far, f"transport.recovery={recovery}"), PING)["transport"]
        for recovery in ("go-back-n", "selective-repeat", "erasure")
    )
    assert repeat["recovery"] == "selective-repeat" and coded["recovery"] == "erasure"
    assert repeat["window_bytes"] == pytest.approx(1.5 * once["window_bytes"], abs=2 * 4096)
    assert coded["window_bytes"] == repeat["window_bytes"]
    assert "erasure" not in repeat and coded["erasure"] == {"data": 32, "parity": 4}


def test_repair_by_timers_goes_by_chunks_of_whole_packets() -> None:
    transport = compile_workload(load_lab("pair"), experiment("transport.recovery=timer"), PING)["transport"]
    assert (transport["recovery"], transport["chunk_packets"], transport["window_bytes"]) == ("timer", 16, 64 * 4096)
    settings = ("transport.recovery=timer", "transport.chunk=1MiB", "transport.mtu=1024")
    transport = compile_workload(load_lab("pair"), experiment(*settings), PING)["transport"]
    assert (transport["chunk_packets"], transport["window_bytes"]) == (1024, 4 * 2**20)
    message = "--set: transport.window: 1048575 bytes do not hold a chunk of 1048576"
    with pytest.raises(ExperimentError, match=message):
        compile_workload(load_lab("pair"), experiment(*settings, "transport.window=1048575"), PING)
    posted = ("transport.recovery=timer", "transport.verb=send", "transport.receive-queue=posted")
    with pytest.raises(ExperimentError, match="posted needs RNR NAKs, and recovery: timer sends none"):
        experiment(*posted)
    for chunk in ("6KiB", "0", "4095"):
        with pytest.raises(ExperimentError, match="are not a multiple of the MTU, 4096"):
            experiment(f"transport.chunk={chunk}")


def test_posted_receives_are_a_matter_of_the_transport() -> None:
    settings = ("transport.verb=send", "transport.receive-queue=posted", "transport.rnr-timer=3")
    assert compile_workload(load_lab("pair"), experiment(*settings), PING)["transport"]["rnr"] == {
        "timer": 3,
        "retries": 7,
    }
    assert "rnr" not in compile_workload(load_lab("pair"), experiment("transport.verb=send"), PING)["transport"]


def test_a_late_rank_begins_with_time() -> None:
    first, second = Send(1, 0, 8, 0), Send(1, 0, 8, 0, requires=(0,))
    schedule = Schedule((RankSchedule(8, (first, second)), RankSchedule(8, (Recv(0, 0, 8), Recv(0, 0, 8)))))
    hosts = [host.name for host in load_lab("pair").hosts]
    ranks = compile_workload(load_lab("pair"), experiment(f"workload.late={{{hosts[0]}: 20us}}"), schedule)["ranks"]
    assert ranks[0]["ops"][0] == {"kind": "calc", "duration_ps": 20_000_000, "requires": []}
    assert [op["requires"] for op in ranks[0]["ops"]] == [[], [0], [1]]
    assert [op["requires"] for op in ranks[1]["ops"]] == [[], []]
    with pytest.raises(ExperimentError, match="no rank runs on nobody"):
        compile_workload(load_lab("pair"), experiment("workload.late={nobody: 1us}"), schedule)


def test_a_window_holds_some_blocks() -> None:
    wide = ("transport.recovery=erasure", "transport.erasure.data=200", "transport.erasure.parity=20")
    assert compile_workload(load_lab("pair"), experiment(*wide), PING)["transport"]["window_bytes"] == 4 * 220 * 4096
    message = "--set: transport.window: 819199 bytes do not hold a block of 200 packets, 819200 bytes"
    with pytest.raises(ExperimentError, match=message):
        compile_workload(load_lab("pair"), experiment(*wide, "transport.window=819199"), PING)


def congestion_control(lab: str, *overrides: str) -> dict[str, Any]:
    settings = ("lossless.ecn=sonic", "transport.congestion-control=dcqcn", *overrides)
    dcqcn = compile_workload(load_lab(lab), experiment(*settings), PING)["transport"]["congestion_control"]
    assert isinstance(dcqcn, dict)
    return dcqcn


def test_parameters_of_the_paper_are_one_set_for_all_rates() -> None:
    assert (
        congestion_control("pair")
        == congestion_control("pair:rate=400G")
        == {
            "kind": "dcqcn",
            "g": 1 / 256,
            "initial_alpha": 1.0,
            "alpha_timer_ps": 55_000_000,
            "increase_timer_ps": 55_000_000,
            "byte_counter_bytes": 10_000_000,
            "fast_recovery_rounds": 5,
            "additive_bps": 40_000_000,
            "hyper_bps": 400_000_000,
            "minimum_bps": 40_000_000,
            "cut_interval_ps": 50_000_000,
            "notify_interval_ps": 50_000_000,
            "notify_dscp": 48,
        }
    )


def test_parameters_of_the_simulator_grow_with_the_rate() -> None:
    dcqcn = congestion_control("pair:rate=400G", "transport.dcqcn=hpcc-ns3", "transport.dcqcn.cut-interval=5us")
    assert (dcqcn["additive_bps"], dcqcn["hyper_bps"], dcqcn["minimum_bps"]) == (80_000_000, 800_000_000, 10**9)
    assert (dcqcn["increase_timer_ps"], dcqcn["cut_interval_ps"]) == (300_000_000, 5_000_000)
    assert dcqcn["byte_counter_bytes"] == 2**64 - 1 and dcqcn["fast_recovery_rounds"] == 1


def test_ranks_can_be_placed() -> None:
    workload = compile_workload(load_lab("two-dc"), experiment("workload.ranks=[b2, a1]"), PING)
    assert [rank["node"] for rank in workload["ranks"]] == [3, 0]


def test_what_cannot_run() -> None:
    with pytest.raises(ExperimentError, match="2 ranks on 4 accelerators"):
        compile_workload(load_lab("two-dc"), experiment(), PING)
    with pytest.raises(ExperimentError, match="less than one packet"):
        compile_workload(load_lab("pair"), experiment("transport.window=1KB"), PING)
    nodes = {"a": {"kind": "host"}, "b": {"kind": "host"}, "s": {"kind": "switch"}, "t": {"kind": "switch"}}
    links = [{"endpoints": ["a:eth1", "s:eth1"]}, {"endpoints": ["b:eth1", "t:eth1"]}]
    body = {"defaults": {"mtu": 4155}, "nodes": nodes, "links": links}
    apart = lab_from(Source("x", {"name": "x", "topology": body}))
    with pytest.raises(ExperimentError, match="packets of 4156 bytes do not fit link a:eth1 - s:eth1, mtu 4155"):
        compile_workload(apart, experiment(), PING)
    with pytest.raises(ExperimentError, match="packets of 4160 bytes do not fit link a:eth1 - s:eth1, mtu 4155"):
        compile_workload(apart, experiment("transport.recovery=erasure"), PING)
    with pytest.raises(ExperimentError, match="no path between a and b"):
        compile_workload(apart, experiment("transport.mtu=2048"), PING)


def test_a_message_too_long_for_a_connection_is_cut_and_what_waits_for_it_waits_for_the_last_piece() -> None:
    long = 2 * LONGEST_MESSAGE_BYTES + 5
    schedule = Schedule(
        (
            RankSchedule(0, (Calc(1, (1,)), Send(1, 8, long, 16), Send(1, 0, 4, 0, 0, (1,)))),
            RankSchedule(0, (Recv(0, 16, long), Recv(0, 0, 4, requires=(0,)))),
        )
    )
    lab = load_lab("pair")
    late = experiment(f"workload.late={{{lab.hosts[1].name}: 1us}}")
    sender, receiver = (rank["ops"] for rank in compile_workload(lab, late, schedule)["ranks"])
    edges = [0, LONGEST_MESSAGE_BYTES, 2 * LONGEST_MESSAGE_BYTES]
    assert [(op["offset"], op["remote_offset"], op["bytes"]) for op in sender[1:4]] == [
        (8 + at, 16 + at, min(LONGEST_MESSAGE_BYTES, long - at)) for at in edges
    ]
    assert [(op["offset"], op["bytes"]) for op in receiver[1:4]] == [
        (16 + at, min(LONGEST_MESSAGE_BYTES, long - at)) for at in edges
    ]
    assert [op["requires"] for op in sender] == [[3], [], [], [], [3]]
    assert [op["requires"] for op in receiver] == [[], [0], [0], [0], [3]]


def test_the_longest_message_is_one() -> None:
    schedule = Schedule((RankSchedule(0, (Send(1, 0, 2**31, 0),)), RankSchedule(0, (Recv(0, 0, 2**31),))))
    workload = compile_workload(load_lab("pair"), experiment(), schedule)
    assert [len(rank["ops"]) for rank in workload["ranks"]] == [1, 1]


def test_dscps_of_data_acknowledgements_and_notifications() -> None:
    plain = compile_workload(load_lab("pair"), experiment(), PING)
    assert plain["dscp"] == 24 and "ack_dscp" not in plain
    controlled = ("transport.congestion-control=dcqcn", "transport.cnp-dscp=46")
    told = compile_workload(
        load_lab("pair"), experiment("transport.dscp=26", "transport.ack-dscp=0", *controlled), PING
    )
    assert (told["dscp"], told["ack_dscp"]) == (26, 0)
    assert told["transport"]["congestion_control"]["notify_dscp"] == 46  # type: ignore[typeddict-item, index]
    with pytest.raises(ExperimentError, match=r"DSCP 0 is priority 0 at leaf, and lossless\.priority is 3"):
        compile_workload(load_lab("pair"), experiment("transport.dscp=0"), PING)


@pytest.mark.parametrize("key", ["dscp", "ack-dscp", "cnp-dscp"])
@pytest.mark.parametrize("value", ["64", "-1", "ef", "true"])
def test_what_is_no_dscp_is_refused(key: str, value: str) -> None:
    with pytest.raises(ExperimentError, match=rf"transport\.{key}: .* is not a DSCP from 0 to 63, nor auto"):
        experiment(f"transport.{key}={value}")
