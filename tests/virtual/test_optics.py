"""Links that behave like light, over every profile of the catalogue: delay to the picosecond, loss by its closed form."""

import json
import math
from typing import Any

import pytest

from testbed._dataplane import VirtualFabric
from testbed.optics.behaviour import behaviour
from testbed.optics.catalogue import load_catalogue
from testbed.optics.fec import gaussian_tail_inverse
from testbed.run.judgement import conclude
from testbed.run.perform import perform
from testbed.run.trial import Trial
from tests.virtual.harness import (
    FCS_BYTES,
    FULL_FRAME_BYTES,
    FULL_WIRE_BYTES,
    GAP_BYTES,
    MTU,
    ROCE_BYTES,
    Json,
    check_conservation,
    finish,
    flows_to_last,
    loaded_fabric,
    make_trial,
    priority,
    run_trial,
)

PROFILES = load_catalogue().profiles
LOSING = sorted(name for name, profile in PROFILES.items() if profile.modulation)
PS = 10**12
G = 10**9
# Encoder and decoder hold a codeword of 5120 data bits for each one woven in, and work on it for 37 ns.
RS_BITS, RS_DECODER_PS = 5120, 37_000
# The table as a whole holds with 99 %, so each of its links with a share of the remaining 1 %.
Z_99 = gaussian_tail_inverse(0.01 / 2 / len(LOSING))


def one_link(profile: str, collective: str, *overrides: str, **settings: Any) -> Trial:
    """Return two hosts joined by one link, the whole of the lab."""
    link = {"endpoints": ["a1:eth1", "b1:eth1"], "profile": profile, **settings}
    nodes = {"a1": {"kind": "host"}, "b1": {"kind": "host"}}
    return make_trial({"name": "one", "topology": {"nodes": nodes, "links": [link]}}, collective, *overrides)


def send(trial: Trial, size: int) -> Json:
    """Send one message of lengths from a1 to b1 and return the report."""
    return finish(loaded_fabric(trial, flows_to_last(1, size)))


def arrived_ps(report: Json) -> int:
    """Return when the last byte of the message was there."""
    return int(report["ranks"][1]["finish_ps"] - report["start_ps"])


def serialised_ps(wire_bytes: int, rate_bps: int) -> int:
    return -(-wire_bytes * 8 * PS // rate_bps)


@pytest.mark.parametrize("name", PROFILES)
def test_delay_is_the_closed_form_exactly(name: str) -> None:
    """One SEND of 1000 bytes over as much cable as the profile reaches: its frame's time on the line, flight, FEC, DSP."""
    profile = PROFILES[name]
    rate = profile.rate or 100 * G
    flight = profile.reach * load_catalogue().cables[profile.cable].ps_per_metre // 1000
    block = RS_DECODER_PS + profile.interleave * RS_BITS * PS // rate if profile.fec in ("kp4", "kr4") else 0
    processing = (profile.fec_latency or block) + 2 * profile.dsp_latency
    frame = serialised_ps(ROCE_BYTES + 1000 + FCS_BYTES + GAP_BYTES, rate)
    trial = one_link(name, "incast", "transport.verb=send", length=f"{profile.reach}mm")
    assert arrived_ps(send(trial, 1000)) == frame + flight + processing


@pytest.mark.parametrize("name", LOSING)
def test_loss_is_the_closed_form_with_a_declared_acceleration(name: str) -> None:
    """100,000 full frames at one loss in a hundred, by an acceleration that stands in the plan.

    A failure kills 1 + burst/frame of the frames that follow each other, whole numbers around that mean: so the number
    lost spreads wider than that of independent losses, by the mean square over the mean of what one failure kills.
    """
    quiet = behaviour(name, 0)
    factor = 0.01 / quiet.frame_loss(FULL_FRAME_BYTES)
    seed = LOSING.index(name) + 1
    trial = one_link(name, "incast", "transport.verb=send", f"seed={seed}", length="0m", acceleration=factor)
    report = send(trial, 100_000 * MTU)
    check_conservation(report)
    (process, back) = trial.plan["links"][0]["loss_process"]
    assert process == back and process["acceleration"] == pytest.approx(factor)
    expected = -math.expm1(factor * math.log1p(-quiet.frame_loss(FULL_FRAME_BYTES)))
    counters = priority(report, "a1:eth1")
    sent, lost = counters["frames_tx"], counters["drops"]["link"]
    assert sent >= 100_000
    killed = 1 + quiet.burst_ps * quiet.rate_bps / (8 * FULL_FRAME_BYTES * PS)
    spread = killed + 0.25 / killed
    assert abs(lost - sent * expected) < Z_99 * math.sqrt(sent * expected * (1 - expected) * spread)


def test_a_path_through_mirrors_loses_nothing() -> None:
    report = send(one_link("ocs", "incast"), 1000 * MTU)
    assert report["drops"]["link"] == 0 and priority(report, "a1:eth1")["frames_tx"] >= 1000


# Two operating points of a KP4 link, and the acceleration at which the worse one loses a frame in a hundred.
CLEAN, TORN = {"ber": 2.4e-4}, {"ber": 5e-4}
FACTOR = 4e4


def all_reduce(seed: int = 1, **settings: Any) -> Trial:
    return one_link("400g-dr4", "all_reduce", "workload.size=16M", "workload.in-place=true", f"seed={seed}", **settings)


def test_the_cliff_of_the_bit_error_ratio() -> None:
    """Twice the bit errors lose 30,000 times the frames: the same all-reduce, once clean and once torn, and right both times."""
    clean, torn = (run_trial(all_reduce(**point, acceleration=FACTOR)) for point in (CLEAN, TORN))
    for outcome in (clean, torn):
        assert outcome.complete and outcome.rows[0]["wrong"] == outcome.rows[0]["in_place"]["wrong"] == 0
        assert outcome.report["drops"]["lossless"] == 0, "no buffer overflowed: the link lost what was lost"
    assert clean.report["drops"]["link"] == 0
    assert all(qp["retransmitted"] == 0 for qp in clean.report["qps"])
    assert torn.report["drops"]["link"] > 50
    assert any(qp["retransmitted"] > 0 for qp in torn.report["qps"])
    assert torn.rows[0]["time_us"] > clean.rows[0]["time_us"]
    # The clean link, sped up as much more as the cliff is high, loses as the torn one does.
    height = [
        one_link("400g-dr4", "incast", **point).plan["links"][0]["loss_process"][0]["per_second"]
        for point in (CLEAN, TORN)
    ]
    assert 2.5e4 < height[1] / height[0] < 4e4
    lost = []
    for point, factor in ((CLEAN, FACTOR * height[1] / height[0]), (TORN, FACTOR)):
        report = send(
            one_link("400g-dr4", "incast", "transport.verb=send", acceleration=factor, **point), 100_000 * MTU
        )
        lost.append(priority(report, "a1:eth1")["drops"]["link"] / priority(report, "a1:eth1")["frames_tx"])
    assert lost == pytest.approx([0.0095, 0.0095], abs=0.001)


def test_loss_differs_by_direction_and_is_repeatable() -> None:
    def run(seed: int) -> tuple[Any, int, int]:
        report = run_trial(all_reduce(seed, **TORN, acceleration=FACTOR)).report
        there, back = (priority(report, f"{host}:eth1")["drops"]["link"] for host in ("a1", "b1"))
        return report["event_log_hash"], there, back

    first, second = run(1), run(2)
    assert first == run(1)
    assert first[0] != second[0] and first[1] != first[2]


def microled(lanes_down: int) -> Trial:
    """Return an all-reduce in the pair, one of its links a MicroLED cable."""
    cable = {"profile": "microled-800g", "length": "10m"}
    links = [
        {"endpoints": ["a1:eth1", "leaf:eth1"], **cable, "lanes-down": lanes_down},
        {"endpoints": ["b1:eth1", "leaf:eth2"], **cable},
    ]
    nodes = {"a1": {"kind": "host"}, "b1": {"kind": "host"}, "leaf": {"kind": "switch", "buffer": "auto"}}
    return make_trial({"name": "cable", "topology": {"nodes": nodes, "links": links}}, "all_reduce", "workload.size=4M")


def test_spare_lanes_absorb_what_fails_and_then_the_rate_steps_down() -> None:
    """400 lanes and 8 spares: eight dark lanes change nothing at all, the ninth costs 1/400 of the rate and no frame."""
    whole, eight, nine = (run_trial(microled(down)) for down in (0, 8, 9))
    assert whole.report["event_log_hash"] == eight.report["event_log_hash"]
    assert whole.rows == eight.rows
    assert (
        nine.report["ports"]["a1:eth1"]["rate_bps"]
        == 800 * G * 399 // 400
        == nine.report["ports"]["leaf:eth1"]["rate_bps"]
    )
    assert nine.report["ports"]["b1:eth1"]["rate_bps"] == 800 * G
    assert nine.complete and nine.rows[0]["wrong"] == 0
    assert nine.report["drops"] == whole.report["drops"] and set(nine.report["drops"].values()) == {0}
    assert 1 < nine.rows[0]["time_us"] / whole.rows[0]["time_us"] < 400 / 399


def test_a_lane_less_is_a_rate_less_to_the_picosecond() -> None:
    frames = 1000
    for down, rate in ((8, 800 * G), (9, 798 * G), (108, 600 * G)):
        trial = one_link("microled-800g", "incast", "transport.verb=send", length="10m", **{"lanes-down": down})
        flight = trial.lab.links[0].delay_ps
        assert flight == 10 * 4_940 + 2 * 20_000
        line = frames * serialised_ps(FULL_WIRE_BYTES, rate)
        assert arrived_ps(send(trial, frames * MTU)) == line + flight


def test_a_laser_link_without_one_of_its_lanes_is_down() -> None:
    outcome = run_trial(
        one_link("400g-dr4", "all_reduce", "workload.size=64K", "transport.retries=1", **{"lanes-down": 1})
    )
    assert not outcome.complete and any("retry" in reason for reason in outcome.reasons)
    assert outcome.report["drops"]["outage"] > 0 and outcome.report["drops"]["link"] == 0


PRICES = ("prices.capex-per-end={400g-dr4: 800}", "prices.lifetime-years=5", "prices.energy-per-kwh=0.2")


def test_a_run_says_what_its_optics_spent() -> None:
    """Two ranks and one link of 2 × 8 W: both ends draw power while four all-reduces run, two of them in place."""
    overrides = ("workload.size=1M", "workload.in-place=true", "workload.iterations=2", *PRICES)
    trial = one_link("400g-dr4", "all_reduce", *overrides)
    outcome = run_trial(trial)
    energy = conclude(trial, outcome, "virtual", 1, "testbed run").energy
    row = outcome.rows[0]
    seconds = 2 * (row["time_us"] + row["in_place"]["time_us"]) / 1e6
    assert energy["watts"] == 16 and energy["joules"] == pytest.approx(16 * seconds)
    assert energy["nominal_pj_per_bit"] == pytest.approx(20)
    # In a ring of two each rank receives its half of the sum, then the other half: 1 MiB in all, each of four times.
    assert energy["useful_bits"] == 4 * 2 * 8 * 2**20
    (link,) = energy["links"].values()
    received = sum(priority(outcome.report, f"{host}:eth1")["bytes_rx"] for host in ("a1", "b1"))
    assert link["useful_bits"] == 8 * received > energy["useful_bits"]
    assert energy["cost_per_petabyte"] > link["cost_per_petabyte"] > 0, "idle time and headers cost something"


def test_energy_of_a_run_leaves_out_the_runs_before_it() -> None:
    trial = one_link("400g-dr4", "all_reduce", "workload.size=1M")
    fabric = VirtualFabric(json.dumps(trial.plan))
    first, second = (perform(trial, fabric, "virtual", lambda progress: None) for _ in range(2))
    # Acknowledgements fall a little differently after a workload than at the very beginning.
    assert second.received_bits == pytest.approx(first.received_bits, rel=1e-3)
    assert min(first.received_bits.values()) > 8 * 2**20


def test_without_a_profile_there_is_no_energy() -> None:
    trial = make_trial("pair", "all_reduce", "workload.size=64K")
    assert conclude(trial, run_trial(trial), "virtual", 1, "testbed run").energy == {}
