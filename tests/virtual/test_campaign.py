"""Campaigns: no drawn case breaks what must always hold; and each check can fail."""

import copy
import dataclasses
import json
import os
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from testbed.run import perform
from testbed.run.judgement import conclude
from testbed.run.perform import run_virtual
from testbed.study import campaign, campaign_checks, parallel, random_cases, random_faults, random_labs
from testbed.study.campaign_checks import Evidence
from testbed.study.means import Means, on_this_machine
from testbed.traffic import ALGORITHMS

SEEDS = int(os.environ.get("CAMPAIGN_SEEDS", "300"))
Cli = Callable[..., "CompletedProcess[str]"]


# What is seen at work, and what must have been drawn for that.
NEEDED = {
    "credits": {"credits", "links of several kinds"},
    "receive not posted": {"posted receives"},
    "buffers in a circle": {"ring routed shortest", "ring routed clockwise"},
    "storm": {"storm"},
    "watchdog acted": {"watchdog"},
    "circuits moved": {"circuits"},
    "late ranks": {"late ranks"},
    "several rows or iterations": {"several collectives"},
}


@pytest.mark.timeout(120 + SEEDS)
def test_no_seed_breaks_what_must_always_hold() -> None:
    tried = campaign.run(range(1, SEEDS + 1), Means(on_this_machine(parallel.processors())))
    told = [f"{verdict.problems}: {campaign.replay_command(verdict.seed)}" for verdict in tried.failed]
    assert not told, "\n".join(told)
    endings = tried.endings()
    assert endings.get("refused", 0) <= SEEDS // 50
    assert endings["complete"] >= SEEDS * 0.9
    for verdict in tried.verdicts:
        for feature, traits in NEEDED.items():
            assert feature not in verdict.active or traits & set(verdict.traits), (verdict.seed, feature)
    idle = [name for name, count in tried.active().items() if not count]
    assert not idle, f"drawn, and in no seed at work: {idle}"


def test_nothing_is_sent_again_for_want_of_credits() -> None:
    """Seed 2005: an acknowledgement waits three round trips of a span for credits, and the timeout was two."""
    verdict = campaign.run_case(2005)
    assert (verdict.ending, verdict.problems) == ("complete", []) and "waiting for credit" in verdict.active


def test_a_storm_that_lets_go_loses_nothing_of_a_slow_nic() -> None:
    """Seed 2832: the breaks of a storm let the peer go on while the host's receive buffer was full."""
    verdict = campaign.run_case(2832)
    assert not verdict.problems and {"storm", "slow NIC paused or dropped"} <= set(verdict.active)


def test_a_case_is_a_function_of_its_seed() -> None:
    for seed in range(40):
        assert random_cases.draw(seed) == random_cases.draw(seed)
    assert len({json.dumps(random_cases.draw(seed).lab) for seed in range(40)}) == 40


def test_everything_is_drawn_often_enough_to_matter() -> None:
    traits = Counter(trait for seed in range(1, 301) for trait in random_cases.draw(seed).traits)
    wanted = {"optical", "lossy link", "over 1000 km", "dcqcn", "no PFC", "erasure", *random_labs.SHAPES}
    wanted |= {*random_faults.FAULTS, random_faults.STORM, random_faults.WEIGHTS}
    wanted |= {"credits", "links of several kinds", "watchdog", "slow NIC", "weights", "late ranks", "posted receives"}
    wanted |= {"own buffers", "headroom of an experiment", "named switches", "circuits", "several collectives"}
    wanted |= {"ring routed shortest", "ring routed clockwise", "ring routed up-down", "lengths alone"}
    wanted |= {f"{name} {algorithm}" for name, algorithms in ALGORITHMS.items() for algorithm in algorithms}
    assert wanted <= set(traits) and min(traits.values()) >= 6, traits


def test_a_case_can_be_written_down_and_run_by_hand(call_testbed: Cli, tmp_path: Path) -> None:
    seed = next(seed for seed in range(1, 100) if random_cases.draw(seed).experiment["timeline"])
    judged = campaign.run_case(seed)
    lab, experiment = campaign.write_case(seed, tmp_path / "case")
    assert call_testbed("validate", str(lab), str(experiment)).returncode == 0
    done = call_testbed("run", str(experiment), "-t", str(lab), "--clock", "virtual", "--format", "json")
    assert json.loads(done.stdout)["event_log_hash"] == judged.event_log_hash


def test_the_command_counts_what_it_ran(call_testbed: Cli) -> None:
    done = call_testbed("campaign", "--first", "10", "--seeds", "4", "--jobs", "1", "--format", "json")
    assert done.returncode == 0, done.stdout
    document = json.loads(done.stdout)
    assert [case["seed"] for case in document["cases"]] == [10, 11, 12, 13] and sum(document["endings"].values()) == 4
    table = call_testbed("campaign", "--first", "10", "--seeds", "4", "--jobs", "1").stdout
    assert table.startswith("4 cases, ") and f"{document['frame_hops']:,} frame-hops" in table


def test_a_seed_that_fails_is_told_with_its_command_and_its_files(
    call_testbed: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(seen: Evidence) -> Any:
        if seen.subject.lab.name == "drawn-11":
            yield "something is wrong"
        if seen.subject.lab.name == "drawn-12":
            raise ValueError("a check that breaks")

    monkeypatch.setattr(campaign, "CHECKS", (check,))
    done = call_testbed("campaign", "--first", "10", "--seeds", "3", "--jobs", "1", "--out", "failed")
    assert done.returncode == 1
    assert (
        "seed 11 failed; to see it again: testbed campaign --first 11 --seeds 1\n  - something is wrong" in done.stdout
    )
    assert "  - internal error: ValueError: a check that breaks" in done.stdout
    command = next(line for line in done.stderr.splitlines() if "seed-11" in line)
    again = call_testbed(*shlex.split(command)[1:], "--format", "json")
    assert json.loads(again.stdout)["lab"] == "drawn-11"


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    """Run the first case that has PFC and nothing that goes wrong."""
    excuses = {"lossy link", "optical", "no PFC", "circuits", "links of several kinds", "headroom of an experiment"}
    excuses |= {"posted receives", "own buffers", "named switches", "ring"}
    for seed in range(1, 200):
        case = random_cases.draw(seed)
        if not case.experiment["timeline"] and not excuses & set(case.traits):
            break
    subject = campaign.trial_of(case)
    outcome = run_virtual(subject, None, lambda progress: None)
    return Evidence(subject, outcome, conclude(subject, outcome, "virtual", 1, "testbed"))


def corrupted(evidence: Evidence, corrupt: Callable[[dict[str, Any], Any], None], **changed: Any) -> Evidence:
    """Return the evidence with its report changed, as if the data plane had said so."""
    outcome = copy.deepcopy(evidence.outcome)
    corrupt(outcome.report, outcome)
    outcome = dataclasses.replace(outcome, **changed)
    return Evidence(evidence.subject, outcome, conclude(evidence.subject, outcome, "virtual", 1, "testbed"))


def drop(cause: str) -> Callable[[dict[str, Any], Any], None]:
    def corrupt(report: dict[str, Any], outcome: Any) -> None:
        port = next(iter(report["ports"].values()))
        next(iter(port["priorities"].values()))["drops"][cause] = 5

    return corrupt


def unheard(report: dict[str, Any], outcome: Any) -> None:
    """Lose a PAUSE and two credit frames on a link."""
    port = next(iter(report["ports"].values()))
    counters = next(iter(port["priorities"].values()))
    counters["pause_tx"] += 1
    counters["credit_tx"] += 2
    counters["drops"]["link"] += 3


def accuse(report: dict[str, Any], outcome: Any) -> None:
    port = next(name for name in report["ports"] if not name.startswith("h"))
    times = {"detected_ns": 1.0, "restored_ns": None, "dropped": 0}
    outcome.storms.append({"port": port, "priority": 3, **times, "cause": "storm", "explanation": "a storm"})


def never_ready(report: dict[str, Any], outcome: Any) -> None:
    report["qps"][0]["error"] = "rnr retry exceeded"


def conserve(report: dict[str, Any], outcome: Any) -> None:
    report["conservation"]["delivered"] -= 1


def violate(report: dict[str, Any], outcome: Any) -> None:
    report["violations"].append("frame started on a paused priority")


def lock(report: dict[str, Any], outcome: Any) -> None:
    report["deadlocks"] = [{"at_ns": 10**9, "cured_ns": None, "ports": ["a:eth1", "b:eth1"], "priority": 3}]


def repeat(report: dict[str, Any], outcome: Any) -> None:
    report["qps"][0]["retransmitted"] = 1


def corrupt(report: dict[str, Any], outcome: Any) -> None:
    outcome.rows[0]["wrong"] = 3


def forget(report: dict[str, Any], outcome: Any) -> None:
    report["flows"].pop()


def shorten(report: dict[str, Any], outcome: Any) -> None:
    report["flows"][0]["bytes"] -= 1


def strand(report: dict[str, Any], outcome: Any) -> None:
    report["conservation"] |= {"in_flight": 1, "sent": report["conservation"]["sent"] + 1}


def give_up(report: dict[str, Any], outcome: Any) -> None:
    report["qps"][0]["error"] = "retry exceeded"


def nothing(report: dict[str, Any], outcome: Any) -> None:
    """Leave the report as it is."""


CORRUPTED = [
    (violate, {}, "frame started on a paused priority"),
    (conserve, {}, "invariant violated"),
    (lock, {}, "deadlock"),
    (drop("headroom"), {}, "5 frames lost for lack of buffer"),
    (drop("buffer"), {}, "5 frames lost for lack of buffer"),
    (drop("receiver"), {}, "5 frames lost for lack of buffer"),
    (drop("link"), {}, "5 frames lost on the link"),
    (drop("outage"), {}, "5 frames lost on the link"),
    (drop("watchdog"), {}, "lost to a watchdog"),
    (drop("link"), {}, "5 lost frames are neither data nor"),
    (drop("receiver"), {}, "5 lost frames are neither data nor"),
    (accuse, {}, "for the source of a storm, and it made none"),
    (never_ready, {"complete": False, "reasons": ["stalled"]}, "waiting for receives that are always there"),
    (repeat, {}, "1 packets sent again, and none was lost"),
    (corrupt, {}, "3 wrong elements"),
    (forget, {}, "messages to send"),
    (shorten, {}, "bytes to send"),
    (strand, {}, "1 frames still on their way"),
    (give_up, {"complete": False, "reasons": ["stalled"]}, "gave up, and every link was in order"),
    (nothing, {"complete": False, "reasons": ["stalled"]}, "no progress: stalled"),
]


@pytest.mark.parametrize(
    ("corrupt", "changed", "problem"),
    CORRUPTED,
    ids=[f"{number} {text}" for number, (*_, text) in enumerate(CORRUPTED)],
)
def test_each_check_can_fail(evidence: Evidence, corrupt: Any, changed: dict[str, Any], problem: str) -> None:
    assert [problem for check in campaign.CHECKS for problem in check(evidence)] == []
    seen = corrupted(evidence, corrupt, **changed)
    problems = [broken for check in campaign.CHECKS for broken in check(seen)]
    assert any(problem in broken for broken in problems), problems


def test_pause_and_credit_frames_that_a_link_lost_are_accounted_for(evidence: Evidence) -> None:
    seen = corrupted(evidence, unheard)
    assert list(campaign_checks.check_pauses(seen)) == []
    assert list(campaign_checks.check_pauses(corrupted(evidence, drop("link")))) != []


def test_a_campaign_that_is_interrupted_prints_what_it_had(call_testbed: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    real = random_cases.draw

    def interrupted(seed: int) -> random_cases.Case:
        if seed == 13:
            raise KeyboardInterrupt
        return real(seed)

    monkeypatch.setattr(random_cases, "draw", interrupted)
    done = call_testbed("campaign", "--first", "10", "--seeds", "9", "--jobs", "1")
    assert done.returncode == 130
    assert done.stdout.startswith("3 cases, ") and "at work: " in done.stdout
    assert "interrupted after 3 of 9 cases" in done.stderr
    document = json.loads(
        call_testbed("campaign", "--first", "10", "--seeds", "9", "--format", "json", "-j", "1").stdout
    )
    assert document["interrupted"] and [case["seed"] for case in document["cases"]] == [10, 11, 12]


def test_the_share_of_seeds_in_which_a_feature_was_at_work_is_printed(call_testbed: Cli) -> None:
    table = call_testbed("campaign", "--first", "10", "--seeds", "8", "--jobs", "1").stdout
    tried = campaign.Campaign([campaign.run_case(seed) for seed in range(10, 18)])
    share = 100 * tried.active()["pauses"] / len(tried.ran)
    assert f"pauses {share:.3g} %" in table


def test_another_course_in_other_slices_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = campaign._run

    def drifting(subject: Any, budget: int | None = None, cores: int = 1) -> Any:
        outcome = real(subject, budget, cores)
        if budget is not None:
            outcome.report["event_log_hash"] = "0" * 16
        return outcome

    monkeypatch.setattr(campaign, "_run", drifting)
    assert campaign.run_case(2 * campaign.CHECKED_TWICE).problems == [
        "run again on two cores in other slices, it took another course"
    ]
    assert campaign.run_case(2 * campaign.CHECKED_TWICE + 1).problems == []


def test_another_number_of_events_at_a_time_is_really_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    execute = perform.execute

    def noted(engine: Any, series: Any, *arguments: Any) -> Any:
        taken.append(series.budget)
        return execute(engine, series, *arguments)

    monkeypatch.setattr(perform, "execute", noted)
    campaign._run(campaign.trial_of(random_cases.draw(1)), 777)
    assert taken == [777]
