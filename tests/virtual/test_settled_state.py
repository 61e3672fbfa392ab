"""The settled state of a run: its statistics from a warm-up on, and by windows, without an effect on the run itself."""

import itertools

import pytest

from testbed.errors import ExperimentError, UsageError
from testbed.run.execution import Outcome
from testbed.run.judgement import conclude, unknown_names, unreached
from testbed.run.perform import run_virtual
from testbed.run.trial import Trial
from tests.virtual.harness import Json, make_trial

WINDOW_BYTES = 400_000
SLOW = {
    "name": "slow",
    "topology": {
        "nodes": {"a1": {"kind": "host"}, "b1": {"kind": "host"}, "leaf": {"kind": "switch"}},
        "links": [
            {"endpoints": ["a1:eth1", "leaf:eth1"], "rate": "100G", "delay": "1us"},
            {"endpoints": ["b1:eth1", "leaf:eth2"], "rate": "50G", "delay": "1us"},
        ],
    },
}
STEADY = ("workload.size=4MB", "workload.payload=false", f"transport.window={WINDOW_BYTES}B", "lossless.xoff=1MB")


def steady(*settings: str) -> Trial:
    return make_trial(SLOW, "incast", *STEADY, "workload.ranks=[b1, a1]", *settings)


def run(trial: Trial, cores: int = 1) -> Outcome:
    return run_virtual(trial, None, lambda progress: None, cores)


def queue(part: Json) -> Json:
    counters: Json = part["ports"]["leaf:eth2"]["priorities"]["3"]
    return counters


def test_a_queue_behind_a_window_rests_at_what_the_line_does_not_hold() -> None:
    """A sender with a window of 400 kB at twice the line's rate: all but what is under way waits before the slow line."""
    settled = run(steady("warmup=100us", "window=100us")).report["settled"]
    assert (settled["from_ns"], settled["window_ns"], settled["windows_omitted"]) == (100_000, 100_000, 0)
    # 50 Gb/s for a round trip of 4 us is 25 kB; and acknowledgements come for 16 packets at a time, of 4096 bytes and headers.
    highest, least = WINDOW_BYTES * 4158 / 4096, (WINDOW_BYTES - 25_000 - 2 * 16 * 4096)
    whole = [part for part in settled["windows"] if part["to_ns"] - part["from_ns"] == 100_000][:-1]
    assert len(whole) >= 4
    for part in whole:
        level = queue(part)
        assert least < level["queue_bytes_min"] <= level["queue_bytes"] <= level["queue_bytes_max"] < highest
        assert level["bytes_tx"] == pytest.approx(50e9 / 8 * 100e-6, rel=0.02), "a line that is full"
    # From the beginning on there is no such level: the queue had to fill first.
    assert queue(run(steady("window=100us")).report["settled"]["windows"][0])["queue_bytes_min"] == 0


def test_windows_add_up_to_the_settled_state_and_change_nothing() -> None:
    plain, told = run(steady()), run(steady("warmup=123us", "window=77us"))
    settled = told.report.pop("settled")
    assert plain.report.pop("settled") is None and told == plain
    counts = ("frames_tx", "frames_rx", "bytes_tx", "data_frames_tx", "pause_rx", "paused_ns")
    for port, whole in settled["ports"].items():
        for priority, figures in whole["priorities"].items():
            parts = [part["ports"][port]["priorities"].get(priority, {}) for part in settled["windows"]]
            for count in counts:
                assert sum(part.get(count, 0) for part in parts) == figures[count]
            assert max(part.get("queue_bytes_max", 0) for part in parts) == figures["queue_bytes_max"]
    # What it leaves out is what came before.
    assert 0 < queue(settled)["frames_tx"] < queue(told.report)["frames_tx"]
    ends = [(part["from_ns"], part["to_ns"]) for part in settled["windows"]]
    assert ends[0][0] == 123_000 and all(one[1] == two[0] for one, two in itertools.pairwise(ends))


@pytest.mark.parametrize("cores", [2, 3])
def test_windows_are_the_same_on_any_number_of_cores(cores: int) -> None:
    settings = ("workload.size=1MB", "workload.iterations=2", "warmup=300us", "window=150us")
    trial = make_trial("two-dc:hosts=3,length=60km", "incast", *settings)
    alone = run(trial)
    assert run(trial, cores) == alone and len(alone.report["settled"]["windows"]) > 5


def test_a_result_has_its_settled_state_and_an_expectation_can_name_it() -> None:
    resting = 'settled.ports["leaf:eth2"].priorities["3"].queue_bytes_max < 450000'
    trial = steady("warmup=100us", "window=200us", f"expect=['{resting}']")
    result = conclude(trial, run(trial), "virtual", 1, "")
    assert result.verdict.passed and result.settled is not None and result.settled.windows
    assert unknown_names(trial, result) == []


def test_a_run_that_ends_before_its_warm_up_is_a_fault_of_the_setting() -> None:
    trial = steady("warmup=1s")
    outcome = run(trial)
    assert outcome.report["settled"] is None
    (fault,) = unreached(trial, outcome)
    assert fault.key == "warmup" and "the run was over before 1s" in fault.message


@pytest.mark.parametrize("setting", ["window=0s", "window=10ns", "warmup=-1us", "window=soon"])
def test_windows_that_make_no_sense_are_refused(setting: str) -> None:
    with pytest.raises((ExperimentError, UsageError)):
        steady(setting)
