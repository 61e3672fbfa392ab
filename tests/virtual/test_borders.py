"""Deep and shallow switches at the far end of a span: what the one carries and the other does not; and lossy queues."""

import pytest

from testbed.errors import TopologyError
from tests.virtual.harness import (
    FULL_FRAME_BYTES,
    Json,
    check_conservation,
    finish,
    flows_to_last,
    loaded_fabric,
    make_trial,
    priority,
)
from tests.virtual.test_shared_buffer import fan_in

SPAN_PORT = "border-b:eth1"
MESSAGE_BYTES = 2**26


def span_into_a_slower_link(border: Json) -> Json:
    """Return a lab of two hosts 1000 km apart: 400G up to the far border, 100G behind it."""
    nodes: Json = {"a1": {"kind": "host"}, "b1": {"kind": "host"}}
    nodes |= {"border-a": {"kind": "switch", "buffer": "auto"}, "border-b": {"kind": "switch", **border}}
    links = [
        {"endpoints": ["a1:eth1", "border-a:eth1"], "rate": "400G", "length": "20m"},
        {"endpoints": ["border-a:eth2", SPAN_PORT], "rate": "400G", "length": "1000km"},
        {"endpoints": ["border-b:eth2", "b1:eth1"], "rate": "100G", "length": "20m"},
    ]
    return {"name": "borders", "topology": {"nodes": nodes, "links": links}}


def carry(border: Json) -> Json:
    """Write 64 MiB at once over the span; return the report."""
    trial = make_trial(span_into_a_slower_link(border), "incast", "workload.payload=false", "transport.window=64MiB")
    report = finish(loaded_fabric(trial, flows_to_last(1, MESSAGE_BYTES)))
    assert report["complete"]
    check_conservation(report)
    return report


def test_a_deep_border_holds_what_a_shallow_one_loses() -> None:
    """Three quarters of what comes at 400G wait for a link of 100G: 48 MiB, more than the shallow switch's memory."""
    waiting = MESSAGE_BYTES * 3 // 4
    report = carry({"profile": "jericho-8gb"})
    assert report["drops"]["lossless"] == 0
    held = report["pools"]["border-b"]
    assert held["buffer_bytes_max"] == pytest.approx(waiting, rel=0.03)
    assert held["shared_bytes_max"] == held["buffer_bytes_max"] and held["headroom_bytes_max"] == 0
    assert priority(report, SPAN_PORT)["pause_tx"] == 0, "far from a 64th of 6.4 GB"

    report = carry({"profile": "tomahawk-32mb", "thresholds": {"headroom": "2MB"}})
    assert report["drops"]["lossless"] == priority(report, SPAN_PORT)["drops"]["headroom"] > 1000
    held = report["pools"]["border-b"]
    assert held["buffer_bytes_max"] < 32_000_000 < waiting
    assert 2_000_000 - 5_000 < held["headroom_bytes_max"] <= 2_000_000
    assert priority(report, SPAN_PORT)["headroom_bytes_max"] == held["headroom_bytes_max"]
    # Half of the pool (alpha 1), and what stays free is the other half.
    assert held["shared_bytes_max"] == pytest.approx(held["buffer_bytes_max"] - 2_000_000, abs=2 * FULL_FRAME_BYTES)


def test_a_shallow_border_says_that_it_cannot() -> None:
    with pytest.raises(TopologyError) as caught:
        carry({"profile": "tomahawk-32mb"})
    message = str(caught.value)
    assert message.startswith("lab borders: topology.nodes.border-b.headroom-pool: 2010KiB cannot hold the headroom of")
    assert "eth1 priority 3 " in message
    needed = int(message.partition("eth1 priority 3 ")[2].split()[0])
    assert needed > 2 * 4_897_000 * 50  # the round trip: 2 · 4.897 ms at 50 MB/ms


def test_lossy_queues_with_an_alpha_settle_where_the_closed_form_says() -> None:
    """Without PFC the priority is one more lossy queue: alone, at alpha·B/(1 + alpha) of the whole memory."""
    lab = fan_in(8, {"buffer": "4MB", "lossy-alpha": "1/4"})
    trial = make_trial(lab, "incast", "lossless.pfc=false", "workload.payload=false", "transport.window=64MiB")
    report = finish(loaded_fabric(trial, flows_to_last(8, 2**21)))
    check_conservation(report)
    assert report["drops"]["lossless"] > 0
    settled = 4_000_000 // 5
    assert settled - FULL_FRAME_BYTES < priority(report, "sw:eth9")["queue_bytes_max"] <= settled
    held = report["pools"]["sw"]
    assert held["lossy_bytes_max"] == pytest.approx(settled, abs=2 * FULL_FRAME_BYTES)
    assert (held["shared_bytes_max"], held["headroom_bytes_max"]) == (0, 0)
