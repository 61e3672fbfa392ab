"""Pause storms and the watchdog in whole labs: what spreads, what is detected and when, what it was, and the false alarm."""

import json
from pathlib import Path
from typing import Any

import pytest

from testbed._dataplane import VirtualFabric
from testbed.experiment.file import experiment_from, load_experiment
from testbed.lab.topology import lab_from, load_lab
from testbed.run.judgement import conclude
from testbed.run.perform import perform
from testbed.run.result import RunResult
from testbed.run.trial import Trial
from testbed.schema.source import Source
from tests.virtual.harness import PFC_WIRE_BYTES, PS_PER_BYTE, Json, priority, run_trial, star

EXPERIMENTS = Path(__file__).parents[2] / "topologies" / "experiments"
MS = 10**6
WATCHFUL = {"detection": "1ms", "restoration": "1ms", "poll": "500us"}


def run(experiment: Json | Path, *overrides: str) -> RunResult:
    """Run an experiment; fail if a frame is unaccounted for or an invariant broke."""
    loaded = load_experiment(experiment) if isinstance(experiment, Path) else experiment_from(Source("x", experiment))
    loaded = loaded.with_overrides(overrides)
    trial = Trial(loaded, load_lab(loaded.topology))
    outcome = run_trial(trial)
    counts = outcome.report["conservation"]
    assert counts["sent"] == counts["delivered"] + counts["dropped"] and counts["in_flight"] == 0
    assert outcome.report["violations"] == []
    return conclude(trial, outcome, "virtual", 1, "test")


def stormy(storm: Json, lasting: str | None = "3ms", **lossless: Any) -> Json:
    """Return an experiment: four hosts write across a span of 1 km, and b1 storms from 200 us on."""
    entry = {"at": "200us", "node": "b1", "storm": storm, **({"for": lasting} if lasting else {})}
    return {
        "topology": "two-dc:length=1km",
        "lossless": lossless,
        "transport": {"window": "16MiB"},
        "workload": {"collective": "permutation", "size": "16MiB", "payload": False},
        "timeline": [entry],
    }


def ports(result: RunResult) -> Json:
    return {"ports": result.model_dump()["ports"]}


def test_a_storm_spreads_to_whoever_sends_that_way_and_to_nobody_else() -> None:
    """b1 stops leaf-b, which stops border-b, and so on up to both hosts of the other site. What b sends to a goes on."""
    result = run(stormy({}))
    report = ports(result)
    assert result.exit_code == 0 and result.verdict.lossless and result.watchdog == []
    for port in ("leaf-b:eth1", "border-b:eth1", "border-a:eth2", "leaf-a:eth3", "a1:eth1", "a2:eth1"):
        assert priority(report, port)["paused_ns"] > 2.5 * MS, port
    assert priority(report, "leaf-b:eth1")["paused_ns"] == pytest.approx(3 * MS, rel=0.01)
    # Those of the other way are paused only as two senders of one span are.
    calm = ports(run(stormy({}, lasting="1ns") | {"timeline": []}))
    for port in ("b1:eth1", "b2:eth1", "leaf-b:eth3", "border-a:eth1", "leaf-a:eth1"):
        paused = priority(report, port)["paused_ns"]
        assert paused == pytest.approx(priority(calm, port)["paused_ns"], abs=0.1 * MS), port
    [begun, ended] = result.impairments
    assert (begun.link, begun.set) == ("b1:eth1", {"storm": {"priorities": [3], "quanta": 65535}})
    assert (begun.at_ns, ended.at_ns, ended.set) == (0.2 * MS, 3.2 * MS, {"storm": None})


def test_pauses_of_a_storm_are_on_the_line_at_half_time() -> None:
    report = ports(run(stormy({"quanta": 2000})))
    half_ns = 1000 * 5.12
    assert priority(report, "b1:eth1")["pause_tx"] == pytest.approx(3 * MS / half_ns, abs=2)
    assert priority(report, "leaf-b:eth1")["pause_rx"] == priority(report, "b1:eth1")["pause_tx"]


@pytest.mark.parametrize("duty", [0.25, 0.5, 0.9])
def test_a_throttling_storm_leaves_the_rest_of_the_rate(duty: float) -> None:
    """One sender on one switch: the receiver's port is idle for its duty of every period, less the response time."""
    period_ns = 200_000
    experiment = {
        "topology": "pair",
        "workload": {"collective": "incast", "size": "64MiB", "payload": False, "ranks": ["b1", "a1"]},
        "timeline": [{"at": "0s", "node": "b1", "storm": {"period": "200us", "duty": duty}}],
    }
    free = run(experiment | {"timeline": []})
    throttled = run(experiment)
    assert throttled.verdict.lossless
    # 394 quanta of 5.12 ns: what a 100G port may take to respond.
    idle_ns = duty * period_ns - 394 * 5.12
    goodput = throttled.flows[0].goodput_bps / free.flows[0].goodput_bps
    # The run ends somewhere in its last period of about 36 to 270.
    assert goodput == pytest.approx(1 - idle_ns / period_ns, rel=0.02)
    periods = throttled.collective.rows[0].time_us * 1000 / period_ns
    paused_ns = priority(ports(throttled), "leaf:eth2")["paused_ns"]
    assert int(periods) * idle_ns <= paused_ns + 1 <= (int(periods) + 1) * idle_ns + 1


def test_the_watchdog_drops_what_a_storm_holds_and_says_where_it_came_from() -> None:
    result = run(stormy({}, watchdog=WATCHFUL))
    storms = {storm.port: storm for storm in result.watchdog}
    assert storms.keys() == {"leaf-b:eth1", "border-b:eth1", "border-a:eth2", "leaf-a:eth3"}
    source = storms["leaf-b:eth1"]
    assert source.cause == "storm" and "b1:eth1, a host" in source.explanation
    assert "timeline[0]" in source.explanation
    # Paused since 200 us, the PAUSE frame's line and flight time, and the response time; looked at every 500 us.
    began_ns = 200_000 + PFC_WIRE_BYTES * PS_PER_BYTE / 1000 + 244.85 + 394 * 5.12
    assert (source.detected_ns, source.model_dump()["paused_since_ns"]) == (1.5 * MS, pytest.approx(began_ns, abs=1))
    assert source.restored_ns == 4.5 * MS, "the first look more than 1 ms after the last pause"
    for port, peer in [("border-b:eth1", "leaf-b"), ("border-a:eth2", "border-b"), ("leaf-a:eth3", "border-a")]:
        assert storms[port].cause == "spread" and f"{peer}:" in storms[port].explanation
    drops = {port: priority(ports(result), port)["drops"]["watchdog"] for port in storms}
    assert drops == {port: storm.dropped for port, storm in storms.items()} and drops["leaf-b:eth1"] > 0
    assert result.drops.lossless == sum(drops.values())
    assert result.exit_code == 1 and "by the watchdog, at " in result.verdict.reasons[0]
    assert result.verdict.complete, "go-back-N sends again what was dropped"


def test_a_watchdog_that_forwards_loses_nothing() -> None:
    result = run(stormy({}, watchdog={**WATCHFUL, "action": "forward"}))
    assert result.exit_code == 0 and result.drops.lossless == 0
    assert {storm.port for storm in result.watchdog} >= {"leaf-b:eth1"}
    assert priority(ports(result), "leaf-b:eth1")["paused_ns"] < 1.5 * MS, "not heeded since"


def test_a_switch_of_33_ports_keeps_to_the_times_that_it_was_given() -> None:
    """A storm from 100 us on: with times doubled for the 33rd port it would be detected after more than 2 ms."""
    names = [f"h{number}" for number in range(1, 34)]
    experiment = {
        "topology": "star",
        "lossless": {"watchdog": WATCHFUL},
        "transport": {"window": "16MiB"},
        "workload": {"collective": "incast", "size": "16MiB", "payload": False, "ranks": ["h2", "h1"]},
        "timeline": [{"at": "100us", "node": "h2", "storm": {}, "for": "2ms"}],
    }
    lab = lab_from(Source("lab", star(dict.fromkeys(names, "1us"))))
    trial = Trial(experiment_from(Source("x", experiment)), lab)
    result = conclude(trial, run_trial(trial), "virtual", 1, "test")
    [storm] = result.watchdog
    assert storm.port == "sw:eth2" and 1.0 * MS < storm.detected_ns - 100_000 <= 1.5 * MS
    assert storm.restored_ns == 3.5 * MS
    [(switch, settings)] = result.watchdog_settings.items()
    assert (switch, settings.detection_ns, settings.restoration_ns, settings.poll_ns) == ("sw", MS, MS, MS / 2)
    written = json.loads(result.to_json())["watchdog_settings"]["sw"]
    assert written == {"detection_ns": 1e6, "restoration_ns": 1e6, "poll_ns": 5e5, "action": "drop"}


def test_a_storm_shorter_than_the_detection_time_is_left_alone() -> None:
    result = run(stormy({}, lasting="900us", watchdog=WATCHFUL))
    assert result.exit_code == 0 and result.watchdog == []


def test_a_storm_that_never_ends_is_not_restored() -> None:
    result = run(stormy({}, lasting=None, watchdog=WATCHFUL))
    source = next(storm for storm in result.watchdog if storm.port == "leaf-b:eth1")
    assert (source.detected_ns, source.restored_ns) == (1.5 * MS, None)
    assert not result.verdict.complete, "b1 hears nothing any more"
    assert priority(ports(result), "leaf-b:eth2")["data_frames_tx"] >= 4096, "b2 has all of its 16 MiB"


@pytest.fixture(scope="module")
def false_alarm() -> RunResult:
    return run(EXPERIMENTS / "watchdog-false-alarm.yaml")


def test_a_long_legitimate_pause_over_3000_km_trips_the_default_watchdog(false_alarm: RunResult) -> None:
    """tau·Rs/Rd = 29.4 ms · 8 = 235 ms: nobody storms, and the watchdog fires all the same."""
    [storm] = false_alarm.watchdog
    assert (storm.port, storm.cause, storm.dropped > 1000) == ("border-a:eth2", "long pause", True)
    assert storm.detected_ns == 800 * MS
    paused_ns = storm.detected_ns - storm.model_dump()["paused_since_ns"]
    assert 200 * MS < paused_ns <= 235.1 * MS
    assert storm.restored_ns == 1200 * MS
    assert false_alarm.exit_code == 1 and not false_alarm.verdict.lossless


def test_the_explanation_says_that_it_was_none(false_alarm: RunResult) -> None:
    explanation = false_alarm.watchdog[0].explanation
    assert explanation.startswith("no storm, but a long pause: border-b:eth1 had 200,0")
    assert "a round trip of 29.38 ms at 100G is 367,275,000" in explanation
    assert "at 12.4 Gb/s, in 235.1 ms. A detection time above that would have let it be" in explanation


def test_storms_on_two_cores_are_those_on_one() -> None:
    trial = Trial(experiment_from(Source("x", stormy({}, watchdog=WATCHFUL))), load_lab("two-dc:length=20km"))
    one, two = (
        perform(trial, VirtualFabric(json.dumps(trial.plan), cores), "virtual", lambda progress: None)
        for cores in (1, 2)
    )
    assert one.report == two.report and one.storms == two.storms
    assert len(one.storms) > 1 and one.report["event_log_hash"]


def test_a_longer_detection_time_is_the_cure(false_alarm: RunResult) -> None:
    cured = run(EXPERIMENTS / "watchdog-false-alarm.yaml", "lossless.watchdog.detection=300ms")
    assert cured.exit_code == 0 and cured.watchdog == []
    assert cured.collective.rows[0].time_us < false_alarm.collective.rows[0].time_us / 4
    assert run(EXPERIMENTS / "watchdog-false-alarm.yaml", "lossless.watchdog=false").exit_code == 0
