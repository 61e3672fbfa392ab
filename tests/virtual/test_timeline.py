"""Links that change during an all-reduce: losses where and when they were asked for, outages survived or drained."""

import json
from typing import Any

import pytest

from testbed._dataplane import VirtualFabric
from testbed.run.execution import Outcome
from testbed.run.judgement import conclude, unreached
from testbed.run.perform import perform
from testbed.run.trial import Trial
from tests.virtual.harness import check_conservation, make_trial, priority, run_trial

SPAN = "border-a:eth2"
BACK = "border-b:eth2"
MS = 10**9
SIZE = ("workload.size=32MiB", "workload.in-place=false")


def trial(*entries: dict[str, Any]) -> Trial:
    timeline = [{"link": SPAN, **entry} for entry in entries]
    return make_trial("two-dc", "all_reduce", *SIZE, f"timeline={json.dumps(timeline)}")


def run(*entries: dict[str, Any]) -> Outcome:
    return run_trial(trial(*entries))


def drops(outcome: Outcome, port: str) -> dict[str, int]:
    counts: dict[str, int] = priority(outcome.report, port)["drops"]
    return {cause: count for cause, count in counts.items() if count}


def passes(subject: Trial, outcome: Outcome) -> bool:
    return conclude(subject, outcome, "virtual", 1, "testbed run").verdict.passed


def lost_in(at: str, lasting: str, loss: float) -> tuple[int, int]:
    """Return (frames lost, frames sent) on the span, towards data centre b, by a loss within a window."""
    outcome = run({"at": at, "for": lasting, "impair": {"loss": loss}, "direction": "out"})
    assert outcome.complete and drops(outcome, BACK) == {}
    check_conservation(outcome.report)
    return drops(outcome, SPAN).get("link", 0), priority(outcome.report, SPAN)["frames_tx"]


def test_a_loss_hits_exactly_the_frames_of_its_window() -> None:
    # All frames lost for 100 us: as many as the line carries in that time, give or take the two at the edges.
    frame_ps = (4096 + 58 + 4 + 20) * 80
    lost, _ = lost_in("2ms", "100us", 1.0)
    assert lost == pytest.approx(100 * 10**6 / frame_ps, abs=2)
    # One in a hundred for 1 ms of 2,992 frames: 30 on average, and 10 to 56 in all but one of 10^4 seeds.
    few, sent = lost_in("2ms", "1ms", 0.01)
    assert 10 <= few <= 56 and sent > 10_000
    outcome = run({"at": "2ms", "for": "1ms", "impair": {"loss": 0.01}})
    assert [(row["link"], row["asked_ns"], row["at_ns"]) for row in outcome.impairments] == [
        (SPAN, 2e6, 2e6), (BACK, 2e6, 2e6), (SPAN, 3e6, 3e6), (BACK, 3e6, 3e6)
    ]  # fmt: skip


def test_losses_happen_in_the_window_only() -> None:
    """Looked at every hundred events, the counter of losses moves between 2 and 3 ms of nominal time, and only then."""
    subject = trial({"at": "2ms", "for": "1ms", "impair": {"loss": 0.01}, "direction": "out"})

    class Watched:
        """A fabric that is looked at after every few events."""

        def __init__(self) -> None:
            self.fabric = VirtualFabric(json.dumps(subject.plan))
            self.seen: list[tuple[int, int]] = []

        def __getattr__(self, name: str) -> Any:
            return getattr(self.fabric, name)

        def advance(self, budget: int) -> bool:
            over = self.fabric.advance(100)
            report = json.loads(self.fabric.report())
            self.seen.append((report["now_ps"], report["drops"]["link"]))
            return over

    watched = Watched()
    outcome = perform(subject, watched, "virtual", lambda progress: None)  # type: ignore[arg-type]
    assert outcome.complete
    moved = [
        (before, now)
        for (before, lost), (now, lost_now) in zip(watched.seen, watched.seen[1:], strict=False)
        if lost_now > lost
    ]
    assert moved, "nothing was lost"
    # A loss is counted as the frame leaves its port, within the slice of time in which it was seen.
    assert moved[0][1] >= 2 * MS and moved[-1][0] <= 3 * MS
    assert all(now > 2 * MS and before < 3 * MS for before, now in moved)


def test_an_outage_loses_frames_and_the_collective_completes() -> None:
    subject = trial({"at": "1ms", "for": "10ms", "impair": {"down": True}})
    outcome = run_trial(subject)
    assert outcome.complete and passes(subject, outcome)
    for port in (SPAN, BACK):
        assert drops(outcome, port).keys() == {"outage"}
    assert outcome.report["drops"]["outage"] == sum(drops(outcome, port)["outage"] for port in (SPAN, BACK))
    assert outcome.report["drops"]["link"] == 0
    assert sum(qp["retransmitted"] for qp in outcome.report["qps"]) > 0
    assert all(row["wrong"] == 0 for row in outcome.rows)
    check_conservation(outcome.report)


def test_a_drained_outage_loses_nothing() -> None:
    subject = trial(
        {"at": "1ms", "for": "11ms", "impair": {"drain": True}}, {"at": "2ms", "for": "10ms", "impair": {"down": True}}
    )
    outcome = run_trial(subject)
    assert outcome.complete and passes(subject, outcome)
    assert sum(outcome.report["drops"].values()) == 0
    assert sum(qp["retransmitted"] for qp in outcome.report["qps"]) == 0
    # It waited: 11 ms longer than undisturbed, to what the line could still use of the flight time.
    undisturbed = run_trial(trial())
    longer_us = outcome.rows[0]["time_us"] - undisturbed.rows[0]["time_us"]
    assert longer_us == pytest.approx(11_000, rel=0.08)


def test_a_link_that_stays_down_is_named() -> None:
    subject = trial({"at": "1ms", "impair": {"down": True}, "direction": "out"})
    outcome = run_trial(subject)
    verdict = conclude(subject, outcome, "virtual", 1, "testbed run").verdict
    assert not verdict.complete and not verdict.passed
    assert f"link {SPAN} to {BACK} is down since 1 ms (timeline[0])" in verdict.reasons
    assert not any(f"link {BACK}" in reason for reason in verdict.reasons)


def test_a_flapping_link_loses_frames_each_time() -> None:
    outcome = run({"at": "1ms", "impair": {"flap": {"period": "500us", "duty": 0.01, "count": 4}}, "direction": "out"})
    assert outcome.complete
    downs = [row["at_ns"] for row in outcome.impairments if row["set"] == {"up": False}]
    ups = [row["at_ns"] for row in outcome.impairments if row["set"] == {"up": True}]
    assert downs == [1e6, 1.5e6, 2e6, 2.5e6]
    assert ups == [at + 5000 for at in downs]
    # 5 us carry 15 frames; at least the first of the flaps finds the line busy.
    assert 10 <= drops(outcome, SPAN)["outage"] <= 4 * 17
    assert drops(outcome, BACK) == {}


def test_a_rate_step_slows_the_line_for_as_long_as_it_lasts() -> None:
    undisturbed = run_trial(trial())
    outcome = run({"at": "1ms", "for": "1ms", "impair": {"rate": "50G"}})
    assert outcome.complete and sum(outcome.report["drops"].values()) == 0
    # Half the rate for 1 ms costs half of that, less what the line would have waited for the other ranks anyway.
    longer_us = outcome.rows[0]["time_us"] - undisturbed.rows[0]["time_us"]
    assert 250 < longer_us <= 505
    # For good, the bus is as fast as the slow line, less the flight times.
    halved = run({"at": "0ms", "impair": {"rate": "50G"}})
    assert 5.0 < halved.rows[0]["busbw_gbytes_per_s"] < 6.25 < undisturbed.rows[0]["busbw_gbytes_per_s"]


def test_a_ramp_of_the_delay_ends_where_it_was_to() -> None:
    undisturbed = run_trial(trial())
    ramp = {"ramp": {"delay": ["391760ns", "791760ns"], "over": "1ms", "steps": 10}}
    outcome = run({"at": "0ms", "impair": ramp})
    assert outcome.complete and sum(outcome.report["drops"].values()) == 0
    delays = [row["set"]["delay_ns"] for row in outcome.impairments if row["link"] == SPAN]
    assert delays == [391_760 + 40_000 * step for step in range(1, 11)]
    assert outcome.rows[0]["time_us"] > undisturbed.rows[0]["time_us"] + 400


def test_what_comes_after_the_run_did_not_take_place_and_does_not_delay_the_next_row() -> None:
    timeline = [{"at": "20s", "link": SPAN, "impair": {"down": True}}]
    sizes = ("workload.minbytes=1M", "workload.maxbytes=2M")
    subject = make_trial("two-dc", "all_reduce", *sizes, f"timeline={json.dumps(timeline)}")
    outcome = run_trial(subject)
    assert outcome.complete and outcome.end_ps is not None and outcome.end_ps < 10**12
    assert [row["at_ns"] for row in outcome.impairments] == [None, None]
    (fault,) = unreached(subject, outcome)
    assert (fault.key, fault.message) == ("timeline[0].at", "timeline outside the run: it was over before 20s")


def test_a_timeline_is_as_repeatable_as_all_else() -> None:
    entry = {"at": "1ms", "for": "1ms", "impair": {"loss": 0.01, "burst": 3, "jitter": "2us"}}
    first, again = run(entry), run(entry)
    assert first.report["event_log_hash"] == again.report["event_log_hash"]
    assert drops(first, SPAN)["link"] > 0 and drops(first, BACK)["link"] > 0
