"""Traces on disk: what they are in Python, and what is refused before they are given to an engine."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from testbed.errors import ExperimentError, InputError
from testbed.experiment.file import experiment_from
from testbed.lab.topology import load_lab
from testbed.replay.form import Op, Trace, trace_from
from testbed.replay.goal import write_goal
from testbed.replay.streamed import Streamed, read_streamed
from testbed.run.traces_on_disk import of_experiment
from testbed.run.trial import Trial
from testbed.schema.source import Source
from testbed.study import preflight
from tests.unit.replay.traces import written

PAIR = "num_ranks 2\nrank 0 {\nsend 5b to 1 nic 2\n}\nrank 1 {\nrecv 5b from 0\n}\n"


def on_disk(directory: Path, text: str = PAIR) -> Streamed:
    trace = read_streamed(written(directory, text), is_binary=False).trace
    assert isinstance(trace, Streamed)
    return trace


def test_what_was_taken_and_left_out_is_said_and_progress_is_heard(tmp_path: Path) -> None:
    read: list[tuple[int, int]] = []
    matched: list[tuple[int, int]] = []
    path = written(tmp_path, PAIR)
    reading = read_streamed(
        path, is_binary=False, reading=lambda *done: read.append(done), matching=lambda *done: matched.append(done)
    )
    assert reading.took == ("2 ranks", "2 ops")
    assert [str(left) for left in reading.left] == ["nic of a message, whose port the lab says (t.goal:3)"]
    assert (read[-1], matched[-1]) == ((len(PAIR), len(PAIR)), (2, 2))


def test_messages_under_way_at_once_have_a_channel_each_and_those_to_itself_none(tmp_path: Path) -> None:
    sends = [Op("send", 8, 1, tag) for tag in range(3)]
    receives = [Op("recv", 8, 0, tag) for tag in range(3)]
    own = [Op("send", 8, 1, 9), Op("recv", 8, 1, 9)]
    trace = Trace(("t",), (tuple(sends), (*receives, *own)))
    assert on_disk(tmp_path, write_goal(trace)).sends == [(0, 1, 0), (0, 1, 1), (0, 1, 2)]


@pytest.mark.parametrize(
    ("of_job", "of_all"),
    [({"repeat": 2}, {}), ({"start": "1us"}, {}), ({}, {"clock": "real"}), ({}, {"transport": {"qps": 2}})],
    ids=["repeat", "start", "clock", "qps"],
)
def test_a_trace_on_disk_runs_once_at_once_and_in_this_process(
    tmp_path: Path, of_job: dict[str, object], of_all: dict[str, object]
) -> None:
    data = {"topology": "pair", "jobs": [{"name": "t", "trace": on_disk(tmp_path), **of_job}], **of_all}
    experiment = experiment_from(Source("test", data))
    with pytest.raises(ExperimentError, match="is replayed from disk, and not"):
        of_experiment(experiment)
    with pytest.raises(InputError, match="is replayed from disk, and not"):
        preflight.check(Trial(experiment, load_lab("pair")))


def test_a_trace_on_disk_cannot_leave_its_process(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the name of a file beside the experiment file"):
        trace_from(on_disk(tmp_path).data())


def test_faults_of_the_file_have_their_place(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"t\.goal:6: rank 7 is not one of 2"):
        on_disk(tmp_path, PAIR.replace("recv 5b from 0\n}\n", "recv 5b from 7\n}\n"))
    packed = written(tmp_path, gzip.compress(PAIR.encode())[:-9], "t.gz")
    with pytest.raises(ExperimentError, match="not a gzip file"):
        read_streamed(packed, is_binary=False)


def test_a_message_too_long_for_a_connection_is_refused_at_its_line(tmp_path: Path) -> None:
    long = PAIR.replace("5b", f"{2**31 + 1}b")
    with pytest.raises(ExperimentError, match=rf"t\.goal:3: rank 0: sends {2**31 + 1} bytes"):
        on_disk(tmp_path, long)
