"""The headroom that the planner reckons for 300 km at 400G carries the traffic that needs it, and half of it does not."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from testbed.buffers.headroom_models import Ieee
from testbed.experiment.file import load_experiment
from testbed.lab.topology import load_lab
from testbed.run.judgement import conclude
from testbed.run.result import RunResult
from testbed.run.trial import Trial
from tests.virtual.harness import Json, check_conservation, priority, run_trial

EXPERIMENT = Path(__file__).parents[2] / "topologies" / "experiments" / "span-headroom.yaml"
SPAN_PORT = "border-b:eth2"
PLANNED_BYTES = Ieee(400 * 10**9, 4218, interfaces=False, ps_per_metre=4897).headroom(300 * 10**6).total_bytes


def run(*overrides: str) -> tuple[RunResult, Json]:
    experiment = load_experiment(EXPERIMENT).with_overrides(overrides)
    trial = Trial(experiment, load_lab(experiment.topology))
    outcome = run_trial(trial)
    check_conservation(outcome.report)
    return conclude(trial, outcome, "virtual", 1, "test"), outcome.report


def test_what_the_planner_reckons_is_enough_and_the_run_needs_more_than_half_of_it() -> None:
    result, report = run()
    assert result.exit_code == 0 and result.verdict.lossless and result.verdict.correct
    assert priority(report, SPAN_PORT)["headroom_bytes_max"] > PLANNED_BYTES / 2
    assert result.pools["border-b"].headroom_bytes_max == priority(report, SPAN_PORT)["headroom_bytes_max"]


def test_an_all_reduce_over_the_span_loses_nothing(
    run_testbed: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    lab = ("-t", "two-dc:length=300km,rate=400G", "--clock", "virtual", "--out", str(tmp_path))
    completed = run_testbed("run", "all_reduce", *lab, "--set", "lossless.headroom=auto")
    assert completed.returncode == 0 and "PASSED: lossless, correct, trusted" in completed.stdout


def test_half_of_it_loses_frames_and_the_result_says_where_and_why() -> None:
    result, report = run("lossless.headroom=50%")
    assert result.exit_code == 1 and not result.verdict.lossless
    assert result.verdict.correct, "go-back-N sends them again"
    drops = priority(report, SPAN_PORT)["drops"]
    assert drops["headroom"] > 1000 and sum(drops.values()) == drops["headroom"]
    assert f"{SPAN_PORT} priority 3 (headroom {drops['headroom']:,})" in result.verdict.reasons[0]
    held = priority(report, SPAN_PORT)["headroom_bytes_max"]
    assert 0 <= PLANNED_BYTES / 2 + 4218 - held < 2 * 4218, "all of the half was used"
