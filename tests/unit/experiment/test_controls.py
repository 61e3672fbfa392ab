"""Congestion controls in an experiment: presets, figures of one's own, names of adapters, and what the plan makes of them."""

from typing import Any

import pytest

from testbed.errors import ExperimentError, UsageError
from testbed.experiment import controls
from testbed.experiment.congestion import ADAPTERS, DCQCN
from testbed.experiment.file import experiment_from, experiment_schema, new_experiment
from testbed.lab.topology import load_lab
from testbed.plan.workload import compile_workload
from testbed.schema.source import Source
from testbed.traffic import RankSchedule, Recv, Schedule, Send

PING = Schedule((RankSchedule(8, (Send(1, 0, 8, 0),)), RankSchedule(8, (Recv(0, 0, 8),))))
NAMES = ("timely", "swift", "dctcp", "hpcc", "nscc")


def planned(name: str, *settings: str, lab: str = "pair:rate=100G") -> dict[str, Any]:
    experiment = new_experiment(lab, "sendrecv").with_overrides(
        ["lossless.ecn=sonic", f"transport.congestion-control={name}", *settings]
    )
    plan = compile_workload(load_lab(lab), experiment, PING)["transport"]["congestion_control"]
    assert plan is not None and plan["kind"] == name
    return dict(plan)


def test_figures_grow_with_the_rate_where_the_simulator_has_them_so() -> None:
    for rate, additive in (("100G", 100), ("400G", 400)):
        timely = planned("timely", lab=f"pair:rate={rate}")
        assert (timely["additive_bps"], timely["hyper_bps"]) == (additive * 10**6, 5 * additive * 10**6)
        assert planned("dctcp", lab=f"pair:rate={rate}")["additive_bps"] == 615 * 10**6
    assert planned("timely", "transport.timely=lcmp", lab="pair:rate=400G")["hyper_bps"] == 100 * 10**6
    assert planned("hpcc")["additive_bps"] == 40 * 10**6


def test_what_follows_from_the_longest_path_may_be_given_too() -> None:
    """Two hosts at a switch: two links, one switch that writes telemetry."""
    hpcc = planned("hpcc")
    assert hpcc["header_bytes"] == 10 and hpcc["base_rtt_ps"] > 0
    assert planned("hpcc", "transport.hpcc={base-rtt: 13us, header: 42}") == hpcc | {
        "base_rtt_ps": 13_000_000,
        "header_bytes": 42,
    }
    assert planned("swift")["hops"] == 2 and planned("swift", "transport.swift.hops=5")["hops"] == 5
    assert planned("swift")["base_target_ps"] == 20_000_000
    long = planned("swift", lab="two-dc:hosts=1,length=80km")
    round_trip_ps = planned("nscc", lab="two-dc:hosts=1,length=80km")["base_rtt_ps"]
    assert long["base_target_ps"] == round_trip_ps > 2 * 80 * 4_800_000
    assert planned("swift", "transport.swift.base-target=25us", lab="two-dc:hosts=1,length=80km") == long | {
        "base_target_ps": 25_000_000
    }
    nscc = planned("nscc")
    assert nscc["target_ps"] == nscc["base_rtt_ps"] == hpcc["base_rtt_ps"]
    assert planned("nscc", "transport.nscc.target=9us")["target_ps"] == 9_000_000


def test_every_figure_has_a_source() -> None:
    for sets in (DCQCN, controls.TIMELY, controls.SWIFT, controls.DCTCP, controls.HPCC, controls.NSCC):
        for figures in sets.values():
            assert all(figure.source for figure in figures.values())
            assert len({frozenset(figures) for figures in sets.values()}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_without_a_word_each_packet_is_acknowledged(name: str) -> None:
    experiment = new_experiment("pair", "sendrecv").with_overrides([f"transport.congestion-control={name}"])
    assert experiment.transport.packets_per_ack == 1
    assert experiment.with_overrides(["transport.ack-every=4"]).transport.packets_per_ack == 4
    assert experiment.with_overrides(["transport.congestion-control=dcqcn"]).transport.packets_per_ack == 16


@pytest.mark.parametrize(
    ("name", "value", "key", "written"),
    [
        ("rpg_time_reset", 300, "increase_timer_ps", 300_000_000),
        ("rpg_byte_reset", 32767, "byte_counter_bytes", 32767),
        ("rpg_threshold", 1, "fast_recovery_rounds", 1),
        ("rpg_ai_rate", 5, "additive_bps", 5_000_000),
        ("rpg_hai_rate", 50, "hyper_bps", 50_000_000),
        ("rpg_min_rate", 1, "minimum_bps", 1_000_000),
        ("rate_reduce_monitor_period", 4, "cut_interval_ps", 4_000_000),
        ("dce_tcp_g", 1019, "g", 5 / 1024),
        ("dce_tcp_rtt", 1, "alpha_timer_ps", 1_000_000),
        ("initial_alpha_value", 1023, "initial_alpha", 1023 / 1024),
        ("min_time_between_cnps", 2, "notify_interval_ps", 2_000_000),
    ],
)
def test_names_of_adapters(name: str, value: int, key: str, written: float) -> None:
    assert planned("dcqcn", f"transport.dcqcn.{name}={value}") == planned("dcqcn") | {key: written}
    assert name in ADAPTERS


def test_the_notifications_dscp_has_a_name_of_adapters() -> None:
    assert planned("dcqcn", "transport.cnp_dscp=46")["notify_dscp"] == 46
    dcqcn = experiment_schema()["$defs"]["Dcqcn"]
    assert any("rpg_time_reset" in pattern for pattern in dcqcn["patternProperties"])


@pytest.mark.parametrize(
    ("transport", "message"),
    [
        ({"dcqcn": {"rpg_ai_rate": "5M"}}, "rpg_ai_rate is a whole number from 0 to 4294967295, as adapters have it"),
        ({"dcqcn": {"dce_tcp_g": 1025}}, "dce_tcp_g is a whole number from 0 to 1024"),
        ({"dcqcn": {"rpg_threshold": True}}, "rpg_threshold is a whole number"),
        (
            {"dcqcn": {"rpg_time_reset": 300, "increase-timer": "1us"}},
            "rpg_time_reset is increase-timer, which is given",
        ),
        ({"cnp_dscp": 46, "cnp-dscp": 48}, "cnp_dscp is cnp-dscp, which is given too"),
        ({"dcqcn": {"rpg_time_resets": 300}}, "unknown key"),
        ({"swift": "htsim"}, 'no Swift parameter set is called "htsim"'),
        ({"swift": {"most-decrease": 1}}, "should be less than 1"),
        ({"hpcc": {"header": "1KB"}}, "should be less than or equal to 514"),
        ({"congestion-control": "bbr"}, '"bbr" is not'),
    ],
)
def test_what_cannot_be_read_is_a_fault_with_its_key(transport: dict[str, Any], message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        experiment_from(Source("e.yaml", {"topology": "pair", "transport": transport}))


def test_a_name_of_adapters_stands_where_it_belongs_alone() -> None:
    with pytest.raises(UsageError, match='unknown key "rpg_time_reset"'):
        new_experiment("pair", "sendrecv").with_overrides(["transport.timely.rpg_time_reset=300"])
