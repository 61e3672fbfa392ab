"""Congestion controls beside DCQCN in a fabric: queues, fairness, windows, what they refuse, and that runs can be repeated."""

import json
from functools import cache
from pathlib import Path

import pytest
from scapy.contrib.roce import BTH
from scapy.layers.l2 import Ether

from testbed._dataplane import VirtualFabric
from testbed.errors import ExperimentError
from testbed.plan.workload import compile_workload
from tests.captures import read_capture
from tests.virtual.harness import (
    FULL_FRAME_BYTES,
    FULL_WIRE_BYTES,
    MTU,
    Json,
    check_conservation,
    finish,
    flows_to_last,
    loaded_fabric,
    make_trial,
    priority,
    star,
)

CONTROLS = ("timely", "swift", "dctcp", "hpcc", "nscc")
MARKS = "lossless.ecn={kmin: 40KB, kmax: 160KB, pmax: 20%}"
SENDERS, BYTES = 4, 4_000_000
PS_PER_BYTE = 80
TELEMETRY_BYTES = 2 + 8
ACK = 0x11


def four_to_one(control: str, *settings: str) -> tuple[str, ...]:
    return ("workload.payload=false", "lossless.xoff=2MB", f"transport.congestion-control={control}", MARKS, *settings)


@cache
def incast(control: str, *settings: str) -> Json:
    """Let four senders write to one receiver over a switch, 1 us away each."""
    lab = star({f"s{number}": "1us" for number in range(1, SENDERS + 1)} | {"r1": "1us"})
    trial = make_trial(lab, "incast", *four_to_one(control, *settings))
    report = finish(loaded_fabric(trial, flows_to_last(SENDERS, BYTES)))
    check_conservation(report)
    assert report["drops"]["lossless"] == 0 and report["violations"] == []
    assert sum(qp["retransmitted"] + qp["timeouts"] for qp in report["qps"]) == 0
    return report


def taken_us(report: Json) -> float:
    return float(max(rank["finish_ps"] for rank in report["ranks"]) - report["start_ps"]) / 10**6


def deepest(report: Json) -> int:
    return int(priority(report, f"sw:eth{SENDERS + 1}")["queue_bytes_max"])


DRAINED_US = SENDERS * BYTES / MTU * FULL_WIRE_BYTES * PS_PER_BYTE / 10**6


@pytest.mark.parametrize(
    ("control", "slower", "queue_bytes"),
    [("swift", 1.01, 400_000), ("nscc", 1.01, 400_000), ("hpcc", 1.10, 250_000), ("dctcp", 1.20, 850_000)],
)
def test_an_incast_is_slowed_down_before_it_fills_the_buffer(control: str, slower: float, queue_bytes: int) -> None:
    """Without any, the windows of all senders stand in the switch; all of these keep the line busy with less."""
    report = incast(control)
    assert DRAINED_US < taken_us(report) < slower * DRAINED_US
    assert deepest(report) < queue_bytes < deepest(incast("none"))
    assert sum(port["pause_tx"] for entry in report["ports"].values() for port in entry["priorities"].values()) == 0


@pytest.mark.parametrize("control", CONTROLS)
def test_a_flow_alone_has_the_line(control: str) -> None:
    """Swift, TIMELY, DCTCP and NSCC leave it alone; HPCC aims at 95 % of it, and packets are longer by the telemetry."""
    trial = make_trial(star({"s1": "1us", "r1": "1us"}), "incast", *four_to_one(control))
    took_us = taken_us(finish(loaded_fabric(trial, flows_to_last(1, BYTES))))
    plain = make_trial(star({"s1": "1us", "r1": "1us"}), "incast", *four_to_one("none"))
    alone_us = taken_us(finish(loaded_fabric(plain, flows_to_last(1, BYTES))))
    if control == "hpcc":
        assert alone_us < took_us < alone_us * 1.06
    else:
        assert took_us == alone_us


def test_swift_holds_the_delay_at_its_target() -> None:
    """What stands in the queue at most takes no longer than target and flow scaling together, beside the first burst."""
    report = incast("swift", "transport.swift.initial=1")
    target_us = 20 + 2 * 20 / 6.55 + 100
    assert deepest(report) * PS_PER_BYTE / 10**6 < target_us
    assert deepest(incast("swift", "transport.swift.initial=1", "transport.swift.base-target=5us")) < deepest(report)


def test_telemetry_takes_its_bytes_of_the_line() -> None:
    sent = priority(incast("hpcc"), f"sw:eth{SENDERS + 1}")
    plain = priority(incast("swift"), f"sw:eth{SENDERS + 1}")
    assert sent["frames_tx"] == plain["frames_tx"]
    assert sent["bytes_tx"] - plain["bytes_tx"] == TELEMETRY_BYTES * sent["frames_tx"]
    wider = priority(incast("hpcc", "transport.hpcc.header=42"), f"sw:eth{SENDERS + 1}")
    assert wider["bytes_tx"] - plain["bytes_tx"] == 42 * sent["frames_tx"]
    assert plain["bytes_tx"] / plain["frames_tx"] + 20 > FULL_FRAME_BYTES


@pytest.mark.parametrize("control", ["swift", "hpcc", "nscc"])
def test_windows_below_what_acknowledgements_wait_for_do_not_stall(control: str) -> None:
    """An acknowledgement each 64 packets, and a window of fewer: the last packet that fits asks for one."""
    report = incast(control, "transport.ack-every=64")
    assert report["complete"] and taken_us(report) < 2 * DRAINED_US


def test_a_marked_packet_is_acknowledged_at_once_and_so_marked(tmp_path: Path) -> None:
    """BECN on acknowledgements: as many as packets that came marked, on top of those that were asked for."""
    lab = star({f"s{number}": "1us" for number in range(1, SENDERS + 1)} | {"r1": "1us"})
    trial = make_trial(lab, "incast", *four_to_one("dctcp", "transport.ack-every=64"))
    path = tmp_path / "marks.pcapng"
    fabric = VirtualFabric(json.dumps(trial.plan))
    fabric.capture(str(path))
    fabric.load(json.dumps(compile_workload(trial.lab, trial.experiment, flows_to_last(SENDERS, 400_000))))
    report = finish(fabric)
    fabric.capture(None)
    marked = priority(report, f"sw:eth{SENDERS + 1}")["ecn_marked"]
    asked = SENDERS * -(-(400_000 // MTU + 1) // 64)
    acks = [frame for _, frame in read_capture(path) if Ether(frame).haslayer(BTH) and Ether(frame)[BTH].opcode == ACK]
    # Each acknowledgement passes two links.
    assert 0 < marked == sum(Ether(frame)[BTH].becn for frame in acks) / 2
    assert marked <= len(acks) / 2 == sum(qp["acks_rx"] for qp in report["qps"]) <= marked + asked


@pytest.mark.parametrize("control", ["hpcc", "nscc", "timely"])
@pytest.mark.parametrize("recovery", ["go-back-n", "selective-repeat"])
def test_lost_packets_are_repaired_under_every_window(control: str, recovery: str) -> None:
    lab = star({"s1": "1us", "s2": "1us", "r1": "1us"})
    settings = ("workload.payload=false", "lossless.pfc=false", "lossless.xoff=100KB", MARKS)
    trial = make_trial(
        lab, "incast", *settings, f"transport.congestion-control={control}", f"transport.recovery={recovery}"
    )
    report = finish(loaded_fabric(trial, flows_to_last(2, BYTES)))
    check_conservation(report)
    assert report["complete"] and all(qp["error"] is None for qp in report["qps"])


def test_telemetry_is_for_the_virtual_clock_alone() -> None:
    lab = star({"s1": "1us", "r1": "1us"})
    trial = make_trial(lab, "incast", *four_to_one("hpcc"))
    real = trial.experiment.model_copy(update={"clock": "real"})
    with pytest.raises(ExperimentError, match=r"transport\.congestion-control: hpcc needs telemetry in packets"):
        compile_workload(trial.lab, real, flows_to_last(1, BYTES))


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("recovery", ["erasure", "timer"])
def test_what_acknowledges_no_stream_goes_with_none_of_them(control: str, recovery: str) -> None:
    lab = star({"s1": "1us", "r1": "1us"})
    trial = make_trial(lab, "incast", *four_to_one(control, f"transport.recovery={recovery}"))
    with pytest.raises(ExperimentError, match=rf"{control} does not go with recovery: {recovery}"):
        compile_workload(trial.lab, trial.experiment, flows_to_last(1, BYTES))


def test_telemetry_must_fit_the_links() -> None:
    lab = star({"s1": "1us", "r1": "1us"})
    trial = make_trial(lab, "incast", *four_to_one("hpcc", "transport.hpcc.header=514"))
    message = "packets of 4670 bytes with telemetry do not fit link s1:eth1 - sw:eth1, mtu 4200"
    with pytest.raises(ExperimentError, match=message):
        compile_workload(trial.lab, trial.experiment, flows_to_last(1, BYTES))
