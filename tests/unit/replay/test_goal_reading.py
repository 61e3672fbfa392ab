"""The reader of the data plane beside the one in Python: the same ops of any file, and the same faults at the same places."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from testbed.errors import ExperimentError
from testbed.replay.goal import read_goal
from testbed.replay.goal_binary import read_goal_binary
from testbed.replay.lines import MAX_LINE_BYTES, Reading
from tests.unit.replay import goal_reference as reference
from tests.unit.replay.traces import written
from tools.fuzz import replay as hostile

INPUTS = 400
READERS: dict[str, tuple[Callable[[Path], Reading], Callable[[Path], Reading]]] = {
    "goal": (read_goal, reference.read_goal),
    "goal-binary": (read_goal_binary, reference.read_goal_binary),
}


def answer(read: Callable[[Path], Reading], path: Path) -> object:
    """Return what a reader makes of a file: its reading, or its faults in words."""
    try:
        reading = read(path)
    except ExperimentError as error:
        return [str(fault) for fault in error.faults]
    return reading.trace, reading.took, reading.left


@pytest.mark.parametrize("kind", READERS)
def test_mutated_files_read_as_the_reference_reads_them(kind: str, tmp_path: Path) -> None:
    target = next(target for target in hostile.TRACES if target.name == kind)
    ours, theirs = READERS[kind]
    traces = 0
    for number in range(INPUTS):
        path = written(tmp_path, target.draw(Random(number)))
        expected = answer(theirs, path)
        assert answer(ours, path) == expected, f"input {number}: {path.read_bytes()!r}"
        traces += isinstance(expected, tuple)
    assert INPUTS // 50 < traces < INPUTS, "both traces and faults are among the inputs"


def test_a_compressed_file_is_read_as_what_it_holds(tmp_path: Path) -> None:
    plain = read_goal(written(tmp_path, hostile.GOAL, "plain.goal"))
    packed = read_goal(written(tmp_path, gzip.compress(hostile.GOAL.encode()), "packed.goal"))
    assert packed.trace.ranks == plain.trace.ranks and packed.left[0].file == str(tmp_path / "packed.goal")


def test_a_line_that_never_ends_is_refused_where_it_begins(tmp_path: Path) -> None:
    path = written(tmp_path, "num_ranks 1\n" + "x" * (2 * MAX_LINE_BYTES))
    with pytest.raises(ExperimentError, match=f"t.goal:2: longer than {MAX_LINE_BYTES} bytes"):
        read_goal(path)


def test_progress_comes_to_the_length_of_the_file(tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    path = written(tmp_path, hostile.GOAL)
    read_goal(path, lambda done, total: heard.append((done, total)))
    assert heard[-1] == (path.stat().st_size, path.stat().st_size)
