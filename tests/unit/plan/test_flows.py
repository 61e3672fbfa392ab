"""Flows as planned: how many are drawn and when, what they take of the line, and how long one takes alone."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import ExperimentError
from testbed.experiment.file import Experiment, experiment_from
from testbed.experiment.transport import Transport
from testbed.lab.topology import load_lab
from testbed.plan.flows import PlannedFlows, plan_flows
from testbed.plan.packets import Hop, alone_ps, packet_bytes, paths_between, wire_bytes
from testbed.plan.placement import place
from testbed.plan.routing import Routing
from testbed.run.trial import Trial
from testbed.schema.source import Source
from testbed.traffic import Calc, Recv, Send
from testbed.units import serialisation_ps

CLOS = "clos:spines=4,leaves=4,hosts=4"
JOB = {"name": "a", "program": [{"barrier": True}]}


def experiment(flows: dict[str, Any], seed: int = 1, topology: str = CLOS) -> Experiment:
    return experiment_from(Source("test", {"topology": topology, "seed": seed, "flows": flows}))


def test_a_message_takes_one_of_several_queue_pairs_unless_it_is_sliced() -> None:
    said: dict[str, Any] = {
        "topology": CLOS,
        "transport": {"qps": 2},
        "flows": {"list": [{"from": "h1", "to": "h2", "bytes": 1}]},
    }
    with pytest.raises(ExperimentError, match=r"transport\.qps: a flow is one message, .*transport\.spread: slices"):
        plan_flows(load_lab(CLOS), experiment_from(Source("test", said)))
    said["transport"]["spread"] = "slices"
    assert len(plan_flows(load_lab(CLOS), experiment_from(Source("test", said))).flows) == 1


def planned(flows: dict[str, Any], seed: int = 1, topology: str = CLOS) -> PlannedFlows:
    return plan_flows(load_lab(topology), experiment(flows, seed, topology))


@pytest.mark.parametrize(
    "sizes", ["websearch", "fbhdp", "alistorage", {"uniform": ["1KB", "1MB"]}, {"constant": "64KB"}]
)
@pytest.mark.parametrize("load", [0.3, 0.8])
def test_what_is_drawn_offers_the_load_that_was_set(sizes: Any, load: float) -> None:
    drawn = planned({"sizes": sizes, "load": load, "until": "2ms"})
    # By hand: bytes, and around the payload of each packet of 4096 bytes headers of 58, FCS 4, and 20 on the line.
    line = sum(flow.bytes + -flow.bytes % 4 + 82 * -(-flow.bytes // 4096) + 16 for flow in drawn.flows)
    assert 8 * line / (16 * 100e9 * 0.002) == pytest.approx(load, rel=0.02)
    assert drawn.offered == pytest.approx(load, rel=0.02)


def test_arrivals_are_those_of_a_poisson_process_of_this_many() -> None:
    drawn = planned({"sizes": {"constant": "1KB"}, "load": 0.5, "until": "1ms"})
    starts = [flow.start_ps for flow in drawn.flows]
    count = len(starts)
    assert count > 5_000 and starts == sorted(starts) and starts[0] >= 0 and starts[-1] < 10**9
    # Uniform, so that a tenth of the time has a tenth of them, give or take four deviations; and gaps are exponential, so that
    # a share of 1/e of them is longer than the mean.
    tenths = [sum(1 for start in starts if start // 10**8 == tenth) for tenth in range(10)]
    assert all(abs(part - count / 10) < 4 * (count * 0.09) ** 0.5 for part in tenths)
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    longer = sum(1 for gap in gaps if gap > 10**9 / count)
    assert longer / count == pytest.approx(0.3679, abs=4 * (0.2325 / count) ** 0.5)


def test_the_seed_alone_decides_what_is_drawn() -> None:
    flows = {"sizes": "websearch", "load": 0.5, "until": "1ms"}
    assert planned(flows, 7).flows == planned(flows, 7).flows != planned(flows, 8).flows
    assert sorted(flow.bytes for flow in planned(flows, 7).flows) == sorted(
        flow.bytes for flow in planned(flows, 8).flows
    )


def test_flows_leave_and_reach_the_hosts_that_are_named() -> None:
    flows = {"sizes": {"constant": "10KB"}, "load": 0.5, "until": "1ms", "from": "h[1-2]", "to": "h[2-5]"}
    drawn = planned(flows)
    ends = {(str(drawn.ranks[flow.source]), str(drawn.ranks[flow.target])) for flow in drawn.flows}
    assert ends == {(a, b) for a in ("h1", "h2") for b in ("h2", "h3", "h4", "h5") if a != b}
    assert drawn.sources == ("h1", "h2")


@pytest.mark.parametrize(
    ("flows", "fault"),
    [
        ({"list": [{"from": "h1", "to": "x", "bytes": 1}]}, r'flows.list\[0\].to: lab clos has no host "x"'),
        ({"sizes": "websearch", "load": 0.1, "until": "1us"}, "no whole flow of 1,711,250 bytes on average"),
        ({"sizes": {"constant": 1}, "load": 1.0, "until": "1s"}, "more than 100000 flows"),
        ({"sizes": "fbhdp", "load": 0.1, "until": "1ms", "from": "y1"}, 'flows.from: lab clos has no host "y1"'),
        (
            {"sizes": "fbhdp", "load": 0.1, "until": "1ms", "from": "h1", "to": "h1"},
            "a flow goes from one host to another",
        ),
    ],
)
def test_flows_that_cannot_be(flows: dict[str, Any], fault: str) -> None:
    with pytest.raises(ExperimentError, match=fault):
        planned(flows)


@pytest.mark.parametrize("queue_pairs", ["flow", "pair"])
def test_a_schedule_has_a_queue_pair_a_flow_or_a_pair(queue_pairs: str) -> None:
    listed = [{"from": "h1", "to": "h2", "bytes": 9}, {"from": "h2", "to": "h1", "bytes": 8, "start": "1us"}]
    schedule = planned({"list": listed, "queue-pairs": queue_pairs}).schedule
    schedule.validate()
    apart = int(queue_pairs == "flow")
    assert schedule.ranks[0].ops == (Send(1, 0, 9, 0), Recv(1, 0, 8, channel=apart))
    assert schedule.ranks[1].ops == (Recv(0, 0, 9), Calc(10**6), Send(0, 0, 8, 0, requires=(1,), channel=apart))


@given(st.integers(1, 20_000), st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 400)), min_size=1, max_size=5))
def test_the_time_alone_is_that_of_packets_stored_and_forwarded_one_by_one(
    length: int, links: list[tuple[int, int]]
) -> None:
    transport = Transport(mtu=1024)
    hops = [Hop(delay_ps, rate * 10**9) for delay_ps, rate in links]
    lengths = [min(1024, length - at) for at in range(0, length, 1024)]
    free = [0] * len(hops)
    arrived = 0
    for number, part in enumerate(lengths):
        arrived = 0
        for link, hop in enumerate(hops):
            on_line = serialisation_ps(packet_bytes(part, number == 0, transport), hop.rate_bps)
            free[link] = max(arrived, free[link]) + on_line
            arrived = free[link] + hop.delay_ps
    assert alone_ps(length, hops, transport) == arrived
    assert wire_bytes(length, transport) == sum(packet_bytes(p, n == 0, transport) for n, p in enumerate(lengths))


def test_equal_paths_count_once_and_no_path_is_none() -> None:
    lab = load_lab(CLOS)
    routing = Routing(lab)
    assert paths_between(routing, ("h1", 0), ("h2", 0)) == ((Hop(10**6, 10**11),) * 2,)
    assert paths_between(routing, ("h1", 0), ("h16", 0)) == ((Hop(10**6, 10**11),) * 4,)


@pytest.mark.parametrize("section", [{"flows": {"list": [{"from": "h1", "to": "h2", "bytes": 1}]}}, {"jobs": [JOB]}])
def test_several_agents_run_neither_flows_nor_jobs(section: dict[str, Any]) -> None:
    lab = load_lab(CLOS)
    trial = Trial(experiment_from(Source("test", {"topology": CLOS, **section})), lab)
    trial.check_agents()
    shared = dataclasses.replace(trial, placement=place(lab, {"x": "10.0.0.1", "y": "10.0.0.2"}, "spread"))
    with pytest.raises(ExperimentError, match="run with one agent, and the lab has several; name one"):
        shared.check_agents()
