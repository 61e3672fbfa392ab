"""Workloads of flows: one alone takes its closed form, many side by side share, and the load is the one that was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.experiment.file import experiment_from
from testbed.lab.topology import lab_from, load_lab
from testbed.run.flow_result import FlowCompletion
from testbed.run.judgement import conclude
from testbed.run.perform import run_virtual
from testbed.run.result import RunResult
from testbed.run.trial import Trial
from testbed.schema.source import Source
from testbed.study.combinations import Combination, run_combination

CLOS = "clos:spines=4,leaves=4,hosts=4"
DCQCN = {
    "lossless": {"ecn": "hpcc-ns3"},
    "transport": {"congestion-control": "dcqcn", "dcqcn": "hpcc-ns3"},
}


def run(flows: dict[str, Any], topology: str = CLOS, cores: int = 1, **sections: Any) -> RunResult:
    experiment = experiment_from(Source("test", {"topology": topology, "flows": flows, **sections}))
    trial = Trial(experiment, load_lab(topology))
    return conclude(trial, run_virtual(trial, None, lambda progress: None, cores), "virtual", 1, "test")


def told(result: RunResult) -> FlowCompletion:
    assert result.flow_completion is not None
    return result.flow_completion


@pytest.mark.parametrize("topology", [CLOS, "two-dc:hosts=4,length=80km", "pair"])
@pytest.mark.parametrize("verb", ["send", "write"])
def test_a_flow_alone_has_slowdown_1(topology: str, verb: str) -> None:
    lab = load_lab(topology)
    ends = {"from": lab.hosts[0].name, "to": lab.hosts[-1].name}
    sizes = (1, 4096, 4097, 100_001, 1_000_000)
    listed = [{**ends, "bytes": size, "start": f"{10 * number}ms"} for number, size in enumerate(sizes)]
    result = run({"list": listed}, topology, transport={"verb": verb})
    assert result.verdict.passed
    assert [(flow.bytes, flow.slowdown) for flow in told(result).flows] == [(size, 1.0) for size in sizes]


def test_the_closed_form_of_one_flow_by_hand() -> None:
    # 1 MB by RDMA writes over four links of 100 Gb/s and 1 us: 244 packets of 4096 bytes and one of 576, each with 82 bytes
    # around, the first with 16 more. They follow each other; the shorter last one waits for the one before at every hop.
    first, full, last = (8 * (length + 82) / 100 for length in (4096 + 16, 4096, 576))
    (flow,) = told(run({"list": [{"from": "h1", "to": "h16", "bytes": 1_000_000}]})).flows
    assert flow.fct_us == pytest.approx((4 * first + 243 * full + last) / 1000 + 4)


@pytest.mark.parametrize(("queue_pairs", "slowdowns"), [("flow", 2.0), ("pair", 1.0)])
def test_flows_of_two_hosts_run_side_by_side_or_one_after_the_other(queue_pairs: str, slowdowns: float) -> None:
    listed = [{"from": "h1", "to": "h16", "bytes": 4_096_000} for _ in range(2)]
    one, other = told(run({"list": listed, "queue-pairs": queue_pairs})).flows
    assert one.slowdown == pytest.approx(slowdowns, rel=0.02)
    # In turn the second waits for the first, and both end when both would have ended side by side.
    assert other.slowdown == pytest.approx(2.0, rel=0.02)


def test_flows_begin_when_they_are_to_and_wait_for_none() -> None:
    listed = [
        {"from": "h1", "to": "h16", "bytes": 8_192_000},
        {"from": "h1", "to": "h15", "bytes": 4096, "start": "100us"},
        {"from": "h9", "to": "h10", "bytes": 4096, "start": "50us"},
    ]
    large, other, small = sorted(
        told(run({"list": listed})).flows, key=lambda flow: -flow.start_us if flow.start_us else -1e9
    )
    assert (small.src, small.start_us, small.slowdown) == ("h9", 50.0, 1.0)
    # It takes turns with the large one at their NIC, packet by packet.
    assert other.start_us == 100.0 and 1.0 <= (other.slowdown or 0) < 1.2
    assert large.bytes == 8_192_000 and (large.slowdown or 0) < 1.01


@pytest.mark.parametrize("load", [0.3, 0.5, 0.8])
def test_websearch_under_dcqcn_carries_the_load_that_was_set(load: float) -> None:
    result = run({"sizes": "websearch", "load": load, "until": "1ms"}, **DCQCN)
    flows = told(result)
    assert result.verdict.passed and result.verdict.lossless and flows.all.finished == flows.all.count
    assert flows.load is not None
    assert flows.load.on_the_wire == pytest.approx(load, rel=0.02)
    assert flows.all.slowdown is not None and flows.all.slowdown.p50 >= 1.0
    assert all(flow.slowdown is not None and flow.slowdown >= 1.0 for flow in flows.flows)


def test_more_load_is_slower() -> None:
    means = []
    for load in (0.2, 0.8):
        spread = told(run({"sizes": {"uniform": ["1KB", "200KB"]}, "load": load, "until": "300us"})).all.slowdown
        means.append(spread.mean if spread else 0.0)
    assert 1.0 < means[0] < means[1]


def test_the_number_of_cores_changes_nothing() -> None:
    flows = {"sizes": "fbhdp", "load": 0.5, "until": "200us"}
    one, two = (run(flows, cores=cores, **DCQCN) for cores in (1, 2))
    assert one.to_json() == two.to_json()


def test_an_expectation_can_name_slowdowns() -> None:
    flows = {"list": [{"from": "h1", "to": "h2", "bytes": 10_000}]}
    held = run(flows, expect=["flow_completion.all.slowdown.p99 <= 1.5", "flow_completion.flows[0].slowdown == 1"])
    failed = run(flows, expect=["flow_completion.all.slowdown.mean > 1"])
    assert (held.verdict.passed, failed.verdict.passed) == (True, False)


def test_flows_that_do_not_end_are_reported() -> None:
    result = run({"list": [{"from": "h1", "to": "h16", "bytes": 100_000_000}]}, limit="1ms")
    assert not result.verdict.complete and told(result).all.finished == 0
    assert told(result).all.slowdown is None and told(result).flows[0].fct_us is None


def test_a_sweep_compares_slowdowns() -> None:
    flows = {"sizes": {"constant": "64KB"}, "load": 0.3, "until": "100us"}
    subject = Trial(experiment_from(Source("test", {"topology": CLOS, "flows": flows})), load_lab(CLOS))
    figures = run_combination(Combination((("flows.load", "0.3"),), subject, "", "test")).row.figures
    assert figures is not None and figures.slowdown_mean is not None and figures.slowdown_p99 is not None
    assert 1.0 <= figures.slowdown_mean <= figures.slowdown_p99
    # Of the bytes, but not of the headers, and on average until the last flow had ended, a little after the last began.
    assert 0.2 < figures.share_of_ideal < 0.3


def four_links() -> dict[str, Any]:
    """Return two hosts with four links between them."""
    ends = [{"endpoints": [f"a:eth{number}", f"b:eth{number}"]} for number in range(1, 5)]
    return {"name": "four", "topology": {"nodes": {"a": {"kind": "host"}, "b": {"kind": "host"}}, "links": ends}}


@pytest.mark.parametrize(("qps", "share"), [(4, 4), (2, 2)])
def test_a_flow_that_is_sliced_takes_as_many_links(qps: int, share: int) -> None:
    flows = {
        "list": [{"from": "a", "to": "b", "bytes": 4_096_000}, {"from": "b", "to": "a", "bytes": 1000, "start": "1ms"}]
    }
    ports = [f"eth{number}" for number in range(1, qps + 1)]
    transport = {"qps": qps, "spread": "slices", "port": ports}
    experiment = experiment_from(Source("test", {"topology": "four", "flows": flows, "transport": transport}))
    trial = Trial(experiment, lab_from(Source("lab", four_links())))
    result = conclude(trial, run_virtual(trial, None, lambda progress: None), "virtual", 1, "test")
    large, small = told(result).flows
    assert result.verdict.passed and (small.start_us, small.bytes) == (1000.0, 1000)
    # It ends with its last slice, each of which has a link to itself.
    assert large.slowdown == pytest.approx(1 / share, rel=0.02)


def test_flows_of_two_hosts_take_their_queue_pairs_in_turn() -> None:
    listed = [{"from": "a", "to": "b", "bytes": 4_096_000} for _ in range(4)]
    transport = {"qps": 4, "port": [f"eth{number}" for number in range(1, 5)]}
    data = {"topology": "four", "flows": {"list": listed, "queue-pairs": "pair"}, "transport": transport}
    trial = Trial(experiment_from(Source("test", data)), lab_from(Source("lab", four_links())))
    result = conclude(trial, run_virtual(trial, None, lambda progress: None), "virtual", 1, "test")
    assert [flow.slowdown for flow in told(result).flows] == [1.0] * 4
