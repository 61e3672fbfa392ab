"""How far a run is while it goes on: nominal time and share, under the virtual clock, and what asking changes: nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.experiment.file import experiment_from, new_experiment
from testbed.lab.topology import load_lab
from testbed.replay.form import Op, Trace
from testbed.replay.goal import write_goal
from testbed.replay.goal_binary import write_goal_binary
from testbed.replay.streamed import read_streamed
from testbed.run import gauge
from testbed.run.execution import Outcome, Progress
from testbed.run.perform import run_virtual
from testbed.run.trial import Trial
from testbed.schema.source import Source


def outcome(lab: str, collective: str, settings: list[str], follow: Callable[[Progress], None], cores: int) -> Outcome:
    trial = Trial(new_experiment(lab, collective).with_overrides(settings), load_lab(lab))
    return run_virtual(trial, None, follow, cores, budget=500, is_followed=True)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let gauges read at every look."""
    ticks = itertools.count(0, 10)
    monkeypatch.setattr(gauge.Gauge.__init__, "__defaults__", (1, lambda: float(next(ticks))))
    monkeypatch.setattr(gauge, "_MOST_OF_TIME", float("inf"))


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("cores", [1, 2])
def test_nominal_time_and_share_grow_to_the_end_and_change_nothing(cores: int) -> None:
    settings = ["workload.minbytes=64KiB", "workload.maxbytes=1MiB", "workload.stepfactor=4", "workload.iterations=2"]
    seen: list[Progress] = []
    followed = outcome("two-dc:length=1km", "all_reduce", settings, seen.append, cores)
    read = [(at.nominal_ps, at.share) for at in seen if at.nominal_ps is not None and at.share is not None]
    assert len(read) > 20 and read == sorted(read)
    assert read[0][1] < 0.1 and 0.9 < read[-1][1] <= 1
    assert followed.end_ps is not None and read[-1][0] <= followed.report["now_ps"]
    trial = Trial(
        new_experiment("two-dc:length=1km", "all_reduce").with_overrides(settings), load_lab("two-dc:length=1km")
    )
    assert run_virtual(trial, None, lambda at: None).report["event_log_hash"] == followed.report["event_log_hash"]


@pytest.mark.usefixtures("hasty")
def test_flows_have_a_share_too_and_copies_within_a_host_count_for_nothing() -> None:
    lab = "rail:servers=2,accelerators=2,spines=1"
    seen: list[Progress] = []
    outcome(lab, "all_to_all", ["workload.size=256KiB", "transport.mtu=1024"], seen.append, 1)
    shares = [at.share for at in seen if at.share is not None]
    assert shares == sorted(shares) and 0.9 < shares[-1] <= 1


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("is_binary", [False, True])
def test_a_trace_on_disk_has_the_share_of_its_ops_that_have_ended(tmp_path: Path, is_binary: bool) -> None:
    """Its ops are in no workload, so that packets could not be counted: 0 % was shown to the end."""
    ring = [[Op("calc", 2_000_000), Op("send", 40_000 * (rank + 1), (rank + 1) % 4, after=(0,))] for rank in range(4)]
    ops = [(*mine, Op("recv", 40_000 * ((rank - 1) % 4 + 1), (rank - 1) % 4)) for rank, mine in enumerate(ring)]
    trace = Trace(("t",), tuple(ops))
    path = tmp_path / "trace.goal"
    path.write_bytes(write_goal_binary(trace)) if is_binary else path.write_text(write_goal(trace))
    data = {"topology": "clos", "jobs": [{"name": "t", "trace": read_streamed(path, is_binary=is_binary).trace}]}
    seen: list[Progress] = []
    trial = Trial(experiment_from(Source("test", data)), load_lab("clos"))
    done = run_virtual(trial, None, seen.append, budget=5, is_followed=True)
    assert done.complete
    shares = [at.share for at in seen if at.share is not None]
    assert shares == sorted(shares) and shares[0] < 0.5 < shares[-1] <= 1
    # Of twelve ops: each look counts whole ones.
    assert {round(share * 12, 9) % 1 for share in shares} == {0} and len(set(shares)) > 3


def test_nobody_is_asked_where_nobody_looks() -> None:
    trial = Trial(new_experiment("pair", "all_reduce"), load_lab("pair"))
    seen: list[Progress] = []
    run_virtual(trial, None, seen.append)
    assert {(at.nominal_ps, at.share) for at in seen} == {(None, None)}
