"""Credits over distance: a window of B bytes carries min(1, B/(rate·RTT)) of the rate, and loses nothing, whatever is lost.

The RTT is that of a credit: twice the flight, a frame stored by the switch before it can go on, and the credit frame.
InfiniBand grants a virtual lane 131,072 bytes at most (IBTA volume 1, 7.9.4: half of 4096 blocks of 64 bytes).
"""

import pytest

from testbed.experiment.file import experiment_from
from testbed.lab.topology import load_lab
from testbed.run.trial import Trial
from testbed.schema.source import Source
from testbed.units import format_size
from tests.virtual.harness import (
    FULL_FRAME_BYTES,
    FULL_WIRE_BYTES,
    MTU,
    PFC_WIRE_BYTES,
    Json,
    check_conservation,
    finish,
    flows_to_last,
    loaded_fabric,
    make_trial,
    priority,
    run_trial,
    star,
)

INFINIBAND_BYTES = 131_072
BLOCK_BYTES = 64
PS_PER_KM = 4_897_000  # single-mode fibre, as everywhere
NEAR_PS = 1_000_000


def credited(span_ps: int, rate: str = "100G", window: str = "auto", **link: object) -> Json:
    """Return two hosts by a switch; the span between the first and the switch runs credits."""
    lab = star({"a1": f"{span_ps}ps", "b1": f"{NEAR_PS}ps"}, **{"flow-control": "credit", "credits": window, **link})
    for entry in lab["topology"]["links"]:
        entry["rate"] = rate
    return lab


def utilisation(lab: Json, rate_gbps: int, messages: int, *settings: str) -> tuple[float, Json]:
    """Send messages of 4 MiB from a1 to b1; return the share of the line rate that they had, and the report.

    The time is that from the first to the last frame: what the last one flies is not theirs to use.
    """
    size = 2**22
    trial = make_trial(lab, "incast", "workload.payload=false", "transport.window=1GB", *settings)
    report = finish(loaded_fabric(trial, flows_to_last(1, *[size] * messages)))
    assert report["complete"] and report["drops"]["lossless"] == 0
    check_conservation(report)
    span_ps = trial.plan["links"][0]["delay_ps"]
    frame_ps = FULL_WIRE_BYTES * 8_000 // rate_gbps
    taken_ps = report["ranks"][1]["finish_ps"] - report["start_ps"] - span_ps - NEAR_PS - frame_ps
    return messages * (size // MTU) * frame_ps / taken_ps, report


@pytest.mark.parametrize(
    ("km", "gbps", "window", "messages"),
    [
        (0.5, 100, INFINIBAND_BYTES, 8),
        (1, 100, INFINIBAND_BYTES, 8),
        (1.05, 100, INFINIBAND_BYTES, 8),
        (2, 100, INFINIBAND_BYTES, 8),
        (10, 100, INFINIBAND_BYTES, 4),
        (80, 100, INFINIBAND_BYTES, 4),
        (80, 100, 5_000_000, 32),
        (80, 400, 30_000_000, 128),
        (300, 400, 30_000_000, 64),
    ],
)
def test_a_window_carries_its_share_of_the_rate(km: float, gbps: int, window: int, messages: int) -> None:
    span_ps = round(km * PS_PER_KM)
    share, report = utilisation(credited(span_ps, f"{gbps}G", format_size(window)), gbps, messages)
    byte_ps = 8_000 / gbps
    rtt_ps = 2 * span_ps + (FULL_WIRE_BYTES + PFC_WIRE_BYTES) * byte_ps
    assert share == pytest.approx(min(1, window / (rtt_ps / byte_ps)), rel=0.02)
    # Exactly: whole frames, in whole blocks; told of a 64th of the window, or of every frame, whichever is more.
    blocks = -(-FULL_FRAME_BYTES // BLOCK_BYTES)
    frames = window // BLOCK_BYTES // blocks
    told = max(1, -(-(window // BLOCK_BYTES // 64) // blocks))
    cycle_ps = rtt_ps + (told - 1) * FULL_WIRE_BYTES * byte_ps
    assert share == pytest.approx(min(1, frames * FULL_WIRE_BYTES * byte_ps / cycle_ps), rel=0.01)
    waited = priority(report, "a1:eth1")["credit_wait_ns"]
    assert (waited > 0) == (share < 0.999)


@pytest.mark.parametrize(("km", "gbps", "messages"), [(0.01, 100, 8), (2, 400, 32), (80, 100, 64), (80, 400, 256)])
def test_auto_is_enough_for_all_of_the_rate(km: float, gbps: int, messages: int) -> None:
    """And not much more: the round trip, and what frames and batches take."""
    span_ps = round(km * PS_PER_KM)
    share, report = utilisation(credited(span_ps, f"{gbps}G"), gbps, messages)
    assert share > 0.999
    assert priority(report, "a1:eth1")["credit_wait_ns"] == 0
    plan = make_trial(credited(span_ps, f"{gbps}G"), "incast").plan
    granted = plan["links"][0]["credits"][0][0]["blocks"] * BLOCK_BYTES
    round_trip = 2 * span_ps * gbps / 8_000
    assert round_trip < granted < 1.02 * round_trip + 10 * FULL_FRAME_BYTES


def test_auto_is_enough_both_ways_at_once() -> None:
    """Every link is full in both directions: acknowledgements and credits of one direction take line time of the other."""
    results = {
        control: run_trial(
            make_trial("pair:length=1km", "all_reduce", "workload.size=16M", f"lossless.flow-control={control}")
        )
        for control in ("pfc", "credit")
    }
    assert all(outcome.complete and outcome.rows[0]["wrong"] == 0 for outcome in results.values())
    assert results["credit"].report["drops"] == results["pfc"].report["drops"]
    busbw = {control: outcome.rows[0]["busbw_gbytes_per_s"] for control, outcome in results.items()}
    assert busbw["credit"] == pytest.approx(busbw["pfc"], rel=0.01)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("loss", [[1e-3, 0], [0, 1e-3], [1e-2, 1e-2]])
def test_lost_data_and_lost_credits_are_made_good(loss: list[float], seed: int) -> None:
    """A leak of credits would stop the window of 31 frames after some 31 lost ones."""
    lab = credited(10 * PS_PER_KM, window=f"{INFINIBAND_BYTES}", loss=loss)
    messages = 16 if max(loss) > 1e-3 else 64
    share, report = utilisation(lab, 100, messages, "transport.recovery=selective-repeat", f"seed={seed}")
    lost = report["drops"]["link"]
    sender, switch = priority(report, "a1:eth1"), priority(report, "sw:eth1")
    unheard = switch["credit_tx"] - sender["credit_rx"], sender["credit_tx"] - switch["credit_rx"]
    if loss[0]:
        assert lost - sum(unheard) > 31 and report["qps"][0]["retransmitted"] > 31
    # A few are still on their way at the end.
    assert (unheard[0] > 8) == (loss[1] > 0)
    window_share = INFINIBAND_BYTES / (2 * 10 * PS_PER_KM / 80)
    # A lost frame's blocks are granted anew when the sender next asks, 21 us later: a loss costs less than a round trip.
    assert share > window_share * (1 - 3 * max(loss) * 31)


def test_a_lab_of_mixed_links_pushes_back_from_link_to_link() -> None:
    """The window of the span is short of its round trip; the switch before it fills, and pauses its hosts by PFC."""
    lab = {
        "name": "mixed",
        "topology": {
            "nodes": {
                **{host: {"kind": "host"} for host in ("a1", "a2", "b1", "b2")},
                **{leaf: {"kind": "switch"} for leaf in ("leaf-a", "leaf-b")},
            },
            "links": [
                {"endpoints": ["a1:eth1", "leaf-a:eth1"]},
                {"endpoints": ["a2:eth1", "leaf-a:eth2"], "flow-control": "credit"},
                {"endpoints": ["b1:eth1", "leaf-b:eth1"]},
                {"endpoints": ["b2:eth1", "leaf-b:eth2"], "flow-control": "none"},
                {
                    "endpoints": ["leaf-a:eth3", "leaf-b:eth3"],
                    "length": "10km",
                    "flow-control": "credit",
                    "credits": "128KiB",
                },
            ],
        },
    }
    trial = make_trial(lab, "incast", "workload.ranks=[b1, a1, a2]", "workload.size=4M", "transport.window=2MB")
    outcome = run_trial(trial)
    report = outcome.report
    assert outcome.complete
    check_conservation(report)
    assert not any(report["drops"].values())
    by_pause, by_credit, span = (priority(report, port) for port in ("a1:eth1", "a2:eth1", "leaf-a:eth3"))
    assert by_pause["pause_rx"] > 0 and by_pause["paused_ns"] > 0 and by_pause["credit_rx"] == 0
    assert by_credit["pause_rx"] == 0 and by_credit["credit_wait_ns"] > 0 and by_credit["credit_rx"] > 0
    assert span["credit_wait_ns"] > 0
    held = priority(report, "leaf-b:eth3")["ingress_bytes_max"]
    assert 0 < held <= 131_072
    fair = [flow["goodput_bps"] for flow in outcome.flows]
    assert len(fair) == 2 and min(fair) > 0


def test_without_flow_control_frames_drop_where_they_come_in() -> None:
    """Of four senders two run none: theirs are the losses, and the others lose nothing."""
    senders = {f"s{number}": "1us" for number in range(1, 5)}
    lab = star({**senders, "r1": "1us"}, switch={"buffer": "32MB", "lossy-queue": "200KB"})
    for index, control in enumerate(("none", "none", "pfc", "credit")):
        lab["topology"]["links"][index]["flow-control"] = control
    outcome = run_trial(make_trial(lab, "incast", "workload.size=2M", "workload.ranks=[r1, s1, s2, s3, s4]"))
    report = outcome.report
    check_conservation(report)
    lost = {port: priority(report, port)["drops"] for port in ("sw:eth1", "sw:eth2", "sw:eth3", "sw:eth4")}
    assert lost["sw:eth1"]["buffer"] > 0 and lost["sw:eth2"]["buffer"] > 0
    assert not any(any(lost[port].values()) for port in ("sw:eth3", "sw:eth4"))
    assert sum(drops["buffer"] for drops in lost.values()) == report["drops"]["lossless"]


@pytest.mark.parametrize("control", ["credit", "none"])
def test_a_link_without_pfc_heeds_no_pause(control: str) -> None:
    """A receiver that storms stops nobody: its PAUSE frames take line time and are counted, no more."""
    entry = {"at": "10us", "node": "b1", "storm": {}, "for": "500us"}
    experiment = experiment_from(
        Source(
            "test",
            {
                "topology": "pair",
                "lossless": {"flow-control": control},
                "workload": {"collective": "incast", "size": "4MiB", "ranks": ["b1", "a1"]},
                "timeline": [entry],
            },
        )
    )
    outcome = run_trial(Trial(experiment, load_lab("pair")))
    assert outcome.complete and outcome.report["violations"] == []
    towards = priority(outcome.report, "leaf:eth2")
    assert towards["pause_rx"] > 1 and towards["paused_ns"] == 0
    assert outcome.rows[0]["busbw_gbytes_per_s"] > 12
