"""Fast-forward: what a run that skips comes to is what the exact run comes to, and it says what it skipped and where not."""

import json
from pathlib import Path

import pytest

from testbed.errors import InputError
from testbed.experiment.file import load_experiment
from testbed.report.fast import fast_text
from testbed.run.execution import Outcome
from testbed.run.judgement import conclude
from testbed.run.perform import run_virtual
from testbed.run.result import RunResult
from testbed.run.trial import Trial
from testbed.study import preflight
from tests.fast_cases import hold
from tests.virtual.harness import make_trial

CALM = ("workload.payload=false", "workload.size=8MiB", "workload.in-place=false")


def run(trial: Trial) -> Outcome:
    return run_virtual(trial, None, lambda progress: None)


def judged(trial: Trial, outcome: Outcome) -> RunResult:
    return conclude(trial, outcome, "virtual", 1, "")


def skipped(outcome: Outcome) -> dict[str, object]:
    fast = outcome.report.pop("fast")
    assert fast is not None and fast["bound"] == 0
    return dict(fast)


def test_random_cases_come_to_what_exact_runs_come_to() -> None:
    """Two hundred: `python -m tests.fast_cases 200`."""
    held = [hold(seed) for seed in range(1000, 1024)]
    assert [agreement for agreement in held if agreement.differs] == []
    assert sum(agreement.skips > 0 for agreement in held) >= 10


def test_a_ring_all_reduce_of_8_gib_on_64_ranks_runs_one_frame_hop_in_fifty() -> None:
    size = ("workload.payload=false", "workload.size=8GiB", "workload.in-place=false", "workload.algorithm=ring")
    trial = make_trial("clos:spines=4,leaves=4,hosts=16", "all_reduce", *size, "fast=1%")
    outcome = run(trial)
    result = judged(trial, outcome)
    assert result.verdict.passed and result.fidelity is not None and result.event_log_hash is None
    assert result.fidelity["fast_forward"]["share_of_frame_hops"] > 1 - 1 / 50
    # Each of 126 steps sends a message of 128 MiB over every link between ranks, in frames of 4,096 bytes.
    assert sum(row["bytes"] for row in outcome.flows) == 126 * 64 * 2**27
    assert outcome.report["frame_hops"] == 596_606_976
    # 126 messages one after the other at the line's rate, with headers of 82 bytes and an ACK of 86 to 16 packets.
    least_us = 126 * 2**15 * (4096 + 82 + 86 / 16) * 8 / 100e3
    assert least_us < outcome.rows[0]["time_us"] < 1.002 * least_us


def test_an_exact_run_says_nothing_of_it() -> None:
    outcome = run(make_trial("pair", "permutation", *CALM))
    assert "fast" not in outcome.report and outcome.report["event_log_hash"] is not None
    result = judged(make_trial("pair", "permutation", *CALM), outcome)
    assert result.fidelity is None and fast_text(result) is None


@pytest.mark.parametrize(
    ("lab", "collective", "settings", "reason"),
    [
        ("pair", "sendrecv", ("workload.payload=true",), "payload"),
        ("pair", "permutation", ("transport.recovery=erasure",), "erasure codes or chunk timers"),
        ("pair", "permutation", ("transport.recovery=timer",), "erasure codes or chunk timers"),
        ("pair", "permutation", ("lossless.flow-control=credit",), "credits"),
        ("pair", "permutation", ("series=auto",), "series or a capture"),
        ("dumbbell:hosts=2,bottleneck=50G", "permutation", (), "pauses"),
        (
            "pair",
            "permutation",
            ("timeline=[{link: 'a1:eth1', at: 0s, impair: {jitter: 5ns}}]",),
            "links that lose or delay by chance",
        ),
    ],
)
def test_where_no_sound_bound_is_known_nothing_is_skipped_and_the_reason_is_said(
    lab: str, collective: str, settings: tuple[str, ...], reason: str
) -> None:
    trial = make_trial(lab, collective, *CALM, "workload.size=2MiB", *settings, "fast=1%")
    outcome = run(trial)
    text = fast_text(judged(trial, outcome))
    fast = skipped(outcome)
    assert fast["skips"] == 0 and reason in dict(fast["exact_ps"])  # type: ignore[call-overload]
    assert text is not None and text.startswith("Fast-forward skipped nothing, so the figures are exact. Why: ")
    assert reason in text


def test_a_change_of_a_link_is_not_passed_over() -> None:
    slower = "timeline=[{link: 'a1:eth1', at: 200us, for: 300us, impair: {rate: 40G}}]"
    fast, exact = (run(make_trial("pair", "permutation", *CALM, slower, *more)) for more in (("fast=1%",), ()))
    spans = [(skip["from_ps"], skip["to_ps"]) for skip in fast.report["fast"]["intervals"]]  # type: ignore[index]
    assert len(spans) >= 3 and not any(begin < at <= end for begin, end in spans for at in (200 * 10**6, 500 * 10**6))
    skipped(fast)
    fast.report["event_log_hash"] = exact.report["event_log_hash"]
    assert fast == exact


def test_the_share_is_checked_with_file_line_and_key(tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    for said, fault in {
        "20%": 'fast: "20%" is not from 0% to 10%',
        "0.01": 'fast: "0.01" is not a share; write it like 1%',
        "x%": 'fast: "x%" is not a share; write it like 1%',
    }.items():
        file.write_text(f"topology: pair\nfast: {said}\n")
        with pytest.raises(InputError) as caught:
            load_experiment(file)
        assert f"{file}:2: {fault}" in str(caught.value)
    file.write_text("topology: pair\nfast: 0.5%\n")
    assert load_experiment(file).fast == 0.005
    assert json.loads(load_experiment(file).model_dump_json())["fast"] == "0.5%"


def test_the_real_clock_skips_nothing() -> None:
    trial = make_trial("pair", "permutation", *CALM, "fast=1%")
    preflight.check(trial.under("virtual"))
    with pytest.raises(InputError, match="fast: the real clock skips nothing"):
        preflight.check(trial.under("real"))
