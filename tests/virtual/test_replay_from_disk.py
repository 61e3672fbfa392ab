"""Traces that stay on disk while they run: to the event what the trace does whole, in the memory of what is under way."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from bench.traces import compose
from testbed.errors import ExperimentError
from testbed.experiment.file import experiment_from
from testbed.lab.topology import load_lab
from testbed.replay.form import ANY, Op, Trace
from testbed.replay.goal import read_goal, write_goal
from testbed.replay.goal_binary import write_goal_binary
from testbed.replay.matching import match
from testbed.replay.streamed import read_streamed
from testbed.run.execution import Outcome
from testbed.run.perform import run_virtual
from testbed.run.trial import Trial
from testbed.schema.source import Source
from tests.unit.replay.traces import traces, written
from tests.virtual.test_jobs import SPINE

CHAINED = 40
MEGABYTES = int(os.environ.get("TESTBED_TRACE_MB", "200"))
"""Of the long trace; 2000 for a night."""
MOST_BYTES = 256 << 20
"""Of all memory: what is imported takes 90 MB, 200 MB of a trace some more, and 2 GB 139 MB in all."""


def trace(*ranks: Sequence[Op]) -> Trace:
    return Trace(("t",), tuple(map(tuple, ranks)))


def run(replayed: Trace, cores: int = 1) -> Outcome:
    """Run a trace, whole or on disk, on the hosts of a lab."""
    data: dict[str, Any] = {"topology": SPINE, "jobs": [{"name": "t", "trace": replayed}]}
    trial = Trial(experiment_from(Source("test", data)), load_lab(SPINE))
    outcome = run_virtual(trial, None, lambda progress: None, cores)
    assert outcome.complete and outcome.report["violations"] == [], outcome.reasons
    return outcome


def figures(outcome: Outcome) -> tuple[object, ...]:
    """Return what a run came to: every event by their hash, the job, the flows, and when ranks finished."""
    report = outcome.report
    ends = [rank["finish_ps"] for rank in report["ranks"]]
    return report["event_log_hash"], report["events"], outcome.jobs, outcome.flows, ends, report["qps"]


def same_from_disk(directory: Path, whole: Trace, cores: int = 1) -> None:
    """Assert that a trace of GOAL does whole and from disk, as text and in binary, what it does."""
    text = written(directory, write_goal(whole))
    binary = written(directory, write_goal_binary(whole), "t.bin")
    expected = figures(run(read_goal(text).trace))
    assert figures(run(read_streamed(text, is_binary=False).trace, cores)) == expected
    assert figures(run(read_streamed(binary, is_binary=True).trace, cores)) == expected


@given(traces())
@settings(deadline=None, max_examples=25)
def test_no_event_differs_from_those_of_the_trace_whole(tmp_path_factory: pytest.TempPathFactory, drawn: Trace) -> None:
    same_from_disk(tmp_path_factory.mktemp("t"), drawn)


def test_a_ring_of_calcs_and_messages_is_the_same_on_two_cores(tmp_path: Path) -> None:
    ranks = []
    for rank in range(4):
        ops: list[Op] = []
        for turn in range(CHAINED):
            base = len(ops)
            after = (base - 1, base - 2) if ops else ()
            ops.append(Op("calc", 1000 * (1 + (rank * 7 + turn) % 5), lane=turn % 2, after=after))
            ops.append(Op("send", 5000, (rank + 1) % 4, turn, after=(base,)))
            ops.append(Op("recv", 5000, ANY if turn % 3 else (rank - 1) % 4, turn, begun=(base,)))
        ranks.append(ops)
    same_from_disk(tmp_path, trace(*ranks), cores=2)


def test_a_rank_that_sends_to_itself(tmp_path: Path) -> None:
    own = [
        Op("recv", 100, 0, 3),
        Op("calc", 5000, lane=0),
        Op("send", 100, 0, 3, after=(1,)),
        Op("calc", 1000, lane=0, after=(0,)),
    ]
    same_from_disk(tmp_path, trace(own, [Op("calc", 2000, lane=0)]))


@pytest.mark.parametrize(
    "wrong",
    [
        trace([Op("send", 8, 1, 5)], []),
        trace([], [Op("recv", 8, ANY, ANY)]),
        trace([Op("send", 8, 1)], [Op("recv", 9, 0)]),
        trace([Op("calc", 1000, lane=0), Op("calc", 1000, lane=0, after=(2,)), Op("calc", 0, lane=0, after=(1,))]),
    ],
    ids=["not-received", "not-sent", "sizes", "circle"],
)
def test_what_does_not_match_is_refused_in_the_same_words(tmp_path: Path, wrong: Trace) -> None:
    path = written(tmp_path, write_goal(wrong))
    with pytest.raises(ExperimentError) as expected:
        match(read_goal(path).trace)
    with pytest.raises(ExperimentError) as caught:
        read_streamed(path, is_binary=False)
    assert caught.value.faults == expected.value.faults


REPLAY = """
import pathlib, sys
from testbed.start import main
to = pathlib.Path(sys.argv.pop())
try:
    sys.exit(main())
finally:
    to.write_text(pathlib.Path("/proc/self/status").read_text())
"""


def test_a_trace_of_hundreds_of_megabytes_replays_in_bounded_memory(tmp_path: Path) -> None:
    """A ring of 16 ranks: all of it arrives, and memory holds a rank of the file, not the file."""
    path, status = tmp_path / "ring.goal", tmp_path / "status"
    ops = compose(path, MEGABYTES)
    lab = "clos:spines=2,leaves=2,hosts=8,delay=10ns"
    words = ["replay", str(path), "-t", lab, "--out", str(tmp_path / "result"), "--cores", "1"]
    done = subprocess.run(
        [sys.executable, "-c", REPLAY, *words, str(status)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result" / "run.json").read_text())
    assert sum(flow["bytes"] for flow in result["flows"]) == ops // 3 * 4096
    assert result["verdict"]["lossless"] is True
    peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert peak is not None and int(peak[1]) * 1024 < MOST_BYTES, f"{int(peak[1]) / 1024:.0f} MiB"
